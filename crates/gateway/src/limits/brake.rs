//! Slows down clients that come back at once after every refusal: some libraries make 600 connections a second.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// How many refusals of one user or address in [`WINDOW`] are told at once.
const PROMPT_MAX: u32 = 2;
const WINDOW: Duration = Duration::from_secs(10);
/// How long each further refusal is held back: with this, a client that comes back at once makes at most ten
/// requests in any ten seconds. Less than the two seconds after which a browser tries another transport beside.
const HOLD: Duration = Duration::from_millis(1500);
/// How many refusals are held back at once; beyond it they are told at once.
const HELD_MAX: usize = 1000;
/// How many users and how many addresses are remembered. Forgetting one only makes its next refusals prompt.
const REMEMBERED_MAX: u64 = 10_000;

/// The refusals of streams and polls a moment ago.
pub(crate) struct RefusalBrake {
    addresses: Cache<IpAddr, Arc<Mutex<Recent>>>,
    users: Cache<Arc<str>, Arc<Mutex<Recent>>>,
    held: Semaphore,
}

struct Recent {
    since: Instant,
    refusals: u32,
}

impl Recent {
    /// Counts a refusal. `true`: it is to be held back.
    fn count(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= WINDOW {
            (self.since, self.refusals) = (now, 0);
        }
        self.refusals = self.refusals.saturating_add(1);
        self.refusals > PROMPT_MAX
    }
}

impl RefusalBrake {
    /// Nobody has been refused yet.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { addresses: remembered(), users: remembered(), held: Semaphore::new(HELD_MAX) }
    }

    /// Counts a refusal of this address, and of this user if it is known, and waits for as long as it is held back.
    pub(crate) async fn refused(&self, address: IpAddr, user: Option<&Arc<str>>) {
        let now = Instant::now();
        let by_address = count(&self.addresses, address, now);
        let by_user = user.is_some_and(|user| count(&self.users, Arc::clone(user), now));
        if (by_address || by_user)
            && let Ok(_held) = self.held.try_acquire()
        {
            sleep(HOLD).await;
        }
    }
}

fn remembered<K: Hash + Eq + Send + Sync + 'static>() -> Cache<K, Arc<Mutex<Recent>>> {
    Cache::builder().max_capacity(REMEMBERED_MAX).time_to_idle(WINDOW).build()
}

fn count<K>(cache: &Cache<K, Arc<Mutex<Recent>>>, key: K, now: Instant) -> bool
where
    K: Hash + Eq + Send + Sync + 'static,
{
    let fresh = || Arc::new(Mutex::new(Recent { since: now, refusals: 0 }));
    let recent = cache.get_with(key, fresh);
    recent.lock().count(now)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// How long the refusal takes.
    async fn takes(brake: &RefusalBrake, last: u8, user: Option<&str>) -> Duration {
        let (began, user) = (Instant::now(), user.map(Arc::from));
        brake.refused(Ipv4Addr::new(192, 0, 2, last).into(), user.as_ref()).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_third_refusal_in_ten_seconds_is_held_back() {
        let brake = RefusalBrake::new();
        for held in [false, false, true, true] {
            let took = takes(&brake, 1, None).await;
            assert_eq!(took >= HOLD, held, "{took:?}");
        }
        assert!(takes(&brake, 2, None).await < HOLD, "another address is another's");
        for (last, held) in [(3, false), (4, false), (5, true)] {
            assert_eq!(takes(&brake, last, Some("alice")).await >= HOLD, held, "a user from anywhere");
        }
        tokio::time::advance(WINDOW).await;
        assert!(takes(&brake, 1, None).await < HOLD, "later it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_comes_back_at_once_makes_ten_requests_in_ten_seconds_at_the_most() {
        let (brake, began) = (RefusalBrake::new(), Instant::now());
        let mut asked = Vec::new();
        while began.elapsed() < 6 * WINDOW {
            asked.push(Instant::now());
            takes(&brake, 1, None).await;
        }
        for (first, at) in asked.iter().enumerate() {
            let within = asked[first..].iter().filter(|later| **later < *at + WINDOW).count();
            assert!(within <= 10, "{within} within ten seconds of request {first}");
        }
        assert!(asked.len() > 30, "held back, not locked out: {}", asked.len());
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_held_back_at_once_and_no_more() {
        let brake = Arc::new(RefusalBrake::new());
        for _ in 0..PROMPT_MAX {
            takes(&brake, 1, None).await;
        }
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..HELD_MAX + 5 {
            let brake = Arc::clone(&brake);
            all.spawn(async move { takes(&brake, 1, None).await });
        }
        let took: Vec<Duration> = all.join_all().await;
        assert_eq!(took.iter().filter(|took| **took < HOLD).count(), 5);
    }
}
