//! Results that clients posted and that wait for whoever has the lease of their source.
//!
//! They are durable before the client is answered, and are taken and deleted in the one
//! transaction of the batch that applies them: so each is applied once, whichever
//! daemon took it and whatever crashes.

use crate::vicidial::Posted;

/// Posted results that may wait of a source: some hours of a large installation whose
/// source is away.
pub const POSTED_MAX: u64 = 100_000;

/// How long an `Idempotency-Key` is remembered, in seconds.
pub(in crate::store) const KEY_SECONDS: i64 = 86_400;

/// A result that a client posts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewPost {
    /// The tenant of the client's key.
    pub tenant: String,
    /// The source that the call is of, which is the tenant's.
    pub source: String,
    /// What was posted.
    pub posted: Posted,
    /// Hashes of its `Idempotency-Key` and of its body.
    pub once: Option<(String, String)>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostOutcome {
    /// It is durable, or was already; the id of its DID, where it names one.
    Recorded(Option<i64>),
    /// It names a DID that is not known, and those are not added.
    UnknownDid,
    /// Its `Idempotency-Key` came before, with another body.
    OtherBody,
    /// Too many wait.
    Full,
}

/// A posted result that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its id, higher than those of older ones.
    pub id: i64,
    /// What was posted.
    pub posted: Posted,
}
