//! The right of one daemon to write a source, among several that may.
//!
//! Daemons that are told to follow the same source into one store agree by its
//! lease: one has it and writes, the others stand by. A lease ends by itself when it
//! is not renewed, by the store's clock alone, and each new one has a higher fencing
//! token. A commit names the token that it was begun under, and a store refuses one
//! that is not the newest: a daemon that was paused for longer than its lease
//! changes nothing when it wakes, whatever it believes.

/// How long a lease lasts after it was last renewed, in seconds. So long a source is
/// not followed after the crash of a machine; much less, and a slow store would end it.
pub const LEASE_SECONDS: u32 = 10;

/// A lease that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who has it.
    pub holder: String,
    /// Raised with each new lease of the source.
    pub fencing_token: u64,
    /// Another daemon that had it before, and did not give it back or was seen with
    /// it: `None` where none is known.
    pub taken_from: Option<String>,
}

/// Who asks for a lease.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Its name, the same after a restart.
    pub holder: &'a str,
    /// Nobody else of this name can be running: a lease that it had before its
    /// restart need not end first.
    pub restarts: bool,
    /// How long it is to last, in seconds; [`LEASE_SECONDS`] but for tests.
    pub seconds: u32,
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// It is given.
    Held(Lease),
    /// Somebody else has it.
    Taken {
        /// Who.
        holder: String,
        /// When it ends if it is not renewed, in seconds from now.
        ends_in: i64,
    },
}

/// The lease of a source as a store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseState {
    /// Who has it, or had it last; empty when it was given back or never given.
    pub holder: String,
    /// Its token; 0 before the first lease.
    pub fencing_token: u64,
    /// When it was given, in seconds since 1970 by the store's clock.
    pub acquired_at: i64,
    /// When it ends, by the same clock.
    pub expires_at: i64,
    /// The same clock's time.
    pub now: i64,
}

impl LeaseState {
    /// Whether somebody may write.
    #[must_use]
    pub fn is_held(&self) -> bool {
        // A clock of whole seconds: the last one counts in full.
        !self.holder.is_empty() && self.now <= self.expires_at
    }

    /// What a claim comes to.
    pub(in crate::store) fn answer(&self, claim: &Claim<'_>) -> Grant {
        let is_own = claim.restarts && self.holder == claim.holder;
        if self.is_held() && !is_own {
            return Grant::Taken {
                holder: self.holder.clone(),
                ends_in: self.expires_at - self.now,
            };
        }
        let is_other = !self.holder.is_empty() && self.holder != claim.holder;
        Grant::Held(Lease {
            holder: claim.holder.to_owned(),
            fencing_token: self.fencing_token + 1,
            taken_from: is_other.then(|| self.holder.clone()),
        })
    }
}
