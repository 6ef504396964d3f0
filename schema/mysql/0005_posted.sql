-- Results that clients of the HTTP API posted and that are not in the numbers yet:
-- whoever has the lease of the source takes them with its next batch, in one
-- transaction with what they change.
CREATE TABLE IF NOT EXISTS posted_results (
    id               BIGINT NOT NULL AUTO_INCREMENT,
    tenant_id        BIGINT NOT NULL,
    source           VARCHAR(80) NOT NULL,
    body             TEXT NOT NULL,                          -- JSON: what was said, and of which call
    posted_at        BIGINT NOT NULL,
    PRIMARY KEY (id),
    KEY posted_results_source (source, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Idempotency-Key headers of the last day, and what was answered.
CREATE TABLE IF NOT EXISTS posted_keys (
    tenant_id        BIGINT NOT NULL,
    key_hash         VARCHAR(80) NOT NULL,
    body_hash        VARCHAR(80) NOT NULL,
    did_id           BIGINT,
    created_at       BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, key_hash),
    KEY posted_keys_created (created_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What was posted of the call, all of it together.
SET @didtail_step = (SELECT if(count(*) = 0,
    'ALTER TABLE dials ADD COLUMN posted TEXT', 'DO 0')
    FROM information_schema.columns WHERE table_schema = database()
    AND table_name = 'dials' AND column_name = 'posted');
PREPARE didtail_step FROM @didtail_step;
EXECUTE didtail_step;
DEALLOCATE PREPARE didtail_step;
