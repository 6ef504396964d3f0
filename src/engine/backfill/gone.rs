//! Calls that VICIdial renamed or removed without our seeing it, in a gap of the
//! binlog: the store has them, and the tables have them no more.
//!
//! A row that is simply gone was archived and then deleted, and its call stays.
//! But VICIdial takes the calls of one lead that began in one second for the
//! same call: where another row of that second is there, the one that is gone
//! was its duplicate, or is that row under its former `uniqueid`.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::backfill::merge::key_of;
use crate::engine::selection::Selection;
use crate::ledger::{CallKey, Loaded};
use crate::source::{Condition, Source, SourceError};
use crate::vicidial::{Detail, Reach, Table};

/// Keys asked for in one SELECT.
const KEYS_AT_ONCE: usize = 256;

/// What became of calls that are gone.
#[derive(Debug, Default)]
pub(in crate::engine) struct Gone {
    /// They have another name: to be applied before the rows.
    pub(in crate::engine) renamed: Vec<Detail>,
    /// They were duplicates: to be applied behind the rows.
    pub(in crate::engine) removed: Vec<Detail>,
}

/// The `uniqueid`s of each second of each lead.
type Seconds = BTreeMap<(u64, String), BTreeSet<String>>;

/// Asks for the calls that the store has beside those that were read.
///
/// # Errors
/// [`SourceError`].
pub(in crate::engine) async fn find<S: Source>(
    selection: &mut Selection<S>,
    read: &[CallKey],
    loaded: &Loaded,
    now: i64,
) -> Result<Gone, SourceError> {
    let mut seconds = Seconds::new();
    for key in read {
        note(&mut seconds, key.clone());
    }
    let is_missing = |key: &&CallKey| {
        let read = seconds.get(&second_of(key));
        read.is_some_and(|read| !read.contains(&key.uniqueid))
    };
    let known = loaded.calls.iter().filter(|(_, call)| !call.removed);
    let missing: Vec<&CallKey> = known.map(|(key, _)| key).filter(is_missing).collect();
    let mut gone = Gone::default();
    if missing.is_empty() {
        return Ok(gone);
    }
    let read = seconds.clone();
    let archive = format!("{}_archive", Table::Log.name());
    for keys in missing.chunks(KEYS_AT_ONCE) {
        let keys: Vec<String> = keys.iter().map(|key| key.uniqueid.clone()).collect();
        for name in [Table::Log.name(), &archive] {
            let condition = Condition {
                key: Some(("uniqueid", &keys)),
                window: None,
            };
            let found = selection.find(name, Table::Log, condition, now).await?;
            for detail in &found.details {
                add(&mut seconds, detail);
            }
        }
    }
    for key in missing {
        let place = second_of(key);
        let (Some(present), Some(read)) = (seconds.get(&place), read.get(&place)) else {
            continue;
        };
        if present.contains(&key.uniqueid) {
            continue;
        }
        let is_new = |uniqueid: &&String| {
            !loaded.calls.contains_key(&CallKey {
                uniqueid: (*uniqueid).clone(),
                lead_id: key.lead_id,
            })
        };
        let renamed_to = read.iter().find(is_new).cloned();
        let list = match renamed_to {
            Some(_) => &mut gone.renamed,
            None => &mut gone.removed,
        };
        list.push(Detail::CallsOfSecond {
            lead_id: key.lead_id,
            second: place.1,
            reach: Reach::default(),
            present: present.iter().cloned().collect(),
            renamed_to,
        });
    }
    Ok(gone)
}

fn add(seconds: &mut Seconds, detail: &Detail) {
    if let Detail::Call { row, .. } = detail {
        note(seconds, key_of(row));
    }
}

fn note(seconds: &mut Seconds, key: CallKey) {
    let of_second = seconds.entry(second_of(&key)).or_default();
    of_second.insert(key.uniqueid);
}

/// The lead, and the part of the `uniqueid` before the dot: the second in which
/// the channel was made.
fn second_of(key: &CallKey) -> (u64, String) {
    let second = key.uniqueid.split('.').next().unwrap_or_default();
    (key.lead_id, second.to_owned())
}
