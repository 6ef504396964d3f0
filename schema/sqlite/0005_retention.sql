-- Before which times calls and dials of a source may have been deleted: what is
-- older and not there is not made anew.
CREATE TABLE retention (
    source       TEXT PRIMARY KEY,
    calls_before INTEGER,               -- NULL: no call was ever deleted
    dials_before INTEGER
) STRICT, WITHOUT ROWID;
