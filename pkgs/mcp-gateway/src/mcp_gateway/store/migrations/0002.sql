-- What was said in a call, where the operator asked for it (`payloads`: "disk"). A table of its own: a page of
-- activity never reads past it. `size` stands before the text, so that it is read without it.
CREATE TABLE payloads (
    call INTEGER PRIMARY KEY,
    size INTEGER NOT NULL,
    document TEXT NOT NULL
);

-- Sums the sizes without touching a text.
CREATE INDEX payload_sizes ON payloads (size);

-- However a call is forgotten, what was said in it goes along.
CREATE TRIGGER payloads_go_with_their_calls AFTER DELETE ON calls BEGIN
    DELETE FROM payloads WHERE call = old.id;
END;
