//! Asks the source itself for the dials of calls whose dials were not seen:
//! they were dialled before didtail began, or in a gap.
//!
//! Rare by design: in the stream a dial comes before its call. What is found
//! gives a call its DID and counts nothing as a dial.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quick_cache::unsync::Cache;

use crate::engine::selection::Selection;
use crate::ledger::{CODE_WINDOW_SECONDS, Call, CallKey, LEAD_WINDOW_SECONDS};
use crate::source::{Condition, Source, SourceError};
use crate::store::Unattributed;
use crate::vicidial::{Detail, Fact, Interpreter, Origin, Table};

/// Calls asked about in one batch; the rest waits for the next.
const CALLS_MAX: usize = 256;

/// Calls remembered as asked about, and calls that may wait.
const ASKED_MAX: usize = 8192;

/// Calls that a start asks about again: those of the last day that have no DID.
pub(super) const ASKED_AGAIN_MAX: u32 = 2048;

/// See [`ASKED_AGAIN_MAX`].
pub(super) const ASKED_AGAIN_SECONDS: i64 = 86_400;

/// How long the stream waits for an answer: an archiving job may hold a table
/// locked for minutes.
const PATIENCE: Duration = Duration::from_secs(2);

/// Seconds after a failure in which the source is not asked.
const PAUSE_SECONDS: i64 = 60;

/// Looks dials up on the source.
pub(super) struct LookUp<S> {
    selection: Selection<S>,
    asked: Cache<CallKey, ()>,
    /// Calls that could not be asked about, the first so many.
    waiting: BTreeMap<CallKey, Unattributed>,
    /// When it failed; seconds since 1970 (UTC).
    failed_at: i64,
}

impl<S: Source> LookUp<S> {
    pub(super) fn new(source: Arc<S>, interpreter: Interpreter) -> Self {
        Self {
            selection: Selection::new(source, interpreter),
            asked: Cache::new(ASKED_MAX),
            waiting: BTreeMap::new(),
            failed_at: 0,
        }
    }

    /// Takes calls over that a daemon before may have had no answer about.
    pub(super) fn wait_for(&mut self, calls: Vec<Unattributed>) {
        let calls = calls.into_iter().map(|call| (call.key.clone(), call));
        self.waiting.extend(calls);
    }

    /// Whether calls wait, and the source may be asked about them.
    pub(super) fn is_due(&self, now: i64) -> bool {
        !self.waiting.is_empty() && now - self.failed_at >= PAUSE_SECONDS
    }

    /// Those to ask about at `now`: of these calls and of those that wait, as
    /// many as are asked about at once. Nobody while the source is left alone.
    pub(super) fn next_to_ask<'c>(
        &mut self,
        calls: impl Iterator<Item = (&'c CallKey, &'c Call)>,
        now: i64,
    ) -> Vec<Unattributed> {
        for (key, call) in calls {
            if self.waiting.len() == ASKED_MAX {
                break;
            }
            if self.asked.peek(key).is_none() {
                self.waiting
                    .insert(key.clone(), Unattributed::new(key, call));
            }
        }
        if now - self.failed_at < PAUSE_SECONDS {
            return Vec::new();
        }
        self.waiting.values().take(CALLS_MAX).cloned().collect()
    }

    /// Their answers are durable, or there are none: they are not asked about again.
    pub(super) fn remember(&mut self, calls: &[Unattributed]) {
        for call in calls {
            self.waiting.remove(&call.key);
            self.asked.insert(call.key.clone(), ());
        }
    }

    /// What the source says of the calls' dials, at `now`.
    ///
    /// # Errors
    /// [`SourceError`]; then the source is left alone for a while, and the calls wait.
    pub(super) async fn find(
        &mut self,
        calls: &[Unattributed],
        now: i64,
    ) -> Result<Vec<Fact>, SourceError> {
        let answer = tokio::time::timeout(PATIENCE, self.ask(calls, now)).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(SourceError::Query {
                what: "the dials of calls".to_owned(),
                detail: "no answer within 2 s".to_owned(),
            })
        });
        if answer.is_err() {
            self.failed_at = now;
            self.selection.forget();
        }
        answer
    }

    async fn ask(&mut self, calls: &[Unattributed], now: i64) -> Result<Vec<Fact>, SourceError> {
        let uniqueids = calls.iter().map(|call| call.key.uniqueid.clone());
        let links = self
            .rows(Table::LogExtended, "uniqueid", uniqueids.collect(), now)
            .await?;
        let mut codes: BTreeSet<String> = calls
            .iter()
            .filter_map(|call| call.caller_code.clone())
            .collect();
        for link in &links {
            if let Detail::Link { caller_code, .. } = link {
                codes.insert(caller_code.clone());
            }
        }
        let leads = calls.iter().map(|call| call.key.lead_id.to_string());
        let mut dials = self
            .rows(Table::DialLog, "lead_id", leads.collect(), now)
            .await?;
        dials.retain(|dial| is_of_a_call(dial, calls, &codes));
        for dial in &dials {
            if let Detail::Dial { caller_code, .. } = dial {
                codes.insert(caller_code.clone());
            }
        }
        let mut caller_ids = self
            .rows(
                Table::DialCidLog,
                "caller_code",
                codes.iter().cloned().collect(),
                now,
            )
            .await?;
        caller_ids.retain(|dial| is_of_a_call(dial, calls, &codes));
        let file: Arc<str> = Arc::from("select");
        Ok((0..)
            .zip(links.into_iter().chain(dials).chain(caller_ids))
            .map(|(row, detail)| Fact {
                origin: Origin::new(&file, 0, row, now),
                detail: Detail::LookedUp(Box::new(detail)),
            })
            .collect())
    }

    async fn rows(
        &mut self,
        table: Table,
        key: &str,
        mut values: Vec<String>,
        now: i64,
    ) -> Result<Vec<Detail>, SourceError> {
        values.sort();
        values.dedup();
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let condition = Condition {
            key: Some((key, &values)),
            window: None,
        };
        self.selection.details(table, condition, now).await
    }
}

/// True for a dial by a known code, or of a lead soon before its call.
fn is_of_a_call(dial: &Detail, calls: &[Unattributed], codes: &BTreeSet<String>) -> bool {
    let Detail::Dial {
        caller_code,
        lead_id,
        at,
        ..
    } = dial
    else {
        return false;
    };
    calls.iter().any(|call| {
        let before = call.started_at.saturating_sub(*at);
        let by_code = codes.contains(caller_code)
            && before.unsigned_abs() <= CODE_WINDOW_SECONDS.unsigned_abs();
        let by_lead =
            *lead_id == Some(call.key.lead_id) && (0..=LEAD_WINDOW_SECONDS).contains(&before);
        by_code || by_lead
    })
}
