//! The log: one total order, applied in one place, read through rings.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::budget::SlotId;
use crate::directory::{Directory, Evictions};
use crate::event::Sequenced;
use crate::lineage::Lineage;
use crate::options::Options;
use crate::ring::Bounds;
use crate::signal::Signal;
use crate::state_map::{KeptState, StateRules};
use crate::timestamp::Timestamp;
use crate::topic::TopicState;
use crate::topic_floors::{FloorSeed, TopicFloors};
use crate::{Chance, Clock, Cursor, Draft, Epoch, Event, Located, Seq, Topic};

/// One thing that a store reports about its history, in order. [`Log::apply`] is their only reader.
#[derive(Clone, Debug)]
pub enum Fact {
    /// Events, in the order of their seqs, all above the tail.
    Events(Vec<Sequenced>),
    /// A new epoch.
    Epoch {
        /// Its identity.
        epoch: Epoch,
        /// The last point of the epoch before it that is still history: what this node has above it never
        /// happened. `None`: nothing before is known to be history.
        end: Option<Seq>,
        /// The events of the new epoch have seqs above this one.
        start: Seq,
    },
    /// Up to and including `through`, events may be missing here, whatever their topic.
    Trimmed {
        /// The last seq that is in doubt.
        through: Seq,
    },
    /// The log goes on where an earlier process left it: what is at or below `through` is not reported again. Comes
    /// before any event.
    Resumed {
        /// Of each topic, events up to its floor may be missing.
        floors: TopicFloors,
        /// The seq after which events are reported.
        through: Seq,
    },
    /// The states of all topics at the tail, in place of those that the log has. Events above the tail are not among
    /// them: they are reported on their own.
    States {
        /// The topics that have a state.
        topics: Vec<KeptState>,
        /// For how long any other topic may lack keys.
        partial: Duration,
    },
    /// Acknowledged events of these topics are gone.
    Lost {
        /// The topics.
        topics: Vec<Topic>,
        /// A seq above every seq that a reader may have passed in good faith.
        through: Seq,
    },
}

/// What the log holds now.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// Events in all rings; one in several topics counts once in each.
    pub events: usize,
    /// Keys in the states of all topics.
    pub keys: usize,
    /// Bytes that the budget is charged.
    pub bytes: usize,
    /// Topics with an event or a reader.
    pub topics: usize,
    /// What has left since the start.
    pub evictions: Evictions,
}

/// An event as one topic retains it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The topic.
    pub topic: Topic,
    /// The event.
    pub event: Event,
    /// The first event behind it that takes its place in a batch that would carry both.
    pub replaced_by: Option<Seq>,
    /// Its time to live is over.
    pub is_expired: bool,
}

/// One total order of events and a ring for each topic.
#[derive(Debug)]
pub struct Log {
    bounds: Bounds,
    topic_idle_us_max: u64,
    clock: Clock,
    chance: Chance,
    /// When the log was made.
    origin: Instant,
    /// The seq of the last event applied. Stored after the rings have it.
    tail: AtomicU64,
    /// The number of the last ephemeral event, likewise.
    ephemeral_tail: AtomicU64,
    /// Up to here, events of any topic may be missing.
    since: AtomicU64,
    /// Counts the changes of `lineage`, so that a reader notices one without the lock.
    shape: AtomicU32,
    /// Held while it changes and the tail with it, so that the two can be read as one.
    lineage: Mutex<Arc<Lineage>>,
    /// The sequencer: every change of the log is made under this lock.
    pub(crate) writer: Mutex<Sequencer>,
}

/// What is told of each event that is applied.
struct Observer(Box<dyn Fn(&Draft) + Send + Sync>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

pub(crate) fn us_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Through which epochs the log runs, and how far.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) lineage: Arc<Lineage>,
    /// Counts the changes of `lineage`.
    pub(crate) shape: u32,
    pub(crate) tail: Seq,
}

#[derive(Debug)]
pub(crate) struct Sequencer {
    pub(crate) directory: Directory,
    pub(crate) stamp: Timestamp,
    /// The topics of the events that are being applied, kept for its room.
    entered: Vec<Option<SlotId>>,
    /// Where the JSON of an event is written first, kept for its room.
    pub(crate) json: Vec<u8>,
    observers: Vec<Observer>,
}

