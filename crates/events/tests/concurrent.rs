//! Publishers, readers that switch and break at random, and a sweeper, on real threads and tiny rings. What each reader
//! received is held against what was acknowledged once all is over; a lost wake-up runs into a deadline.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use events::{
    Appended, Clock, Cursor, Data, Draft, Epoch, Event, Fact, Limit, Located, Log, Memory, Options, Reader,
    ResetReason, Seq, Sequenced, Span, Start, Store, Topic, Topics,
};

const TOPICS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// For how long a test makes trouble.
const RUN: Duration = Duration::from_millis(1500);

/// Nobody waits as long as this for a wake-up that is on its way.
const WAKE_DEADLINE: Duration = Duration::from_secs(120);

/// A small generator, so that a seed is enough to draw the same again.
struct Dice(u64);

impl Dice {
    /// A number below `bound` (splitmix64).
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// One to three topics.
    fn topics(&mut self) -> Vec<Topic> {
        let mut topics = Vec::new();
        for _ in 0..=self.below(3) {
            let topic: Topic = TOPICS[self.below(TOPICS.len() as u64) as usize].parse().unwrap();
            if !topics.contains(&topic) {
                topics.push(topic);
            }
        }
        topics
    }
}

/// Another seed each time, shown when the test fails. Threads do not run the same way twice, but the same way often.
#[expect(clippy::print_stdout, reason = "the one thing to know about a failure")]
fn seed() -> u64 {
    let seed = Clock::system().unix_ms();
    println!("seed {seed}");
    seed
}

/// An event that was acknowledged.
#[derive(Clone, Debug)]
struct Entry {
    seq: Seq,
    id: u64,
    topics: Vec<Topic>,
}

/// For each epoch, everything that was history while it lasted.
type Acknowledged = HashMap<Epoch, Vec<Entry>>;

/// What a reader was given.
#[derive(Debug)]
enum Step {
    Opened { topics: Vec<Topic>, at: Cursor },
    Batch { span: Span, got: Vec<(Seq, u64, Topic)> },
    Reset { reason: ResetReason, topics: Vec<Topic>, at: Cursor },
}

fn draft(topics: Vec<Topic>, id: u64) -> Draft {
    Draft::new(Topics::new(topics).unwrap(), "t".parse().unwrap(), Data::from_value(&id).unwrap())
}

fn log() -> Arc<Log> {
    Log::new(&Options {
        ring_events_max: 8,
        ring_age_max: Duration::from_millis(2),
        log_bytes_max: 12_000,
        topic_idle_max: Duration::ZERO,
        ..Options::default()
    })
}

