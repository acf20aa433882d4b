-- What was asked for: a tool is called, a resource is read. `target` is its URI, or a prompt's name; of a tool,
-- whose name is in `tool`, it is NULL. Rows of `action` are no calls, whatever is in `method`.
ALTER TABLE calls ADD COLUMN method TEXT NOT NULL DEFAULT 'tools/call';
ALTER TABLE calls ADD COLUMN target TEXT;
