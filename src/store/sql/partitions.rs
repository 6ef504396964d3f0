//! PostgreSQL's partitions: made before the first row of their time comes, dropped
//! when all of them is past its retention.
//!
//! The tables and both functions are in `schema/postgres`. A partition is made in a
//! transaction of its own and not in a batch's: it has to lock the table for a
//! moment, and where somebody reads that for long it is given up after half a second.
//! The rows then are in the default partition, and move with the next try.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::dialect::Dialect;
use super::error::{is_forbidden, is_there_already};
use super::session::Pool;
use crate::ledger::ChangeSet;
use crate::telemetry::field;

/// Time after which what could not be made is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// How long before its time a partition is made.
pub(super) const AHEAD_SECONDS: i64 = 8 * 86_400;

const WEEK_SECONDS: i64 = 7 * 86_400;

/// 1970-01-05, a Monday.
const MONDAY: i64 = 4 * 86_400;

/// A partitioned table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Parted {
    Calls,
    Dials,
    Audit,
    History,
}

impl Parted {
    pub(super) const ALL: [Self; 4] = [Self::Calls, Self::Dials, Self::Audit, Self::History];

    pub(super) fn table(self) -> &'static str {
        match self {
            Self::Calls => "call_records",
            Self::Dials => "dials",
            Self::Audit => "audit_log",
            Self::History => "change_history",
        }
    }

    /// How long a row that is past its retention waits for its partition to be
    /// dropped, in seconds: twice what one spans.
    pub(super) fn patience(self) -> i64 {
        match self {
            Self::Calls | Self::Dials => 62 * 86_400,
            Self::Audit | Self::History => 2 * WEEK_SECONDS,
        }
    }

    /// The partition of a time: its first second and the first behind it.
    pub(super) fn bounds(self, at: i64) -> Option<(i64, i64)> {
        match self {
            Self::Calls | Self::Dials => {
                let day = Timestamp::from_second(at).ok()?;
                let first = day.to_zoned(TimeZone::UTC).date().first_of_month();
                let next = first.last_of_month().tomorrow().ok()?;
                let second = |date: jiff::civil::Date| {
                    let midnight = date.to_zoned(TimeZone::UTC).ok()?;
                    Some(midnight.timestamp().as_second())
                };
                Some((second(first)?, second(next)?))
            }
            Self::Audit | Self::History => {
                let first = at - (at - MONDAY).rem_euclid(WEEK_SECONDS);
                Some((first, first + WEEK_SECONDS))
            }
        }
    }
}

/// Which partitions are known to be there. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Partitions(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// By table and first second.
    made: BTreeSet<(Parted, i64)>,
    /// When it could not be made.
    failed: BTreeMap<(Parted, i64), Instant>,
    warned: bool,
}