impl Sequencer {
    fn tell(&self, events: &[Sequenced]) {
        for Observer(observe) in &self.observers {
            events.iter().for_each(|event| observe(&event.draft));
        }
    }
}

impl Log {
    /// The log's clock starts here, so that events from before this process have a time on it too.
    const ORIGIN_US: u64 = 1 << 50;

    /// The room that stays for the next event's JSON; few are longer.
    const JSON_ROOM_MAX: usize = 64 * 1024;

    /// An empty log that takes time and chance from the system. A store gives it an epoch before anything else.
    #[must_use]
    pub fn new(options: &Options) -> Arc<Self> {
        #[expect(clippy::disallowed_methods, reason = "`with` is for everything that has its own")]
        Self::with(options, Clock::system(), Chance::system())
    }

    /// The same with other sources of time and chance, which all that works on this log uses too.
    #[must_use]
    pub fn with(options: &Options, clock: Clock, chance: Chance) -> Arc<Self> {
        let state_rules = options.state.as_ref().map(StateRules::new);
        let seed = FloorSeed([chance.number(), chance.number()]);
        Arc::new(Self {
            bounds: Bounds {
                events_max: options.ring_events_max.max(1),
                bytes_max: options.ring_bytes_max,
                age_us_max: us_of(options.ring_age_max),
            },
            topic_idle_us_max: us_of(options.topic_idle_max.max(options.ring_age_max)),
            origin: clock.now(),
            clock,
            chance,
            tail: AtomicU64::new(0),
            ephemeral_tail: AtomicU64::new(0),
            since: AtomicU64::new(0),
            shape: AtomicU32::new(0),
            lineage: Mutex::new(Arc::new(Lineage::new(Epoch::new(0), Seq::ZERO))),
            writer: Mutex::new(Sequencer {
                directory: Directory::new(options.log_bytes_max, seed, state_rules),
                stamp: Timestamp::new(0),
                entered: Vec::new(),
                json: Vec::new(),
                observers: Vec::new(),
            }),
        })
    }

    /// From now on `observer` is told of each event as it is applied, in their order. It is called under the
    /// sequencer's lock and must be quick.
    pub fn observe(&self, observer: impl Fn(&Draft) + Send + Sync + 'static) {
        self.writer.lock().observers.push(Observer(Box::new(observer)));
    }

    /// The time, for all that works on this log.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Random bits, for all that works on this log.
    #[must_use]
    pub fn chance(&self) -> &Chance {
        &self.chance
    }

    /// How long a topic without readers is kept after its last event.
    pub(crate) fn topic_kept(&self) -> Duration {
        Duration::from_micros(self.topic_idle_us_max)
    }

    /// The seq of the last event applied.
    #[must_use]
    pub fn tail(&self) -> Seq {
        Seq::new(self.tail.load(Ordering::Acquire)).unwrap_or(Seq::MAX)
    }

    /// The cursor of a client that has seen everything until now.
    #[must_use]
    pub fn tail_cursor(&self) -> Cursor {
        let history = self.history();
        history.lineage.cursor(history.tail)
    }

    /// What this node makes of a client's cursor.
    #[must_use]
    pub fn locate(&self, cursor: Cursor) -> Located {
        let history = self.history();
        history.lineage.locate(cursor, history.tail)
    }

    /// The seq of the topic's last event, as long as the log remembers the topic; else [`Seq::ZERO`].
    #[must_use]
    pub fn last(&self, topic: &Topic) -> Seq {
        let writer = self.writer.lock();
        writer.directory.find(topic).map_or(Seq::ZERO, |topic| topic.read(|ring| ring.last()))
    }

    /// An event in each topic that retains it. Looks into every topic, some at a time, so that publishers need not wait:
    /// for an operator's question, not for a reader.
    #[must_use]
    pub fn find(&self, seq: Seq) -> Vec<Found> {
        const TOPICS_AT_ONCE: usize = 4096;
        let now_us = self.now_us();
        let mut found = Vec::new();
        let mut from = Some(0);
        while let Some(first) = from {
            let (topics, next) = self.writer.lock().directory.some(first, TOPICS_AT_ONCE);
            from = next;
            found.extend(topics.iter().filter_map(|topic| {
                topic.read(|ring| {
                    let (event, replaced_by) = ring.find(seq)?;
                    Some(Found {
                        topic: topic.name().clone(),
                        event: event.clone(),
                        replaced_by,
                        is_expired: event.is_expired(now_us),
                    })
                })
            }));
        }
        found
    }

