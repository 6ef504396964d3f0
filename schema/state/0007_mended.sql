-- Rows that an operator dealt with since the daemon last looked: it counts so many
-- less as missing.
CREATE TABLE mended (
    source TEXT PRIMARY KEY,
    rows   INTEGER NOT NULL DEFAULT 0
) STRICT;
