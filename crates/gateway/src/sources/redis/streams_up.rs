//! Several streams are one source, which is heard when all of them are read.

use std::collections::BTreeSet;
use std::fmt;

use parking_lot::Mutex;

use crate::sources::states::SourceState;

/// Which of the streams are read.
pub(in crate::sources) struct StreamsUp {
    state: SourceState,
    count: usize,
    up: Mutex<BTreeSet<usize>>,
}

impl StreamsUp {
    /// So many streams, none of which is read yet.
    pub(in crate::sources) fn new(state: SourceState, count: usize) -> Self {
        Self { state, count, up: Mutex::default() }
    }

    /// This one is read.
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

    /// This one is not.
    pub(super) fn down(&self, number: usize, reason: &'static str, detail: &dyn fmt::Display) {
        self.up.lock().remove(&number);
        self.state.down(reason, detail);
    }
}
