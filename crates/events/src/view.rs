//! A topic as one reader follows it.

use std::sync::Arc;

use crate::Seq;
use crate::ring::Ring;
use crate::topic::TopicState;

/// One of a reader's topics.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) topic: Arc<TopicState>,
    /// Where its reader waits.
    pub(crate) slot: usize,
    /// The floor up to which the client knows that events are missing.
    pub(crate) excused: Seq,
}

impl View {
    pub(crate) fn new((topic, slot): (Arc<TopicState>, usize)) -> Self {
        Self { topic, slot, excused: Seq::ZERO }
    }

    /// Whether a reader that has everything up to `taken` may lack an event of which its client knows nothing.
    pub(crate) fn lacks(&self, floor: Seq, taken: Seq) -> bool {
        floor > taken && floor > self.excused
    }
}

/// The floor of what a reader reads of a ring.
pub(crate) fn floor_of(ring: &Ring, reads_latest_only: bool) -> Seq {
    if reads_latest_only { ring.floor().max(ring.latest_floor()) } else { ring.floor() }
}
