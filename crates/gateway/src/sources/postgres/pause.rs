//! The pause before the next attempt.

use std::time::Duration;

use events::Chance;

/// A pause that doubles with each failure up to a limit, with full jitter, so that many gateways do
/// not return at the same moment.
#[derive(Debug)]
pub(super) struct Pause {
    failures: u32,
    last: Duration,
}

/// Upper bound of the first pause.
const FIRST: Duration = Duration::from_millis(100);

impl Pause {
    /// Pauses of at most `last`.
    pub(super) fn up_to(last: Duration) -> Self {
        Self { failures: 0, last }
    }

    /// Records a success: the next failure counts as the first.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure.
    pub(super) fn next(&mut self) -> Duration {
        let most = (FIRST * 2_u32.pow(self.failures.min(16))).min(self.last);
        self.failures = self.failures.saturating_add(1);
        let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        // Never 0: a server that refuses immediately must not be asked in a tight loop.
        Duration::from_millis(1 + Chance::system().below(most_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_last_and_begin_again() {
        let mut pause = Pause::up_to(Duration::from_secs(5));
        for failure in 0..40 {
            let most = Duration::from_millis((100_u64 << failure.min(10)).min(5_000));
            let next = pause.next();
            assert!(next > Duration::ZERO && next <= most, "{failure}: {next:?}");
        }
        pause.reset();
        assert!(pause.next() <= FIRST);
    }
}
