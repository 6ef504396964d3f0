//! Everything that can go wrong with the store, told apart by what to do about it.

/// A failure of the optimizer store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another daemon has moved this source's position since this one read it.
    #[error("another didtail writes the source `{source_name}` to this store: it is at {actual}")]
    OtherWriter {
        /// The source.
        source_name: String,
        /// The store's present position, or `no position`.
        actual: String,
    },
}
