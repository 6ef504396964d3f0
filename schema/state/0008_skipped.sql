-- Times of the source's binlog that are not in the numbers, and that nothing has made
-- up for yet.
CREATE TABLE skipped (
    source TEXT NOT NULL,
    since  INTEGER NOT NULL,
    until  INTEGER NOT NULL,
    -- 1: it was read, and what was made of it is lost with the store.
    lost   INTEGER NOT NULL,
    PRIMARY KEY (source, since)
) STRICT;
