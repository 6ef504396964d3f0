//! Rows read by SELECT become states of the store, in one transaction.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::engine::apply::Clock;
use crate::engine::backfill::Ends;
use crate::engine::backfill::gone::Gone;
use crate::engine::backfill::rows::{Kind, Rows};
use crate::ledger::{
    Call, CallKey, ChangeSet, Frame, Loaded, Rules, Tracked as _, Working, further_keys, keys,
};
use crate::store::{LoadName, LoadNote, LoadTally, Store, StoreError};
use crate::vicidial::{CallRow, Detail, Fact, Origin};

/// Merges rows into the store of one source.
pub(in crate::engine) struct Merger<St> {
    pub(in crate::engine) store: Arc<St>,
    pub(in crate::engine) source: String,
    pub(in crate::engine) tenant: String,
    pub(in crate::engine) rules: Rules,
    pub(in crate::engine) clock: Clock,
    /// Of the lease that a load of the daemon's own works under; `None` of a command.
    fencing_token: Option<u64>,
    /// What the rows are said to come from, e.g. `backfill`.
    file: Arc<str>,
    /// Numbers the merges, so that each row has an origin of its own.
    merges: u64,
}

/// Rows, and what the store has of their calls and dials.
pub(in crate::engine) struct Loading {
    facts: Vec<(Kind, Fact)>,
    pub(in crate::engine) loaded: Loaded,
}

/// Rows on their way into the store.
pub(in crate::engine) struct Merging {
    pub(in crate::engine) working: Working,
    pub(in crate::engine) loaded: Loaded,
    pub(in crate::engine) tally: LoadTally,
    /// The calls that the rows name.
    pub(in crate::engine) calls: BTreeSet<CallKey>,
}

impl<St: Store> Merger<St> {
    pub(in crate::engine) fn new<S>(ends: &Ends<S, St>, file: &str) -> Self {
        Self {
            store: Arc::clone(&ends.store),
            source: ends.name.clone(),
            tenant: ends.tenant.clone(),
            rules: ends.rules.clone(),
            clock: ends.clock,
            fencing_token: ends.fencing_token,
            file: Arc::from(file),
            merges: 0,
        }
    }

    /// Loads what the store has of the rows' calls and dials.
    pub(in crate::engine) async fn load(&mut self, rows: Rows) -> Result<Loading, StoreError> {
        self.merges += 1;
        // What statuses mean where the rows are merged, not where the load began.
        let of_store = self.store.statuses(&self.source).await?;
        if !of_store.is_empty() && of_store != *self.rules.statuses {
            self.rules.statuses = Arc::new(of_store);
        }
        let mut facts = self.facts(rows.details);
        let loaded = self.states(&facts).await?;
        for (_, fact) in &mut facts {
            let Detail::Call { row, .. } = &fact.detail else {
                continue;
            };
            // What is known already was not written later than that.
            if let Some(known) = loaded.calls.get(&key_of(row)) {
                fact.origin.time = fact.origin.time.min(known.updated_at);
            }
        }
        Ok(Loading { facts, loaded })
    }

    /// Applies the rows to what was loaded, and what became of calls that are gone.
    pub(in crate::engine) fn apply(&mut self, loading: Loading, gone: Gone) -> Merging {
        let Loading { facts, loaded } = loading;
        let as_live = |details: Vec<Detail>| details.into_iter().map(|d| (Kind::Live, d));
        let before = self.facts(as_live(gone.renamed).collect());
        let behind = self.facts(as_live(gone.removed).collect());
        let mut merging = Merging {
            working: Working::new(loaded.clone()),
            loaded,
            tally: LoadTally::default(),
            calls: BTreeSet::new(),
        };
        for (kind, fact) in before.iter().chain(&facts).chain(&behind) {
            let working = &mut merging.working;
            let applied = match kind {
                Kind::Live | Kind::Before => {
                    working.apply(&mut self.rules, fact);
                    true
                }
                Kind::Archived => working.apply_archived(&mut self.rules, fact),
            };
            if let Detail::Call { row, .. } = &fact.detail {
                merging.tally.archived += u64::from(applied && *kind == Kind::Archived);
                let key = key_of(row);
                let is_old = merging.loaded.pruned.has_call(row.started_at);
                if !is_old || merging.working.knows(&key) {
                    merging.calls.insert(key);
                }
            }
        }
        merging.tally.too_old = merging.working.too_old();
        merging
    }