/// Wakes a thread, and remembers that it did.
struct Bell {
    rung: AtomicBool,
    thread: Thread,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Sleeps until the reader is woken, and only then looks.
fn wait(reader: &Reader) {
    let bell = Arc::new(Bell { rung: AtomicBool::new(false), thread: thread::current() });
    if reader.poll_ready(&mut Context::from_waker(&Waker::from(Arc::clone(&bell)))).is_ready() {
        return;
    }
    let deadline = Instant::now() + WAKE_DEADLINE;
    while !bell.rung.load(Ordering::Acquire) {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(
            !left.is_zero(),
            "never woken at {} with the tail at {}",
            reader.cursor(),
            reader.log().tail()
        );
        thread::park_timeout(left);
    }
}

/// Reads, breaks, comes back with other topics and the same cursor, until it has caught up with a log that is over.
fn follow(log: &Arc<Log>, seed: u64, over: &AtomicBool) -> Vec<Step> {
    let mut dice = Dice(seed);
    let mut steps = Vec::new();
    let mut cursor = log.tail_cursor();
    loop {
        let start = match log.locate(cursor) {
            Located::Here(cursor) => Start::After(cursor),
            Located::Phantom { end } => Start::Broken(ResetReason::Epoch, end),
            Located::Ahead | Located::Unknown => Start::Broken(ResetReason::Epoch, log.tail_cursor()),
        };
        let topics = dice.topics();
        let mut reader = Reader::new(log, &topics, None, start);
        steps.push(Step::Opened { topics, at: reader.cursor() });
        for _ in 0..dice.below(40) {
            let limit = Limit { events: 1 + dice.below(6) as usize, bytes: 1 << 20 };
            let mut out = Vec::new();
            match reader.read(limit, &mut out) {
                Err(reset) => {
                    assert!(out.is_empty());
                    steps.push(Step::Reset { reason: reset.reason, topics: reset.topics, at: reset.at });
                }
                Ok(span) => {
                    steps.push(Step::Batch { span, got: out.iter().map(parse).collect() });
                    if span.more {
                        continue;
                    }
                    if over.load(Ordering::Acquire) && span.cursor.seq == log.tail() {
                        return steps;
                    }
                    wait(&reader);
                }
            }
        }
        cursor = reader.cursor();
    }
}

fn parse(event: &Event) -> (Seq, u64, Topic) {
    let json: serde_json::Value = serde_json::from_slice(event.json()).unwrap();
    (event.seq().unwrap(), json["data"].as_u64().unwrap(), json["topic"].as_str().unwrap().parse().unwrap())
}

/// Holds what a reader was given against what was acknowledged.
fn check(steps: &[Step], acknowledged: &Acknowledged) {
    let mut topics: &[Topic] = &[];
    let mut cursor: Option<Cursor> = None;
    // The topics of which it was told that events are missing, and of which none has come since.
    let mut open: HashSet<&Topic> = HashSet::new();
    for step in steps {
        match step {
            Step::Opened { topics: now, at } => {
                topics = now;
                open.clear();
                cursor = Some(*at);
            }
            Step::Reset { reason, topics: named, at } => {
                let expired = *reason == ResetReason::Expired;
                assert!(!named.is_empty() && named.iter().all(|topic| topics.contains(topic)), "{step:?}");
                assert!(!expired || Some(*at) == cursor, "{step:?} at {cursor:?}");
                if expired {
                    open.extend(named);
                } else {
                    assert_eq!(named, topics);
                    open.clear();
                }
                cursor = Some(*at);
            }
            Step::Batch { span, got } => {
                assert_eq!(Some(span.after), cursor, "each batch goes on from the one before it");
                let (after, end) = (span.after.seq, span.cursor.seq);
                assert!(end >= after || span.after.epoch != span.cursor.epoch, "back: {span:?}");
                let history = acknowledged.get(&span.cursor.epoch).map_or(&[][..], Vec::as_slice);
                let from = history.partition_point(|entry| entry.seq <= after);
                let mut got = got.iter().peekable();
                for entry in history[from..].iter().take_while(|entry| entry.seq <= end) {
                    if let Some((seq, _, topic)) = got.next_if(|(_, id, _)| *id == entry.id) {
                        assert_eq!(*seq, entry.seq);
                        assert!(topics.contains(topic) && entry.topics.contains(topic), "{topic}: {entry:?}");
                        open.remove(topic);
                    } else {
                        let mut owed = topics.iter().filter(|topic| entry.topics.contains(topic));
                        assert!(
                            owed.all(|topic| open.contains(topic)),
                            "lost {entry:?} in {span:?} of {topics:?}"
                        );
                    }
                }
                assert_eq!(got.next(), None, "twice, out of order or of another time: {span:?}");
                cursor = Some(span.cursor);
            }
        }
    }
}

/// Runs readers and a sweeper while `publish` publishes; returns what each reader was given.
fn with_readers<R>(log: &Arc<Log>, seed: u64, publish: impl FnOnce(&AtomicBool) -> R) -> (R, Vec<Vec<Step>>) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (1..=3)
            .map(|n| {
                let (log, over) = (log, &over);
                scope.spawn(move || follow(log, seed + n, over))
            })
            .collect();
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                log.sweep(2);
                thread::sleep(Duration::from_micros(50));
            }
        });
        let published = publish(&over);
        (published, readers.into_iter().map(|reader| reader.join().unwrap()).collect())
    })
}

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the memory store never waits"),
    }
}

