//! The time by which the store decides what is old.

use tokio::time::Instant;

use crate::Clock;

/// The wall clock's time when the store was opened, and monotonic from there: a wall clock that is set while the store
/// runs makes nothing old. What earlier processes wrote has the wall clock's time, which is the same at the start.
pub(super) struct StoreTime {
    opened: Instant,
    opened_ms: u64,
}

impl StoreTime {
    pub(super) fn begin(clock: &Clock) -> Self {
        Self { opened: clock.now(), opened_ms: clock.unix_ms() }
    }

    /// Milliseconds since 1970, as the wall clock at the start had them.
    pub(super) fn now_ms(&self, clock: &Clock) -> u64 {
        let elapsed_ms = clock.now().saturating_duration_since(self.opened).as_millis();
        self.opened_ms.saturating_add(u64::try_from(elapsed_ms).unwrap_or(u64::MAX))
    }
}