    /// Commits what was applied, by who keeps the store where it is, at `expected`.
    pub(in crate::engine) async fn commit(
        &self,
        hold: St::Hold,
        expected: Checkpoint,
        merging: Merging,
        note: Option<(LoadName, &mut LoadNote)>,
    ) -> Result<ChangeSet, StoreError> {
        let Merging {
            working,
            loaded,
            mut tally,
            calls,
        } = merging;
        let mut change = working.finish(Frame {
            source: self.source.clone(),
            tenant: self.tenant.clone(),
            statuses: None,
            landmarks: Vec::new(),
            checkpoint: expected.clone(),
            expected: Some(expected),
            fencing_token: self.fencing_token,
        });
        if !change.calls.is_empty() || !change.dials.is_empty() {
            // Whoever comes second reads again.
            change.checkpoint.revision += 1;
        }
        for key in &calls {
            tally.calls += 1;
            match (loaded.calls.get(key), change.calls.get(key)) {
                (None, Some(_)) => tally.new += 1,
                (Some(before), Some(now)) if differs(before, now) => tally.changed += 1,
                (Some(_), Some(_)) | (_, None) => tally.unchanged += 1,
            }
        }
        let counts = |key| loaded.dials.get(key).is_some_and(|dial| dial.counted);
        let dials = change.dials.iter();
        let new = dials.filter(|(key, dial)| dial.counted && !counts(key));
        tally.dials += u64::try_from(new.count()).unwrap_or(u64::MAX);
        match note {
            Some((name, note)) => {
                note.tally.add(tally);
                let note = Some((name, &*note));
                self.store.commit_held(hold, &change, note).await?;
            }
            None => {
                self.store.commit_held(hold, &change, None).await?;
            }
        }
        Ok(change)
    }

    /// Each row as a fact. A row has no time of its own at which it was written:
    /// the call's is the nearest that is known.
    fn facts(&self, details: Vec<(Kind, Detail)>) -> Vec<(Kind, Fact)> {
        let now = (self.clock)();
        let number = u64::try_from(now).unwrap_or(0) * 1000 + self.merges % 1000;
        let facts = (0..).zip(details).map(|(row, (kind, detail))| {
            let time = match &detail {
                Detail::Call { row, .. } => row.ended_at.unwrap_or(row.started_at),
                Detail::Link { at, .. }
                | Detail::Dial { at, .. }
                | Detail::Carrier { at, .. }
                | Detail::Reported { at, .. } => *at,
                Detail::Posted(posted) => posted.at,
                Detail::CallRead(_)
                | Detail::CallOfLead(_)
                | Detail::CallDeleted { .. }
                | Detail::CallsOfSecond { .. }
                | Detail::CallAssigned(_)
                | Detail::LookedUp(_)
                | Detail::Status(_) => now,
            };
            let origin = Origin::new(&self.file, number, row, time.min(now));
            let detail = match kind {
                Kind::Before => Detail::LookedUp(Box::new(detail)),
                Kind::Live | Kind::Archived => detail,
            };
            (kind, Fact { origin, detail })
        });
        facts.collect()
    }

    /// What the store has of these facts' calls and dials, and of what those lead to.
    async fn states(&self, facts: &[(Kind, Fact)]) -> Result<Loaded, StoreError> {
        let facts: Vec<Fact> = facts.iter().map(|(_, fact)| fact.clone()).collect();
        let mut asked = keys(&facts);
        if self.rules.create_dids {
            asked.dids.clear();
        }
        let (source, tenant) = (&self.source, &self.tenant);
        let pruned = self.store.pruned(source).await?;
        let mut loaded = self.store.load(source, tenant, &asked).await?;
        loaded.pruned = pruned;
        let further = further_keys(&facts, &asked, &loaded);
        if !further.is_empty() {
            let more = self.store.load(source, tenant, &further).await?;
            loaded.calls.extend(more.calls);
            loaded.dials.extend(more.dials);
        }
        Ok(loaded)
    }
}

/// How a call's DID was found explains a DID and is no number: it may be known
/// better now than when the call was seen. The other side may have forgotten it.
pub(in crate::engine) const NO_NUMBERS: [&str; 4] =
    ["caller_code", "attribution", "lead_id", "looked_up"];

/// Whether a call differs in what is compared: what is said of it, and what counts.
fn differs(before: &Call, now: &Call) -> bool {
    let was = now.replaced(before);
    was.keys().any(|name| !NO_NUMBERS.contains(&name.as_str()))
}

pub(in crate::engine) fn key_of(row: &CallRow) -> CallKey {
    CallKey {
        uniqueid: row.uniqueid.clone(),
        lead_id: row.lead_id,
    }
}
