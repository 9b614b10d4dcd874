//! Pauses between attempts, and the random numbers of this store.

use std::hash::Hasher as _;
use std::time::Duration;

use crate::Chance;

/// The longest pause after the first failure, and after many failures.
const FIRST_MS: u64 = 20;
const LAST_MS: u64 = 1000;

/// The pause before the next attempt. It doubles with each failure up to one second, with jitter so
/// that the nodes do not all return at the same moment.
pub(super) fn backoff(failures: u32) -> Duration {
    let most_ms = (FIRST_MS << failures.min(6)).min(LAST_MS);
    Duration::from_millis(most_ms / 2 + u64::from(random()) * most_ms / 2048)
}

/// A random number below 1024.
pub(super) fn random() -> u32 {
    nonce() as u32 % 1024
}

/// A random number that no other node and no other call gets.
#[expect(clippy::disallowed_methods, reason = "no simulation has a Redis, and nodes must differ")]
pub(super) fn nonce() -> u64 {
    Chance::system().number()
}

/// A hash of these bytes for telling them from others. It is the same on every node.
pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
