-- Times of the source's binlog that nobody read and nothing has made up for yet.
CREATE TABLE skipped (
    source TEXT NOT NULL,
    since  INTEGER NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (source, since)
) STRICT;
