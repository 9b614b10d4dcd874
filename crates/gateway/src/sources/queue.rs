//! What a source has heard and the store has not taken yet. Bounded in bytes: beyond the bound the
//! oldest messages are dropped and counted, and a gap stands in their place.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::apply::SourceMessage;
use super::states::SourceState;
use crate::metrics::Metrics;

/// The bound of the queue, in bytes.
const QUEUE_BYTES: usize = 8 << 20;
/// How many messages and how many bytes of them are taken at once.
const TAKE_MESSAGES: usize = 128;
const TAKE_BYTES: usize = 256 << 10;

/// What is taken from the queue at once.
#[derive(Debug)]
pub(super) enum Taken {
    /// Messages may be missing between what was taken before and what comes next.
    Gap,
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
}

#[derive(Default)]
struct Line {
    items: VecDeque<Item>,
    bytes: usize,
    /// Whether the source has been heard before: the first time is no gap.
    was_up: bool,
}

enum Item {
    Gap,
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
        let mut line = self.waiting.inner.lock();
        if std::mem::replace(&mut line.was_up, true) {
            line.items.push_back(Item::Gap);
        }
        drop(line);
        self.waiting.more.notify_one();
        self.state.up();
    }

    /// Nothing is heard any more, or not yet. See [`SourceState::down`].
    pub(crate) fn down(&self, reason: &'static str, detail: &dyn std::fmt::Display) {
        self.state.down(reason, detail);
    }
}

impl Line {
    /// Drops the oldest messages beyond the bound. Says how many.
    fn bound(&mut self) -> u64 {
        let mut dropped = 0;
        while self.bytes > QUEUE_BYTES
            && let Some(item) = self.items.pop_front()
        {
            if let Item::Message(message) = item {
                self.bytes -= message.cost_bytes();
                dropped += 1;
            }
        }
        if dropped > 0 {
            self.items.push_front(Item::Gap);
        }
        dropped
    }

    fn take(&mut self) -> Option<Taken> {
        if let Some(Item::Gap) = self.items.front() {
            self.items.pop_front();
            return Some(Taken::Gap);
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
}
