//! Posted results in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::State;
use crate::store::{NewPost, POSTED_MAX, PostOutcome, Waiting};

/// Those that wait, and the keys that came.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    next: i64,
    /// By id, with their sources.
    waiting: BTreeMap<i64, (String, Waiting)>,
    /// By tenant and hash: the hash of the body, and the DID's id.
    keys: BTreeMap<(String, String), (String, Option<i64>)>,
    /// Ids of DIDs, in the order in which they were asked for.
    ids: BTreeMap<(String, String), i64>,
}

impl Inbox {
    pub(super) fn read(&self, source: &str, rows_max: u32) -> Vec<Waiting> {
        let of_source = self.waiting.values().filter(|(of, _)| of == source);
        let of_source = of_source.map(|(_, waiting)| waiting.clone());
        of_source.take(rows_max as usize).collect()
    }

    pub(super) fn delete(&mut self, taken: &BTreeSet<i64>) {
        self.waiting.retain(|id, _| !taken.contains(id));
    }

    pub(super) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }
}

impl State {
    pub(super) fn post(&mut self, post: &NewPost, creates_dids: bool) -> PostOutcome {
        let did = post.posted.said.did.as_ref();
        let did = did.map(|(_, did)| (post.tenant.clone(), did.clone()));
        let did_id = match did {
            Some(did) => {
                if creates_dids {
                    self.contents.dids.entry(did.clone()).or_default();
                }
                if !self.contents.dids.contains_key(&did) {
                    return PostOutcome::UnknownDid;
                }
                let next = i64::try_from(self.inbox.ids.len()).unwrap_or(i64::MAX) + 1;
                Some(*self.inbox.ids.entry(did).or_insert(next))
            }
            None => None,
        };
        let once = post.once.as_ref();
        let once = once.map(|(key, body)| ((post.tenant.clone(), key.clone()), body.clone()));
        if let Some((key, body)) = &once
            && let Some((known_body, known_did)) = self.inbox.keys.get(key)
        {
            return match known_body == body {
                true => PostOutcome::Recorded(*known_did),
                false => PostOutcome::OtherBody,
            };
        }
        let of_source = self.inbox.waiting.values();
        let of_source = of_source.filter(|(of, _)| *of == post.source);
        if of_source.count() as u64 >= POSTED_MAX {
            return PostOutcome::Full;
        }
        self.inbox.next += 1;
        let id = self.inbox.next;
        let posted = post.posted.clone();
        let waiting = (post.source.clone(), Waiting { id, posted });
        self.inbox.waiting.insert(id, waiting);
        if let Some((key, body)) = once {
            self.inbox.keys.insert(key, (body, did_id));
        }
        PostOutcome::Recorded(did_id)
    }
}
