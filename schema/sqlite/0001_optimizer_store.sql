-- The optimizer store of didtail on SQLite. schema/README.md documents every
-- column with its unit and where it comes from in VICIdial.
--
-- Times are whole seconds since 1970 (UTC); days are YYYY-MM-DD in the dialer's
-- zone; booleans are 0 or 1. Migrations are append-only: never edit this file.

-- Who owns sources and DIDs.
CREATE TABLE tenants (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE CHECK (name <> '')
) STRICT;

-- Keys of the HTTP API. The key itself is never stored.
CREATE TABLE api_keys (
    id           INTEGER PRIMARY KEY,
    tenant_id    INTEGER NOT NULL REFERENCES tenants (id),
    label        TEXT NOT NULL DEFAULT '',
    key_hash     TEXT NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at   INTEGER
) STRICT;
CREATE INDEX api_keys_tenant ON api_keys (tenant_id);

-- The outbound caller IDs.
CREATE TABLE dids (
    id           INTEGER PRIMARY KEY,
    tenant_id    INTEGER NOT NULL REFERENCES tenants (id),
    phone_number TEXT NOT NULL,                     -- E.164 where valid, else digits
    status       TEXT NOT NULL DEFAULT 'active',
    origin       TEXT NOT NULL DEFAULT 'observed',  -- observed | imported | reported
    created_at   INTEGER NOT NULL,
    UNIQUE (tenant_id, phone_number)
) STRICT;

-- All-time numbers of each DID. Each counter equals the same count over
-- call_records (dials: over dials), at every commit.
CREATE TABLE did_stats (
    did_id           INTEGER PRIMARY KEY REFERENCES dids (id),
    dials            INTEGER NOT NULL DEFAULT 0,
    total_calls      INTEGER NOT NULL DEFAULT 0,
    successful_calls INTEGER NOT NULL DEFAULT 0,
    answered         INTEGER NOT NULL DEFAULT 0,
    machine          INTEGER NOT NULL DEFAULT 0,
    no_answer        INTEGER NOT NULL DEFAULT 0,
    busy             INTEGER NOT NULL DEFAULT 0,
    dropped          INTEGER NOT NULL DEFAULT 0,
    failed           INTEGER NOT NULL DEFAULT 0,
    blocked          INTEGER NOT NULL DEFAULT 0,
    other            INTEGER NOT NULL DEFAULT 0,
    dnc              INTEGER NOT NULL DEFAULT 0,
    talk_seconds     INTEGER NOT NULL DEFAULT 0,
    last_dial_at     INTEGER,
    last_call_at     INTEGER
) STRICT;

-- The same numbers by day and campaign; dials have the campaign ''.
CREATE TABLE did_daily_stats (
    did_id           INTEGER NOT NULL REFERENCES dids (id),
    day              TEXT NOT NULL CHECK (length(day) = 10),
    campaign_id      TEXT NOT NULL DEFAULT '',
    dials            INTEGER NOT NULL DEFAULT 0,
    total_calls      INTEGER NOT NULL DEFAULT 0,
    successful_calls INTEGER NOT NULL DEFAULT 0,
    answered         INTEGER NOT NULL DEFAULT 0,
    machine          INTEGER NOT NULL DEFAULT 0,
    no_answer        INTEGER NOT NULL DEFAULT 0,
    busy             INTEGER NOT NULL DEFAULT 0,
    dropped          INTEGER NOT NULL DEFAULT 0,
    failed           INTEGER NOT NULL DEFAULT 0,
    blocked          INTEGER NOT NULL DEFAULT 0,
    other            INTEGER NOT NULL DEFAULT 0,
    dnc              INTEGER NOT NULL DEFAULT 0,
    talk_seconds     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (did_id, day, campaign_id)
) STRICT, WITHOUT ROWID;

