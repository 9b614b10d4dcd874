//! What appending, reading and subscribing cost. Each figure is the time of one call and events per second.
//!
//! `cargo bench -p events --bench log` measures; with `-- --test` each runs once, to see that it does.

use std::sync::Arc;
use std::task::{Context, Waker};

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use events::{
    Data, Draft, Epoch, Event, Fact, Limit, Log, Options, Reader, Seq, Sequenced, Start, Topic, Topics,
};
use tikv_jemallocator::Jemalloc;

/// The gateway's.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// A small log's worth of topics, each with a reader that sleeps.
const MANY: usize = 100_000;

/// Enough for every read here.
const LIMIT: Limit = Limit { events: 1000, bytes: 1 << 20 };

fn main() {
    divan::main();
}

/// Appends as a store reports them, and makes what it appends beforehand.
struct Publisher {
    log: Arc<Log>,
    topics: usize,
    data: Data,
    next: Seq,
    dice: u64,
}

fn topic(n: usize) -> Topic {
    format!("user:{n:06}").parse().unwrap()
}

impl Publisher {
    fn new(topics: usize, ring_events_max: usize) -> Self {
        let log = Log::new(&Options { ring_events_max, ..Options::default() });
        log.apply(Fact::Epoch { epoch: Epoch::new(1), end: None, start: Seq::ZERO });
        let data = Data::from_value(&serde_json::json!({"jobId": "7", "text": "x".repeat(150)})).unwrap();
        Self { log, topics, data, next: Seq::ZERO, dice: 1 }
    }

    /// A topic that is hardly ever in the cache.
    fn any(&mut self) -> usize {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.dice >> 33) % self.topics as u64) as usize
    }

    /// All topics, shuffled.
    fn shuffled(&mut self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.topics).collect();
        for at in 0..order.len() {
            let other = self.any();
            order.swap(at, other);
        }
        order
    }

    /// An event as a request brings it: its topic's name is not the log's own copy.
    fn event(&mut self, n: usize) -> Sequenced {
        self.next = self.next.next();
        let draft = Draft::new(Topics::one(topic(n)), "progress".parse().unwrap(), self.data.clone());
        Sequenced { seq: Some(self.next), time_ms: 1_763_609_412_123, age_ms: 0, draft }
    }

    fn publish(&mut self, topic: usize) {
        let event = self.event(topic);
        self.log.apply(Fact::Events(vec![event]));
    }

    fn reader(&self, topics: std::ops::Range<usize>, start: Start) -> Reader {
        let topics: Vec<Topic> = topics.map(topic).collect();
        Reader::new(&self.log, &topics, None, start)
    }
}

/// Reads all, and sleeps.
fn settle(reader: &mut Reader, out: &mut Vec<Event>) {
    out.clear();
    while reader.read(LIMIT, out).map_or(true, |span| span.more) {}
    let _ = reader.poll_ready(&mut Context::from_waker(Waker::noop()));
}

/// One event in any of 100,000 topics, the sleeping reader of each woken.
#[divan::bench(args = [1, 64], sample_size = 64)]
fn append_over_100_000_topics(bencher: Bencher<'_, '_>, batch: usize) {
    append_over_many(bencher, batch, 256);
}

/// The same, with rings that are full: an event goes for each that comes.
#[divan::bench(args = [1, 64], sample_size = 64)]
fn append_over_100_000_full_topics(bencher: Bencher<'_, '_>, batch: usize) {
    append_over_many(bencher, batch, 4);
}

fn append_over_many(bencher: Bencher<'_, '_>, batch: usize, ring_events_max: usize) {
    let mut publisher = Publisher::new(MANY, ring_events_max);
    let log = Arc::clone(&publisher.log);
    let mut readers: Vec<Reader> = (0..MANY).map(|n| publisher.reader(n..n + 1, Start::Latest)).collect();
    for topic in 0..MANY {
        (0..4).for_each(|_| publisher.publish(topic));
    }
    let mut out = Vec::new();
    readers.iter_mut().for_each(|reader| settle(reader, &mut out));
    let order = publisher.shuffled();
    let mut at = 0;
    bencher
        .counter(ItemsCount::new(batch))
        .with_inputs(|| {
            let events = (0..batch).map(|_| {
                // The reader goes back to sleep half a lap before its topic's turn, so that neither is in the cache then.
                settle(&mut readers[order[(at + MANY / 2) % MANY]], &mut out);
                at = (at + 1) % MANY;
                publisher.event(order[at])
            });
            Fact::Events(events.collect())
        })
        .bench_local_values(|fact| log.apply(fact));
}

