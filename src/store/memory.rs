//! A store in memory that computes everything, with faults on demand.
//!
//! The engine's tests run against it, also those of every crash point, and the
//! conformance suite keeps it equal to the real backends.

mod faults;
mod landmarks;
mod posted;
mod retention;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

pub use faults::{Fault, Gate};

use crate::checkpoint::Checkpoint;
use crate::landmark::Landmark;
use crate::ledger::{
    CallKey, ChangeEntry, ChangeSet, Keys, LEAD_WINDOW_SECONDS, Loaded, Pruned, StatDelta, Subject,
};
use crate::store::audit::details;
use crate::store::dump::{DidNumbers, Dump};
use crate::store::{
    Claim, Durable, Grant, LEASE_SECONDS, Lease, LeaseState, LoadName, LoadNote, Mark, NewPost,
    Page, PostOutcome, Prune, Store, StoreError, Swept, Trail, Unattributed, Waiting,
};
use crate::vicidial::StatusBook;

/// The name that errors give this store.
const NAME: &str = "(memory)";

/// The store. Clones share their contents.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    /// Whose turn it is to write.
    turn: Arc<Turn<()>>,
}

#[derive(Debug, Default)]
struct State {
    contents: Dump,
    /// Tenant of each source's calls and dials.
    tenants: BTreeMap<String, String>,
    /// Changes of calls and dials, by source.
    history: BTreeMap<(String, Subject), Vec<ChangeEntry>>,
    /// The number of the next commit, from 1.
    next_commit: u64,
    faults: BTreeMap<u64, Vec<Fault>>,
    /// The lease of each source; its clock is read when it is asked for.
    leases: BTreeMap<String, LeaseState>,
    /// What was seen, by source and epoch, in order.
    landmarks: BTreeMap<(String, u64), landmarks::Landmarks>,
    /// What was posted and waits.
    inbox: posted::Inbox,
    /// How far loads are.
    loads: BTreeMap<(String, LoadName), LoadNote>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets a fault happen to the `nth` commit asked of this store, from 1; several
    /// come in their order.
    pub fn on_commit(&self, nth: u64, fault: Fault) {
        self.with(|state| state.faults.entry(nth).or_default().push(fault));
    }

