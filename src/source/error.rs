//! Everything that can go wrong with a source, told apart by what to do about it.

/// A failure of the VICIdial database or of the way to it.
///
/// `Display` says what happened; [`SourceError::hint`] says how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nobody answers at the address, or the connection broke: worth another try.
    #[error("the connection to {address} failed: {detail}")]
    Unreachable {
        /// `host:port` or socket path.
        address: String,
        /// What the network or the driver said.
        detail: String,
    },
    /// The source sent nothing, not even a heartbeat, for longer than the deadline.
    #[error("the source sent nothing for {seconds} s, not even a heartbeat")]
    Silent {
        /// The deadline that passed, in seconds.
        seconds: u64,
    },
}
