-- Results that clients of the HTTP API posted and that are not in the numbers yet:
-- whoever has the lease of the source takes them with its next batch, in one
-- transaction with what they change.
CREATE TABLE posted_results (
    id        INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice: it names the result in audit_log
    tenant_id INTEGER NOT NULL REFERENCES tenants (id),
    source    TEXT NOT NULL,
    body      TEXT NOT NULL,                     -- JSON: what was said, and of which call
    posted_at INTEGER NOT NULL
) STRICT;
CREATE INDEX posted_results_source ON posted_results (source, id);

-- Idempotency-Key headers of the last day, and what was answered.
CREATE TABLE posted_keys (
    tenant_id  INTEGER NOT NULL REFERENCES tenants (id),
    key_hash   TEXT NOT NULL,
    body_hash  TEXT NOT NULL,
    did_id     INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, key_hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX posted_keys_created ON posted_keys (created_at);

-- What was posted of the call, all of it together.
ALTER TABLE dials ADD COLUMN posted TEXT;        -- JSON