-- One row a call.
CREATE TABLE call_records (
    id               INTEGER PRIMARY KEY,
    tenant_id        INTEGER NOT NULL REFERENCES tenants (id),
    source           TEXT NOT NULL,             -- '' only within a commit, while keys move
    uniqueid         TEXT NOT NULL,
    lead_id          INTEGER NOT NULL,
    caller_code      TEXT,
    did_id           INTEGER REFERENCES dids (id),
    attribution      TEXT NOT NULL DEFAULT 'none'
        CHECK (attribution IN ('none', 'lead', 'caller_code', 'reported')),
    phone_number     TEXT NOT NULL DEFAULT '',
    campaign_id      TEXT NOT NULL DEFAULT '',
    agent_id         TEXT NOT NULL DEFAULT '',
    list_id          INTEGER,
    disposition      TEXT NOT NULL DEFAULT '',
    outcome          TEXT NOT NULL DEFAULT 'other'
        CHECK (outcome IN ('answered', 'machine', 'no_answer', 'busy', 'dropped', 'failed', 'blocked', 'other')),
    successful       INTEGER NOT NULL DEFAULT 0 CHECK (successful IN (0, 1)),
    dnc              INTEGER NOT NULL DEFAULT 0 CHECK (dnc IN (0, 1)),
    counted          INTEGER NOT NULL DEFAULT 0 CHECK (counted IN (0, 1)),
    removed          INTEGER NOT NULL DEFAULT 0 CHECK (removed IN (0, 1)),
    duration_seconds INTEGER,                   -- may be negative
    term_reason      TEXT NOT NULL DEFAULT '',
    hangup_cause     INTEGER,                   -- Q.850
    sip_code         INTEGER,
    sip_reason       TEXT NOT NULL DEFAULT '',
    called_count     INTEGER,
    started_at       INTEGER NOT NULL,
    ended_at         INTEGER,
    day              TEXT NOT NULL DEFAULT '',  -- of started_at, in the dialer's zone
    updated_at       INTEGER NOT NULL,          -- by the source's clock
    origin           TEXT NOT NULL DEFAULT 'binlog',
    UNIQUE (source, uniqueid, lead_id)
) STRICT;
CREATE INDEX call_records_lead ON call_records (source, lead_id, started_at);
CREATE INDEX call_records_did ON call_records (did_id, started_at);
CREATE INDEX call_records_tenant ON call_records (tenant_id, started_at);

-- One row a dial attempt.
CREATE TABLE dials (
    id           INTEGER PRIMARY KEY,
    tenant_id    INTEGER NOT NULL REFERENCES tenants (id),
    source       TEXT NOT NULL,
    caller_code  TEXT NOT NULL,
    opened_at    INTEGER NOT NULL,          -- tells the uses of a recurring code apart
    dialed_at    INTEGER NOT NULL,
    day          TEXT NOT NULL DEFAULT '',  -- of dialed_at, in the dialer's zone
    did_id       INTEGER REFERENCES dids (id),
    lead_id      INTEGER,
    counted      INTEGER NOT NULL DEFAULT 0 CHECK (counted IN (0, 1)),
    uniqueid     TEXT,
    dial_status  TEXT NOT NULL DEFAULT '',
    hangup_cause INTEGER,                   -- Q.850
    sip_code     INTEGER,
    sip_reason   TEXT NOT NULL DEFAULT '',
    UNIQUE (source, caller_code, opened_at)
) STRICT;
CREATE INDEX dials_lead ON dials (source, lead_id, dialed_at);
CREATE INDEX dials_uniqueid ON dials (source, uniqueid) WHERE uniqueid IS NOT NULL;
CREATE INDEX dials_did ON dials (did_id, dialed_at);

-- What was applied when; kept for a limited time.
CREATE TABLE audit_log (
    id         INTEGER PRIMARY KEY,
    tenant_id  INTEGER NOT NULL REFERENCES tenants (id),
    event      TEXT,                        -- SOURCE/EVENT, the same on every replay
    action     TEXT NOT NULL,
    details    TEXT NOT NULL DEFAULT '{}',  -- JSON
    created_at INTEGER NOT NULL,
    UNIQUE (tenant_id, event)
) STRICT;
CREATE INDEX audit_log_created ON audit_log (tenant_id, created_at);

-- How far each source is applied; written in the transaction of its rows.
CREATE TABLE replication_progress (
    source      TEXT PRIMARY KEY,
    epoch       INTEGER NOT NULL,
    binlog_file TEXT NOT NULL,
    binlog_next INTEGER NOT NULL,
    gtid        TEXT NOT NULL DEFAULT '',
    event_time  INTEGER,
    updated_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Which daemon may write a source.
CREATE TABLE source_leases (
    source        TEXT PRIMARY KEY,
    holder        TEXT NOT NULL,
    fencing_token INTEGER NOT NULL DEFAULT 0,
    acquired_at   INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The numbers an optimizer reads; rates in percent of total_calls.
CREATE VIEW did_summary AS
SELECT t.name                                             AS tenant,
       d.phone_number                                     AS phone_number,
       coalesce(s.dials, 0)                               AS dials,
       coalesce(s.total_calls, 0)                         AS total_calls,
       coalesce(s.successful_calls, 0)                    AS successful_calls,
       100.0 * s.successful_calls / nullif(s.total_calls, 0) AS success_rate,
       100.0 * s.answered / nullif(s.total_calls, 0)      AS answer_rate,
       100.0 * s.blocked / nullif(s.total_calls, 0)       AS block_rate,
       1.0 * s.talk_seconds / nullif(s.answered, 0)       AS average_talk_seconds,
       s.last_call_at                                     AS last_call_at
FROM dids d
JOIN tenants t ON t.id = d.tenant_id
LEFT JOIN did_stats s ON s.did_id = d.id;
