-- Which server's binlog a position is a place in, and what must be known of it to
-- read on from there.
SET @didtail_step = (SELECT if(count(*) = 0,
    'ALTER TABLE replication_progress ADD COLUMN server VARCHAR(80), ADD COLUMN file_begun BIGINT', 'DO 0')
    FROM information_schema.columns WHERE table_schema = database()
    AND table_name = 'replication_progress' AND column_name = 'server');
PREPARE didtail_step FROM @didtail_step;
EXECUTE didtail_step;
DEALLOCATE PREPARE didtail_step;

-- Places behind which the binlog is read in another way.
CREATE TABLE IF NOT EXISTS landmarks (
    id               BIGINT NOT NULL AUTO_INCREMENT,
    source           VARCHAR(80) NOT NULL,
    epoch            BIGINT NOT NULL,                        -- as in replication_progress: whose positions these are
    kind             VARCHAR(16) NOT NULL CHECK (kind IN ('columns', 'archived', 'inserted')),
    subject          VARCHAR(64) NOT NULL,                   -- table, or uniqueid of the call
    binlog_file      VARCHAR(512) NOT NULL,
    binlog_next      BIGINT NOT NULL,
    value            MEDIUMTEXT NOT NULL,                    -- JSON: columns; seconds since 1970 (UTC); leads
    PRIMARY KEY (id),
    UNIQUE KEY landmarks_key (source, epoch, kind, subject, binlog_file, binlog_next)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
