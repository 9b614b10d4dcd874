//! The open connections of the process, counted.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Every open connection of the process, idle ones without a request included.
#[derive(Debug, Default)]
pub(crate) struct OpenConnections(AtomicUsize);

impl OpenConnections {
    /// How many there are.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One more.
    pub(crate) fn enter(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less. Once for each [`OpenConnections::enter`].
    pub(crate) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
