-- Before which times calls and dials of a source may have been deleted: what is
-- older and not there is not made anew.
CREATE TABLE retention (
    source           TEXT NOT NULL,
    calls_before     BIGINT,                                 -- NULL: no call was ever deleted
    dials_before     BIGINT,
    PRIMARY KEY (source)
) WITH (fillfactor = 20);
