//! Reading the states that a batch needs, in a bounded number of statements.

use futures_util::TryStreamExt as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Acquire as _, Row as _};

use crate::ledger::{Attribution, Call, CallKey, Dial, DialKey, Keys, Loaded, Outcome};
use crate::store::sqlite::rows::json_list;

/// The columns of a call, in the order in which [`call`] reads them.
macro_rules! call_columns {
    () => {
        "c.uniqueid, c.lead_id, c.caller_code, d.phone_number, c.attribution, c.phone_number, \
         c.campaign_id, c.agent_id, c.list_id, c.disposition, c.outcome, c.successful, c.dnc, \
         c.counted, c.removed, c.duration_seconds, c.term_reason, c.hangup_cause, c.sip_code, \
         c.sip_reason, c.called_count, c.started_at, c.ended_at, c.day, c.updated_at"
    };
}

/// The columns of a dial, in the order in which [`dial`] reads them.
macro_rules! dial_columns {
    () => {
        "x.caller_code, x.opened_at, x.lead_id, d.phone_number, x.dialed_at, x.day, x.counted, \
         x.uniqueid, x.dial_status, x.hangup_cause, x.sip_code, x.sip_reason"
    };
}

pub(super) use {call_columns, dial_columns};

// CROSS JOIN keeps SQLite's planner from any other order than keys first.
const CALLS_BY_UNIQUEID: &str = concat!(
    "SELECT ",
    call_columns!(),
    " FROM json_each(?) j CROSS JOIN call_records c ON c.source = ? AND c.uniqueid = j.value \
     LEFT JOIN dids d ON d.id = c.did_id"
);
const CALLS_BY_LEAD: &str = concat!(
    "SELECT ",
    call_columns!(),
    " FROM json_each(?) j CROSS JOIN call_records c ON c.source = ? AND c.lead_id = j.value \
     AND c.started_at BETWEEN ? AND ? AND c.attribution <> 'caller_code' \
     LEFT JOIN dids d ON d.id = c.did_id"
);
const DIALS_BY_CODE: &str = concat!(
    "SELECT ",
    dial_columns!(),
    " FROM json_each(?) j CROSS JOIN dials x ON x.source = ? AND x.caller_code = j.value \
     LEFT JOIN dids d ON d.id = x.did_id"
);
const DIALS_BY_UNIQUEID: &str = concat!(
    "SELECT ",
    dial_columns!(),
    " FROM json_each(?) j CROSS JOIN dials x ON x.source = ? AND x.uniqueid = j.value \
     LEFT JOIN dids d ON d.id = x.did_id"
);
const DIALS_BY_LEAD: &str = concat!(
    "SELECT ",
    dial_columns!(),
    " FROM json_each(?) j CROSS JOIN dials x ON x.source = ? AND x.lead_id = j.value \
     AND x.dialed_at BETWEEN ? AND ? LEFT JOIN dids d ON d.id = x.did_id"
);
const DIDS: &str = "SELECT d.phone_number FROM json_each(?) j CROSS JOIN dids d \
     ON d.tenant_id = (SELECT id FROM tenants WHERE name = ?) AND d.phone_number = j.value";

/// Loads the keys in one snapshot.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    source: &str,
    tenant: &str,
    keys: &Keys,
) -> Result<Loaded, sqlx::Error> {
    let mut snapshot = connection.begin().await?;
    let mut loaded = Loaded::default();
    if !keys.uniqueids.is_empty() {
        let list = json_list(&keys.uniqueids)?;
        calls(
            &mut snapshot,
            CALLS_BY_UNIQUEID,
            (&list, source, None),
            &mut loaded,
        )
        .await?;
        dials(
            &mut snapshot,
            DIALS_BY_UNIQUEID,
            (&list, source, None),
            &mut loaded,
        )
        .await?;
    }
    if !keys.caller_codes.is_empty() {
        let list = json_list(&keys.caller_codes)?;
        dials(
            &mut snapshot,
            DIALS_BY_CODE,
            (&list, source, None),
            &mut loaded,
        )
        .await?;
    }
    if let (Some(times), false) = (keys.lead_times, keys.lead_ids.is_empty()) {
        let list = json_list(keys.lead_ids.iter().map(|id| id.cast_signed()))?;
        let asked = (list.as_str(), source, Some(times));
        calls(&mut snapshot, CALLS_BY_LEAD, asked, &mut loaded).await?;
        dials(&mut snapshot, DIALS_BY_LEAD, asked, &mut loaded).await?;
    }
    if !keys.dids.is_empty() {
        let found: Vec<String> = sqlx::query_scalar(DIDS)
            .bind(json_list(&keys.dids)?)
            .bind(tenant)
            .fetch_all(&mut *snapshot)
            .await?;
        loaded.dids = found.into_iter().collect();
    }
    snapshot.commit().await?;
    Ok(loaded)
}

