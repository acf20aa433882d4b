-- One row per call. `started` is Unix seconds; `arguments` is the shape of the arguments as JSON text, never a value.
-- `duration_s` is NULL while a call runs and for one that was interrupted: nobody knows when it ended.
CREATE TABLE calls (
    id INTEGER PRIMARY KEY,
    started REAL NOT NULL,
    caller TEXT NOT NULL,
    face TEXT NOT NULL,
    server TEXT NOT NULL,
    tool TEXT NOT NULL,
    outcome TEXT NOT NULL,
    duration_s REAL,
    request_bytes INTEGER NOT NULL,
    response_bytes INTEGER NOT NULL,
    detail TEXT,
    arguments TEXT
);

-- The one order of every page, and the end from which old rows are pruned. Other filters scan along it, in
-- bounded windows: an index for each would cost every call more than it saves the few who look.
CREATE INDEX calls_by_time ON calls (started, id);

-- Almost empty always; finds what a crash left behind without reading a million rows.
CREATE INDEX calls_running ON calls (id) WHERE outcome = 'running';

-- What a person switched at run time, over the declared config. `tool` NULL: the server as a whole.
CREATE TABLE overrides (
    server TEXT NOT NULL,
    tool TEXT,
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1))
);

-- Which eras a server spoke when it was last probed, by the fingerprint of its configuration.
CREATE TABLE eras (
    fingerprint TEXT PRIMARY KEY,
    eras TEXT NOT NULL,
    learned REAL NOT NULL
);
