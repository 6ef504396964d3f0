-- Which server's binlog a position is a place in, and what must be known of it to
-- read on from there.
ALTER TABLE replication_progress ADD COLUMN server TEXT;         -- what the server calls itself
ALTER TABLE replication_progress ADD COLUMN file_begun INTEGER;  -- when the binlog file was begun

-- Places behind which the binlog is read in another way.
CREATE TABLE landmarks (
    id           INTEGER PRIMARY KEY,
    source       TEXT NOT NULL,
    epoch        INTEGER NOT NULL,           -- as in replication_progress: whose positions these are
    kind         TEXT NOT NULL CHECK (kind IN ('columns', 'archived', 'inserted')),
    subject      TEXT NOT NULL,              -- table, or uniqueid of the call
    binlog_file  TEXT NOT NULL,
    binlog_next  INTEGER NOT NULL,
    value        TEXT NOT NULL,              -- JSON: columns; seconds since 1970 (UTC); leads
    UNIQUE (source, epoch, kind, subject, binlog_file, binlog_next)
) STRICT;
