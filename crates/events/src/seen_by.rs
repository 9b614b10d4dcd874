//! What a reader makes of events that reach it by several of its topics, or that replace one another.

use std::collections::HashSet;

use crate::Event;
use crate::view::View;

/// The topics by which a reader sees an event beside the first. Most events have none.
#[derive(Debug, Default)]
pub(crate) struct SeenBy(Vec<Other>);

/// One more topic of an event. They are in the order of the events, and for each event in that of the topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Other {
    is_ephemeral: bool,
    number: u64,
    /// The topic's place among the reader's.
    topic: usize,
}

impl SeenBy {
    /// The reader sees `event`, which is at or behind all that were added before, by this topic too.
    pub(crate) fn add(&mut self, event: &Event, topic: usize) {
        self.0.push(Other { is_ephemeral: event.seq().is_none(), number: event.number(), topic });
    }

    /// The reader does not take `event`, the last of all.
    pub(crate) fn forget(&mut self, event: &Event) {
        self.0.truncate(self.0.len() - self.others(event).len());
    }

    fn others(&self, event: &Event) -> &[Other] {
        if self.0.is_empty() {
            return &[];
        }
        let of_event = (event.seq().is_none(), event.number());
        let start = self.0.partition_point(|other| (other.is_ephemeral, other.number) < of_event);
        let others = &self.0[start..];
        &others[..others.partition_point(|other| (other.is_ephemeral, other.number) == of_event)]
    }

    /// Names the topics of events that have several.
    pub(crate) fn name(&self, views: &[View], events: &mut [Event]) {
        if self.0.is_empty() {
            return;
        }
        for event in events {
            let others = self.others(event);
            if !others.is_empty() {
                *event = event.with_topics(others.iter().map(|other| views[other.topic].topic.name()));
            }
        }
    }
}

/// Sorts by number. An event in several topics stays once, as the first of the reader's topics has it: the sort is
/// stable, and the topics were read in order.
pub(crate) fn order(out: &mut Vec<Event>, start: usize, views: &[View], seen_by: &mut SeenBy) {
    let new = &mut out[start..];
    if new.is_sorted_by(|a, b| a.number() < b.number()) {
        return;
    }
    new.sort_by_key(|event| event.number());
    let mut previous = None;
    let mut at = 0;
    out.retain(|event| {
        at += 1;
        let is_first = at <= start || previous.replace(event.number()) != Some(event.number());
        if !is_first {
            let is_of = |view: &View| view.topic.name().as_str() == event.topic();
            views.iter().position(is_of).into_iter().for_each(|topic| seen_by.add(event, topic));
        }
        is_first
    });
}

/// Of the events in `out[start..]` that replace one another, leaves the latest. An event replaces another only if the
/// reader sees both by the same topics.
pub(crate) fn conflate(out: &mut Vec<Event>, start: usize, seen_by: &SeenBy) {
    if out[start..].iter().filter(|event| event.identity().is_some()).nth(1).is_none() {
        return;
    }
    let mut replaced = Vec::new();
    let mut seen = HashSet::new();
    for (at, event) in out.iter().enumerate().skip(start).rev() {
        if let Some(identity) = event.identity() {
            let others: Box<[usize]> = seen_by.others(event).iter().map(|other| other.topic).collect();
            if !seen.insert((event.seq().is_none(), identity, others)) {
                replaced.push(at);
            }
        }
    }
    drop(seen);
    let mut at = 0;
    out.retain(|_| {
        let is_replaced = replaced.pop_if(|replaced| *replaced == at).is_some();
        at += 1;
        !is_replaced
    });
}
