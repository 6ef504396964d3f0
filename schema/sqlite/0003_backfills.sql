-- How far the loads of calls by SELECT have got (`didtail backfill`, and the one
-- that start_at asks for), so that a load that was cut off goes on where it was.
CREATE TABLE backfills (
    source   TEXT NOT NULL,
    name     TEXT NOT NULL,                -- 'command' or 'start_at'
    note     TEXT NOT NULL,                -- JSON: the range asked for, how far it is, what was found
    saved_at INTEGER NOT NULL,
    PRIMARY KEY (source, name)
) STRICT, WITHOUT ROWID;
