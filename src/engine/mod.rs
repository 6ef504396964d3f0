//! One loop per source: batch, load, apply, commit, retry, quarantine, shut down.
//!
//! [`run`] wires the real ends together; [`follow`] is the loop, between any
//! [`Source`](crate::source::Source) and any [`Store`](crate::store::Store). The reading half (`intake`) runs ahead of the
//! applying half (`apply`) through a channel of two batches, so that reading
//! does not wait for a commit and memory does not grow with a backlog.

mod ahead;
mod apply;
mod archivings;
mod aside;
mod backfill;
mod batch;
mod cache;
mod clocks;
mod daemon;
mod desk;
mod failover;
mod follow;
mod intake;
mod layouts;
mod lease;
mod lookout;
mod lookup;
mod policy;
mod posts;
mod pulse;
mod quarantine;
mod recount;
mod replay;
mod reread;
mod retention;
mod run;
mod selection;
mod serve;
mod several;
mod statuses;
mod verify;
mod vitals;

pub use apply::Clock;
pub use backfill::{Backfill, Ends, Estimate, Loaded, Range, TableEstimate, backfill, estimate};
pub use batch::Tally;
pub use daemon::{Steering, run, vitals_of};
pub use desk::{Desk, NotKept};
pub use follow::Summary;
pub use policy::{Action, EngineError, on_source, on_store};
pub use pulse::{Report, Watcher};
pub use quarantine::{Retried, RetriedRows, Verdict, retry};
pub use recount::{Recounted, recount};
pub use replay::{Progress, Replay, Replayed, replay};
pub use run::{Settings, follow};
pub use serve::{serve, vitals_of_serving};
pub use several::{OfSources, SourceFailure};
pub use verify::{Difference, Field, Kind, Verified, Verify, verify};
pub use vitals::{Counts, Outlook, Phase, SourceVitals, Vitals};
