//! The bytes that all sessions together have framed and their sockets have not taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the unsent bytes of all sessions, and keeps batches small while there are many.
///
/// A session frames one batch at a time, so that a client that stops reading holds one batch. With
/// thousands of such clients full batches would take gigabytes. Above the ample amount every
/// session frames small batches: all of them together hold at most that amount, and for each client
/// one small batch or one event.
#[derive(Debug)]
pub struct UnsentBytes {
    bytes: AtomicUsize,
    ample: usize,
}

/// The most bytes of events in a batch while unsent bytes are many.
const SMALL_BATCH_BYTES: usize = 4 << 10;

impl Default for UnsentBytes {
    fn default() -> Self {
        Self::new(32 << 20)
    }
}

impl UnsentBytes {
    /// Batches are as long as their session allows while fewer than `ample` bytes are unsent.
    #[must_use]
    pub const fn new(ample: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), ample }
    }

    /// Bytes of memory that blocked sessions hold.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The most bytes of events in a batch that may have `most`.
    pub(crate) fn batch_bytes(&self, most: usize) -> usize {
        if self.bytes() < self.ample { most } else { most.min(SMALL_BATCH_BYTES) }
    }

    /// Counts `bytes` until the result is dropped.
    pub(crate) fn count(self: &Arc<Self>, bytes: usize) -> CountedBytes {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        CountedBytes { unsent: Arc::clone(self), bytes }
    }
}

/// The part of one session.
#[derive(Debug)]
pub(crate) struct CountedBytes {
    unsent: Arc<UnsentBytes>,
    bytes: usize,
}

impl Drop for CountedBytes {
    fn drop(&mut self) {
        self.unsent.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
