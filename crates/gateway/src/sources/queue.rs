//! What a source has heard and the store has not taken yet. Bounded in bytes: beyond the bound the
//! oldest messages are dropped and counted, and a gap stands in their place.

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
/// How long a confirmation is waited for that was asked for.
const CONFIRMED_WITHIN: Duration = Duration::from_millis(500);
/// How many messages and how many bytes of them are taken at once.
const TAKE_MESSAGES: usize = 128;
const TAKE_BYTES: usize = 256 << 10;

/// What is taken from the queue at once.
#[derive(Debug)]
pub(super) enum Taken {
    /// The source was not heard between what was taken before and what comes next.
    Interrupted,
    /// Messages were dropped between what was taken before and what comes next.
    Overflow,
    /// At least one message, in the order in which they were heard.
    Messages(Vec<SourceMessage>),
}

/// The entrance of the queue: where a source leaves what it hears. Never waits.
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
    /// A confirmation is wanted at once.
    ask: Notify,
    confirmed: Notify,
}

#[derive(Default)]
struct Line {
    items: VecDeque<Item>,
    bytes: usize,
    /// Since when the source is heard without a break; `None`: it is not heard.
    since: Option<Instant>,
    /// When it was last certain that everything until then had been heard.
    confirmed: Option<Instant>,
    /// The same when the queue was last empty: everything until then has been taken.
    taken: Option<Instant>,
    /// The same for what was taken: a break stands in the queue that was not taken yet.
    confirmed_before: Option<Instant>,
}

enum Item {
    Interrupted,
    Overflow,
    Message(SourceMessage),
}

/// An empty queue.
pub(super) fn open(state: SourceState, metrics: Arc<Metrics>) -> (Ear, Heard) {
    let waiting = Arc::<Waiting>::default();
    let ear = Ear { state: state.clone(), metrics: Arc::clone(&metrics), waiting: Arc::clone(&waiting) };
    (ear, Heard { state, metrics, waiting })
}

impl Ear {
    /// Takes in a message.
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

    /// From now on everything is heard. Call it once the subscription stands and before the first
    /// message. If it is not the first time, what was said in between is missing.
    pub(crate) fn up(&self) {
        let now = Instant::now();
        let mut line = self.waiting.inner.lock();
        line.since = Some(now);
        // The first time is no gap.
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

    /// Everything that was said until `at` has been heard: the server answered a question that was
    /// asked then.
    pub(crate) fn confirm(&self, at: Instant) {
        let mut line = self.waiting.inner.lock();
        line.confirmed = line.confirmed.max(Some(at));
        drop(line);
        self.waiting.confirmed.notify_one();
    }

    /// Ready when a confirmation is wanted at once.
    pub(crate) async fn asked(&self) {
        self.waiting.ask.notified().await;
    }

    /// Nothing is heard any more, or not yet. See [`SourceState::down`].
    pub(crate) fn down(&self, reason: &'static str, detail: &dyn std::fmt::Display) {
        self.waiting.inner.lock().since = None;
        self.state.down(reason, detail);
    }
}

impl Line {
    /// Drops the oldest messages beyond the bound. Says how many.
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
    /// What comes next, once there is something. Cancelling the future loses nothing.
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

    /// Since when the source is heard without a break; `None`: it is not heard, or a break stands in
    /// the queue.
    pub(super) fn since(&self) -> Option<Instant> {
        let line = self.waiting.inner.lock();
        line.since.filter(|_| line.confirmed_before.is_none())
    }

    /// Waits until it is certain that everything until now has been heard, for a moment at most.
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

    /// When what was taken last was said, at the earliest; `None`: that is not known.
    pub(super) fn taken_after(&self) -> Option<Instant> {
        self.waiting.inner.lock().taken
    }

    /// Until when it is certain that everything that was said has been taken; `None`: it is not for
    /// any moment.
    pub(super) fn taken_until(&self) -> Option<Instant> {
        let line = self.waiting.inner.lock();
        let confirmed = if line.items.is_empty() { line.confirmed } else { line.taken };
        // What was said before a break that stands in the queue is known only as far as that.
        line.confirmed_before.map_or(confirmed, |before| confirmed.map(|confirmed| confirmed.min(before)))
    }
}
