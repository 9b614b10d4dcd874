//! What is counted with every delivery: of all that a gateway counts, by far the most, and by all workers at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::{Histogram, IntCounter, Result};

use super::Transport;
use super::buckets::{LAG_BUCKETS, LATENCY_BUCKETS};
use super::families::{By, Families};

/// The families of deliveries. Each worker counts in a tally of its own, under a lock that nobody else takes meanwhile;
/// before the families are shown, the tallies are added to them.
pub(super) struct Deliveries(Box<[Place]>);

/// Wider than what a processor fetches at once: two locks are never there together.
#[repr(align(128))]
struct Place(Mutex<Tally>);

/// How far behind a batch was that carried live events. A replayed one has none: it would measure for how long the client
/// was away.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    /// The time from publish of its oldest event to the turn of the session that writes it.
    pub latency: Duration,
    /// How many events lay between the cursor and the tail when it was made.
    pub lag: u64,
}

/// One metric for each thing that is counted.
struct Each<C, H> {
    events: By<Transport, C>,
    batches: By<Transport, C>,
    bytes: By<Transport, C>,
    publish_to_write: By<Transport, H>,
    reader_lag: H,
}

/// The families that a tally is added to.
type Sums = Each<IntCounter, Histogram>;

/// What one worker has counted since the families were shown last.
type Tally = Each<LocalIntCounter, LocalHistogram>;

thread_local! {
    /// The number of this thread among those that have counted.
    static NUMBER: usize = {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        COUNT.fetch_add(1, Ordering::Relaxed)
    };
}

impl Deliveries {
    pub(super) fn register(families: &Families<'_>) -> Result<Self> {
        let sums = Sums::register(families)?;
        let tally = |_| Place(Mutex::new(Tally::of(&sums)));
        Ok(Self((0..available_parallelism().map_or(1, usize::from)).map(tally).collect()))
    }

    /// One batch was sent.
    pub(super) fn sent(&self, transport: Transport, events: u64, bytes: u64, live: Option<Live>) {
        self.count(|tally| {
            tally.events.at(transport).inc_by(events);
            tally.batches.at(transport).inc();
            tally.bytes.at(transport).inc_by(bytes);
            if let Some(Live { latency, lag }) = live {
                tally.publish_to_write.at(transport).observe(latency.as_secs_f64());
                tally.reader_lag.observe(lag as f64);
            }
        });
    }

    /// Has this thread count.
    fn count(&self, count: impl FnOnce(&Tally)) {
        let place = NUMBER.with(|number| number % self.0.len());
        count(&self.0[place].0.lock());
    }

    /// Adds what was counted to the families.
    pub(super) fn add_up(&self) {
        self.0.iter().for_each(|Place(tally)| tally.lock().add_up());
    }
}

impl Sums {
    fn register(families: &Families<'_>) -> Result<Self> {
        Ok(Self {
            events: families.counters(
                "throughline_events_delivered_total",
                "Events written to sessions; one event to ten sessions counts ten.",
                "transport",
            )?,
            batches: families.counters(
                "throughline_batches_sent_total",
                "Batches written to sessions, heartbeats included.",
                "transport",
            )?,
            bytes: families.counters(
                "throughline_sent_bytes_total",
                "Bytes of batches and their framing handed to sockets, before TLS.",
                "transport",
            )?,
            publish_to_write: families.histograms(
                "throughline_publish_to_write_seconds",
                "Seconds from the log's acceptance of an event to the turn of the live session that writes it; replays not counted.",
                "transport",
                &LATENCY_BUCKETS,
            )?,
            reader_lag: families.histogram(
                "throughline_reader_lag_events",
                "Events between a session's cursor and the tail at the time of a batch.",
                &LAG_BUCKETS,
            )?,
        })
    }
}

impl Tally {
    fn of(sums: &Sums) -> Self {
        Self {
            events: sums.events.map(IntCounter::local),
            batches: sums.batches.map(IntCounter::local),
            bytes: sums.bytes.map(IntCounter::local),
            publish_to_write: sums.publish_to_write.map(Histogram::local),
            reader_lag: sums.reader_lag.local(),
        }
    }

    fn add_up(&self) {
        for counters in [&self.events, &self.batches, &self.bytes] {
            counters.each(LocalIntCounter::flush);
        }
        self.publish_to_write.each(LocalHistogram::flush);
        self.reader_lag.flush();
    }
}
