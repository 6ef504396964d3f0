-- Up to when a watched table was archived, from a position on: a statement that
-- stands behind it in the binlog does not reach those rows.
CREATE TABLE archivings (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    source     TEXT NOT NULL,
    table_name TEXT NOT NULL,
    position   TEXT NOT NULL,              -- FILE:OFFSET
    before     INTEGER NOT NULL,           -- seconds since 1970 (UTC)
    UNIQUE (source, table_name, position)
) STRICT;
