//! Combines several streams into one source, which is up when all of them are read.

use std::collections::BTreeSet;
use std::fmt;

use parking_lot::Mutex;

use crate::sources::states::SourceState;

/// The set of streams that are being read.
pub(in crate::sources) struct StreamsUp {
    state: SourceState,
    count: usize,
    up: Mutex<BTreeSet<usize>>,
}

impl StreamsUp {
    /// Tracks `count` streams, of which none is read yet.
    pub(in crate::sources) fn new(state: SourceState, count: usize) -> Self {
        Self { state, count, up: Mutex::default() }
    }

    /// Records that a stream is being read.
    pub(super) fn up(&self, number: usize) {
        let are_all = {
            let mut up = self.up.lock();
            up.insert(number);
            up.len() == self.count
        };
        if are_all {
            self.state.up();
        }
    }

    /// Records that a stream is not being read.
    pub(super) fn down(&self, number: usize, reason: &'static str, detail: &dyn fmt::Display) {
        self.up.lock().remove(&number);
        self.state.down(reason, detail);
    }
}