#[divan::bench(args = [1, 64], sample_size = 64)]
fn append_to_one_topic(bencher: Bencher<'_, '_>, batch: usize) {
    let mut publisher = Publisher::new(1, 256);
    let log = Arc::clone(&publisher.log);
    bencher
        .counter(ItemsCount::new(batch))
        .with_inputs(|| Fact::Events((0..batch).map(|_| publisher.event(0)).collect()))
        .bench_local_values(|fact| log.apply(fact));
}

/// What one who joins a room costs: the event is taken in, and each of the room's readers wakes and reads it. The others
/// who are there have their own latest event in the same line.
#[divan::bench(args = [5, 5000])]
fn join_a_room_and_tell_everyone(bencher: Bencher<'_, '_>, guests: usize) {
    let mut publisher = Publisher::new(1, 256);
    let mut readers: Vec<Reader> = (0..guests).map(|_| publisher.reader(0..1, Start::Latest)).collect();
    let mut at = 0;
    let mut join = |publisher: &mut Publisher| {
        at = (at + 1) % guests;
        let mut event = publisher.event(0);
        event.draft.kind = "presence.join".parse().unwrap();
        event.draft.key = Some(format!("u{at}").parse().unwrap());
        Fact::Events(vec![event])
    };
    for _ in 0..guests {
        let fact = join(&mut publisher);
        publisher.log.apply(fact);
    }
    let mut out = Vec::new();
    readers.iter_mut().for_each(|reader| settle(reader, &mut out));
    let log = Arc::clone(&publisher.log);
    bencher.counter(ItemsCount::new(guests)).with_inputs(|| join(&mut publisher)).bench_local_values(
        |fact| {
            log.apply(fact);
            readers.iter_mut().for_each(|reader| settle(reader, &mut out));
        },
    );
}

/// A read by a reader of ten topics, of which the first `unread` have one new event each.
#[divan::bench(args = [0, 1, 10])]
fn read_new_events_of_10_topics(bencher: Bencher<'_, '_>, unread: usize) {
    let mut publisher = Publisher::new(10, 256);
    for n in 0..1000 {
        publisher.publish(n % 10);
    }
    let cursor = publisher.log.tail_cursor();
    (0..unread).for_each(|topic| publisher.publish(topic));
    let reader = || publisher.reader(0..10, Start::After(cursor));
    let mut out = Vec::with_capacity(16);
    bencher
        .counter(ItemsCount::new(unread))
        .with_inputs(|| (reader(), std::mem::take(&mut out)))
        .bench_local_refs(|(reader, out)| black_box(reader.read(LIMIT, out)));
}

/// Everything that a full ring holds, merged from one topic or from eight.
#[divan::bench(args = [1, 8])]
fn replay_256_events(bencher: Bencher<'_, '_>, topics: usize) {
    let mut publisher = Publisher::new(topics, 256);
    for n in 0..256 {
        publisher.publish(n % topics);
    }
    let reader = || publisher.reader(0..topics, Start::Earliest);
    bencher
        .counter(ItemsCount::new(256_usize))
        .with_inputs(|| (reader(), Vec::with_capacity(256)))
        .bench_local_refs(|(reader, out)| black_box(reader.read(LIMIT, out)));
}

/// Everything that full topics hold, in the messages of a stream of 32 KiB.
#[divan::bench(args = [1, 8, 16, 62])]
fn replay_full_topics_in_messages(bencher: Bencher<'_, '_>, topics: usize) {
    const MESSAGE: Limit = Limit { events: 1000, bytes: 32 << 10 };
    let mut publisher = Publisher::new(topics, 256);
    for n in 0..256 * topics {
        publisher.publish(n % topics);
    }
    let reader = || publisher.reader(0..topics, Start::Earliest);
    bencher
        .counter(ItemsCount::new(256 * topics))
        .with_inputs(|| (reader(), Vec::with_capacity(1000)))
        .bench_local_refs(|(reader, out)| {
            while reader.read(MESSAGE, out).expect("nothing is missing").more {
                out.clear();
            }
        });
}

/// A reader of three topics comes and goes, among 100,000 that are there.
#[divan::bench]
fn subscribe_and_leave(bencher: Bencher<'_, '_>) {
    let mut publisher = Publisher::new(MANY, 4);
    (0..MANY).for_each(|topic| publisher.publish(topic));
    let log = Arc::clone(&publisher.log);
    bencher
        .counter(ItemsCount::new(1_usize))
        .with_inputs(|| [(); 3].map(|()| topic(publisher.any())))
        .bench_local_refs(|topics| drop(Reader::new(&log, topics, None, Start::Latest)));
}
