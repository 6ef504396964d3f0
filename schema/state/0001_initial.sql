-- didtail's local state file. Its copy of the position is a cache: the store's
-- is committed together with the numbers. Times are seconds since 1970 (UTC).

-- Which server a source was when it was last followed.
CREATE TABLE sources (
    name     TEXT PRIMARY KEY,
    identity TEXT NOT NULL
) STRICT;

-- Up to where everything is applied. One row per source.
CREATE TABLE checkpoints (
    source     TEXT PRIMARY KEY,
    epoch      INTEGER NOT NULL DEFAULT 0, -- counts resets
    position   TEXT NOT NULL,              -- FILE:OFFSET of the next event
    gtid       TEXT NOT NULL DEFAULT '',   -- last transaction of each domain
    event_time INTEGER,                    -- when the last applied event was written
    saved_at   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Earlier checkpoints to go back to. The newest of each source are kept.
CREATE TABLE checkpoint_history (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    source     TEXT NOT NULL,
    epoch      INTEGER NOT NULL DEFAULT 0,
    position   TEXT NOT NULL,
    gtid       TEXT NOT NULL DEFAULT '',
    event_time INTEGER,
    reason     TEXT NOT NULL DEFAULT '',   -- why it was remembered
    saved_at   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX checkpoint_history_by_source ON checkpoint_history (source, id);

-- The columns of a watched table from a position on, so that a reader that
-- lags behind an ALTER TABLE reads old rows with the columns of their time.
CREATE TABLE table_schemas (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    source         TEXT NOT NULL,
    table_name     TEXT NOT NULL,
    first_position TEXT NOT NULL,          -- FILE:OFFSET
    columns        TEXT NOT NULL,          -- JSON
    UNIQUE (source, table_name, first_position)
) STRICT;

-- Rows that could not be understood, with all that is needed to try again.
CREATE TABLE quarantine (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    source     TEXT NOT NULL,
    position   TEXT NOT NULL,              -- FILE:OFFSET of the row's event
    row_index  INTEGER NOT NULL,           -- number of the row in the event, from 0
    event_time INTEGER NOT NULL DEFAULT 0,
    table_name TEXT NOT NULL DEFAULT '',
    reason     TEXT NOT NULL DEFAULT '',
    event_code INTEGER NOT NULL DEFAULT 0,
    body       BLOB NOT NULL DEFAULT x'',  -- the event, without header and checksum
    table_map  BLOB NOT NULL DEFAULT x'',  -- the table map it refers to
    saved_at   INTEGER NOT NULL DEFAULT 0,
    UNIQUE (source, position, row_index)
) STRICT;

-- What the daemon last said about a source, for `didtail status`.
CREATE TABLE status (
    source   TEXT PRIMARY KEY,
    note     TEXT NOT NULL DEFAULT '{}',   -- JSON
    saved_at INTEGER NOT NULL DEFAULT 0
) STRICT;
