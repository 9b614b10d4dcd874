//! When clients may come back: waits with jitter, so that one restart is not one stampede.

use std::num::NonZeroU32;
use std::time::Duration;

use events::{Chance, ResetReason};

/// Draws the waits of clients.
#[derive(Clone, Debug)]
pub(crate) struct Pacing(Chance);

impl Pacing {
    /// Draws from `chance`.
    #[must_use]
    pub(crate) fn new(chance: Chance) -> Self {
        Self(chance)
    }

    /// A random part of `whole`.
    #[must_use]
    pub(crate) fn part_of(&self, whole: Duration) -> Duration {
        const PARTS: u64 = 1 << 32;
        whole.mul_f64(self.0.below(PARTS + 1) as f64 / PARTS as f64)
    }

    /// How long a client waits before it fetches its state again. Lost history concerns all clients
    /// at once, an old cursor only its owner.
    #[must_use]
    pub(crate) fn refetch_after(&self, reason: ResetReason) -> Duration {
        self.part_of(match reason {
            ResetReason::Expired => Duration::from_secs(1),
            ResetReason::Epoch | ResetReason::Ahead => Duration::from_secs(5),
        })
    }

    /// The slot of the client number `at` that a drain sends away: its place in the queue, and a
    /// little chance.
    #[must_use]
    pub(crate) fn drain_slot(&self, at: u32, per_second: NonZeroU32) -> Duration {
        let queue = Duration::from_secs_f64(f64::from(at) / f64::from(per_second.get()));
        queue + self.part_of(Duration::from_millis(500))
    }

    /// How long a client waits that may simply come back.
    #[must_use]
    pub(crate) fn soon(&self) -> Duration {
        self.part_of(Duration::from_secs(1))
    }

    /// How long a client waits that gave its place to another one of its user. One that comes back by
    /// itself would take the place of the next, and so on.
    #[must_use]
    pub(crate) fn displaced(&self) -> Duration {
        Duration::from_secs(60) + self.part_of(Duration::from_secs(30))
    }

    /// How long an `EventSource` waits after its connection was lost, which may have happened to all
    /// clients.
    #[must_use]
    pub(crate) fn retry(&self) -> Duration {
        Duration::from_secs(1) + self.part_of(Duration::from_secs(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_spread_over_the_queue() {
        let pacing = Pacing::new(Chance::seeded(1));
        let thousand = NonZeroU32::new(1000).unwrap();
        assert!(pacing.drain_slot(0, thousand) <= Duration::from_millis(500));
        let late = pacing.drain_slot(10_000, thousand);
        assert!(late >= Duration::from_secs(10) && late <= Duration::from_millis(10_500));
    }

    #[test]
    fn parts_stay_within_the_whole() {
        let pacing = Pacing::new(Chance::seeded(1));
        let whole = Duration::from_secs(1);
        let parts: Vec<_> = (0..100).map(|_| pacing.part_of(whole)).collect();
        assert!(parts.iter().all(|part| *part <= whole));
        assert!(parts.iter().any(|part| *part != parts[0]));
    }
}
