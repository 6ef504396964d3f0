//! PURE: the only place where numbers change.

mod call;
mod change;
mod counters;
mod outcome;

pub use call::{Call, CallKey, Contribution, Dial, DialKey};
pub use change::{AuditEntry, ChangeSet, DailyKey, Keys, Loaded, StatDelta};
pub use counters::Counters;
pub use outcome::{Attribution, Outcome};
