//! One change set, written in one transaction.
//!
//! Order matters in three places: rows leave before others take their keys,
//! DIDs are there before rows name them, and the newest call and dial are
//! looked for after the rows are written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use crate::checkpoint::Checkpoint;
use crate::ledger::{AuditEntry, Call, CallKey, ChangeSet, Dial, DialKey};
use crate::store::audit::details;
use crate::store::history::{self, HistoryRow};
use crate::store::sqlite::rows::{MultiRow, Row, assignments, json_list, upsert};
use crate::store::sqlite::{numbers, progress, statuses};

/// What a commit came to.
pub(super) enum Committed {
    /// Everything is durable.
    Done,
    /// The store was not at the expected checkpoint; nothing was changed.
    NotExpected(Option<Checkpoint>),
}

/// Writes the change.
pub(super) async fn commit(
    connection: &mut SqliteConnection,
    change: &ChangeSet,
) -> Result<Committed, sqlx::Error> {
    let mut tx = connection.begin_with(BEGIN).await?;
    let written = write(&mut tx, change).await?;
    if matches!(written, Committed::Done) {
        tx.commit().await?;
    }
    Ok(written)
}

/// Begins a transaction that no other writer gets in between.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";

/// Writes the change in a transaction begun with [`BEGIN`], unless the store is
/// elsewhere.
pub(super) async fn write(
    tx: &mut SqliteConnection,
    change: &ChangeSet,
) -> Result<Committed, sqlx::Error> {
    let found = progress::read(tx, &change.source).await?;
    if found != change.expected {
        return Ok(Committed::NotExpected(found));
    }
    let tenant_id = tenant(tx, &change.tenant).await?;
    let ids = dids(tx, tenant_id, change).await?;
    let owner = Owner {
        tenant_id,
        source: change.source.as_str().into(),
        dids: &ids,
    };
    rekey(tx, change).await?;
    calls(tx, &owner, &change.calls).await?;
    dials(tx, &owner, &change.dials).await?;
    numbers::stats(tx, &ids, &change.stats).await?;
    numbers::daily(tx, &ids, &change.daily).await?;
    audit(tx, &owner, &change.audit).await?;
    history(tx, &owner, &history::rows(change)).await?;
    if let Some(book) = &change.statuses {
        statuses::write(tx, &owner.source, book).await?;
    }
    progress::write(tx, &change.source, &change.checkpoint).await?;
    Ok(Committed::Done)
}

/// Whose rows are written, and the ids of the DIDs they name.
struct Owner<'a> {
    tenant_id: i64,
    source: Arc<str>,
    dids: &'a BTreeMap<String, i64>,
}

impl Owner<'_> {
    fn did_id(&self, did: Option<&String>) -> Option<i64> {
        did.and_then(|did| self.dids.get(did).copied())
    }
}

async fn tenant(tx: &mut SqliteConnection, name: &str) -> Result<i64, sqlx::Error> {
    const FIND: &str = "SELECT id FROM tenants WHERE name = ?";
    let found = sqlx::query_scalar(FIND).bind(name).fetch_optional(&mut *tx);
    if let Some(id) = found.await? {
        return Ok(id);
    }
    sqlx::query_scalar("INSERT INTO tenants (name) VALUES (?) RETURNING id")
        .bind(name)
        .fetch_one(tx)
        .await
}

/// Finds every DID that the change names, and creates the missing ones.
async fn dids(
    tx: &mut SqliteConnection,
    tenant_id: i64,
    change: &ChangeSet,
) -> Result<BTreeMap<String, i64>, sqlx::Error> {
    const FIND: &str = "SELECT d.phone_number, d.id FROM json_each(?) j CROSS JOIN dids d \
         ON d.tenant_id = ? AND d.phone_number = j.value";
    const CREATE: &str = "INSERT INTO dids (tenant_id, phone_number, status, origin, created_at) \
         SELECT ?, value, 'active', 'observed', unixepoch() FROM json_each(?) WHERE true \
         ON CONFLICT DO NOTHING";
    let entries = change.history.values().flatten();
    let left = entries.filter_map(|entry| entry.left.as_ref());
    let named: BTreeSet<&String> = change
        .calls
        .values()
        .filter_map(|call| call.did.as_ref())
        .chain(change.dials.values().filter_map(|dial| dial.did.as_ref()))
        .chain(change.stats.keys())
        .chain(change.daily.keys().map(|key| &key.did))
        .chain(change.audit.iter().filter_map(|entry| entry.did.as_ref()))
        .chain(left)
        .collect();
    if named.is_empty() {
        return Ok(BTreeMap::new());
    }
    let list = json_list(&named)?;
    let mut found: BTreeMap<String, i64> = BTreeMap::new();
    for created in [false, true] {
        let rows: Vec<(String, i64)> = sqlx::query_as(FIND)
            .bind(&list)
            .bind(tenant_id)
            .fetch_all(&mut *tx)
            .await?;
        found.extend(rows);
        if created || found.len() == named.len() {
            break;
        }
        let create = sqlx::query(CREATE).bind(tenant_id).bind(&list);
        create.execute(&mut *tx).await?;
    }
    Ok(found)
}