    /// How many commits have been asked, failed ones too.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.with(|state| state.next_commit)
    }

    /// Everything in the store.
    #[must_use]
    pub fn dump(&self) -> Dump {
        self.with(|state| state.contents.clone())
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        // A test that panicked elsewhere must not hide its own message.
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for MemoryStore {
    type Hold = OwnedMutexGuard<()>;

    async fn claim(&self, source: &str, claim: &Claim<'_>) -> Result<Grant, StoreError> {
        Ok(self.with(|state| {
            let lease = state.lease(source);
            let grant = lease.answer(claim);
            if let Grant::Held(given) = &grant {
                lease.holder.clone_from(&given.holder);
                lease.fencing_token = given.fencing_token;
                lease.acquired_at = lease.now;
                lease.expires_at = lease.now + i64::from(claim.seconds);
            }
            grant
        }))
    }

    async fn renew(&self, source: &str, lease: &Lease) -> Result<bool, StoreError> {
        Ok(self.with(|state| state.renew(source, lease.fencing_token)))
    }

    async fn release(&self, source: &str, lease: &Lease) -> Result<(), StoreError> {
        self.with(|state| {
            let known = state.lease(source);
            if known.fencing_token == lease.fencing_token {
                known.holder.clear();
                known.expires_at = 0;
            }
        });
        Ok(())
    }

    async fn lease(&self, source: &str) -> Result<Option<LeaseState>, StoreError> {
        Ok(self.with(|state| {
            let is_known = state.leases.contains_key(source);
            is_known.then(|| state.lease(source).clone())
        }))
    }

    async fn save_load(
        &self,
        source: &str,
        name: LoadName,
        note: &LoadNote,
    ) -> Result<(), StoreError> {
        self.with(|state| state.loads.insert((source.to_owned(), name), note.clone()));
        Ok(())
    }

    async fn load_note(
        &self,
        source: &str,
        name: LoadName,
    ) -> Result<Option<LoadNote>, StoreError> {
        Ok(self.with(|state| state.loads.get(&(source.to_owned(), name)).cloned()))
    }

    async fn progress(&self, source: &str) -> Result<Option<Checkpoint>, StoreError> {
        Ok(self.with(|state| state.contents.progress.get(source).cloned()))
    }

    async fn landmarks(&self, source: &str, epoch: u64) -> Result<Vec<Landmark>, StoreError> {
        let key = (source.to_owned(), epoch);
        Ok(self.with(|state| {
            let of_epoch = state.landmarks.get(&key).into_iter();
            of_epoch.flat_map(BTreeMap::values).cloned().collect()
        }))
    }

    async fn load(&self, source: &str, tenant: &str, keys: &Keys) -> Result<Loaded, StoreError> {
        Ok(self.with(|state| find(&state.contents, source, tenant, keys)))
    }

    async fn commit(&self, change: &ChangeSet) -> Result<Durable, StoreError> {
        let turn = self.hold(&change.source).await?;
        self.commit_held(turn, change, None).await
    }

    async fn hold(&self, _source: &str) -> Result<OwnedMutexGuard<()>, StoreError> {
        Ok(Arc::clone(&self.turn).lock_owned().await)
    }

    async fn commit_held(
        &self,
        _hold: OwnedMutexGuard<()>,
        change: &ChangeSet,
        note: Option<(LoadName, &LoadNote)>,
    ) -> Result<Durable, StoreError> {
        let faults = self.with(|state| {
            state.next_commit += 1;
            state.faults.remove(&state.next_commit)
        });
        let mut lose_acknowledgement = false;
        for fault in faults.unwrap_or_default() {
            match fault {
                Fault::Reject => {
                    return Err(StoreError::Busy {
                        store: NAME.to_owned(),
                        source: "scripted: rejected".into(),
                    });
                }
                Fault::LoseAcknowledgement => lose_acknowledgement = true,
                Fault::Hold(gate) => gate.hold().await,
                Fault::Slow(time) => tokio::time::sleep(time).await,
            }
        }
        self.with(|state| {
            state.apply(change)?;
            if let Some((name, note)) = note {
                let key = (change.source.clone(), name);
                state.loads.insert(key, note.clone());
            }
            Ok(())
        })?;
        if lose_acknowledgement {
            return Err(StoreError::Unreachable {
                store: NAME.to_owned(),
                source: "scripted: applied, and the acknowledgement lost".into(),
            });
        }
        Ok(Durable(change.checkpoint.clone()))
    }

    async fn statuses(&self, source: &str) -> Result<StatusBook, StoreError> {
        let book = self.with(|state| state.contents.statuses.get(source).cloned());
        Ok(book.unwrap_or_default())
    }

    async fn unattributed(
        &self,
        source: &str,
        since: i64,
        rows_max: u32,
    ) -> Result<Vec<Unattributed>, StoreError> {
        let mut found: Vec<Unattributed> = self.with(|state| {
            let calls = state.contents.calls.iter();
            let wanted = calls.filter(|((of, _), call)| {
                of == source && call.did.is_none() && !call.removed && call.started_at >= since
            });
            let wanted = wanted.map(|((_, key), call)| Unattributed::new(key, call));
            wanted.collect()
        });
        found.sort_by(|a, b| (b.started_at, &a.key).cmp(&(a.started_at, &b.key)));
        found.truncate(rows_max as usize);
        Ok(found)
    }

    async fn history(
        &self,
        source: &str,
        subject: &Subject,
    ) -> Result<Vec<ChangeEntry>, StoreError> {
        Ok(self.with(|state| {
            let key = (source.to_owned(), subject.clone());
            let kept = state.history.get(&key).cloned().unwrap_or_default();
            kept.into_iter()
                .map(|entry| ChangeEntry {
                    left: None,
                    ..entry
                })
                .collect()
        }))
    }

    async fn post(
        &self,
        posts: &[NewPost],
        creates_dids: bool,
    ) -> Result<(Vec<PostOutcome>, u64), StoreError> {
        Ok(self.with(|state| {
            let each = posts.iter().map(|post| state.post(post, creates_dids));
            let outcomes = each.collect();
            (outcomes, state.inbox.waiting())
        }))
    }

    async fn posted(&self, source: &str, rows_max: u32) -> Result<(Vec<Waiting>, u64), StoreError> {
        Ok(self.with(|state| (state.inbox.read(source, rows_max), state.inbox.waiting())))
    }

    async fn forget_post_keys(&self) -> Result<(), StoreError> {
        // It does not live that long.
        Ok(())
    }

    async fn page(
        &self,
        source: &str,
        behind: Mark,
        rows_max: u32,
    ) -> Result<Option<Page>, StoreError> {
        Ok(self.with(|state| state.page(source, behind, rows_max)))
    }

    async fn prune(
        &self,
        tenant: &str,
        trail: Trail,
        before: i64,
        rows_max: u32,
    ) -> Result<u64, StoreError> {
        Ok(self.with(|state| match trail {
            Trail::Audit => state.prune_audit(tenant, before, rows_max),
            Trail::History => state.prune_history(tenant, before, rows_max),
        }))
    }

    async fn pruned(&self, source: &str) -> Result<Pruned, StoreError> {
        Ok(self.with(|state| {
            state
                .contents
                .pruned
                .get(source)
                .copied()
                .unwrap_or_default()
        }))
    }

    async fn sweep(&self, prune: &Prune<'_>) -> Result<Swept, StoreError> {
        let _turn = self.hold(prune.source).await?;
        self.with(|state| state.sweep(prune))
    }
}

impl State {
    /// The lease of a source, with the present time.
    fn lease(&mut self, source: &str) -> &mut LeaseState {
        let lease = self.leases.entry(source.to_owned()).or_insert(LeaseState {
            holder: String::new(),
            fencing_token: 0,
            acquired_at: 0,
            expires_at: 0,
            now: 0,
        });
        lease.now = now();
        lease
    }

    fn renew(&mut self, source: &str, token: u64) -> bool {
        let lease = self.lease(source);
        let is_ours = lease.fencing_token == token;
        if is_ours {
            lease.expires_at = lease.now + i64::from(LEASE_SECONDS);
        }
        is_ours
    }

    /// Ids are the places in the order of the keys here.
    fn page(&self, source: &str, behind: Mark, rows_max: u32) -> Option<Page> {
        let count = rows_max as usize;
        let skip = |mark: i64| usize::try_from(mark).unwrap_or(0);
        let calls = self
            .contents
            .calls
            .iter()
            .filter(|((of, _), _)| of == source);
        let mut keys = Keys::default();
        let (mut mark, mut rows) = (behind, 0);
        for ((_, key), call) in calls.skip(skip(behind.call)).take(count) {
            let (first, last) = keys
                .lead_times
                .unwrap_or((call.started_at, call.started_at));
            let earliest = call.started_at - LEAD_WINDOW_SECONDS;
            keys.lead_times = Some((first.min(earliest), last.max(call.started_at)));
            keys.uniqueids.insert(key.uniqueid.clone());
            keys.lead_ids.insert(key.lead_id);
            (mark.call, rows) = (mark.call + 1, rows + 1);
        }
        if rows == 0 {
            let dials = self.contents.dials.keys().filter(|(of, _)| of == source);
            for (_, key) in dials.skip(skip(behind.dial)).take(count) {
                keys.caller_codes.insert(key.caller_code.clone());
                (mark.dial, rows) = (mark.dial + 1, rows + 1);
            }
        }
        (rows > 0).then_some(Page { keys, rows, mark })
    }
}

fn find(contents: &Dump, source: &str, tenant: &str, keys: &Keys) -> Loaded {
    let mut loaded = Loaded::default();
    for ((of, key), call) in &contents.calls {
        if of == source && keys.want_call(key, call) {
            loaded.calls.insert(key.clone(), call.clone());
        }
    }
    for ((of, key), dial) in &contents.dials {
        if of == source && keys.want_dial(key, dial) {
            loaded.dials.insert(key.clone(), dial.clone());
        }
    }
    let exists = |did: &&String| {
        let key = (tenant.to_owned(), (*did).clone());
        contents.dids.contains_key(&key)
    };
    loaded.dids = keys.dids.iter().filter(exists).cloned().collect();
    loaded
}

impl State {
    /// Applies the whole change, or nothing of it.
    fn apply(&mut self, change: &ChangeSet) -> Result<(), StoreError> {
        self.demand(
            &change.source,
            change.expected.as_ref(),
            change.fencing_token,
        )?;
        if change.daily.keys().any(|key| key.day.chars().count() != 10) {
            return Err(refused("a day is not YYYY-MM-DD"));
        }
        let contents = &mut self.contents;
        if collides(contents, change) {
            return Err(refused("a call moved to the key of another call"));
        }
        rekey(contents, change);
        rekey_history(&mut self.history, change);
        create_dids(contents, change);
        let source = &change.source;
        for (key, call) in &change.calls {
            let key = (source.clone(), key.clone());
            contents.calls.insert(key, call.clone());
        }
        for (key, dial) in &change.dials {
            let key = (source.clone(), key.clone());
            contents.dials.insert(key, dial.clone());
        }
        add_stats(contents, change);
        for entry in &change.audit {
            let key = (change.tenant.clone(), format!("{source}/{}", entry.event));
            let row = (details(entry, source), entry.at);
            contents.audit.entry(key).or_insert(row);
        }
        for (subject, entries) in &change.history {
            let key = (source.clone(), subject.clone());
            self.history
                .entry(key)
                .or_default()
                .extend(entries.iter().cloned());
        }
        self.inbox.delete(&change.posted);
        let epoch = change.checkpoint.epoch;
        let of_epoch = self.landmarks.entry((source.clone(), epoch)).or_default();
        landmarks::add(of_epoch, &change.landmarks);
        if let Some(book) = &change.statuses {
            contents.statuses.remove(source);
            if !book.is_empty() {
                contents.statuses.insert(source.clone(), book.clone());
            }
        }
        let checkpoint = change.checkpoint.clone();
        contents.progress.insert(source.clone(), checkpoint);
        self.tenants.insert(source.clone(), change.tenant.clone());
        let anew = change.stats.iter().filter(|(_, d)| d.find_last_anew);
        for (did, _) in anew {
            self.find_last_anew(&change.tenant, did);
        }
        Ok(())
    }

    fn find_last_anew(&mut self, tenant: &str, did: &str) {
        let tenants = &self.tenants;
        let of_tenant = |source: &String| tenants.get(source).is_some_and(|of| of == tenant);
        let calls = self.contents.calls.iter();
        let last_call_at = calls
            .filter(|((source, _), call)| of_tenant(source) && call.counted)
            .filter(|(_, call)| call.did.as_deref() == Some(did))
            .map(|(_, call)| call.started_at)
            .max();
        let dials = self.contents.dials.iter();
        let last_dial_at = dials
            .filter(|((source, _), dial)| of_tenant(source) && dial.counted)
            .filter(|(_, dial)| dial.did.as_deref() == Some(did))
            .map(|(_, dial)| dial.dialed_at)
            .max();
        let key = (tenant.to_owned(), did.to_owned());
        let numbers = self.contents.dids.entry(key).or_default();
        let numbers = numbers.get_or_insert_default();
        // Where all rows that would tell are deleted, it stays.
        if last_call_at.is_some() || numbers.counters.total_calls <= 0 {
            numbers.last_call_at = last_call_at;
        }
        if last_dial_at.is_some() || numbers.counters.dials <= 0 {
            numbers.last_dial_at = last_dial_at;
        }
    }

    /// The lease, where one is named, and the checkpoint.
    fn demand(
        &mut self,
        source: &str,
        expected: Option<&Checkpoint>,
        fencing_token: Option<u64>,
    ) -> Result<(), StoreError> {
        if let Some(token) = fencing_token
            && !self.renew(source, token)
        {
            return Err(StoreError::LeaseLost {
                source_name: source.to_owned(),
                holder: self.lease(source).holder.clone(),
            });
        }
        let found = self.contents.progress.get(source);
        if found == expected {
            return Ok(());
        }
        Err(StoreError::OtherWriter {
            source_name: source.to_owned(),
            actual: found.map_or_else(|| "no position".to_owned(), |c| c.position.to_string()),
        })
    }
}

fn refused(why: &str) -> StoreError {
    StoreError::Other {
        store: NAME.to_owned(),
        doing: "writing a batch",
        source: why.into(),
    }
}

/// The store's own clock, in seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a store has a clock of its own")]
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// True when a moved call would find its new key taken.
fn collides(contents: &Dump, change: &ChangeSet) -> bool {
    let of = |key: &CallKey| (change.source.clone(), key.clone());
    let mut taken = BTreeSet::new();
    change.moved.iter().any(|(old, new)| {
        let leaves = change.replaced.contains(new) || change.moved.contains_key(new);
        let stays = contents.calls.contains_key(&of(new)) && !leaves;
        contents.calls.contains_key(&of(old)) && (stays || !taken.insert(new))
    })
}

fn rekey(contents: &mut Dump, change: &ChangeSet) {
    let of = |key: &CallKey| (change.source.clone(), key.clone());
    for key in &change.replaced {
        contents.calls.remove(&of(key));
    }
    let lifted: Vec<_> = change
        .moved
        .iter()
        .filter_map(|(old, new)| Some((of(new), contents.calls.remove(&of(old))?)))
        .collect();
    contents.calls.extend(lifted);
}

fn rekey_history(history: &mut BTreeMap<(String, Subject), Vec<ChangeEntry>>, change: &ChangeSet) {
    let of = |key: &CallKey| (change.source.clone(), Subject::Call(key.clone()));
    for key in &change.replaced {
        history.remove(&of(key));
    }
    let lifted: Vec<_> = change
        .moved
        .iter()
        .filter_map(|(old, new)| Some((of(new), history.remove(&of(old))?)))
        .collect();
    history.extend(lifted);
}

fn create_dids(contents: &mut Dump, change: &ChangeSet) {
    let named = change
        .calls
        .values()
        .filter_map(|call| call.did.as_ref())
        .chain(change.dials.values().filter_map(|dial| dial.did.as_ref()))
        .chain(change.stats.keys())
        .chain(change.daily.keys().map(|key| &key.did))
        .chain(change.audit.iter().filter_map(|entry| entry.did.as_ref()));
    for did in named {
        let key = (change.tenant.clone(), did.clone());
        contents.dids.entry(key).or_default();
    }
}

fn add_stats(contents: &mut Dump, change: &ChangeSet) {
    for (did, delta) in &change.stats {
        let StatDelta {
            counters,
            last_call_at,
            last_dial_at,
            find_last_anew: _,
        } = delta;
        let key = (change.tenant.clone(), did.clone());
        let numbers: &mut Option<DidNumbers> = contents.dids.entry(key).or_default();
        let numbers = numbers.get_or_insert_default();
        numbers.counters += *counters;
        numbers.last_call_at = numbers.last_call_at.max(*last_call_at);
        numbers.last_dial_at = numbers.last_dial_at.max(*last_dial_at);
    }
    for (key, counters) in &change.daily {
        let lowered = counters.values().iter().any(|value| *value < 0);
        let key = (change.tenant.clone(), key.clone());
        let row = contents.daily.entry(key.clone()).or_default();
        *row += *counters;
        if lowered && row.is_zero() {
            contents.daily.remove(&key);
        }
    }
}
