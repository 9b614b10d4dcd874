//! What a session has still to send of the states of its topics.

use std::collections::VecDeque;

use events::{Cursor, Seq, Topic};

/// What a session that wants the states of its topics has still to send of them.
#[derive(Debug, Default)]
pub(super) struct States {
    pub(super) pending: VecDeque<Pending>,
    /// The first `hello` begins with the states of all topics.
    pub(super) begins: bool,
    /// The next batch goes before the next part.
    pub(super) yields: bool,
}

/// The state of a topic that has not been sent whole.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) topic: Topic,
    /// The point whose state it is.
    pub(super) point: Cursor,
    /// Sent up to here.
    pub(super) after: Seq,
}

impl States {
    /// Those of a client that came with a cursor, or without one.
    pub(super) fn new(resumed: bool) -> Self {
        Self { begins: !resumed, ..Self::default() }
    }

    /// Whether there is more to send.
    pub(super) fn are_pending(&self) -> bool {
        !self.pending.is_empty()
    }
}