/// Removes the replaced rows and gives the moved ones their new keys, through a
/// source that no source is called, so that swaps and chains cannot collide.
async fn rekey(tx: &mut SqliteConnection, change: &ChangeSet) -> Result<(), sqlx::Error> {
    const REMOVE: &str = "DELETE FROM call_records WHERE id IN (SELECT c.id FROM json_each(?) j \
         CROSS JOIN call_records c ON c.source = ? \
         AND c.uniqueid = j.value ->> 0 AND c.lead_id = j.value ->> 1)";
    const LIFT: &str = "UPDATE call_records SET source = '', uniqueid = m.uniqueid, \
         lead_id = m.lead_id FROM (SELECT c.id AS id, j.value ->> 2 AS uniqueid, \
         j.value ->> 3 AS lead_id FROM json_each(?) j CROSS JOIN call_records c ON c.source = ? \
         AND c.uniqueid = j.value ->> 0 AND c.lead_id = j.value ->> 1) m \
         WHERE call_records.id = m.id AND call_records.source = ? \
         AND call_records.uniqueid IN (SELECT value ->> 0 FROM json_each(?))";
    const SETTLE: &str = "UPDATE call_records SET source = ? WHERE source = ''";
    const REMOVE_HISTORY: &str = "DELETE FROM change_history WHERE id IN \
         (SELECT h.id FROM json_each(?) j CROSS JOIN change_history h ON h.source = ? \
         AND h.subject = j.value ->> 0 AND h.part = j.value ->> 1 AND h.kind = 'call')";
    const LIFT_HISTORY: &str = "UPDATE change_history SET source = '', subject = m.uniqueid, \
         part = m.lead_id FROM (SELECT h.id AS id, j.value ->> 2 AS uniqueid, \
         j.value ->> 3 AS lead_id FROM json_each(?) j CROSS JOIN change_history h ON h.source = ? \
         AND h.subject = j.value ->> 0 AND h.part = j.value ->> 1 AND h.kind = 'call') m \
         WHERE change_history.id = m.id AND change_history.source = ? \
         AND change_history.subject IN (SELECT value ->> 0 FROM json_each(?))";
    const SETTLE_HISTORY: &str = "UPDATE change_history SET source = ? WHERE source = ''";
    if !change.replaced.is_empty() {
        let keys = change
            .replaced
            .iter()
            .map(|key| (&key.uniqueid, key.lead_id.cast_signed()));
        let keys = json_list(keys)?;
        for remove in [REMOVE, REMOVE_HISTORY] {
            let remove = sqlx::query(remove).bind(&keys).bind(&change.source);
            remove.execute(&mut *tx).await?;
        }
    }
    if !change.moved.is_empty() {
        let moves = change.moved.iter().map(|(old, new)| {
            let (old_lead, new_lead) = (old.lead_id.cast_signed(), new.lead_id.cast_signed());
            (&old.uniqueid, old_lead, &new.uniqueid, new_lead)
        });
        let moves = json_list(moves)?;
        for (lift, settle) in [(LIFT, SETTLE), (LIFT_HISTORY, SETTLE_HISTORY)] {
            // Named twice, because SQLite would else look at every row of the table.
            let lift = sqlx::query(lift).bind(&moves).bind(&change.source);
            let lift = lift.bind(&change.source).bind(&moves);
            lift.execute(&mut *tx).await?;
            let settle = sqlx::query(settle).bind(&change.source);
            settle.execute(&mut *tx).await?;
        }
    }
    Ok(())
}

