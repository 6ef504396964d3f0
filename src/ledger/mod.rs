//! PURE: the only place where numbers change. No I/O, no clock, no async.
//!
//! `Fact`s go in, a [`ChangeSet`] comes out: [`keys`] says what must be loaded,
//! [`Working`] applies the facts, [`Working::finish`] tells the difference.

#![warn(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

mod call;
mod change;
mod counters;
mod history;
mod keys;
mod outcome;
mod pruned;
mod rules;
mod settle;
mod working;

pub use call::{
    Call, CallKey, CallOrigin, Contribution, Dial, DialKey, OPENED_WITHIN_SECONDS, named_second,
};
pub use change::{AuditEntry, ChangeSet, DailyKey, Keys, Loaded, StatDelta};
pub use counters::{Counters, percent, share};
pub use history::{ChangeEntry, Step, Subject, Tracked, steps};
pub use keys::{further_keys, keys};
pub use outcome::{Attribution, Outcome};
pub use pruned::{Aged, Pruned, SPARED_SECONDS};
pub use rules::{CODE_WINDOW_SECONDS, LEAD_WINDOW_SECONDS, Prefer, Rules, Success};
pub use working::{Frame, Working};
