//! The health of the store, as reported by the tailer, the publisher and the loss announcer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::reply::Failure;
use crate::{StoreStatus, Unavailable};

pub(super) struct RedisHealth {
    /// Whether the log is being followed.
    state: watch::Sender<Result<(), Unavailable>>,
    /// Whether the node has reached the end of the log at least once.
    loaded: AtomicBool,
    /// When this node was last at the end of the log.
    at_end: Mutex<Instant>,
    error: Mutex<Option<String>>,
    /// When a write was last refused; `None`: a later write was accepted.
    refused_at: Mutex<Option<Instant>>,
    /// Whether the publisher has found another master than the tailer.
    doubt: AtomicBool,
    /// Whether the tailer has found another master than the publisher.
    astray: AtomicBool,
    /// Whether the server evicts keys when its memory is full.
    evicts: AtomicBool,
    failures: AtomicU64,
    epochs: AtomicU64,
}

/// An evicted key may be the log, or a token for recognising a repeat.
const EVICTS: &str = "Redis evicts keys when its memory is full: set maxmemory-policy to noeviction";

/// How long a refused write makes the node not ready. Afterwards a load balancer may try the node
/// again.
const REFUSED: Duration = Duration::from_secs(3);

/// A node without new entries reports that it is at the end at least this often.
const IDLE: Duration = Duration::from_secs(1);

impl RedisHealth {
    pub(super) fn new() -> Self {
        Self {
            state: watch::Sender::new(Err(Unavailable("the log has not been read yet"))),
            loaded: AtomicBool::new(false),
            at_end: Mutex::new(Instant::now()),
            error: Mutex::default(),
            refused_at: Mutex::default(),
            doubt: AtomicBool::new(false),
            astray: AtomicBool::new(false),
            evicts: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            epochs: AtomicU64::new(0),
        }
    }

    pub(super) fn state(&self) -> watch::Receiver<Result<(), Unavailable>> {
        self.state.subscribe()
    }

    pub(super) fn is_followed(&self) -> bool {
        self.state.borrow().is_ok()
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    pub(super) fn ready(&self) -> Result<(), Unavailable> {
        let refused = self.refused_at.lock().is_some_and(|at| at.elapsed() < REFUSED);
        if refused { Err(Unavailable("Redis takes no writes")) } else { *self.state.borrow() }
    }

    pub(super) fn status(&self) -> StoreStatus {
        let behind = self.at_end.lock().elapsed();
        StoreStatus {
            lag: if behind <= IDLE && self.is_followed() { Duration::ZERO } else { behind },
            failures: self.failures.load(Ordering::Relaxed),
            epochs: self.epochs.load(Ordering::Relaxed),
            tokens_evicted: 0,
            alone: false,
            error: self.error.lock().clone(),
            warning: self.evicts.load(Ordering::Relaxed).then_some(EVICTS),
        }
    }

    /// Records that the node has read up to the end of the log.
    pub(super) fn set_at_end(&self) {
        *self.at_end.lock() = Instant::now();
        self.loaded.store(true, Ordering::Release);
        let was_lost = self.state.send_if_modified(|state| std::mem::replace(state, Ok(())).is_err());
        if was_lost && self.refused_at.lock().is_none() {
            *self.error.lock() = None;
        }
    }

    pub(super) fn set_lost(&self, error: &Failure) {
        self.set_failed(error);
        let _before = self.state.send_replace(Err(Unavailable("Redis cannot be reached")));
    }

    /// Records that a connection or a command failed. This alone does not make the node not ready.
    pub(super) fn set_failed(&self, error: &Failure) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        *self.error.lock() = Some(error.to_string());
    }

    pub(super) fn set_refused(&self, error: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        *self.error.lock() = Some(error.to_owned());
        *self.refused_at.lock() = Some(Instant::now());
    }

    /// Records that writes have failed for as long as publishers wait.
    pub(super) fn set_stuck(&self) {
        *self.refused_at.lock() = Some(Instant::now());
    }

    pub(super) fn set_published(&self) {
        if self.refused_at.lock().take().is_some() {
            *self.error.lock() = None;
        }
    }

    pub(super) fn set_doubt(&self) {
        self.doubt.store(true, Ordering::Release);
    }

    pub(super) fn take_doubt(&self) -> bool {
        self.doubt.swap(false, Ordering::AcqRel)
    }

    pub(super) fn set_astray(&self) {
        self.astray.store(true, Ordering::Release);
    }

    pub(super) fn take_astray(&self) -> bool {
        self.astray.swap(false, Ordering::AcqRel)
    }

    pub(super) fn set_evicts(&self, evicts: bool) {
        self.evicts.store(evicts, Ordering::Relaxed);
    }

    pub(super) fn add_epoch(&self) {
        self.epochs.fetch_add(1, Ordering::Relaxed);
    }
}
