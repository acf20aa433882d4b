-- API keys: the hash, never the text. `scopes` is JSON; times are Unix seconds.
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created REAL NOT NULL,
    created_by TEXT NOT NULL,
    expires REAL
);

-- When a key was last used, of declared ones, too; written a minute late and lost with a crash.
CREATE TABLE key_uses (
    key TEXT PRIMARY KEY,
    last_used REAL NOT NULL
);

-- The right that a call needed. `action` is NULL for calls; else what somebody did to the gateway itself.
ALTER TABLE calls ADD COLUMN needed TEXT NOT NULL DEFAULT 'call';
ALTER TABLE calls ADD COLUMN action TEXT;

-- Few; found without reading the calls between them.
CREATE INDEX actions_by_time ON calls (started) WHERE action IS NOT NULL;
