-- What changed each call and dial, kept for a limited time, so that a number can
-- be explained (`didtail explain`).
CREATE TABLE change_history (
    id          INTEGER PRIMARY KEY,        -- in the order of the changes
    tenant_id   INTEGER NOT NULL REFERENCES tenants (id),
    source      TEXT NOT NULL,              -- '' only within a commit, while keys move
    kind        TEXT NOT NULL CHECK (kind IN ('call', 'dial')),
    subject     TEXT NOT NULL,              -- uniqueid of the call, or caller code of the dial
    part        INTEGER NOT NULL,           -- lead of the call, or opened_at of the dial
    at          INTEGER NOT NULL,           -- newest change, by the source's clock
    left_did_id INTEGER REFERENCES dids (id), -- the DID that it stopped counting for
    entries     TEXT NOT NULL               -- JSON: [{event, table, was: {field: old value}}]
) STRICT;
CREATE INDEX change_history_subject ON change_history (source, subject, part);
CREATE INDEX change_history_at ON change_history (tenant_id, at);
CREATE INDEX change_history_left ON change_history (left_did_id) WHERE left_did_id IS NOT NULL;

-- The caller ID that a dialplan reported, and dials that were looked up by SELECT.
ALTER TABLE dials ADD COLUMN reported TEXT;
ALTER TABLE dials ADD COLUMN looked_up INTEGER NOT NULL DEFAULT 0 CHECK (looked_up IN (0, 1));
CREATE INDEX dials_looked_up ON dials (source, dialed_at) WHERE looked_up = 1;

-- Counts what others than the daemon rewrote: it then forgets what it remembers.
ALTER TABLE replication_progress ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
