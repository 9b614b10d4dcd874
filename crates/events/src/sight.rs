//! What a reader wants and may see, where that is not everything.

use std::sync::Arc;

use crate::topic::TopicState;
use crate::{Event, Seq, TypeFilter};

/// What a reader sees of an event.
pub trait Lens: std::fmt::Debug + Send + Sync + 'static {
    /// The event as this reader may see it: the same, or another of the same number.
    fn see(&self, event: &Event) -> Event;
}

/// What a reader wants and may see. Rare.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    types: Option<TypeFilter>,
    pub(crate) lens: Option<Arc<dyn Lens>>,
    /// Topics whose states are read up to a point: what a state can have up to there is not read once more.
    begins: Vec<(Arc<TopicState>, Seq)>,
    /// Parts of states have been read that knew of events up to here.
    known: Seq,
}

impl Sight {
    /// Events of these types alone.
    pub(crate) fn of_types(types: TypeFilter) -> Self {
        Self { types: Some(types), ..Self::default() }
    }

    /// Whether the type of the event is wanted.
    pub(crate) fn wants_type(&self, event: &Event) -> bool {
        self.types.as_ref().is_none_or(|types| types.wants(event))
    }

    /// Whether the event is wanted by the topic by which it is seen.
    pub(crate) fn wants(&self, event: &Event) -> bool {
        let is_known = |(topic, point): &(Arc<TopicState>, Seq)| {
            event.seq().is_some_and(|seq| seq <= *point)
                && event.is_for_states()
                && event.topic() == topic.name().as_str()
        };
        self.wants_type(event) && !self.begins.iter().any(is_known)
    }

    /// The state of a topic up to `point` is read from now on.
    pub(crate) fn begin(&mut self, topic: &Arc<TopicState>, point: Seq) {
        self.begins.push((Arc::clone(topic), point));
        self.know(point);
    }

    /// A part of a state has been read that knew of events up to `seq`.
    pub(crate) fn know(&mut self, seq: Seq) {
        self.known = self.known.max(seq);
    }

    /// Everything up to the cursor has been read: there is nothing left to know better.
    pub(crate) fn passed(&mut self, cursor: Seq) {
        self.begins.retain(|(_, point)| *point > cursor);
    }

    /// History goes on from `shared`. Says whether a reader at `cursor` has been given states of what was behind it.
    pub(crate) fn history_ends(&mut self, shared: Seq, cursor: Seq) -> bool {
        let is_wrong = self.known > shared && self.known > cursor;
        if is_wrong {
            self.begins.clear();
        }
        self.known = Seq::ZERO;
        is_wrong
    }
}