    /// Whether an event that a store forgets is missed by readers of this topic: `false` if it was replaced by a later
    /// event or its time to live is over. Every event up to `seq` has been applied.
    pub(crate) fn owes(&self, topic: &Topic, seq: Seq) -> bool {
        self.writer.lock().directory.owes(topic, seq, self.now_us())
    }

    /// The bytes that the topics retain above `after`: the replay of a client with this cursor.
    #[must_use]
    pub fn bytes_after(&self, topics: &[Topic], after: Seq) -> usize {
        let found: Vec<_> = {
            let writer = self.writer.lock();
            topics.iter().filter_map(|topic| writer.directory.find(topic).map(Arc::clone)).collect()
        };
        let behind = found.iter().filter(|topic| topic.reaches_past(after));
        behind.map(|topic| topic.read(|ring| ring.bytes_after(after))).sum()
    }

    /// Microseconds on the log's own clock, which never goes back.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.us_at(self.clock.now())
    }

    /// The same for a moment that has been looked up already.
    #[must_use]
    pub fn us_at(&self, at: Instant) -> u64 {
        Self::ORIGIN_US + u64::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(0)
    }

    /// What the log holds now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let directory = &self.writer.lock().directory;
        Stats {
            events: directory.events(),
            keys: directory.keys(),
            bytes: directory.bytes(),
            topics: directory.topics(),
            evictions: directory.evictions(),
        }
    }

    /// Takes in what a store reports. The one place in which rings change; facts come one at a time, in order.
    pub fn apply(&self, fact: Fact) {
        match fact {
            Fact::Events(events) => self.apply_events(&events),
            Fact::Epoch { epoch, end, start } => self.apply_epoch(epoch, end, start),
            Fact::Trimmed { through } => {
                let mut writer = self.writer.lock();
                writer.directory.lack_state(self.now_us());
                self.since.fetch_max(through.number(), Ordering::AcqRel);
                self.tail.fetch_max(through.number(), Ordering::AcqRel);
                writer.directory.all().for_each(|topic| topic.wake());
            }
            Fact::Resumed { floors, through } => {
                self.writer.lock().directory.resume(floors);
                self.tail.fetch_max(through.number(), Ordering::AcqRel);
            }
            Fact::States { topics, partial } => self.apply_states(&topics, partial),
            Fact::Lost { topics, through } => self.apply_lost(&topics, through),
        }
    }

    fn apply_events(&self, events: &[Sequenced]) {
        let mut touched: Vec<Arc<TopicState>> = Vec::with_capacity(events.len());
        let mut writer = self.writer.lock();
        let Sequencer { directory, stamp, entered, json, .. } = &mut *writer;
        let now_us = self.now_us();
        let (mut tail, mut ephemeral_tail) =
            (self.tail.load(Ordering::Relaxed), self.ephemeral_tail.load(Ordering::Relaxed));
        // The topics of all events first: one lookup need not wait for the next, and most of what each waits for is
        // memory.
        entered.clear();
        for Sequenced { draft, .. } in events {
            for topic in &draft.topics {
                entered.push(if draft.ephemeral {
                    directory.find_attached(topic)
                } else {
                    Some(directory.enter(topic, now_us))
                });
            }
        }
        entered.iter().flatten().for_each(|id| directory.foresee(*id));
        let mut entered = entered.iter();
        for Sequenced { seq, time_ms, age_ms, draft } in events {
            stamp.set(*time_ms);
            let applied_us = now_us.saturating_sub(age_ms.saturating_mul(1000));
            let number = match seq {
                Some(seq) => {
                    debug_assert!(seq.number() > tail, "the store reports events in order");
                    tail = seq.number();
                    tail
                }
                None => {
                    ephemeral_tail += 1;
                    ephemeral_tail
                }
            };
            for (topic, id) in draft.topics.iter().zip(&mut entered) {
                let Some(id) = *id else { continue };
                let event = Event::encode(draft, topic, number, stamp, applied_us, json);
                if draft.ephemeral {
                    directory.push_ephemeral(id, event);
                } else {
                    directory.push(id, event, &self.bounds);
                }
                let state = directory.topic(id);
                if !touched.last().is_some_and(|last| Arc::ptr_eq(last, state)) {
                    touched.push(Arc::clone(state));
                }
            }
        }
        json.shrink_to(Self::JSON_ROOM_MAX);
        directory.enforce_budget(now_us);
        self.tail.store(tail, Ordering::Release);
        self.ephemeral_tail.store(ephemeral_tail, Ordering::Release);
        writer.tell(events);
        drop(writer);
        for topic in touched {
            topic.wake();
        }
    }

    fn apply_epoch(&self, epoch: Epoch, end: Option<Seq>, start: Seq) {
        let mut writer = self.writer.lock();
        {
            let mut lineage = self.lineage.lock();
            // First of all: whoever sees a changed ring or the new tail sees afterwards that the shape is new too,
            // and then waits for this lock.
            self.shape.fetch_add(1, Ordering::AcqRel);
            match end {
                Some(end) => {
                    if end < self.tail() {
                        writer.directory.truncate(end, self.now_us());
                    }
                    // What is missing above the end never was history.
                    self.since.fetch_min(end.number(), Ordering::AcqRel);
                    Arc::make_mut(&mut lineage).go_on(epoch, end, start);
                }
                None => {
                    writer.directory.restart(start, self.now_us());
                    *lineage = Arc::new(Lineage::new(epoch, start));
                    self.since.store(start.number(), Ordering::Release);
                }
            }
            self.tail.store(start.number(), Ordering::Release);
        }
        writer.directory.all().for_each(|topic| topic.wake());
    }

    fn apply_lost(&self, topics: &[Topic], through: Seq) {
        let mut writer = self.writer.lock();
        let now_us = self.now_us();
        let ids: Vec<_> = topics.iter().map(|topic| writer.directory.enter(topic, now_us)).collect();
        for &id in &ids {
            writer.directory.change(id, |ring| ring.raise_floor(through));
            writer.directory.lack_state_of(id, now_us);
        }
        self.tail.fetch_max(through.number(), Ordering::AcqRel);
        ids.iter().for_each(|&id| writer.directory.topic(id).wake());
    }

    /// Visits up to `topics_max` topics to evict what is too old and to collect those that nobody reads.
    /// Called again and again, it visits all in turn.
    pub fn sweep(&self, topics_max: usize) {
        let now_us = self.now_us();
        let idle_since_us = now_us.saturating_sub(self.topic_idle_us_max);
        self.writer.lock().directory.sweep(topics_max, now_us, &self.bounds, idle_since_us);
    }

    /// Finds or makes the topics and adds `signal` to each; says where it waits.
    pub(crate) fn attach(&self, topics: &[Topic], signal: &Arc<Signal>) -> Vec<(Arc<TopicState>, usize)> {
        let now_us = self.now_us();
        let mut writer = self.writer.lock();
        let enter = |topic| {
            let id = writer.directory.enter(topic, now_us);
            let state = Arc::clone(writer.directory.topic(id));
            let slot = state.attach(Arc::clone(signal));
            (state, slot)
        };
        topics.iter().map(enter).collect()
    }

    /// The history as it is now. Its parts belong together, which they need not when asked for one by one.
    pub(crate) fn history(&self) -> History {
        let lineage = self.lineage.lock();
        History { lineage: Arc::clone(&lineage), shape: self.shape(), tail: self.tail() }
    }

    pub(crate) fn shape(&self) -> u32 {
        self.shape.load(Ordering::Acquire)
    }

    pub(crate) fn since(&self) -> Seq {
        Seq::new(self.since.load(Ordering::Acquire)).unwrap_or(Seq::MAX)
    }

    pub(crate) fn ephemeral_tail(&self) -> u64 {
        self.ephemeral_tail.load(Ordering::Acquire)
    }
}