async fn calls(
    tx: &mut SqliteConnection,
    owner: &Owner<'_>,
    calls: &BTreeMap<CallKey, Call>,
) -> Result<(), sqlx::Error> {
    const COLUMNS: [&str; 23] = [
        "caller_code",
        "did_id",
        "attribution",
        "phone_number",
        "campaign_id",
        "agent_id",
        "list_id",
        "disposition",
        "outcome",
        "successful",
        "dnc",
        "counted",
        "removed",
        "duration_seconds",
        "term_reason",
        "hangup_cause",
        "sip_code",
        "sip_reason",
        "called_count",
        "started_at",
        "ended_at",
        "day",
        "updated_at",
    ];
    static UPSERT: LazyLock<MultiRow> = LazyLock::new(|| {
        let key = ["source", "uniqueid", "lead_id"];
        upsert(
            "call_records",
            &key,
            &["tenant_id"],
            &COLUMNS,
            &assignments(&COLUMNS),
        )
    });
    let bind = |row: &mut Row, (key, call): (&CallKey, &Call)| {
        row.put_shared(&owner.source);
        row.put(key.uniqueid.as_str());
        row.put(key.lead_id.cast_signed());
        row.put(owner.tenant_id);
        row.put(call.caller_code.as_deref());
        row.put(owner.did_id(call.did.as_ref()));
        row.put(call.attribution.as_str());
        row.put(call.phone_number.as_str());
        row.put(call.campaign_id.as_str());
        row.put(call.agent_id.as_str());
        row.put(call.list_id.map(u64::cast_signed));
        row.put(call.disposition.as_str());
        row.put(call.outcome.as_str());
        row.put(call.successful);
        row.put(call.dnc);
        row.put(call.counted);
        row.put(call.removed);
        row.put(call.duration_seconds);
        row.put(call.term_reason.as_str());
        row.put(call.hangup_cause);
        row.put(call.sip_code);
        row.put(call.sip_reason.as_str());
        row.put(call.called_count);
        row.put(call.started_at);
        row.put(call.ended_at);
        row.put(call.day.as_str());
        row.put(call.updated_at);
    };
    UPSERT.run(tx, calls, bind).await
}

async fn dials(
    tx: &mut SqliteConnection,
    owner: &Owner<'_>,
    dials: &BTreeMap<DialKey, Dial>,
) -> Result<(), sqlx::Error> {
    const COLUMNS: [&str; 12] = [
        "lead_id",
        "did_id",
        "reported",
        "looked_up",
        "dialed_at",
        "day",
        "counted",
        "uniqueid",
        "dial_status",
        "hangup_cause",
        "sip_code",
        "sip_reason",
    ];
    static UPSERT: LazyLock<MultiRow> = LazyLock::new(|| {
        let key = ["source", "caller_code", "opened_at"];
        upsert(
            "dials",
            &key,
            &["tenant_id"],
            &COLUMNS,
            &assignments(&COLUMNS),
        )
    });
    let bind = |row: &mut Row, (key, dial): (&DialKey, &Dial)| {
        row.put_shared(&owner.source);
        row.put(key.caller_code.as_str());
        row.put(key.opened_at);
        row.put(owner.tenant_id);
        row.put(dial.lead_id.map(u64::cast_signed));
        row.put(owner.did_id(dial.did.as_ref()));
        row.put(dial.reported.as_deref());
        row.put(dial.looked_up);
        row.put(dial.dialed_at);
        row.put(dial.day.as_str());
        row.put(dial.counted);
        row.put(dial.uniqueid.as_deref());
        row.put(dial.dial_status.as_str());
        row.put(dial.hangup_cause);
        row.put(dial.sip_code);
        row.put(dial.sip_reason.as_str());
    };
    UPSERT.run(tx, dials, bind).await
}

async fn audit(
    tx: &mut SqliteConnection,
    owner: &Owner<'_>,
    entries: &[AuditEntry],
) -> Result<(), sqlx::Error> {
    static INSERT: LazyLock<MultiRow> = LazyLock::new(|| {
        MultiRow::new(
            "INSERT INTO audit_log (tenant_id, event, action, details, created_at)",
            "?, ?, 'CALL_RESULT_REPORTED', ?, ?",
            "ON CONFLICT (tenant_id, event) DO NOTHING",
        )
    });
    let bind = |row: &mut Row, entry: &AuditEntry| {
        row.put(owner.tenant_id);
        row.put(format!("{}/{}", owner.source, entry.event));
        row.put(details(entry, &owner.source));
        row.put(entry.at);
    };
    INSERT.run(tx, entries, bind).await
}

async fn history(
    tx: &mut SqliteConnection,
    owner: &Owner<'_>,
    rows: &[HistoryRow<'_>],
) -> Result<(), sqlx::Error> {
    static INSERT: LazyLock<MultiRow> = LazyLock::new(|| {
        MultiRow::new(
            "INSERT INTO change_history \
             (tenant_id, source, kind, subject, part, at, left_did_id, entries)",
            "?, ?, ?, ?, ?, ?, ?, ?",
            "",
        )
    });
    let bind = |row: &mut Row, entry: &HistoryRow<'_>| {
        row.put(owner.tenant_id);
        row.put_shared(&owner.source);
        row.put(entry.kind);
        row.put(entry.subject);
        row.put(entry.part);
        row.put(entry.at);
        row.put(owner.did_id(entry.left));
        row.put(entry.entries.as_str());
    };
    INSERT.run(tx, rows, bind).await
}
