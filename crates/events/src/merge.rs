//! The next events of many topics, in the order of their seqs, at the cost of what is taken.
//!
//! A reader with many topics behind it must not look at all that they hold to send one batch. So each topic shows its
//! next event only, and the topic whose event comes first gives events for as long as they come before those of the
//! others. A topic's lock is held for one such run and for no other topic's.

use std::cell::{Cell, OnceCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ring::Ring;
use crate::{Event, Log, Seq, TypeFilter};

/// How much one read may take. At least one event is taken, whatever the limit.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Events with a seq.
    pub events: usize,
    /// Bytes of JSON.
    pub bytes: usize,
}

/// What one read wants.
pub(crate) struct Wants<'a> {
    types: Option<&'a TypeFilter>,
    log: &'a Log,
    /// Read for the first event that can expire: most reads meet none.
    now_us: OnceCell<u64>,
}

impl<'a> Wants<'a> {
    pub(crate) fn new(log: &'a Log, types: Option<&'a TypeFilter>) -> Self {
        Self { types, log, now_us: OnceCell::new() }
    }

    pub(crate) fn event(&self, event: &Event) -> bool {
        let is_expired = || event.is_expired(*self.now_us.get_or_init(|| self.log.now_us()));
        self.types.is_none_or(|types| types.wants(event)) && !(event.can_expire() && is_expired())
    }
}

/// One of a topic's two lines of events, as far as it has been taken. Ordered by its next event, the first of the
/// reader's topics first where several have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    /// The seq of its next event.
    next: Seq,
    /// The topic's place among the reader's.
    pub(crate) topic: usize,
    /// Whether it is the line of the topic's latest-only events.
    latest_only: bool,
    /// Everything up to here has been taken.
    pub(crate) taken: Seq,
    /// Where the last event taken stood in the ring, unless others have left it since.
    index: usize,
}

impl Source {
    /// The lines of a ring that have an event in (`after`, `up_to`].
    pub(crate) fn of_ring(
        topic: usize,
        ring: &Ring,
        reads_latest_only: bool,
        after: Seq,
        up_to: Seq,
    ) -> impl Iterator<Item = Self> {
        let latest = reads_latest_only.then(|| ring.latest_only(after, up_to).next()).flatten();
        [(false, ring.range(after, up_to).next()), (true, latest)].into_iter().filter_map(
            move |(latest_only, event)| {
                let next = event?.seq()?;
                Some(Self { next, topic, latest_only, taken: after, index: usize::MAX })
            },
        )
    }

    /// Up to where its events come before those of `other`.
    fn goes_through(&self, other: &Self) -> Seq {
        if (self.topic, self.latest_only) < (other.topic, other.latest_only) {
            return other.next;
        }
        // An event that both have is taken from the other.
        Seq::new(other.next.number().saturating_sub(1)).unwrap_or_default()
    }
}

/// The sources that still have events, the one whose event comes first on top.
pub(crate) type Sources = BinaryHeap<Reverse<Source>>;

thread_local! {
    /// Kept by the worker, so that a read with several sources allocates nothing.
    static SOURCES: Cell<Vec<Reverse<Source>>> = const { Cell::new(Vec::new()) };
}

/// An empty set of sources.
pub(crate) fn sources() -> Sources {
    BinaryHeap::from(SOURCES.take())
}

/// Gives its room back.
pub(crate) fn done_with(sources: Sources) {
    let mut room = sources.into_vec();
    room.clear();
    SOURCES.set(room);
}

/// A batch that is being put together.
pub(crate) struct Selection<'a> {
    out: &'a mut Vec<Event>,
    wants: &'a Wants<'a>,
    limit: Limit,
    /// No event above this is taken.
    up_to: Seq,
    events: usize,
    bytes: usize,
    /// The last event in the batch: the same in another topic is not taken again.
    last: Option<Seq>,
    /// The next event does not fit any more.
    is_full: bool,
}

