//! Time: the only module that asks the system for it.
//!
//! A [`Clock`] is handed to whatever needs the time, so that a test decides what time it is. The log carries one
//! ([`crate::Log::clock`]), and everything that works on a log takes the log's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A source of monotonic time and of wall time. Cheap to clone.
///
/// Monotonic time is the runtime's, in every clock: a test stops it by pausing the runtime, and then timers and
/// clock agree. Wall time is the system's or a simulation's; it may jump in either direction.
#[derive(Clone, Debug, Default)]
pub struct Clock(Wall);

#[derive(Clone, Debug, Default)]
enum Wall {
    #[default]
    System,
    Simulated(Arc<Simulation>),
}

impl Clock {
    /// The clock of this machine.
    #[must_use]
    pub const fn system() -> Self {
        Self(Wall::System)
    }

    /// Monotonic time: it never goes back, and means nothing to another process.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Wall time in milliseconds since 1970 (UTC); 0 before that.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        let since_1970 = self.system_time().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }

    /// Wall time as the standard library has it.
    #[must_use]
    pub fn system_time(&self) -> SystemTime {
        match &self.0 {
            Wall::System => system_time(),
            Wall::Simulated(simulation) => simulation.system_time(),
        }
    }
}

/// A wall clock that a test sets. It runs with the runtime's monotonic time, and jumps when it is told to.
///
/// Clones are one clock: nodes that shall disagree about the time get one each.
#[derive(Clone, Debug)]
pub struct SimulatedClock(Arc<Simulation>);

#[derive(Debug)]
struct Simulation {
    /// Monotonic time at the start.
    origin: Instant,
    /// Wall time at the start.
    origin_ms: u64,
    /// By how much the wall clock has been moved since.
    jumped_ms: AtomicI64,
}

impl SimulatedClock {
    /// A wall clock that shows `unix_ms`, in milliseconds since 1970, now.
    #[must_use]
    pub fn new(unix_ms: u64) -> Self {
        Self(Arc::new(Simulation {
            origin: Instant::now(),
            origin_ms: unix_ms,
            jumped_ms: AtomicI64::new(0),
        }))
    }

    /// The clock to hand out.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock(Wall::Simulated(Arc::clone(&self.0)))
    }

    /// Moves the wall clock by so many milliseconds, back if negative. Monotonic time does not notice.
    pub fn jump(&self, ms: i64) {
        let jumped_ms = self.0.jumped_ms.load(Ordering::Relaxed);
        self.0.jumped_ms.store(jumped_ms.saturating_add(ms), Ordering::Relaxed);
    }
}

impl Simulation {
    fn system_time(&self) -> SystemTime {
        let elapsed_ms = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let jumped_ms = self.jumped_ms.load(Ordering::Relaxed);
        let ms = self.origin_ms.saturating_add(elapsed_ms).saturating_add_signed(jumped_ms);
        UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(UNIX_EPOCH)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
fn system_time() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulated_wall_clock_runs_with_the_runtime_and_jumps_alone() {
        let time = SimulatedClock::new(1_000_000);
        let (clock, start) = (time.clock(), time.clock().now());
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!((clock.unix_ms(), clock.now() - start), (1_000_250, Duration::from_millis(250)));
        time.jump(-250_000);
        assert_eq!((clock.unix_ms(), clock.now() - start), (750_250, Duration::from_millis(250)));
        time.jump(i64::MIN);
        assert_eq!(clock.unix_ms(), 0);
    }
}
