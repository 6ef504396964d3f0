//! Going through everything in a store, a bounded number of rows at a time.

use crate::ledger::Keys;

/// How far one has got: the last call and the last dial seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Id of the last call; 0 before the first.
    pub call: i64,
    /// Id of the last dial; 0 before the first.
    pub dial: i64,
}

/// Some calls or some dials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What names them, with the leads and times at which their dials are found.
    pub keys: Keys,
    /// How many there are.
    pub rows: u32,
    /// Behind the last of them.
    pub mark: Mark,
}
