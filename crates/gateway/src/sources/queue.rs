//! Messages that a source has received and the store has not taken yet. The queue is bounded in
//! bytes. Beyond the bound the oldest messages are dropped and counted, and a gap marks their
//! place.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::apply::SourceMessage;
use super::states::SourceState;
use crate::metrics::Metrics;

/// The bound of the queue, in bytes.
const QUEUE_BYTES: usize = 8 << 20;
/// How long a requested confirmation is awaited.
const CONFIRMED_WITHIN: Duration = Duration::from_millis(500);
/// Most messages, and most bytes of messages, that are taken at once.
const TAKE_MESSAGES: usize = 128;
const TAKE_BYTES: usize = 256 << 10;

/// Items that are taken from the queue at once.
#[derive(Debug)]
pub(super) enum Taken {
    /// The source was not received between the previous item and the next.
    Interrupted,
    /// Messages were dropped between the previous item and the next.
    Overflow,
    /// At least one message, in the order of receipt.
    Messages(Vec<SourceMessage>),
}

/// The entrance of the queue, for received messages. Never waits.
#[derive(Clone)]
pub(crate) struct Ear {
    state: SourceState,
    metrics: Arc<Metrics>,
    waiting: Arc<Waiting>,
}

/// The exit of the queue.
pub(super) struct Heard {
    state: SourceState,
    metrics: Arc<Metrics>,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    inner: Mutex<Line>,
    more: Notify,
    /// Requests a confirmation now.
    ask: Notify,
    confirmed: Notify,
}

#[derive(Default)]
struct Line {
    items: VecDeque<Item>,
    bytes: usize,
    /// When the current unbroken reception began; `None`: the source is not received.
    since: Option<Instant>,
    /// The latest moment up to which all messages have certainly been received.
    confirmed: Option<Instant>,
    /// The value of `confirmed` when the queue was last empty: all messages up to then have been
    /// taken.
    taken: Option<Instant>,
    /// The value of `confirmed` before the oldest interruption that is still in the queue; `None`:
    /// the queue holds no interruption.
    confirmed_before: Option<Instant>,
}

enum Item {
    Interrupted,
    Overflow,
    Message(SourceMessage),
}

/// Opens an empty queue.
pub(super) fn open(state: SourceState, metrics: Arc<Metrics>) -> (Ear, Heard) {
    let waiting = Arc::<Waiting>::default();
    let ear = Ear { state: state.clone(), metrics: Arc::clone(&metrics), waiting: Arc::clone(&waiting) };
    (ear, Heard { state, metrics, waiting })
}

impl Ear {
    /// Adds a received message.
    pub(crate) fn hear(&self, message: SourceMessage) {
        let kind = self.state.kind();
        self.metrics.sources.received(kind, 1);
        let mut line = self.waiting.inner.lock();
        line.bytes += message.cost_bytes();
        line.items.push_back(Item::Message(message));
        let dropped = line.bound();
        self.metrics.sources.set_queue_bytes(kind, line.bytes);
        drop(line);
        if dropped > 0 {
            self.metrics.sources.dropped(kind, dropped);
        }
        self.waiting.more.notify_one();
    }

    /// Begins unbroken reception. To be called once the subscription is active and before the first
    /// message. On every call but the first, messages since the previous reception are missing.
    pub(crate) fn up(&self) {
        let now = Instant::now();
        let mut line = self.waiting.inner.lock();
        line.since = Some(now);
        // The first call is no gap.
        if let Some(confirmed) = line.confirmed.replace(now) {
            line.confirmed_before = line.confirmed_before.or(Some(confirmed));
            line.items.push_back(Item::Interrupted);
        } else {
            line.taken = Some(now);
        }
        drop(line);
        self.waiting.more.notify_one();
        self.state.up();
    }

    /// Confirms that all messages sent until `at` have been received: the server answered a request
    /// that was made at that time.
    pub(crate) fn confirm(&self, at: Instant) {
        let mut line = self.waiting.inner.lock();
        line.confirmed = line.confirmed.max(Some(at));
        drop(line);
        self.waiting.confirmed.notify_one();
    }

