//! Lines that say the same again and again: some are told, the others as one number.
//!
//! A store that is away for a night must not push everything else out of the log. Two
//! lines are the same when only numbers tell them apart: those of a position, a pause,
//! a count. The name of the source always tells them apart. Lines of level `debug` and
//! `trace` were asked for, and are told.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::field;

/// Lines of one kind that are told in a minute: half of what a log of a line a second
/// has room for.
const TOLD_MAX: u32 = 30;

/// Time after which they are told again.
const MINUTE: Duration = Duration::from_secs(60);

/// Kinds of lines that are counted at a time. There are some dozens; what is said by
/// another server could make more, and those are told.
const KINDS_MAX: usize = 256;

/// What was told lately.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    kinds: Mutex<Option<HashMap<u64, Told>>>,
}

/// What was told of one kind of line.
#[derive(Debug)]
struct Told {
    since: Instant,
    told: u32,
    untold: u64,
    level: Level,
    message: String,
}

/// Lines that were not told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) level: Level,
    pub(super) message: String,
    pub(super) times: u64,
}

impl Repeats {
    /// Begins to count; before, every line is told.
    pub(super) fn begin(&self) {
        self.kinds().get_or_insert_default();
    }

    /// Whether a line is told; otherwise it is counted.
    pub(super) fn tells(&self, event: &Event<'_>, now: Instant) -> bool {
        let level = *event.metadata().level();
        if level > Level::INFO {
            return true;
        }
        let mut guard = self.kinds();
        let Some(kinds) = guard.as_mut() else {
            return true;
        };
        let mut line = Line::default();
        event.metadata().callsite().hash(&mut line.hash);
        event.record(&mut line);
        let key = line.hash.finish();
        if kinds.len() >= KINDS_MAX && !kinds.contains_key(&key) {
            kinds.retain(|_, told| told.untold > 0 || now - told.since < MINUTE);
            if kinds.len() >= KINDS_MAX {
                return true;
            }
        }
        let told = kinds.entry(key).or_insert_with(|| Told {
            since: now,
            told: 0,
            untold: 0,
            level,
            message: line.message,
        });
        if told.untold == 0 && now.saturating_duration_since(told.since) >= MINUTE {
            (told.since, told.told) = (now, 0);
        }
        if told.told < TOLD_MAX {
            told.told += 1;
            return true;
        }
        told.untold += 1;
        false
    }

    /// What was not told until a minute ago; `all`: also since.
    pub(super) fn rest(&self, now: Instant, all: bool) -> Vec<Rest> {
        let mut rest = Vec::new();
        for told in self.kinds().iter_mut().flatten().map(|(_, told)| told) {
            let is_over = all || now.saturating_duration_since(told.since) >= MINUTE;
            if is_over && told.untold > 0 {
                rest.push(Rest {
                    level: told.level,
                    message: told.message.clone(),
                    times: std::mem::take(&mut told.untold),
                });
                (told.since, told.told) = (now, 0);
            }
        }
        rest
    }

    fn kinds(&self) -> MutexGuard<'_, Option<HashMap<u64, Told>>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tells a line from others.
#[derive(Default)]
struct Line {
    hash: DefaultHasher,
    message: String,
}

impl Visit for Line {
    fn record_str(&mut self, name: &Field, value: &str) {
        if name.name() == "message" {
            value.clone_into(&mut self.message);
        }
        name.name().hash(&mut self.hash);
        let is_name = name.name() == field::SOURCE;
        for byte in value.bytes().filter(|b| is_name || !b.is_ascii_digit()) {
            byte.hash(&mut self.hash);
        }
    }

    fn record_debug(&mut self, name: &Field, value: &dyn fmt::Debug) {
        self.record_str(name, &format!("{value:?}"));
    }

    fn record_f64(&mut self, _: &Field, _: f64) {}
    fn record_i64(&mut self, _: &Field, _: i64) {}
    fn record_u64(&mut self, _: &Field, _: u64) {}
    fn record_i128(&mut self, _: &Field, _: i128) {}
    fn record_u128(&mut self, _: &Field, _: u128) {}
}
