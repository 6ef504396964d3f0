-- The optimizer store of didtail on MySQL and MariaDB. schema/README.md documents
-- every column with its unit and where it comes from in VICIdial.
--
-- Times are whole seconds since 1970 (UTC); days are YYYY-MM-DD in the dialer's
-- zone; booleans are 0 or 1; text is compared byte by byte. Migrations are
-- append-only: never edit this file. Each can be run again from its beginning, since
-- MySQL undoes nothing of one that was cut off.

-- Who owns sources and DIDs.
CREATE TABLE IF NOT EXISTS tenants (
    id               BIGINT NOT NULL AUTO_INCREMENT,
    name             VARCHAR(80) NOT NULL CHECK (name <> ''),
    PRIMARY KEY (id),
    UNIQUE (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Keys of the HTTP API. The key itself is never stored.
CREATE TABLE IF NOT EXISTS api_keys (
    id               BIGINT NOT NULL AUTO_INCREMENT,
    tenant_id        BIGINT NOT NULL,
    label            VARCHAR(255) NOT NULL DEFAULT '',
    key_hash         VARCHAR(255) NOT NULL,
    created_at       BIGINT NOT NULL,
    last_used_at     BIGINT,
    revoked_at       BIGINT,
    PRIMARY KEY (id),
    UNIQUE (key_hash),
    KEY api_keys_tenant (tenant_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The outbound caller IDs.
CREATE TABLE IF NOT EXISTS dids (
    id               BIGINT NOT NULL AUTO_INCREMENT,
    tenant_id        BIGINT NOT NULL,
    phone_number     VARCHAR(255) NOT NULL,                  -- E.164 where valid, else digits
    status           VARCHAR(32) NOT NULL DEFAULT 'active',
    origin           VARCHAR(32) NOT NULL DEFAULT 'observed', -- observed | imported | reported
    created_at       BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (tenant_id, phone_number)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- All-time numbers of each DID. Each counter equals the same count over
-- call_records (dials: over dials), at every commit.
CREATE TABLE IF NOT EXISTS did_stats (
    tenant_id        BIGINT NOT NULL,
    did_id           BIGINT NOT NULL,
    dials            BIGINT NOT NULL DEFAULT 0,
    total_calls      BIGINT NOT NULL DEFAULT 0,
    successful_calls BIGINT NOT NULL DEFAULT 0,
    answered         BIGINT NOT NULL DEFAULT 0,
    machine          BIGINT NOT NULL DEFAULT 0,
    no_answer        BIGINT NOT NULL DEFAULT 0,
    busy             BIGINT NOT NULL DEFAULT 0,
    dropped          BIGINT NOT NULL DEFAULT 0,
    failed           BIGINT NOT NULL DEFAULT 0,
    blocked          BIGINT NOT NULL DEFAULT 0,
    other            BIGINT NOT NULL DEFAULT 0,
    dnc              BIGINT NOT NULL DEFAULT 0,
    talk_seconds     BIGINT NOT NULL DEFAULT 0,
    last_dial_at     BIGINT,
    last_call_at     BIGINT,
    PRIMARY KEY (tenant_id, did_id),
    KEY did_stats_did (did_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The same numbers by day and campaign; dials have the campaign ''.
CREATE TABLE IF NOT EXISTS did_daily_stats (
    tenant_id        BIGINT NOT NULL,
    did_id           BIGINT NOT NULL,
    day              VARCHAR(10) NOT NULL CHECK (char_length(day) = 10),
    campaign_id      VARCHAR(255) NOT NULL DEFAULT '',
    dials            BIGINT NOT NULL DEFAULT 0,
    total_calls      BIGINT NOT NULL DEFAULT 0,
    successful_calls BIGINT NOT NULL DEFAULT 0,
    answered         BIGINT NOT NULL DEFAULT 0,
    machine          BIGINT NOT NULL DEFAULT 0,
    no_answer        BIGINT NOT NULL DEFAULT 0,
    busy             BIGINT NOT NULL DEFAULT 0,
    dropped          BIGINT NOT NULL DEFAULT 0,
    failed           BIGINT NOT NULL DEFAULT 0,
    blocked          BIGINT NOT NULL DEFAULT 0,
    other            BIGINT NOT NULL DEFAULT 0,
    dnc              BIGINT NOT NULL DEFAULT 0,
    talk_seconds     BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, did_id, day, campaign_id),
    KEY did_daily_stats_did (did_id, day)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row a call.
CREATE TABLE IF NOT EXISTS call_records (
    id               BIGINT NOT NULL AUTO_INCREMENT,
    tenant_id        BIGINT NOT NULL,
    source           VARCHAR(80) NOT NULL,                   -- ~NAME only within a commit, while keys move
    uniqueid         VARCHAR(255) NOT NULL,
    lead_id          BIGINT NOT NULL,
    caller_code      VARCHAR(255),
    did_id           BIGINT,
    attribution      VARCHAR(32) NOT NULL DEFAULT 'none'
        CHECK (attribution IN ('none', 'lead', 'caller_code', 'reported')),
    phone_number     VARCHAR(255) NOT NULL DEFAULT '',
    campaign_id      VARCHAR(255) NOT NULL DEFAULT '',
    agent_id         VARCHAR(255) NOT NULL DEFAULT '',
    list_id          BIGINT,
    disposition      VARCHAR(255) NOT NULL DEFAULT '',
    outcome          VARCHAR(32) NOT NULL DEFAULT 'other'
        CHECK (outcome IN ('answered', 'machine', 'no_answer', 'busy', 'dropped', 'failed', 'blocked', 'other')),
    successful       TINYINT NOT NULL DEFAULT 0 CHECK (successful IN (0, 1)),
    dnc              TINYINT NOT NULL DEFAULT 0 CHECK (dnc IN (0, 1)),
    counted          TINYINT NOT NULL DEFAULT 0 CHECK (counted IN (0, 1)),
    removed          TINYINT NOT NULL DEFAULT 0 CHECK (removed IN (0, 1)),
    duration_seconds BIGINT,                                 -- may be negative
    term_reason      VARCHAR(255) NOT NULL DEFAULT '',
    hangup_cause     INTEGER,                                -- Q.850
    sip_code         INTEGER,
    sip_reason       VARCHAR(1024) NOT NULL DEFAULT '',
    called_count     BIGINT,
    started_at       BIGINT NOT NULL,
    ended_at         BIGINT,
    day              VARCHAR(10) NOT NULL DEFAULT '',        -- of started_at, in the dialer's zone
    updated_at       BIGINT NOT NULL,                        -- by the source's clock
    origin           VARCHAR(32) NOT NULL DEFAULT 'binlog',
    PRIMARY KEY (id),
    UNIQUE (source, uniqueid, lead_id),
    KEY call_records_id (source, id),
    KEY call_records_lead (source, lead_id, started_at),
    KEY call_records_did (did_id, started_at),
    KEY call_records_tenant (tenant_id, started_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row a dial attempt.
CREATE TABLE IF NOT EXISTS dials (
    id               BIGINT NOT NULL AUTO_INCREMENT,
    tenant_id        BIGINT NOT NULL,
    source           VARCHAR(80) NOT NULL,
    caller_code      VARCHAR(255) NOT NULL,
    opened_at        BIGINT NOT NULL,                        -- tells the uses of a recurring code apart
    dialed_at        BIGINT NOT NULL,
    day              VARCHAR(10) NOT NULL DEFAULT '',        -- of dialed_at, in the dialer's zone
    did_id           BIGINT,
    lead_id          BIGINT,
    counted          TINYINT NOT NULL DEFAULT 0 CHECK (counted IN (0, 1)),
    reported         VARCHAR(255),
    looked_up        TINYINT NOT NULL DEFAULT 0 CHECK (looked_up IN (0, 1)),
    uniqueid         VARCHAR(255),
    dial_status      VARCHAR(255) NOT NULL DEFAULT '',
    hangup_cause     INTEGER,                                -- Q.850
    sip_code         INTEGER,
    sip_reason       VARCHAR(1024) NOT NULL DEFAULT '',
    PRIMARY KEY (id),
    UNIQUE (source, caller_code, opened_at),
    KEY dials_id (source, id),
    KEY dials_lead (source, lead_id, dialed_at),
    KEY dials_uniqueid (source, uniqueid),
    KEY dials_did (did_id, dialed_at),
    KEY dials_looked_up (source, looked_up, dialed_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What was applied when; kept for a limited time.
CREATE TABLE IF NOT EXISTS audit_log (
    id               BIGINT NOT NULL AUTO_INCREMENT,
    tenant_id        BIGINT NOT NULL,
    event            VARCHAR(512),                           -- SOURCE/EVENT, the same on every replay
    action           VARCHAR(64) NOT NULL,
    details          TEXT NOT NULL,                          -- JSON
    created_at       BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (tenant_id, event),
    KEY audit_log_created (tenant_id, created_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- How far each source is applied; written in the transaction of its rows.
CREATE TABLE IF NOT EXISTS replication_progress (
    source           VARCHAR(80) NOT NULL,
    epoch            BIGINT NOT NULL,
    binlog_file      VARCHAR(512) NOT NULL,
    binlog_next      BIGINT NOT NULL,
    gtid             MEDIUMTEXT NOT NULL,
    event_time       BIGINT,
    revision         BIGINT NOT NULL DEFAULT 0,              -- raised by others than the daemon
    updated_at       BIGINT NOT NULL,
    PRIMARY KEY (source)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Which daemon may write a source. Writers of a source take turns at its row.
CREATE TABLE IF NOT EXISTS source_leases (
    source           VARCHAR(80) NOT NULL,
    holder           VARCHAR(255) NOT NULL,
    fencing_token    BIGINT NOT NULL DEFAULT 0,
    acquired_at      BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL,
    PRIMARY KEY (source)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What changed each call and dial, kept for a limited time, so that a number can
-- be explained (`didtail explain`).
CREATE TABLE IF NOT EXISTS change_history (
    id               BIGINT NOT NULL AUTO_INCREMENT,         -- in the order of the changes
    tenant_id        BIGINT NOT NULL,
    source           VARCHAR(80) NOT NULL,                   -- ~NAME only within a commit, while keys move
    kind             VARCHAR(8) NOT NULL CHECK (kind IN ('call', 'dial')),
    subject          VARCHAR(255) NOT NULL,                  -- uniqueid of the call, or caller code of the dial
    part             BIGINT NOT NULL,                        -- lead of the call, or opened_at of the dial
    at               BIGINT NOT NULL,                        -- newest change, by the source's clock
    left_did_id      BIGINT,                                 -- the DID that it stopped counting for
    entries          MEDIUMTEXT NOT NULL,                    -- JSON: [{event, table, was: {field: old value}}]
    PRIMARY KEY (id),
    KEY change_history_subject (source, subject, part),
    KEY change_history_left (left_did_id),
    KEY change_history_at (tenant_id, at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What VICIdial's statuses mean at the source's position: a restart judges the
-- calls that it has still to read by the flags of their time.
CREATE TABLE IF NOT EXISTS status_flags (
    source           VARCHAR(80) NOT NULL,
    campaign_id      VARCHAR(255) NOT NULL,                  -- '' for the system's
    status           VARCHAR(255) NOT NULL,
    human_answered   TINYINT NOT NULL,
    sale             TINYINT NOT NULL,
    dnc              TINYINT NOT NULL,
    answering_machine TINYINT NOT NULL,
    PRIMARY KEY (source, campaign_id, status)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- How far the loads of calls by SELECT have got, so that a load that was cut off
-- goes on where it was.
CREATE TABLE IF NOT EXISTS backfills (
    source           VARCHAR(80) NOT NULL,
    name             VARCHAR(32) NOT NULL,                   -- 'command' or 'start_at'
    note             MEDIUMTEXT NOT NULL,                    -- JSON: the range asked for, how far it is, what was found
    saved_at         BIGINT NOT NULL,
    PRIMARY KEY (source, name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The numbers an optimizer reads; rates in percent of total_calls.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW did_summary AS
SELECT t.name AS tenant,
       d.phone_number AS phone_number,
       coalesce(s.dials, 0) AS dials,
       coalesce(s.total_calls, 0) AS total_calls,
       coalesce(s.successful_calls, 0) AS successful_calls,
       100e0 * s.successful_calls / nullif(s.total_calls, 0) AS success_rate,
       100e0 * s.answered / nullif(s.total_calls, 0) AS answer_rate,
       100e0 * s.blocked / nullif(s.total_calls, 0) AS block_rate,
       1e0 * s.talk_seconds / nullif(s.answered, 0) AS average_talk_seconds,
       s.last_call_at AS last_call_at
FROM dids d
JOIN tenants t ON t.id = d.tenant_id
LEFT JOIN did_stats s ON s.tenant_id = d.tenant_id AND s.did_id = d.id;
