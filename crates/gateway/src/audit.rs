//! The audit log: refused attempts, and actions of operators.
//!
//! One line each, target `audit`, always with the same fields: `event`, `user` (empty: not known), `address`, `reason`,
//! `left_out`. Never a token, a key or data.
//!
//! A client could cause any number of lines, so they are rationed. If one user at one address does the
//! same again and again, only some lines are written, and `left_out` in the next counts the others.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Deed {
    /// A token was missing or invalid.
    TokenRefused,
    /// A publish key was invalid.
    KeyRefused,
    /// A page has a foreign origin.
    OriginRefused,
    /// The grant does not allow the topic.
    TopicRefused,
    /// Commands, publishes, ephemeral events or connections reached a limit. Logged once until the limit
    /// is kept again.
    LimitReached,
    /// A client continued regardless and was cut off.
    Abuse,
    /// An operator ended sessions.
    Disconnected,
    /// An operator had the configuration read again.
    Reloaded,
}

impl Deed {
    const fn as_str(self) -> &'static str {
        match self {
            Self::TokenRefused => "token_refused",
            Self::KeyRefused => "key_refused",
            Self::OriginRefused => "origin_refused",
            Self::TopicRefused => "topic_refused",
            Self::LimitReached => "limit_reached",
            Self::Abuse => "abuse",
            Self::Disconnected => "disconnected",
            Self::Reloaded => "reloaded",
        }
    }
}

/// The most lines of one kind about one user at one address in [`WINDOW`].
const LINES_MAX: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);
/// The most pairs of user and address whose ration is remembered.
const RATIONS_MAX: u64 = 10_000;

/// By the deed, its user and the address.
type Rations = Cache<(Deed, Box<str>, IpAddr), Arc<Mutex<Ration>>>;

/// The rations. One set for the process, like the log.
static RATIONS: LazyLock<Rations> = LazyLock::new(|| {
    Cache::builder().max_capacity(RATIONS_MAX).time_to_idle(Duration::from_secs(60)).build()
});

struct Ration {
    /// When this window began.
    since: Instant,
    /// Lines in it.
    lines: u32,
    /// Lines that were not written since the last that was.
    left_out: u64,
}

impl Ration {
    fn new(now: Instant) -> Self {
        Self { since: now, lines: 0, left_out: 0 }
    }

    /// Whether a line is written, and how many before it were left out.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.since) >= WINDOW {
            (self.since, self.lines) = (now, 0);
        }
        if self.lines == LINES_MAX {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Writes a line, unless there are too many of its kind.
pub(crate) fn record(deed: Deed, user: &str, address: IpAddr, reason: &str) {
    let now = Instant::now();
    let ration = RATIONS.get_with((deed, user.into(), address), || Arc::new(Mutex::new(Ration::new(now))));
    let taken = ration.lock().take(now);
    let Some(left_out) = taken else { return };
    tracing::info!(target: "audit", event = deed.as_str(), user, %address, reason, left_out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_rationed_and_what_is_left_out_is_counted() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ration = Ration::new(start);
        assert!((0..LINES_MAX).all(|n| ration.take(at(n.into())) == Some(0)));
        assert!((0..500).all(|n| ration.take(at(500 + n)).is_none()));
        assert_eq!(ration.take(at(1000)), Some(500));
        assert_eq!(ration.take(at(1001)), Some(0));
    }
}
