//! How long a source in Redis waits for what.

use std::time::Duration;

use events::Chance;

/// How long the server may take for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before connecting again: doubles from the first to the last, with full jitter.
const BACKOFF_FIRST_MS: u64 = 100;
const BACKOFF_LAST_MS: u64 = 5_000;
/// How long to wait after a refusal that only an operator can mend.
pub(super) const REFUSED: Duration = Duration::from_secs(5);

/// How long to wait after so many failures: a random time up to a bound that doubles.
pub(super) fn backoff(failures: u32) -> Duration {
    let most_ms = (BACKOFF_FIRST_MS << failures.min(16)).min(BACKOFF_LAST_MS);
    Duration::from_millis(Chance::system().below(most_ms))
}
