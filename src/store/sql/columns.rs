//! The columns of calls and dials: each is written down here once, for writing
//! and for reading in every backend.

use super::value::{Field, Row, Value};
use crate::ledger::{Call, CallKey, Dial, DialKey};

/// A row's key and state; of what is written, references to them.
#[derive(Debug, Default)]
pub(super) struct Keyed<K, S> {
    key: K,
    state: S,
}

/// A column of both.
pub(super) struct Column<K: 'static, S: 'static> {
    name: &'static str,
    value: for<'a> fn(&Keyed<&'a K, &'a S>) -> Value<'a>,
    set: fn(&mut Keyed<K, S>, &mut Row) -> Result<(), sqlx::Error>,
}

macro_rules! columns {
    ($($name:literal: $($field:ident).+),+ $(,)?) => {
        &[$(Column {
            name: $name,
            value: |row| row.$($field).+.value(),
            set: |row, cells| {
                row.$($field).+ = cells.take()?;
                Ok(())
            },
        }),+]
    };
}

/// A table of states. Besides [`Table::columns`] each has `source`, `tenant_id`
/// and `did_id`, which stands for the state's DID.
pub(super) struct Table<K: 'static, S: 'static> {
    pub(super) name: &'static str,
    /// A row is told by its source and by these, the first of the columns. Where
    /// there are partitions a time has to be among them; it never changes.
    keys: usize,
    columns: &'static [Column<K, S>],
    /// MySQL's names of the indexes of `source` and a column.
    indexes: &'static [(&'static str, &'static str)],
    did: fn(&mut S) -> &mut Option<String>,
}

/// `call_records`.
pub(super) static CALLS: Table<CallKey, Call> = Table {
    name: "call_records",
    keys: 3,
    columns: columns! {
        "uniqueid": key.uniqueid,
        "lead_id": key.lead_id,
        "opened_at": state.opened_at,
        "caller_code": state.caller_code,
        "attribution": state.attribution,
        "phone_number": state.phone_number,
        "campaign_id": state.campaign_id,
        "agent_id": state.agent_id,
        "list_id": state.list_id,
        "disposition": state.disposition,
        "outcome": state.outcome,
        "successful": state.successful,
        "dnc": state.dnc,
        "counted": state.counted,
        "removed": state.removed,
        "duration_seconds": state.duration_seconds,
        "term_reason": state.term_reason,
        "hangup_cause": state.hangup_cause,
        "sip_code": state.sip_code,
        "sip_reason": state.sip_reason,
        "called_count": state.called_count,
        "started_at": state.started_at,
        "ended_at": state.ended_at,
        "day": state.day,
        "updated_at": state.updated_at,
        "origin": state.origin,
    },
    indexes: &[("uniqueid", "source"), ("lead_id", "call_records_lead")],
    did: |call| &mut call.did,
};

/// `dials`.
pub(super) static DIALS: Table<DialKey, Dial> = Table {
    name: "dials",
    keys: 2,
    columns: columns! {
        "caller_code": key.caller_code,
        "opened_at": key.opened_at,
        "lead_id": state.lead_id,
        "reported": state.reported,
        "looked_up": state.looked_up,
        "dialed_at": state.dialed_at,
        "day": state.day,
        "counted": state.counted,
        "uniqueid": state.uniqueid,
        "dial_status": state.dial_status,
        "hangup_cause": state.hangup_cause,
        "sip_code": state.sip_code,
        "sip_reason": state.sip_reason,
        "posted": state.posted,
    },
    indexes: &[
        ("caller_code", "source"),
        ("lead_id", "dials_lead"),
        ("uniqueid", "dials_uniqueid"),
    ],
    did: |dial| &mut dial.did,
};

impl<K: Default, S: Default> Table<K, S> {
    /// All columns that are written: whose row it is, its DID, and the rest.
    pub(super) fn written(&self) -> Vec<&'static str> {
        let own = self.columns.iter().map(|column| column.name);
        ["source", "tenant_id", "did_id"]
            .into_iter()
            .chain(own)
            .collect()
    }

    /// MySQL's name of the index of `source` and this column.
    pub(super) fn index(&self, column: &str) -> Option<&'static str> {
        let named = self.indexes.iter().find(|(of, _)| *of == column);
        named.map(|(_, index)| *index)
    }

    /// What a row is told by.
    pub(super) fn key(&self) -> Vec<&'static str> {
        let own = self.columns.iter().take(self.keys);
        let own = own.map(|column| column.name);
        std::iter::once("source").chain(own).collect()
    }

    /// The columns that change when the row is there already.
    pub(super) fn changing(&self) -> Vec<&'static str> {
        let own = self.columns.iter().skip(self.keys);
        let own = own.map(|column| column.name);
        std::iter::once("did_id").chain(own).collect()
    }

    /// The values of [`Table::written`] after the first three.
    pub(super) fn put<'a>(&self, values: &mut Vec<Value<'a>>, key: &'a K, state: &'a S) {
        let row = Keyed { key, state };
        values.extend(self.columns.iter().map(|column| (column.value)(&row)));
    }

    /// What [`Table::take`] reads: the columns of the table as `x`, and `d`'s DID.
    pub(super) fn read(&self) -> Vec<String> {
        let own = self.columns.iter();
        let own = own.map(|column| format!("x.{}", column.name));
        own.chain(["d.phone_number".to_owned()]).collect()
    }

    /// Reads a row.
    pub(super) fn take(&self, row: &mut Row) -> Result<(K, S), sqlx::Error> {
        let mut read = Keyed::<K, S>::default();
        for column in self.columns {
            (column.set)(&mut read, row)?;
        }
        *(self.did)(&mut read.state) = row.take()?;
        Ok((read.key, read.state))
    }
}
