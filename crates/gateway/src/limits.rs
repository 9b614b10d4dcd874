//! How fast one user may send commands.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::sync::Cache;

/// A bucket for each user, shared by all of the user's sessions and transports.
pub(crate) struct Commands {
    quota: Option<Quota>,
    /// A bucket that was idle for longer than it takes to fill may be forgotten.
    buckets: Cache<Arc<str>, Arc<DefaultDirectRateLimiter>>,
    clock: DefaultClock,
}

impl Commands {
    /// How many users are remembered. Forgetting one only fills the bucket.
    const USERS_MAX: u64 = 200_000;

    /// `per_minute` commands with a burst of as many; `None`: no limit.
    #[must_use]
    pub(crate) fn new(per_minute: Option<u32>) -> Self {
        Self {
            quota: per_minute.and_then(NonZeroU32::new).map(Quota::per_minute),
            buckets: Cache::builder()
                .max_capacity(Self::USERS_MAX)
                .time_to_idle(Duration::from_secs(90))
                .build(),
            clock: DefaultClock::default(),
        }
    }

    /// Takes one command of a user.
    ///
    /// # Errors
    /// How long to wait when there was one too many.
    pub(crate) fn take(&self, user: &Arc<str>) -> Result<(), Duration> {
        let Some(quota) = self.quota else { return Ok(()) };
        let bucket = self.buckets.get_with_by_ref(user, || Arc::new(RateLimiter::direct(quota)));
        bucket.check().map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_users_own() {
        let commands = Commands::new(Some(3));
        let (alice, bob): (Arc<str>, Arc<str>) = ("alice".into(), "bob".into());
        assert!((0..3).all(|_| commands.take(&alice).is_ok()));
        let wait = commands.take(&alice).unwrap_err();
        assert!(wait > Duration::from_secs(15) && wait <= Duration::from_secs(20), "{wait:?}");
        assert!(commands.take(&bob).is_ok());
        assert!((0..1000).all(|_| Commands::new(None).take(&alice).is_ok()));
    }
}
