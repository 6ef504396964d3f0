//! Compares the store with VICIdial, call by call, and mends what differs.
//!
//! # What is compared
//! Each window of `vicidial_log` and its companions is merged into what the
//! store has of it, in memory, as `didtail backfill` would do it; whatever that
//! changes differs. So there is one definition of what a row means, and a repair
//! is that very merge.
//!
//! # Why a difference is one
//! The daemon is always a little behind, and calls change all the time. A window
//! with differences is therefore looked at again: the end of the binlog is asked
//! for, the store is given time to get there, and then the window is read once
//! more while the store stands still. A difference that is still the same one is
//! none of time: the row did not change between the two reads, and every change
//! of before the end that lies between them is applied.

mod compare;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::engine::backfill::merge::{Merger, Merging};
use crate::engine::backfill::rows::{self, Rows, Span};
use crate::engine::backfill::{CLOCKS_SECONDS, Ends, Range, followed_since, gone, sources_of};
use crate::engine::policy::EngineError;
use crate::engine::selection::Selection;
use crate::engine::several::OfSources;
use crate::source::{Source, SourceError, unreadable};
use crate::store::{Mark, SqlStore, Store};
use crate::vicidial::Origin;

pub use compare::{Difference, Field, Kind, Verified};

use compare::Window;

/// Seconds of wall clock of the first window, and of the longest.
const FIRST_SECONDS: i64 = 600;
const LONGEST_SECONDS: i64 = 4 * 3600;

/// Rows of a table in one window.
const ROWS_MAX: usize = 2000;

/// How long a window may take to be read; the daemon waits for the second read.
const PATIENCE: Duration = Duration::from_secs(4);

/// How often a window in which calls change is looked at again.
const LOOKS: u32 = 5;

/// A store that has not moved for so long is not followed by a daemon.
const STANDSTILL: Duration = Duration::from_secs(5);
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Tries of a window that the source does not answer for.
const TRIES: u32 = 12;
const TRY_PAUSE: Duration = Duration::from_secs(1);

/// Compares every configured source over a range; `repair` mends what differs.
/// `progress` is told how much of how many seconds is done.
///
/// # Errors
/// [`EngineError`] when the store cannot be opened, or there is none. What was mended before a source
/// fails stays so.
pub async fn verify(
    config: &Config,
    range: &Range,
    repair: bool,
    mut progress: impl FnMut(&Verified) + Send,
) -> Result<OfSources<Verified>, EngineError> {
    let url = config.store.address();
    // Nothing is made or upgraded here: of a store that is not there nothing differs.
    SqlStore::open_read(&url).await?.close().await;
    // Also to compare alone: it must stand still for a moment now and then.
    let store = Arc::new(SqlStore::open(&url).await?);
    let mut all = OfSources::default();
    for source in &config.sources {
        let one = async {
            let ends = sources_of(config, source, &store).await?;
            let unreadable = Box::pin(unreadable(&ends.source)).await?;
            let mut verify = Verify::new(&ends, repair)?;
            verify.followed_since = followed_since(config, &source.name)?;
            let mut verified = verify.run(range, &mut progress).await?;
            verified.unreadable = unreadable;
            Ok(verified)
        };
        let verified = Box::pin(one).await;
        all.add(&source.name, verified);
    }
    store.close().await;
    Ok(all)
}

/// Compares one source with the store.
pub struct Verify<S, St> {
    source: Arc<S>,
    selection: Selection<S>,
    merger: Merger<St>,
    repair: bool,
    /// Since when the source has been followed; seconds since 1970 (UTC).
    followed_since: Option<i64>,
}

impl<S: Source, St: Store> Verify<S, St> {
    /// Between these ends.
    ///
    /// # Errors
    /// [`EngineError::Bug`] for an unknown country.
    pub fn new(ends: &Ends<S, St>, repair: bool) -> Result<Self, EngineError> {
        Ok(Self {
            source: Arc::clone(&ends.source),
            selection: ends.selection()?,
            merger: ends.merger("verify"),
            repair,
            followed_since: None,
        })
    }

    /// From when on the store should have every call, of those from `since` on.
    /// A store that has an older call should have these, and so should one that
    /// is being fed since some time before; clocks may differ.
    async fn known_since(&self, since: i64) -> Result<Option<i64>, EngineError> {
        let Merger {
            store,
            source,
            tenant,
            ..
        } = &self.merger;
        let followed = self.followed_since.map(|since| since + CLOCKS_SECONDS);
        let first = store.page(source, Mark::default(), 1).await?;
        let Some(first) = first else {
            return Ok(followed);
        };
        let loaded = store.load(source, tenant, &first.keys).await?;
        let mut calls = loaded.calls.values();
        let is_older = calls.any(|call| call.started_at < since);
        Ok(if is_older { Some(since) } else { followed })
    }

