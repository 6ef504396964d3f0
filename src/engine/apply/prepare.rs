//! A batch becomes a change: its facts, applied to what the store has, or will have.

use std::sync::Arc;

use super::{Applier, Batch};
use crate::engine::cache::times_to_load;
use crate::engine::posts;
use crate::ledger::{ChangeSet, Frame, Keys, Loaded, Rules, Working, further_keys, keys};
use crate::source::Source;
use crate::store::{Store, StoreError, Unattributed};
use crate::vicidial::Fact;

/// A batch that only has to be committed.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) batch: Arc<Batch>,
    /// It names the position that the store must have.
    pub(super) change: ChangeSet,
    /// The rules behind it: its facts may change what statuses mean.
    pub(super) rules: Rules,
    /// Calls whose dials were asked for, and are among the change.
    pub(super) asked_about: Vec<Unattributed>,
    /// Rows about calls and dials that may have been deleted.
    pub(super) too_old: u64,
}

impl<S: Source, St: Store> Applier<S, St> {
    /// Applies the facts to the states behind the commit under way, or behind the
    /// last one.
    pub(super) async fn prepare(&mut self, batch: &Arc<Batch>) -> Result<Prepared, StoreError> {
        let under_way = self.under_way.as_ref().map(|one| Arc::clone(&one.prepared));
        let before = under_way.as_deref();
        let (mut asked, mut loaded) = self.load(&batch.facts, before).await?;
        let of_before = before.map_or(&self.with.rules, |before| &before.rules);
        // A commit that fails must not leave the statuses ahead of the store.
        let mut rules = of_before.clone();
        let mut working = Working::new(loaded.clone());
        for fact in &batch.facts {
            working.apply(&mut rules, fact);
        }
        let now = (self.with.clock)();
        let look_up = &mut self.with.look_up;
        let mut lonely = look_up.next_to_ask(working.calls_without_a_dial(), now);
        if !lonely.is_empty() {
            match look_up.find(&lonely, now).await {
                Ok(found) => {
                    let more = self.load(&found, before).await?;
                    working.load_more(&more.1);
                    take_over(&mut asked, &mut loaded, more);
                    for fact in &found {
                        working.apply(&mut rules, fact);
                    }
                }
                Err(error) => {
                    // Not worth stopping for: they are asked about again.
                    tracing::warn!(
                        { crate::telemetry::field::ERROR } = %error,
                        calls = lonely.len(),
                        "could not ask the source for the dials of calls that were dialled before didtail began; they wait without a DID"
                    );
                    lonely.clear();
                }
            }
        }
        let posts = self.posts(before).await?;
        if !posts.is_empty() {
            let more = self.load(&posts, before).await?;
            working.load_more(&more.1);
            take_over(&mut asked, &mut loaded, more);
            for fact in &posts {
                working.apply(&mut rules, fact);
            }
        }
        let too_old = working.too_old();
        let of_before = before.map_or(&self.with.rules, |before| &before.rules);
        let are_stored = self.statuses_stored || before.is_some();
        let is_same = Arc::ptr_eq(&rules.statuses, &of_before.statuses);
        let statuses = !(are_stored && is_same);
        let expected = match before {
            Some(before) => Some(before.change.checkpoint.clone()),
            None => self.stored.clone(),
        };
        let mut change = working.finish(Frame {
            source: self.with.source.clone(),
            tenant: self.with.tenant.clone(),
            statuses: statuses.then(|| rules.statuses.as_ref().clone()),
            landmarks: batch.landmarks.clone(),
            checkpoint: self.checkpoint_after(expected.as_ref(), batch),
            expected,
            fencing_token: self.with.fencing_token,
        });
        let ids = posts.iter().map(|fact| fact.origin.offset.cast_signed());
        change.posted = ids.collect();
        // Forgotten again should the commit fail.
        self.cache.committed(&asked, &loaded, &change);
        Ok(Prepared {
            batch: Arc::clone(batch),
            change,
            rules,
            asked_about: lonely,
            too_old,
        })
    }

    /// Posted results that are to be applied with this batch. Those that the commit
    /// under way has are still there: the next batch takes others.
    async fn posts(&mut self, before: Option<&Prepared>) -> Result<Vec<Fact>, StoreError> {
        let are_taken = before.is_some_and(|before| !before.change.posted.is_empty());
        if !self.posts_wait || are_taken {
            return Ok(Vec::new());
        }
        let store = &self.with.store;
        let (waiting, _) = store.posted(&self.with.source, posts::TAKEN_MAX).await?;
        // Should the commit fail, the next look finds them again.
        self.posts_wait = waiting.len() >= posts::TAKEN_MAX as usize;
        Ok(posts::facts(waiting))
    }

    /// Everything that facts are about, in two rounds: what they name, and what
    /// that leads to.
    async fn load(
        &mut self,
        facts: &[Fact],
        before: Option<&Prepared>,
    ) -> Result<(Keys, Loaded), StoreError> {
        let mut asked = keys(facts);
        let mut loaded = Loaded {
            pruned: self.retention.pruned,
            ..Loaded::default()
        };
        if facts.is_empty() {
            return Ok((asked, loaded));
        }
        if self.with.rules.create_dids {
            asked.dids.clear();
        }
        self.load_round(asked.clone(), &mut loaded, before).await?;
        let further = further_keys(facts, &asked, &loaded);
        asked.uniqueids.extend(further.uniqueids.iter().cloned());
        asked
            .caller_codes
            .extend(further.caller_codes.iter().cloned());
        let times = [asked.code_times, further.code_times].map(|times| times.map(times_to_load));
        self.load_round(further, &mut loaded, before).await?;
        // What both rounds have.
        asked.code_times = match times {
            [Some((from, until)), Some((first, last))] => Some((from.max(first), until.min(last))),
            [one, other] => one.or(other),
        };
        Ok((asked, loaded))
    }

    async fn load_round(
        &mut self,
        mut keys: Keys,
        loaded: &mut Loaded,
        before: Option<&Prepared>,
    ) -> Result<(), StoreError> {
        self.cache.take_known(&mut keys, loaded);
        if keys.is_empty() {
            return Ok(());
        }
        keys.code_times = keys.code_times.map(times_to_load);
        let mut found = self
            .with
            .store
            .load(&self.with.source, &self.with.tenant, &keys)
            .await?;
        if let Some(before) = before {
            before.change.bring_up_to_date(&keys, &mut found);
        }
        loaded.calls.extend(found.calls);
        loaded.dials.extend(found.dials);
        loaded.dids.extend(found.dids);
        Ok(())
    }
}

/// Takes what was loaded for further facts over to what a batch has.
fn take_over(asked: &mut Keys, loaded: &mut Loaded, (also_asked, more): (Keys, Loaded)) {
    asked.uniqueids.extend(also_asked.uniqueids);
    // Of the times of these nothing is remembered.
    for code in also_asked.caller_codes {
        asked.caller_codes.remove(&code);
    }
    loaded.calls.extend(more.calls);
    loaded.dials.extend(more.dials);
}
