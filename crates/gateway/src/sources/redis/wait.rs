//! Timeouts and pauses of a source in Redis.

use std::time::Duration;

use events::Chance;

/// How long the server may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Pause before reconnecting. It doubles from the first value to the last, with full jitter.
const BACKOFF_FIRST_MS: u64 = 100;
const BACKOFF_LAST_MS: u64 = 5_000;
/// Pause after a refusal that only an operator can fix.
pub(super) const REFUSED: Duration = Duration::from_secs(5);

/// The pause after this many failures: random, up to a bound that doubles.
pub(super) fn backoff(failures: u32) -> Duration {
    let most_ms = (BACKOFF_FIRST_MS << failures.min(16)).min(BACKOFF_LAST_MS);
    Duration::from_millis(Chance::system().below(most_ms))
}
