//! What a command did for several sources, one after the other: one that fails does
//! not keep the others from being looked at.

use crate::engine::policy::EngineError;

/// A source that a command could not do its work for.
#[derive(Debug)]
pub struct SourceFailure {
    /// The source.
    pub source: String,
    /// Why not.
    pub error: EngineError,
}

/// What became of each source.
#[derive(Debug)]
pub struct OfSources<T> {
    /// What was done, in the order of the configuration.
    pub done: Vec<T>,
    /// The sources that failed.
    pub failed: Vec<SourceFailure>,
}

impl<T> Default for OfSources<T> {
    fn default() -> Self {
        Self {
            done: Vec::new(),
            failed: Vec::new(),
        }
    }
}

impl<T> OfSources<T> {
    /// Notes what became of a source.
    pub(super) fn add(&mut self, source: &str, result: Result<T, EngineError>) {
        match result {
            Ok(done) => self.done.push(done),
            Err(error) => self.failed.push(SourceFailure {
                source: source.to_owned(),
                error,
            }),
        }
    }
}
