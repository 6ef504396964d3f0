//! How an applied disposition is written down in `audit_log`.

use crate::ledger::AuditEntry;

/// The `details` of an `audit_log` row; names are public.
#[derive(serde::Serialize)]
struct Details<'a> {
    event: &'a str,
    source: &'a str,
    uniqueid: &'a str,
    lead_id: u64,
    old: &'a str,
    new: &'a str,
    did: Option<&'a str>,
}

/// The JSON of `audit_log.details`.
pub(in crate::store) fn details(entry: &AuditEntry, source: &str) -> String {
    let details = Details {
        event: &entry.event,
        source,
        uniqueid: &entry.key.uniqueid,
        lead_id: entry.key.lead_id,
        old: &entry.old,
        new: &entry.new,
        did: entry.did.as_deref(),
    };
    serde_json::to_string(&details).expect("strings and a number always serialize")
}