/// The list of keys, the source, and the first and last second.
type Asked<'a> = (&'a str, &'a str, Option<(i64, i64)>);

async fn calls(
    connection: &mut SqliteConnection,
    statement: &'static str,
    (list, source, times): Asked<'_>,
    loaded: &mut Loaded,
) -> Result<(), sqlx::Error> {
    let mut query = sqlx::query(statement).bind(list).bind(source);
    if let Some((first, last)) = times {
        query = query.bind(first).bind(last);
    }
    let mut rows = query.fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let (key, call) = call(&row)?;
        loaded.calls.insert(key, call);
    }
    Ok(())
}

async fn dials(
    connection: &mut SqliteConnection,
    statement: &'static str,
    (list, source, times): Asked<'_>,
    loaded: &mut Loaded,
) -> Result<(), sqlx::Error> {
    let mut query = sqlx::query(statement).bind(list).bind(source);
    if let Some((first, last)) = times {
        query = query.bind(first).bind(last);
    }
    let mut rows = query.fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let (key, dial) = dial(&row)?;
        loaded.dials.insert(key, dial);
    }
    Ok(())
}

/// A value that [`call_columns`] and the store's own writes cannot bring.
fn foreign_value(column: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("`{column}` holds a value that didtail does not write").into())
}

/// Reads a row of [`call_columns`].
pub(super) fn call(row: &SqliteRow) -> Result<(CallKey, Call), sqlx::Error> {
    let mut next = Reader::new(row);
    let key = CallKey {
        uniqueid: next.take()?,
        lead_id: next.take::<i64>()?.cast_unsigned(),
    };
    let call = Call {
        caller_code: next.take()?,
        did: next.take()?,
        attribution: Attribution::from_name(next.take()?)
            .ok_or_else(|| foreign_value("attribution"))?,
        phone_number: next.take()?,
        campaign_id: next.take()?,
        agent_id: next.take()?,
        list_id: next.take::<Option<i64>>()?.map(i64::cast_unsigned),
        disposition: next.take()?,
        outcome: Outcome::from_name(next.take()?).ok_or_else(|| foreign_value("outcome"))?,
        successful: next.take()?,
        dnc: next.take()?,
        counted: next.take()?,
        removed: next.take()?,
        duration_seconds: next.take()?,
        term_reason: next.take()?,
        hangup_cause: next.take()?,
        sip_code: next.take()?,
        sip_reason: next.take()?,
        called_count: next.take()?,
        started_at: next.take()?,
        ended_at: next.take()?,
        day: next.take()?,
        updated_at: next.take()?,
    };
    Ok((key, call))
}

/// Reads a row of [`dial_columns`].
pub(super) fn dial(row: &SqliteRow) -> Result<(DialKey, Dial), sqlx::Error> {
    let mut next = Reader::new(row);
    let key = DialKey {
        caller_code: next.take()?,
        opened_at: next.take()?,
    };
    let dial = Dial {
        lead_id: next.take::<Option<i64>>()?.map(i64::cast_unsigned),
        did: next.take()?,
        dialed_at: next.take()?,
        day: next.take()?,
        counted: next.take()?,
        uniqueid: next.take()?,
        dial_status: next.take()?,
        hangup_cause: next.take()?,
        sip_code: next.take()?,
        sip_reason: next.take()?,
    };
    Ok((key, dial))
}

/// Takes a row's columns one after the other.
struct Reader<'r> {
    row: &'r SqliteRow,
    next: usize,
}

impl<'r> Reader<'r> {
    fn new(row: &'r SqliteRow) -> Self {
        Self { row, next: 0 }
    }

    // The tables are STRICT, so the driver's own check of types adds nothing.
    fn take<T: sqlx::Decode<'r, sqlx::Sqlite>>(&mut self) -> Result<T, sqlx::Error> {
        let value = self.row.try_get_unchecked(self.next)?;
        self.next += 1;
        Ok(value)
    }
}
