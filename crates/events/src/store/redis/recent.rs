//! The topics of the last events that this node has acknowledged or applied: what to name when they turn out lost.

use std::collections::{BTreeSet, VecDeque};

use parking_lot::Mutex;

use super::id::Id;
use crate::{Seq, Topic, Topics};

#[derive(Default)]
pub(super) struct Recent {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    events: VecDeque<(Id, Topics)>,
    /// Generations that are over, and where they ended.
    ends: VecDeque<(u64, Seq)>,
}

impl Recent {
    /// How many events are remembered.
    const EVENTS_MAX: usize = 65_536;

    /// How many generations are remembered.
    const ENDS_MAX: usize = 256;

    /// Remembers an event. `false`: its generation ended before it.
    pub(super) fn add(&self, id: Id, topics: &Topics) -> bool {
        let mut inner = self.inner.lock();
        if inner.ends.iter().any(|(generation, end)| *generation == id.generation && id.seq > *end) {
            return false;
        }
        if inner.events.len() == Self::EVENTS_MAX {
            inner.events.pop_front();
        }
        inner.events.push_back((id, topics.clone()));
        true
    }

    /// A generation is over and ended at `end`. The topics of the events that were lost with it; told once.
    pub(super) fn end(&self, generation: u64, end: Seq) -> BTreeSet<Topic> {
        let mut inner = self.inner.lock();
        if inner.ends.len() == Self::ENDS_MAX {
            inner.ends.pop_front();
        }
        inner.ends.push_back((generation, end));
        let mut lost = BTreeSet::new();
        inner.events.retain(|(id, topics)| {
            let survives = id.generation != generation || id.seq <= end;
            if !survives {
                lost.extend(topics.iter().cloned());
            }
            survives
        });
        lost
    }
}