    /// Waits until a confirmation is requested.
    pub(crate) async fn asked(&self) {
        self.waiting.ask.notified().await;
    }

    /// Ends reception, or reports that it has not begun. See [`SourceState::down`].
    pub(crate) fn down(&self, reason: &'static str, detail: &dyn std::fmt::Display) {
        self.waiting.inner.lock().since = None;
        self.state.down(reason, detail);
    }
}

impl Line {
    /// Drops the oldest messages beyond the bound. Returns their number.
    fn bound(&mut self) -> u64 {
        let (mut dropped, mut is_interrupted) = (0, false);
        while self.bytes > QUEUE_BYTES
            && let Some(item) = self.items.pop_front()
        {
            match item {
                Item::Message(message) => {
                    self.bytes -= message.cost_bytes();
                    dropped += 1;
                }
                Item::Interrupted => is_interrupted = true,
                Item::Overflow => {}
            }
        }
        if is_interrupted {
            self.items.push_front(Item::Interrupted);
        }
        if dropped > 0 {
            self.items.push_front(Item::Overflow);
        }
        dropped
    }

    fn take(&mut self) -> Option<Taken> {
        if self.items.is_empty() {
            self.taken = self.confirmed;
        }
        match self.items.front()? {
            Item::Message(_) => {}
            Item::Interrupted => {
                self.items.pop_front();
                let is_more = self.items.iter().any(|item| matches!(item, Item::Interrupted));
                self.confirmed_before = self.confirmed_before.filter(|_| is_more);
                return Some(Taken::Interrupted);
            }
            Item::Overflow => {
                self.items.pop_front();
                return Some(Taken::Overflow);
            }
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < TAKE_MESSAGES
            && let Some(Item::Message(message)) = self.items.front()
            && (taken.is_empty() || bytes + message.cost_bytes() <= TAKE_BYTES)
        {
            bytes += message.cost_bytes();
            if let Some(Item::Message(message)) = self.items.pop_front() {
                taken.push(message);
            }
        }
        self.bytes -= bytes;
        (!taken.is_empty()).then_some(Taken::Messages(taken))
    }
}

impl Heard {
    /// The next items, once there are any. The future is cancel-safe: no item is lost.
    pub(super) async fn next(&self) -> Taken {
        loop {
            let taken = {
                let mut line = self.waiting.inner.lock();
                let taken = line.take();
                self.metrics.sources.set_queue_bytes(self.state.kind(), line.bytes);
                taken
            };
            match taken {
                Some(taken) => return taken,
                None => self.waiting.more.notified().await,
            }
        }
    }

    /// When the current unbroken reception began; `None`: the source is not received, or an
    /// interruption waits in the queue.
    pub(super) fn since(&self) -> Option<Instant> {
        let line = self.waiting.inner.lock();
        line.since.filter(|_| line.confirmed_before.is_none())
    }

    /// Waits, for [`CONFIRMED_WITHIN`] at most, until all messages up to now have certainly been
    /// received.
    pub(super) async fn confirm(&self) {
        let now = Instant::now();
        let is_confirmed = || self.waiting.inner.lock().confirmed >= Some(now);
        let confirmed = async {
            self.waiting.ask.notify_one();
            while !is_confirmed() {
                self.waiting.confirmed.notified().await;
            }
        };
        let _ = tokio::time::timeout(CONFIRMED_WITHIN, confirmed).await;
    }

    /// Lower bound of the time at which the last taken messages were sent; `None`: unknown.
    pub(super) fn taken_after(&self) -> Option<Instant> {
        self.waiting.inner.lock().taken
    }

    /// The moment up to which all sent messages have certainly been taken; `None`: there is no such
    /// moment.
    pub(super) fn taken_until(&self) -> Option<Instant> {
        let line = self.waiting.inner.lock();
        let confirmed = if line.items.is_empty() { line.confirmed } else { line.taken };
        // For the time after an interruption that waits in the queue, nothing is certain.
        line.confirmed_before.map_or(confirmed, |before| confirmed.map(|confirmed| confirmed.min(before)))
    }
}
