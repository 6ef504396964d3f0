//! What the reading half of the engine knows.

use std::collections::BTreeSet;

use crate::config::BadRow;
use crate::engine::ahead::Look;
use crate::engine::archivings::Archivings;
use crate::engine::batch::BatchSize;
use crate::engine::layouts::Layouts;
use crate::landmark::Landmark;
use crate::vicidial::Interpreter;

/// What the reading half knows of the tables, kept from stream to stream.
#[derive(Debug)]
pub(in crate::engine) struct Reading {
    pub(in crate::engine) layouts: Layouts,
    pub(in crate::engine) archivings: Archivings,
    /// A look ahead that a failure cut short, in the binlog that is read.
    pub(in crate::engine) look: Option<Look>,
    pub(in crate::engine) interpreter: Interpreter,
    pub(in crate::engine) size: BatchSize,
    pub(in crate::engine) bad_row: BadRow,
    pub(in crate::engine) warned: Warned,
}

impl Reading {
    /// Goes on in another server's binlog, where this is known.
    pub(in crate::engine) fn begin_anew(&mut self, landmarks: &[Landmark]) {
        self.layouts = Layouts::of(landmarks);
        self.archivings = Archivings::of(landmarks);
        // It was a look at the other server's binlog.
        self.look = None;
    }
}

/// What the log has been told already: each once, however often it happens.
#[derive(Debug, Default)]
pub(in crate::engine) struct Warned {
    /// Shapes of statements whose rows are read by a time.
    pub(super) shapes: BTreeSet<String>,
    pub(super) statements: bool,
    pub(super) images: bool,
    pub(super) codes: BTreeSet<u8>,
}