    /// Compares a range.
    ///
    /// # Errors
    /// As [`verify`].
    pub async fn run(
        &mut self,
        range: &Range,
        progress: &mut (impl FnMut(&Verified) + Send),
    ) -> Result<Verified, EngineError> {
        let until = range.until.unwrap_or((self.merger.clock)());
        let calls = Span::of(&self.merger.rules.zone, range.since, until);
        let mut verified = Verified::new(&self.merger.source, calls.from, calls.until);
        verified.known_since = self.known_since(range.since).await?;
        let (mut next, mut seconds, mut failures) = (calls.from, FIRST_SECONDS, 0);
        while next < calls.until {
            let window = Span {
                from: next,
                until: calls.until.min(next + seconds),
            };
            match self.window(calls, window, &mut verified).await {
                Ok(Some(rows)) => {
                    failures = 0;
                    next = window.until;
                    verified.done = next - calls.from;
                    progress(&verified);
                    if rows < ROWS_MAX / 4 {
                        seconds = (seconds * 2).min(LONGEST_SECONDS);
                    }
                }
                Ok(None) if seconds > 1 => seconds = (seconds / 2).max(1),
                Ok(None) => {
                    failures += 1;
                    self.wait(no_answer(), failures).await?;
                }
                Err(error) => {
                    failures += 1;
                    self.selection.forget();
                    self.wait(error, failures).await?;
                }
            }
        }
        Ok(verified)
    }

    async fn wait(&self, error: EngineError, failures: u32) -> Result<(), EngineError> {
        let passes = if let EngineError::Source(error) = &error {
            error.is_transient() || matches!(error, SourceError::Query { .. })
        } else if let EngineError::Store(error) = &error {
            error.is_transient()
        } else {
            false
        };
        if !passes || failures >= TRIES {
            return Err(error);
        }
        tokio::time::sleep(TRY_PAUSE).await;
        Ok(())
    }

    /// Compares a window. The most rows of a table; `None`: it is too large.
    async fn window(
        &mut self,
        calls: Span,
        window: Span,
        verified: &mut Verified,
    ) -> Result<Option<usize>, EngineError> {
        let begun = Instant::now();
        let Some((most, merging)) = self.look(calls, window, None).await? else {
            return Ok(None);
        };
        let took = begun.elapsed();
        let mut first = Window::of(&merging, verified);
        let mut looks = 0;
        while !first.is_equal() && looks < LOOKS {
            looks += 1;
            let head = self.source.head().await?;
            let is_followed = self.reaches(&head).await?;
            verified.is_behind |= !is_followed;
            let hold = self.merger.store.hold(&self.merger.source).await?;
            let expected = self.merger.store.progress(&self.merger.source).await?;
            if let Some(expected) = &expected {
                let (position, gtid) = (&expected.position, &expected.gtid);
                self.source.committed(position, gtid).await?;
            }
            let Some((_, merging)) = self.look(calls, window, None).await? else {
                return Ok(None);
            };
            let again = Window::of(&merging, verified);
            let (mut same, changed) = again.split(&first);
            if !changed.is_equal() && looks < LOOKS {
                // Calls change while they are looked at.
                first = again;
                continue;
            }
            if !same.is_equal()
                && self.repair
                && let Some(expected) = expected
                && let Some((_, merging)) = self.look(calls, window, Some(&same)).await?
            {
                self.merger.commit(hold, expected, merging, None).await?;
                verified.repaired(&mut same);
            } else {
                drop(hold);
            }
            verified.take(same);
            break;
        }
        verified.counted(&first);
        // The dialers have the tables for themselves for longer than we had them.
        tokio::time::sleep(took * 2).await;
        Ok(Some(most))
    }

    /// Reads a window and merges it in memory: all of it, or what belongs to
    /// differences.
    async fn look(
        &mut self,
        calls: Span,
        window: Span,
        only: Option<&Window>,
    ) -> Result<Option<(usize, Merging)>, EngineError> {
        let now = (self.merger.clock)();
        let rows_max = match window.until - window.from {
            1 => usize::MAX,
            _ => ROWS_MAX,
        };
        let read = rows::read(&mut self.selection, calls, window, now, rows_max);
        let Ok(read) = tokio::time::timeout(PATIENCE, read).await else {
            return Ok(None);
        };
        let Some(Rows {
            mut details,
            all,
            most,
        }) = read?
        else {
            return Ok(None);
        };
        if let Some(only) = only {
            details.retain(|(_, detail)| only.is_about(detail));
        }
        let rows = Rows { details, all, most };
        let keys = rows.calls();
        let loading = self.merger.load(rows).await?;
        let gone = gone::find(&mut self.selection, &keys, &loading.loaded, now).await?;
        let mut merging = self.merger.apply(loading, gone);
        // Judged and attributed anew, also where the row says what is known.
        let origin = Origin::new(&Arc::from("verify"), 0, 0, 0);
        let page = compare::page(&keys);
        merging.working.recount(&self.merger.rules, &page, &origin);
        Ok(Some((most, merging)))
    }

    /// Waits until the store has everything up to `head`. False when nobody
    /// applies anything to it.
    async fn reaches(&self, head: &crate::binlog::Position) -> Result<bool, EngineError> {
        let (store, source) = (&self.merger.store, &self.merger.source);
        let mut last = None;
        let mut moved = Instant::now();
        loop {
            let stored = store.progress(source).await?;
            if stored.as_ref().is_some_and(|at| at.position >= *head) {
                return Ok(true);
            }
            if stored != last {
                (last, moved) = (stored, Instant::now());
            }
            if moved.elapsed() > STANDSTILL {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}

fn no_answer() -> EngineError {
    SourceError::Query {
        what: "the calls of one second".to_owned(),
        detail: "no answer in time: a table may be locked".to_owned(),
    }
    .into()
}
