//! What is counted with every delivery: of all that a gateway counts, by far the most, and by all workers at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::{Histogram, IntCounter};

use super::Transport;
use super::families::By;

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
pub(super) struct Each<C, H> {
    pub(super) events: By<Transport, C>,
    pub(super) batches: By<Transport, C>,
    pub(super) bytes: By<Transport, C>,
    pub(super) publish_to_write: By<Transport, H>,
    pub(super) reader_lag: H,
}

/// The families that a tally is added to.
pub(super) type Sums = Each<IntCounter, Histogram>;

/// What one worker has counted since the families were shown last.
pub(super) type Tally = Each<LocalIntCounter, LocalHistogram>;

thread_local! {
    /// The number of this thread among those that have counted.
    static NUMBER: usize = {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        COUNT.fetch_add(1, Ordering::Relaxed)
    };
}

impl Deliveries {
    pub(super) fn new(sums: &Sums) -> Self {
        let tally = |_| Place(Mutex::new(Tally::of(sums)));
        Self((0..available_parallelism().map_or(1, usize::from)).map(tally).collect())
    }

    /// Has this thread count.
    pub(super) fn count(&self, count: impl FnOnce(&Tally)) {
        let place = NUMBER.with(|number| number % self.0.len());
        count(&self.0[place].0.lock());
    }

    /// Adds what was counted to the families.
    pub(super) fn add_up(&self) {
        self.0.iter().for_each(|Place(tally)| tally.lock().add_up());
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
