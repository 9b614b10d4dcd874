//! A topic in the log: its ring, and the readers that wait for it. Its locks and wake-ups are only here.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use slab::Slab;

use crate::ring::Ring;
use crate::signal::Signal;
use crate::state_map::StateMap;
use crate::{Event, Seq, Topic};

/// One topic's ring and waiters, shared by the log and the readers that are attached to it.
#[derive(Debug)]
pub(crate) struct TopicState {
    name: Topic,
    /// What the ring reaches to ([`Ring::reach`]): a reader at or past it need not take the lock.
    reach: AtomicU64,
    /// The number of the last ephemeral event, for the same reason.
    ephemeral_reach: AtomicU64,
    ring: Mutex<Ring>,
    /// It has a lock of its own, so that waking ten thousand readers does not delay the first one's read.
    waiters: Mutex<Waiters>,
}

/// Whom an event wakes. Most topics have one reader or none; one is kept in place.
#[derive(Debug, Default)]
enum Waiters {
    #[default]
    None,
    /// In slot 0.
    One(Arc<Signal>),
    /// Boxed: a third of a `Slab` in every topic.
    Many(Box<Slab<Arc<Signal>>>),
}

impl TopicState {
    /// A topic of which nothing at or below `floor` is known, with its state if it keeps one.
    pub(crate) fn new(name: Topic, floor: Seq, state: Option<StateMap>) -> Self {
        Self {
            name,
            reach: AtomicU64::new(floor.number()),
            ephemeral_reach: AtomicU64::new(0),
            ring: Mutex::new(Ring::new(floor, state)),
            waiters: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> &Topic {
        &self.name
    }

    /// Brings the locks, and with them what they guard, into the cache. Plain loads overlap, where taking a lock waits.
    pub(crate) fn foresee(&self) {
        black_box(self.ring.is_locked() | self.waiters.is_locked());
    }

    /// Whether a reader that has everything up to `seq` could miss something here.
    pub(crate) fn reaches_past(&self, seq: Seq) -> bool {
        self.reach.load(Ordering::Acquire) > seq.number()
    }

    pub(crate) fn has_ephemeral_past(&self, number: u64) -> bool {
        self.ephemeral_reach.load(Ordering::Acquire) > number
    }

    /// Looks at the ring.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&Ring) -> R) -> R {
        look(&self.ring.lock())
    }

    /// Changes the ring. Only the log does, under its sequencer.
    pub(crate) fn write<R>(&self, change: impl FnOnce(&mut Ring) -> R) -> R {
        let mut ring = self.ring.lock();
        let result = change(&mut ring);
        self.reach.store(ring.reach().number(), Ordering::Release);
        result
    }

    /// Keeps an ephemeral event for the readers that are attached.
    pub(crate) fn push_ephemeral(&self, event: Event) {
        let number = event.number();
        self.write(|ring| ring.push_ephemeral(event));
        self.ephemeral_reach.store(number, Ordering::Release);
    }

    /// Adds a waiter; the number gives it back to [`TopicState::detach`].
    pub(crate) fn attach(&self, signal: Arc<Signal>) -> usize {
        self.waiters.lock().insert(signal)
    }

    pub(crate) fn detach(&self, slot: usize) {
        self.waiters.lock().remove(slot);
    }

    pub(crate) fn is_attached(&self) -> bool {
        !matches!(*self.waiters.lock(), Waiters::None)
    }

    /// Wakes every waiter that is not awake already.
    pub(crate) fn wake(&self) {
        match &*self.waiters.lock() {
            Waiters::None => {}
            Waiters::One(signal) => signal.raise(),
            Waiters::Many(signals) => signals.iter().for_each(|(_, signal)| signal.raise()),
        }
    }
}

impl Waiters {
    fn insert(&mut self, signal: Arc<Signal>) -> usize {
        match std::mem::take(self) {
            Self::None => {
                *self = Self::One(signal);
                0
            }
            Self::One(first) => {
                let mut signals = Box::new(Slab::with_capacity(4));
                signals.insert(first);
                let slot = signals.insert(signal);
                *self = Self::Many(signals);
                slot
            }
            Self::Many(mut signals) => {
                let slot = signals.insert(signal);
                *self = Self::Many(signals);
                slot
            }
        }
    }

    fn remove(&mut self, slot: usize) {
        if let Self::Many(signals) = self {
            signals.remove(slot);
            if !signals.is_empty() {
                return;
            }
        }
        *self = Self::None;
    }
}
