-- Before which times calls and dials of a source may have been deleted: what is
-- older and not there is not made anew.
CREATE TABLE IF NOT EXISTS retention (
    source           VARCHAR(80) NOT NULL,
    calls_before     BIGINT,                                 -- NULL: no call was ever deleted
    dials_before     BIGINT,
    PRIMARY KEY (source)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
