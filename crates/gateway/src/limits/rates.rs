//! How fast one user may send commands and publish.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::sync::Cache;

use crate::audit::{self, Deed};
use crate::config::Limits;
use crate::current::Current;
use crate::metrics::Metrics;
use crate::metrics::labels::RateLimit;
use crate::problem::{Code, Problem};

/// The rates of a user, over all sessions and transports of the user. Each kind of use has its own
/// bucket, so that moving a cursor costs no message.
pub(crate) struct Limiters {
    rates: Current<Rates>,
    metrics: Arc<Metrics>,
}

/// The rates of one configuration.
struct Rates {
    commands: Rate,
    publishes: Rate,
    ephemerals: Rate,
}

/// What counts against a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A command that is no publish.
    Command,
    /// An event for the log.
    Publish,
    /// An ephemeral event.
    Ephemeral,
}

impl Use {
    /// The name in the metrics.
    #[must_use]
    pub(crate) const fn label(self) -> RateLimit {
        match self {
            Self::Command => RateLimit::Commands,
            Self::Publish => RateLimit::Publishes,
            Self::Ephemeral => RateLimit::Ephemerals,
        }
    }

    /// The detail of the refusal when it is used too often.
    #[must_use]
    pub(crate) const fn too_many(self) -> &'static str {
        match self {
            Self::Command => "too many commands",
            Self::Publish => "too many events",
            Self::Ephemeral => "too many ephemeral events",
        }
    }
}

/// The use is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Over {
    /// The wait until the next use is allowed.
    pub wait: Duration,
    /// Whether the use before this one was allowed.
    pub is_first: bool,
}

impl Limiters {
    /// The rates of a configuration.
    #[must_use]
    pub(crate) fn new(limits: &Limits, metrics: Arc<Metrics>) -> Self {
        Self { rates: Current::new(Rates::new(limits)), metrics }
    }

    /// The rates of this configuration hold from now on. What users have used of the former is
    /// forgotten.
    pub(crate) fn set(&self, limits: &Limits) {
        self.rates.set(Rates::new(limits));
    }

    /// Takes one from the rate of a user, whose request or session comes from this address.
    ///
    /// # Errors
    /// When it is one too many: [`Code::RateLimited`], with the time after which the next may come.
    pub(crate) fn take(&self, what: Use, user: &Arc<str>, address: IpAddr) -> Result<(), Problem> {
        let taken = self.rates.get().of(what).take(user, 1);
        taken.map_err(|over| self.refuse(what, user, address, over))
    }

    /// Takes this many uses beside the one that was taken already, or none. A cost above the burst counts
    /// as the whole burst.
    ///
    /// # Errors
    /// When there are too many, like [`Limiters::take`].
    pub(crate) fn take_more(
        &self,
        what: Use,
        user: &Arc<str>,
        address: IpAddr,
        more: u32,
    ) -> Result<(), Problem> {
        let rates = self.rates.get();
        let rate = rates.of(what);
        let taken = rate.take(user, more.min(rate.burst().saturating_sub(1)));
        taken.map_err(|over| self.refuse(what, user, address, over))
    }

    fn refuse(&self, what: Use, user: &Arc<str>, address: IpAddr, over: Over) -> Problem {
        self.metrics.rate_limited(what.label());
        if over.is_first {
            audit::record(Deed::LimitReached, user, address, what.too_many());
        }
        Problem::new(Code::RateLimited, what.too_many()).retry_after(over.wait)
    }
}

impl Rates {
    fn new(limits: &Limits) -> Self {
        let per = |count: Option<u32>, quota: fn(NonZeroU32) -> Quota| {
            Rate::new(count.and_then(NonZeroU32::new).map(quota))
        };
        Self {
            commands: per(limits.commands_per_minute, Quota::per_minute),
            publishes: per(limits.publishes_per_minute, Quota::per_minute),
            ephemerals: per(limits.ephemerals_per_second, Quota::per_second),
        }
    }

    fn of(&self, what: Use) -> &Rate {
        match what {
            Use::Command => &self.commands,
            Use::Publish => &self.publishes,
            Use::Ephemeral => &self.ephemerals,
        }
    }
}

/// A bucket for each user.
struct Rate {
    quota: Option<Quota>,
    /// A bucket that was idle for longer than it takes to fill may be forgotten.
    buckets: Cache<Arc<str>, Arc<Bucket>>,
    clock: DefaultClock,
}

struct Bucket {
    limiter: DefaultDirectRateLimiter,
    is_over: AtomicBool,
}

impl Rate {
    /// How many users are remembered. Forgetting one only fills the bucket.
    const USERS_MAX: u64 = 200_000;

    /// `None`: no limit.
    fn new(quota: Option<Quota>) -> Self {
        Self {
            quota,
            buckets: Cache::builder()
                .max_capacity(Self::USERS_MAX)
                .time_to_idle(Duration::from_secs(90))
                .build(),
            clock: DefaultClock::default(),
        }
    }

    /// The most that a user may have at once.
    fn burst(&self) -> u32 {
        self.quota.map_or(u32::MAX, |quota| quota.burst_size().get())
    }

    fn take(&self, user: &Arc<str>, cost: u32) -> Result<(), Over> {
        let Some(quota) = self.quota else { return Ok(()) };
        let Some(cost) = NonZeroU32::new(cost.min(quota.burst_size().get())) else { return Ok(()) };
        let fresh =
            || Arc::new(Bucket { limiter: RateLimiter::direct(quota), is_over: AtomicBool::new(false) });
        let bucket = self.buckets.get_with_by_ref(user, fresh);
        // No cost is above the burst.
        let taken = bucket.limiter.check_n(cost).unwrap_or(Ok(()));
        let was_over = bucket.is_over.swap(taken.is_err(), Ordering::Relaxed);
        taken.map_err(|not_until| Over {
            wait: not_until.wait_time_from(self.clock.now()),
            is_first: !was_over,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_users_own() {
        let rate = Rate::new(NonZeroU32::new(3).map(Quota::per_minute));
        let (alice, bob): (Arc<str>, Arc<str>) = ("alice".into(), "bob".into());
        assert!((0..3).all(|_| rate.take(&alice, 1).is_ok()));
        let Over { wait, is_first } = rate.take(&alice, 1).unwrap_err();
        assert!(wait > Duration::from_secs(15) && wait <= Duration::from_secs(20), "{wait:?}");
        assert!(is_first && !rate.take(&alice, 1).unwrap_err().is_first);
        assert!(rate.take(&bob, 1).is_ok());
        assert!((0..1000).all(|_| Rate::new(None).take(&alice, 1).is_ok()));
    }

    #[test]
    fn a_cost_is_taken_whole_or_not_at_all() {
        let rate = Rate::new(NonZeroU32::new(10).map(Quota::per_minute));
        let alice: Arc<str> = "alice".into();
        assert!(rate.take(&alice, 0).is_ok() && rate.take(&alice, 7).is_ok());
        assert!(rate.take(&alice, 4).is_err(), "three are left");
        assert!(rate.take(&alice, 3).is_ok() && rate.take(&alice, 1).is_err());
        let bob: Arc<str> = "bob".into();
        assert!(rate.take(&bob, 1000).is_ok(), "more than there ever is costs all there is");
        assert!(rate.take(&bob, 1).is_err());
    }
}