fn all_topics() -> Vec<Topic> {
    TOPICS.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn nothing_acknowledged_is_lost_between_threads() {
    let seed = seed();
    let log = log();
    let store = Memory::open(Arc::clone(&log));
    let append = |topics: Vec<Topic>, id: u64| -> Entry {
        let appended: Appended = now(store.append(vec![draft(topics.clone(), id)])).remove(0).unwrap();
        Entry { seq: appended.seq.unwrap(), id, topics }
    };
    let (mut entries, readers) = with_readers(&log, seed, |over| {
        let deadline = Instant::now() + RUN;
        let mut entries: Vec<Entry> = thread::scope(|scope| {
            let publisher = |n: u64| {
                let mut dice = Dice(seed + 100 + n);
                let mut entries = Vec::new();
                while Instant::now() < deadline && entries.len() < 20_000 {
                    entries.push(append(dice.topics(), (n << 32) + entries.len() as u64));
                    if dice.below(20) == 0 {
                        thread::sleep(Duration::from_micros(dice.below(300)));
                    }
                }
                entries
            };
            let publishers: Vec<_> = (0..3).map(|n| scope.spawn(move || publisher(n))).collect();
            publishers.into_iter().flat_map(|publisher| publisher.join().unwrap()).collect()
        });
        over.store(true, Ordering::Release);
        entries.push(append(all_topics(), u64::MAX));
        entries
    });
    entries.sort_by_key(|entry| entry.seq);
    let contiguous = entries.iter().zip(1..).all(|(entry, number)| entry.seq.number() == number);
    assert!(contiguous, "each seq was given once");
    let acknowledged = Acknowledged::from([(log.tail_cursor().epoch, entries)]);
    readers.iter().for_each(|steps| check(steps, &acknowledged));
}

#[test]
fn epochs_that_change_under_readers_are_told_or_seamless() {
    let seed = seed();
    let log = log();
    log.apply(Fact::Epoch { epoch: Epoch::new(1), end: None, start: Seq::ZERO });
    let (acknowledged, readers) = with_readers(&log, seed, |over| {
        let mut dice = Dice(seed);
        let mut acknowledged = Acknowledged::new();
        let (mut epoch, mut history, mut id) = (Epoch::new(1), Vec::new(), 0);
        let deadline = Instant::now() + RUN;
        let push = |history: &mut Vec<Entry>, id: &mut u64, topics: Vec<Topic>| {
            *id += 1;
            let seq = log.tail().next();
            history.push(Entry { seq, id: *id, topics: topics.clone() });
            log.apply(Fact::Events(vec![Sequenced {
                seq: Some(seq),
                time_ms: 0,
                age_ms: 0,
                draft: draft(topics, *id),
            }]));
        };
        while Instant::now() < deadline {
            match dice.below(40) {
                0 => {
                    // A new epoch: some of the last events never happened, or nothing is known any more.
                    acknowledged.insert(epoch, history.clone());
                    epoch = Epoch::new(epoch.number() + 1);
                    let tail = log.tail().number();
                    let forgets = dice.below(4) == 0;
                    let end = if forgets { 0 } else { tail.saturating_sub(dice.below(6)) };
                    history.retain(|entry: &Entry| entry.seq.number() <= end);
                    let end = history.last().map_or(Seq::ZERO, |entry| entry.seq);
                    let start = Seq::new(end.number() + dice.below(3)).unwrap();
                    log.apply(Fact::Epoch { epoch, end: (!forgets).then_some(end), start });
                }
                1 => thread::sleep(Duration::from_micros(dice.below(500))),
                _ => push(&mut history, &mut id, dice.topics()),
            }
        }
        over.store(true, Ordering::Release);
        push(&mut history, &mut id, all_topics());
        acknowledged.insert(epoch, history);
        acknowledged
    });
    readers.iter().for_each(|steps| check(steps, &acknowledged));
}

#[test]
fn every_append_is_seen_without_another() {
    let log = Log::new(&Options::default());
    let store = Memory::open(Arc::clone(&log));
    let seen = [const { AtomicU64::new(0) }; 2];
    let deadline = Instant::now() + RUN;
    thread::scope(|scope| {
        for seen in &seen {
            let mut reader = Reader::new(&log, &all_topics(), None, Start::Latest);
            scope.spawn(move || {
                let mut out = Vec::new();
                let mut context = Context::from_waker(Waker::noop());
                while seen.load(Ordering::Relaxed) != u64::MAX {
                    // Looks at once, to meet the append while it is under way.
                    if reader.poll_ready(&mut context).is_ready() {
                        let span = reader.read(Limit { events: 10, bytes: 1 << 20 }, &mut out).unwrap();
                        let _ = seen.fetch_max(span.cursor.seq.number(), Ordering::AcqRel);
                        out.clear();
                    }
                    std::hint::spin_loop();
                }
            });
        }
        let mut dice = Dice(1);
        let stuck = 'run: {
            let mut number = 0;
            loop {
                // The second meets the read that the first has set off.
                for _ in 0..=dice.below(3) {
                    number += 1;
                    let _ = now(store.append(vec![draft(dice.topics(), number)]));
                }
                let patience = Instant::now() + WAKE_DEADLINE;
                while seen.iter().any(|seen| seen.load(Ordering::Acquire) < number) {
                    if Instant::now() > patience {
                        break 'run Some(number);
                    }
                    thread::yield_now();
                }
                if Instant::now() > deadline {
                    break 'run None;
                }
            }
        };
        seen.iter().for_each(|seen| seen.store(u64::MAX, Ordering::Release));
        assert_eq!(stuck, None, "an append that nobody saw");
    });
}
