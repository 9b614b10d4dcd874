//! The next events of many topics, in the order of their seqs, at the cost of what is taken.
//!
//! A reader that is behind in many topics must not look at all that they hold to send one batch. Each topic shows its
//! next event only, and the topic whose event comes first gives events for as long as they come before those of the
//! others. A topic's lock is held for one such run and for no other topic's. What a full batch leaves behind is kept
//! for the next one, so that a replay looks for its place in each topic once, however many batches it has.

use std::cell::{Cell, OnceCell};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::ring::Ring;
use crate::seen_by::SeenBy;
use crate::sight::Sight;
use crate::view::{View, floor_of};
use crate::{Event, Limit, Log, Seq};

/// What one read wants.
pub(crate) struct Wants<'a> {
    sight: Option<&'a Sight>,
    log: &'a Log,
    /// Read for the first event that can expire: most reads meet none.
    now_us: OnceCell<u64>,
}

impl<'a> Wants<'a> {
    pub(crate) fn new(log: &'a Log, sight: Option<&'a Sight>) -> Self {
        Self { sight, log, now_us: OnceCell::new() }
    }

    pub(crate) fn event(&self, event: &Event) -> bool {
        let is_expired = || event.is_expired(*self.now_us.get_or_init(|| self.log.now_us()));
        self.sight.is_none_or(|sight| sight.wants(event)) && !(event.can_expire() && is_expired())
    }
}

/// One of a topic's two lines of events, as far as it has been taken.
#[derive(Clone, Copy, Debug)]
struct Source {
    /// The seq of its next event.
    next: Seq,
    /// Everything up to here has been taken.
    taken: Seq,
    line: Line,
    /// Where the next event stood in the ring when it was looked at.
    index: u32,
}

/// A topic's events, or its latest-only events. Ordered by the topic's place among the reader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line(u32);

impl Line {
    fn new(topic: usize, latest_only: bool) -> Self {
        Self(u32::try_from(topic << 1).unwrap_or(u32::MAX) | u32::from(latest_only))
    }

    /// The topic's place among the reader's.
    fn topic(self) -> usize {
        (self.0 >> 1) as usize
    }