impl<'a> Selection<'a> {
    pub(crate) fn new(out: &'a mut Vec<Event>, wants: &'a Wants<'a>, limit: Limit, up_to: Seq) -> Self {
        Self { out, wants, limit, up_to, events: 0, bytes: 0, last: None, is_full: false }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Takes all that fits of a ring whose topic is the only one with events.
    pub(crate) fn take_alone(&mut self, ring: &Ring, after: Seq) {
        self.run(ring.from(ring.index_after(after, usize::MAX)), Seq::MAX);
    }

    /// Takes the events of `source` that come before those of all `others`. `None`: it has no more.
    pub(crate) fn take_run(&mut self, ring: &Ring, source: Source, others: &Sources) -> Option<Source> {
        let through = others.peek().map_or(Seq::MAX, |Reverse(other)| source.goes_through(other));
        let run = if source.latest_only {
            self.run(ring.latest_only(source.taken, self.up_to), through)
        } else {
            let index = ring.index_after(source.taken, source.index);
            let run = self.run(ring.from(index), through);
            Run { steps: (index + run.steps).wrapping_sub(1), ..run }
        };
        let taken = run.taken.unwrap_or(source.taken);
        Some(Source { next: run.next?, taken, index: run.steps, ..source })
    }

    /// Takes what comes of the events up to and including `through`.
    fn run<'e>(&mut self, events: impl Iterator<Item = &'e Event>, through: Seq) -> Run {
        let mut run = Run { next: None, taken: None, steps: 0 };
        for event in events {
            count_a_look();
            let Some(seq) = event.seq().filter(|seq| *seq <= self.up_to) else { return run };
            if seq > through {
                return Run { next: Some(seq), ..run };
            }
            if self.last != Some(seq) && self.wants.event(event) {
                // With the comma that parts it from the event before.
                let bytes = self.bytes + event.json().len() + 1;
                if self.events == self.limit.events || (self.events > 0 && bytes > self.limit.bytes) {
                    self.is_full = true;
                    return run;
                }
                (self.bytes, self.events, self.last) = (bytes, self.events + 1, Some(seq));
                self.out.push(event.clone());
            }
            (run.taken, run.steps) = (Some(seq), run.steps + 1);
        }
        run
    }
}

/// What became of one run.
struct Run {
    /// The seq of the event that follows, if it is to be taken later.
    next: Option<Seq>,
    /// The last event passed.
    taken: Option<Seq>,
    /// How many were passed.
    steps: usize,
}

#[cfg(not(test))]
fn count_a_look() {}

#[cfg(test)]
thread_local! {
    /// How many events were looked at.
    pub(crate) static LOOKS: Cell<usize> = const { Cell::new(0) };
}

#[cfg(test)]
fn count_a_look() {
    LOOKS.set(LOOKS.get() + 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Data, Draft, Epoch, Fact, Options, Reader, Sequenced, Start, Topic, Topics};

    const LIMIT: Limit = Limit { events: 1000, bytes: 256 << 10 };

    fn topic(n: usize) -> Topic {
        format!("room:{n}").parse().unwrap()
    }

    /// Topics with so many events of 4 KB each, which came one after the other.
    fn log(topics: usize, each: usize) -> std::sync::Arc<Log> {
        let log = Log::new(&Options { ring_events_max: each, ..Options::default() });
        log.apply(Fact::Epoch { epoch: Epoch::new(1), end: None, start: Seq::ZERO });
        let data = Data::from_value(&"x".repeat(4000)).unwrap();
        for n in 0..topics * each {
            let draft = Draft::new(Topics::one(topic(n % topics)), "t".parse().unwrap(), data.clone());
            let seq = Some(log.tail().next());
            log.apply(Fact::Events(vec![Sequenced { seq, time_ms: 0, age_ms: 0, draft }]));
        }
        log
    }

    /// Reads all that there is. How many events came, in how many batches, and how many were looked at.
    fn replay(log: &std::sync::Arc<Log>, topics: usize) -> (usize, usize, usize) {
        let topics: Vec<Topic> = (0..topics).map(topic).collect();
        let mut reader = Reader::new(log, &topics, None, Start::Earliest);
        let (mut events, mut batches, looks) = (Vec::new(), 0, LOOKS.get());
        while reader.read(LIMIT, &mut events).unwrap().more {
            batches += 1;
        }
        assert!(events.is_sorted_by(|a, b| a.seq() < b.seq()));
        (events.len(), batches + 1, LOOKS.get() - looks)
    }

    #[test]
    fn a_replay_of_many_full_topics_looks_at_what_it_sends() {
        const EACH: usize = 200;
        for topics in [1, 16, 62] {
            let log = log(topics, EACH);
            let (events, batches, looks) = replay(&log, topics);
            assert_eq!(events, topics * EACH);
            // Each event once as the next of its topic and once when it is taken, and what no longer fits.
            assert!(looks <= 2 * events + batches, "{topics} topics: {looks} looks for {events} events");
        }
    }

    #[test]
    fn a_limit_leaves_the_rest_for_the_next_read() {
        let log = log(3, 4);
        let topics: Vec<Topic> = (0..3).map(topic).collect();
        for limit in 1..14 {
            let mut reader = Reader::new(&log, &topics, None, Start::Earliest);
            let mut seqs = Vec::new();
            loop {
                let mut out = Vec::new();
                let span = reader.read(Limit { events: limit, bytes: 1 << 20 }, &mut out).unwrap();
                seqs.extend(out.iter().filter_map(|event| event.seq()).map(Seq::number));
                assert_eq!(
                    (out.len(), span.more),
                    (limit.min(12 - (seqs.len() - out.len())), seqs.len() < 12)
                );
                if !span.more {
                    break;
                }
            }
            assert_eq!(seqs, (1..=12).collect::<Vec<_>>(), "{limit} at a time");
        }
    }
}