impl Partitions {
    fn with<R>(&self, f: impl FnOnce(&mut Known) -> R) -> R {
        // A test that panicked elsewhere must not hide its own message.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the partitions for the rows of a change, where they are missing.
    pub(super) async fn make_for(&self, pool: &Pool, change: &ChangeSet) {
        if pool.dialect() == Dialect::Postgres {
            self.make(pool, &needed(change)).await;
        }
    }

    /// Makes the partitions of soon.
    pub(super) async fn make_ahead(&self, pool: &Pool, now: i64) {
        if pool.dialect() != Dialect::Postgres {
            return;
        }
        let ahead = now.saturating_add(AHEAD_SECONDS);
        let both = |parted: Parted| [now, ahead].map(|at| (parted, parted.bounds(at)));
        let wanted = Parted::ALL.into_iter().flat_map(both);
        let wanted = wanted.filter_map(|(parted, bounds)| Some((parted, bounds?.0)));
        self.make(pool, &wanted.collect()).await;
    }

    /// Drops the partitions of which all is past its retention; how many. Where
    /// somebody reads them for long, or the role may not, another round tries again.
    pub(super) async fn drop(
        &self,
        pool: &Pool,
        parted: Parted,
        tenant_id: i64,
        before: i64,
    ) -> u64 {
        if pool.dialect() != Dialect::Postgres {
            return 0;
        }
        let drop = async {
            let mut tx = pool.begin_writing().await?;
            let drop = tx
                .query("SELECT didtail_drop_partitions(")
                .bind(parted.table())
                .sql(", ")
                .bind(tenant_id)
                .sql(", ")
                .bind(before)
                .sql(")");
            let row = tx.fetch_first(drop).await?;
            let dropped: i64 = row.ok_or(sqlx::Error::RowNotFound)?.take()?;
            tx.finish(u64::try_from(dropped).unwrap_or(0)).await
        };
        let dropped: Result<u64, sqlx::Error> = drop.await;
        match dropped {
            Ok(0) => 0,
            Ok(dropped) => {
                // One may be needed again, for what is loaded or read once more.
                self.with(|known| known.made.clear());
                dropped
            }
            Err(error) => {
                self.warn(parted, &error, "could not drop old partitions");
                0
            }
        }
    }

    fn warn(&self, parted: Parted, error: &sqlx::Error, what: &str) {
        if !self.with(|known| std::mem::replace(&mut known.warned, true)) {
            let then = if is_forbidden(error) {
                "the daemon's role needs EXECUTE on didtail_partition and didtail_drop_partitions (schema/README.md)"
            } else {
                "it is tried again by itself, and no row is lost meanwhile"
            };
            tracing::warn!(
                { field::TABLE } = parted.table(),
                { field::ERROR } = %error,
                "{what}; {then}"
            );
        }
    }

    async fn make(&self, pool: &Pool, wanted: &BTreeSet<(Parted, i64)>) {
        let missing: Vec<(Parted, i64)> = self.with(|known| {
            let is_missing = |one: &&(Parted, i64)| {
                let failed = known.failed.get(one);
                !known.made.contains(one) && failed.is_none_or(|at| at.elapsed() > RETRY)
            };
            wanted.iter().filter(is_missing).copied().collect()
        });
        for one in missing {
            let (parted, first) = one;
            let make = async {
                let mut tx = pool.begin_writing().await?;
                let make = tx
                    .query("SELECT CAST(didtail_partition(")
                    .bind(parted.table())
                    .sql(", ")
                    .bind(first)
                    .sql(") AS INTEGER)");
                tx.fetch_first(make).await?;
                tx.commit().await
            };
            let made: Result<(), sqlx::Error> = match make.await {
                // The function waits for whoever makes it at the same moment, but within
                // its transaction PostgreSQL remembers that there was no such table.
                Err(error) if is_there_already(&error) => Ok(()),
                made => made,
            };
            self.with(|known| {
                known.failed.remove(&one);
                if made.is_ok() {
                    known.made.insert(one);
                } else {
                    known.failed.insert(one, Instant::now());
                }
            });
            if let Err(error) = made {
                let what = "could not make a partition, its rows go to the default one";
                self.warn(parted, &error, what);
            }
        }
    }
}

/// The partitions that the rows of a change are in.
fn needed(change: &ChangeSet) -> BTreeSet<(Parted, i64)> {
    let mut needed = BTreeSet::new();
    let mut add = |parted: Parted, times: &mut dyn Iterator<Item = i64>| {
        let mut last = (i64::MAX, i64::MIN);
        for at in times {
            if !(last.0..last.1).contains(&at)
                && let Some(bounds) = parted.bounds(at)
            {
                last = bounds;
                needed.insert((parted, bounds.0));
            }
        }
    };
    let calls = change.calls.values();
    add(Parted::Calls, &mut calls.map(|call| call.opened_at));
    add(
        Parted::Dials,
        &mut change.dials.keys().map(|key| key.opened_at),
    );
    add(
        Parted::Audit,
        &mut change.audit.iter().map(|entry| entry.at),
    );
    let entries = change.history.values().flatten();
    add(Parted::History, &mut entries.filter_map(|entry| entry.at()));
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_months_and_weeks_in_utc() {
        // 2026-02-28 23:59:59, and the second behind it.
        let (last, next) = (1_772_323_199, 1_772_323_200);
        assert_eq!(
            Parted::Calls.bounds(last),
            Some((1_769_904_000, 1_772_323_200))
        );
        assert_eq!(
            Parted::Dials.bounds(next),
            Some((1_772_323_200, 1_775_001_600))
        );
        // Monday, 2026-02-23.
        let week = (1_771_804_800, 1_772_409_600);
        assert_eq!(Parted::Audit.bounds(last), Some(week));
        assert_eq!(Parted::History.bounds(week.0), Some(week));
        assert_eq!(
            Parted::History.bounds(week.0 - 1).map(|w| w.1),
            Some(week.0)
        );
        assert_eq!(Parted::Calls.bounds(i64::MAX), None);
    }
}
