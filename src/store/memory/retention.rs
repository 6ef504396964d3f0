//! Deleting what is past its retention, in memory.

use crate::ledger::Aged;
use crate::store::{Durable, Prune, StoreError, Swept};

use super::State;

impl State {
    pub(super) fn prune_audit(&mut self, tenant: &str, before: i64, rows_max: u32) -> u64 {
        let audit = &mut self.contents.audit;
        let mut old: Vec<_> = audit
            .iter()
            .filter(|((of, _), (_, at))| of == tenant && *at < before)
            .map(|(key, (_, at))| (*at, key.clone()))
            .collect();
        old.sort();
        old.truncate(rows_max as usize);
        for (_, key) in &old {
            audit.remove(key);
        }
        old.len() as u64
    }

    /// Counts entries where a backend counts rows of one or more entries.
    pub(super) fn prune_history(&mut self, tenant: &str, before: i64, rows_max: u32) -> u64 {
        let mut pruned = 0;
        for ((source, _), entries) in &mut self.history {
            if self.tenants.get(source).is_none_or(|of| of != tenant) {
                continue;
            }
            entries.retain(|entry| {
                let goes = entry.at() < Some(before) && pruned < u64::from(rows_max);
                pruned += u64::from(goes);
                !goes
            });
        }
        pruned
    }

    pub(super) fn sweep(&mut self, prune: &Prune<'_>) -> Result<Swept, StoreError> {
        self.demand(prune.source, Some(prune.expected), prune.fencing_token)?;
        let contents = &mut self.contents;
        let source = prune.source.to_owned();
        let mut pruned = contents.pruned.get(&source).copied().unwrap_or_default();
        let cutoff = prune.cutoff(pruned);
        let most = prune.rows_max as usize;
        let mut rows = 0;
        match prune.aged {
            Aged::Calls => contents.calls.retain(|(of, _), call| {
                let goes =
                    *of == source && call.started_at.max(call.opened_at) < cutoff && rows < most;
                rows += usize::from(goes);
                !goes
            }),
            Aged::Dials => contents.dials.retain(|(of, key), dial| {
                let newest = dial.dialed_at.max(key.opened_at);
                let goes = *of == source && newest < cutoff && rows < most;
                rows += usize::from(goes);
                !goes
            }),
        }
        let mut checkpoint = prune.expected.clone();
        if rows > 0 {
            let known = pruned;
            pruned.raise(prune.aged, prune.before);
            checkpoint.revision += u64::from(pruned != known);
            contents.pruned.insert(source.clone(), pruned);
            contents.progress.insert(source, checkpoint.clone());
        }
        Ok(Swept {
            rows: rows as u64,
            partitions: 0,
            pruned,
            durable: Durable(checkpoint),
        })
    }
}
