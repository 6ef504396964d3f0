//! How far behind each source was over the last hours, and how much was applied: what
//! no counter tells, and a chart shows.
//!
//! Kept in memory, some bytes a minute. Behind a restart it begins anew, and the chart
//! says since when it knows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::api::Api;
use crate::api::listen::is_told;

/// Minutes that are kept: six hours.
pub(super) const MINUTES: usize = 360;

/// Minutes that a clock is set back without more ado.
const AHEAD_MAX: i64 = 2;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// One minute of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Minute {
    /// Which one, since 1970 (UTC).
    pub(super) at: i64,
    /// The most seconds that the numbers were behind; `None` where that is not known.
    pub(super) lag_seconds: Option<i64>,
    /// Changes applied in it.
    pub(super) changes: u64,
}

/// The last minutes of every source.
#[derive(Debug, Default)]
pub(crate) struct Courses(Mutex<BTreeMap<String, Course>>);

#[derive(Debug, Default)]
struct Course {
    minutes: VecDeque<Minute>,
    /// Changes as counted at the last look.
    changes: u64,
}

impl Courses {
    /// The minutes of a source, the oldest first; at most [`MINUTES`].
    pub(super) fn of(&self, source: &str) -> Vec<Minute> {
        let courses = self.lock();
        let course = courses.get(source);
        course.map_or_else(Vec::new, |course| course.minutes.iter().copied().collect())
    }

    /// Notes how a source is at `now` (seconds since 1970, UTC): how far behind, and how
    /// many changes were applied since the daemon's start.
    fn note(&self, source: &str, now: i64, lag_seconds: Option<i64>, changes: u64) {
        let mut courses = self.lock();
        let course = courses.entry(source.to_owned()).or_default();
        let applied = changes.saturating_sub(course.changes);
        course.changes = changes;
        let at = now.div_euclid(60);
        // Minutes of a clock that was far ahead, and was set right, never were.
        while (course.minutes.back()).is_some_and(|last| last.at > at + AHEAD_MAX) {
            course.minutes.pop_back();
        }
        match course.minutes.back_mut() {
            // The clock may have been set back: that is no new minute.
            Some(last) if last.at >= at => {
                last.lag_seconds = last.lag_seconds.max(lag_seconds);
                last.changes += applied;
            }
            Some(_) | None => course.minutes.push_back(Minute {
                at,
                lag_seconds,
                changes: applied,
            }),
        }
        while course.minutes.len() > MINUTES {
            course.minutes.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Course>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the sources until it is time to stop.
pub(crate) async fn watch(api: Api, mut stop: watch::Receiver<bool>) {
    loop {
        let now = api.vitals.now();
        for source in api.vitals.sources() {
            let changes = source.counts().changes;
            api.courses
                .note(source.name(), now, source.lag_seconds(), changes);
        }
        tokio::select! {
            () = is_told(&mut stop) => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_its_worst_lag_and_all_its_changes() {
        let courses = Courses::default();
        for (now, lag, changes) in [
            (600, Some(0), 10),
            (630, Some(7), 15),
            (659, None, 20),
            (660, Some(1), 21),
            // Set back.
            (640, Some(2), 22),
        ] {
            courses.note("main", now, lag, changes);
        }
        let minute = |at, lag, changes| Minute {
            at,
            lag_seconds: Some(lag),
            changes,
        };
        assert_eq!(courses.of("main"), [minute(10, 7, 20), minute(11, 2, 2)]);
        assert_eq!(courses.of("other"), []);
    }

    #[test]
    fn a_clock_that_was_an_hour_ahead_leaves_nothing() {
        let courses = Courses::default();
        for now in [600, 4200, 660] {
            courses.note("main", now, None, 0);
        }
        let at: Vec<i64> = courses.of("main").iter().map(|minute| minute.at).collect();
        assert_eq!(at, [10, 11]);
    }

    #[test]
    fn six_hours_are_kept() {
        let courses = Courses::default();
        for minute in 0..500 {
            courses.note("main", minute * 60, None, 0);
        }
        let kept = courses.of("main");
        assert_eq!((kept.len(), kept[0].at), (MINUTES, 140));
    }
}