    fn is_latest_only(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Source {
    /// Up to where its events come before those of `other`. An event that both have is taken from the first of the
    /// reader's topics.
    fn goes_through(&self, other: &Self) -> Seq {
        if self.line < other.line {
            return other.next;
        }
        Seq::new(other.next.number().saturating_sub(1)).unwrap_or_default()
    }

    fn rank(&self) -> (Seq, Line) {
        (self.next, self.line)
    }
}

impl Ord for Source {
    /// The greatest is the one whose next event comes first, as a heap has it on top.
    fn cmp(&self, other: &Self) -> Ordering {
        other.rank().cmp(&self.rank())
    }
}

impl PartialOrd for Source {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Source {}

thread_local! {
    /// Kept by the worker, so that a read that takes all that its topics have allocates nothing.
    static ROOM: Cell<Vec<Source>> = const { Cell::new(Vec::new()) };
}

/// What a reader has yet to take of its topics up to a seq. Between two batches it holds at most two sources for each
/// of the reader's topics.
#[derive(Debug)]
pub(crate) struct Merge {
    /// Those that still have events.
    sources: BinaryHeap<Source>,
    /// No event above this is taken.
    up_to: Seq,
    /// Up to here events of any topic may be missing ([`Log::since`]), as it was when the topics were looked into.
    since: Seq,
}

/// Topics that may lack events, by their places among the reader's, and their floors.
pub(crate) type Incomplete = Vec<(usize, Seq)>;

/// An event that was still to be taken has left its ring.
pub(crate) struct Overtaken;

/// How a reader looks into its topics.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    /// Up to here events of any topic may be missing ([`Log::since`]).
    pub(crate) since: Seq,
    /// Whether it reads the latest-only events too.
    pub(crate) reads_latest_only: bool,
}

impl Look {
    /// The floor of a ring, if events above `from` may be missing of which the client knows nothing.
    fn lacks(self, view: &View, ring: &Ring, from: Seq) -> Option<Seq> {
        let floor = floor_of(ring, self.reads_latest_only).max(self.since);
        view.lacks(floor, from).then_some(floor)
    }

    /// The first latest-only event of a ring in (`from`, `up_to`], if the reader reads them.
    fn latest(self, ring: &Ring, from: Seq, up_to: Seq) -> Option<&Event> {
        self.reads_latest_only.then(|| ring.latest_only(from, up_to).next()).flatten()
    }

    /// Whether events above `taken` have left the ring since it was looked into.
    fn lacks_now(self, view: &View, ring: &Ring, taken: Seq) -> bool {
        view.lacks(floor_of(ring, self.reads_latest_only), taken)
    }
}

impl Merge {
    /// Looks into the topics for events in (`from`, `up_to`]. Where only one topic has any, they are taken at once.
    /// `None`: nothing is left to be taken.
    ///
    /// # Errors
    /// The topics that may lack events above `from` of which their client knows nothing.
    pub(crate) fn new(
        views: &[View],
        look: Look,
        from: Seq,
        up_to: Seq,
        batch: &mut Selection<'_>,
    ) -> Result<Option<Self>, Incomplete> {
        let is_behind = |(_, view): &(usize, &View)| look.since > from || view.topic.reaches_past(from);
        let mut behind = views.iter().enumerate().filter(is_behind);
        let Some(first) = behind.next() else { return Ok(None) };
        let Some(second) = behind.next() else { return Self::of_one(first, look, from, up_to, batch) };
        let mut room = ROOM.take();
        let mut lost = Incomplete::new();
        for (at, view) in [first, second].into_iter().chain(behind) {
            view.topic.read(|ring| match look.lacks(view, ring, from) {
                Some(floor) => lost.push((at, floor)),
                None => room.extend(sources(at, ring, look, from, up_to).into_iter().flatten()),
            });
        }
        if lost.is_empty() {
            let merge = Self { sources: room.into(), up_to, since: look.since };
            if merge.sources.is_empty() { merge.done(Ok(None)) } else { Ok(Some(merge)) }
        } else {
            give_back(room);
            Err(lost)
        }
    }

    /// The same where one topic may have events.
    fn of_one(
        (at, view): (usize, &View),
        look: Look,
        from: Seq,
        up_to: Seq,
        batch: &mut Selection<'_>,
    ) -> Result<Option<Self>, Incomplete> {
        let left = view.topic.read(|ring| {
            if let Some(floor) = look.lacks(view, ring, from) {
                return Err(vec![(at, floor)]);
            }
            if look.latest(ring, from, up_to).is_none() {
                let source = Source { next: from.next(), taken: from, line: Line::new(at, false), index: 0 };
                return Ok([batch.take_run(ring, source, Seq::MAX, up_to), None]);
            }
            Ok(match sources(at, ring, look, from, up_to) {
                [None, Some(latest)] => [batch.take_run(ring, latest, Seq::MAX, up_to), None],
                both => both,
            })
        })?;
        if let [None, None] = left {
            return Ok(None);
        }
        let sources = left.into_iter().flatten().collect();
        Ok(Some(Self { sources, up_to, since: look.since }))
    }

    /// Takes the next events of the topics until the batch is full or nothing is left.
    ///
    /// # Errors
    /// When a topic no longer has its next event. The batch ends before that event, also if another topic had it.
    pub(crate) fn take(
        &mut self,
        views: &[View],
        look: Look,
        batch: &mut Selection<'_>,
    ) -> Result<(), Overtaken> {
        while let Some((source, through)) = self.first().filter(|_| !batch.is_full()) {
            let view = &views[source.line.topic()];
            let left = view.topic.read(|ring| {
                // What was evicted since the ring was looked at may lie above what has been taken.
                let lacks = look.lacks_now(view, ring, source.taken);
                (!lacks).then(|| batch.take_run(ring, source, through, self.up_to))
            });
            let Some(left) = left else {
                batch.take_back(source.next);
                return Err(Overtaken);
            };
            self.replace_first(left);
        }
        Ok(())
    }

    /// The source whose event comes first, and up to where its events come before those of all others.
    fn first(&self) -> Option<(Source, Seq)> {
        let (first, others) = self.sources.as_slice().split_first()?;
        // Behind the top of a heap, one of the next two comes before all others.
        let next = others.iter().take(2).max();
        Some((*first, next.map_or(Seq::MAX, |next| first.goes_through(next))))
    }

    fn replace_first(&mut self, left: Option<Source>) {
        match left {
            Some(left) => self.sources.peek_mut().into_iter().for_each(|mut first| *first = left),
            None => drop(self.sources.pop()),
        }
    }

    /// No event above this is taken.
    pub(crate) fn up_to(&self) -> Seq {
        self.up_to
    }

    /// Whether what was found in the topics still holds.
    pub(crate) fn holds(&self, look: Look) -> bool {
        self.since == look.since
    }

    /// The same with no more room than it needs, for the next batch.
    pub(crate) fn kept(self) -> Box<Self> {
        let Self { up_to, since, .. } = self;
        let sources = self.sources.as_slice().to_vec().into();
        self.done(Box::new(Self { sources, up_to, since }))
    }

    /// Gives the room to the worker's next read.
    pub(crate) fn done<T>(self, result: T) -> T {
        give_back(self.sources.into_vec());
        result
    }
}

fn give_back(mut room: Vec<Source>) {
    room.clear();
    ROOM.set(room);
}

/// The lines of a ring that have an event in (`from`, `up_to`].
fn sources(at: usize, ring: &Ring, look: Look, from: Seq, up_to: Seq) -> [Option<Source>; 2] {
    count_a_look();
    let source = |latest_only, next: Option<&Event>, index: usize| {
        let next = next?.seq().filter(|next| *next <= up_to)?;
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        Some(Source { next, taken: from, line: Line::new(at, latest_only), index })
    };
    let index = ring.index_after(from);
    [source(false, ring.from(index).next(), index), source(true, look.latest(ring, from, up_to), 0)]
}

/// A batch that is being put together.
pub(crate) struct Selection<'a> {
    out: &'a mut Vec<Event>,
    seen_by: &'a mut SeenBy,
    wants: &'a Wants<'a>,
    limit: Limit,
    events: usize,
    bytes: usize,
    /// The last event in the batch: the same in another topic is not taken again.
    last: Option<Seq>,
    /// The next event does not fit any more.
    is_full: bool,
}

impl<'a> Selection<'a> {
    pub(crate) fn new(
        out: &'a mut Vec<Event>,
        seen_by: &'a mut SeenBy,
        wants: &'a Wants<'a>,
        limit: Limit,
    ) -> Self {
        Self { out, seen_by, wants, limit, events: 0, bytes: 0, last: None, is_full: false }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Leaves an event to a later batch, if it is the last of this one.
    fn take_back(&mut self, seq: Seq) {
        if self.last == Some(seq) {
            self.events -= 1;
            self.last = None;
            self.out.pop().iter().for_each(|event| self.seen_by.forget(event));
        }
    }

    /// Takes the events of `source` up to and including `through` or `up_to`. `None`: it has no more up to there.
    fn take_run(&mut self, ring: &Ring, source: Source, through: Seq, up_to: Seq) -> Option<Source> {
        let topic = source.line.topic();
        let (start, run) = if source.line.is_latest_only() {
            (0, self.run(topic, ring.latest_only(source.taken, up_to), through.min(up_to)))
        } else {
            let start = ring.index_of(source.next, source.index as usize, source.taken);
            (start, self.run(topic, ring.from(start), through.min(up_to)))
        };
        let next = run.next.filter(|next| *next <= up_to)?;
        let index = u32::try_from(start + run.steps).unwrap_or(u32::MAX);
        Some(Source { next, taken: run.taken.unwrap_or(source.taken), index, ..source })
    }

    /// Takes what comes of the events up to and including `through`.
    fn run<'e>(&mut self, topic: usize, events: impl Iterator<Item = &'e Event>, through: Seq) -> Run {
        let mut run = Run { next: None, taken: None, steps: 0 };
        for event in events {
            count_a_look();
            let Some(seq) = event.seq().filter(|seq| *seq <= through) else {
                run.next = event.seq();
                return run;
            };
            if self.last == Some(seq) {
                self.seen_by.add(event, topic);
            } else if self.wants.event(event) {
                // With the comma that parts it from the event before.
                let bytes = self.bytes + event.bytes_max() + 1;
                if self.events == self.limit.events || (self.events > 0 && bytes > self.limit.bytes) {
                    self.is_full = true;
                    run.next = Some(seq);
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
    /// The seq of the event that follows, if there is one.
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

    const LIMIT: Limit = Limit { events: 1000, bytes: 32 << 10 };

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
            // Each event once as the next of its topic and once when it is taken, what no longer fits, and each topic
            // once to find where the replay begins.
            assert!(
                looks <= 2 * events + batches + topics,
                "{topics} topics: {looks} looks for {events} events in {batches} batches"
            );
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
