-- Calls whose rows were inserted behind an archiving although they began before
-- it: a statement reaches them all the same.
CREATE TABLE inserted (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    source   TEXT NOT NULL,
    uniqueid TEXT NOT NULL,
    lead     TEXT NOT NULL,               -- empty where the statement does not say it
    position TEXT NOT NULL,               -- FILE:OFFSET
    UNIQUE (source, uniqueid, lead)
) STRICT;
