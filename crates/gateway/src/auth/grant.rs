//! What a token allows, parsed once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use events::{Clock, Topic, TopicError, TopicPattern};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::lists::Lists;

/// By how much clocks may differ: a token is still good for this long after its `exp`, and already this long before its
/// `nbf`.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// What the bearer of a token may do, and until when.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The user: the `sub` claim.
    pub user: Arc<str>,
    /// The user's own topic, `user:SUB`.
    pub user_topic: Topic,
    /// What the token lists.
    pub lists: Arc<Lists>,
    /// The `exp` claim; `None`: does not expire.
    pub expires_at: Option<SystemTime>,
    /// JSON that is shown in presence, at most [`Grant::INFO_BYTES_MAX`].
    pub info: Option<Box<RawValue>>,
}

impl Grant {
    /// The largest `info`, in bytes.
    pub const INFO_BYTES_MAX: usize = 1024;

    /// The grant of `user=NAME` in `gateway dev`: everything, for ever.
    ///
    /// # Errors
    /// When the name gives no topic.
    pub fn of_developer(user: &str) -> Result<Self, TopicError> {
        let everything = || [TopicPattern::everything()].into();
        Ok(Self {
            user: user.into(),
            user_topic: Topic::of_user(user)?,
            lists: Arc::new(Lists { subscribe: everything(), publish: everything(), ..Lists::default() }),
            expires_at: None,
            info: None,
        })
    }

    /// Whether the topic's events may be read: the user's own topic, `all`, and what the token lists. Another user's
    /// topic only if it is listed, by name or by a pattern.
    #[must_use]
    pub fn may_subscribe(&self, topic: &Topic) -> bool {
        *topic == self.user_topic
            || topic.as_str() == "all"
            || self.lists.subscribe.iter().any(|pattern| pattern.matches(topic))
    }

    /// Whether events may be published to the topic: only what the token lists.
    #[must_use]
    pub fn may_publish(&self, topic: &Topic) -> bool {
        self.lists.publish.iter().any(|pattern| pattern.matches(topic))
    }

    /// Whether the backend endpoints beside publishing are open: `publish` holds exactly `*`.
    #[must_use]
    pub fn may_administer(&self) -> bool {
        self.lists.publish.iter().any(TopicPattern::is_everything)
    }

    /// When the grant ends: `exp` and the [`LEEWAY`]; `None`: never.
    #[must_use]
    pub fn ends_at(&self) -> Option<SystemTime> {
        self.expires_at.and_then(|at| at.checked_add(LEEWAY))
    }

    /// The same on the clock of timers; `None`: never.
    #[must_use]
    pub fn ends_at_instant(&self, clock: &Clock) -> Option<Instant> {
        self.left(clock).map(|left| clock.now() + left)
    }

    /// For how long it still holds, a century at most; `None`: for ever.
    #[must_use]
    pub fn left(&self, clock: &Clock) -> Option<Duration> {
        /// Tokens that outlive a century need no timer.
        const LEFT_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        let left = self.ends_at()?.duration_since(clock.system_time()).unwrap_or_default();
        Some(left.min(LEFT_MAX))
    }

    /// Whether the grant has ended.
    #[must_use]
    pub fn has_ended(&self, now: SystemTime) -> bool {
        self.ends_at().is_some_and(|end| end < now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> Topic {
        name.parse().unwrap()
    }

    fn grant(subscribe: &[&str], publish: &[&str]) -> Grant {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let lists = Lists { subscribe: patterns(subscribe), publish: patterns(publish), ..Lists::default() };
        Grant { lists: lists.into(), ..Grant::of_developer("alice").unwrap() }
    }

    #[test]
    fn own_topic_and_all_may_always_be_read() {
        let nothing = grant(&[], &[]);
        assert!(nothing.may_subscribe(&topic("user:alice")) && nothing.may_subscribe(&topic("all")));
        for other in ["user:bob", "user:alice2", "user:alic", "room:1", "all2"] {
            assert!(!nothing.may_subscribe(&topic(other)), "{other}");
        }
        assert!(!nothing.may_publish(&topic("user:alice")) && !nothing.may_publish(&topic("all")));
    }

    #[test]
    fn another_users_topic_only_if_listed() {
        assert!(!grant(&["room:*"], &[]).may_subscribe(&topic("user:bob")));
        assert!(grant(&["user:bob"], &[]).may_subscribe(&topic("user:bob")));
        assert!(grant(&["user:*"], &[]).may_subscribe(&topic("user:bob")));
    }

    #[test]
    fn only_a_star_administers() {
        assert!(grant(&[], &["room:1", "*"]).may_administer());
        for publish in [&["room:*", "user:*"][..], &[], &["all"]] {
            assert!(!grant(&["*"], publish).may_administer(), "{publish:?}");
        }
    }

    #[test]
    fn ends_after_the_leeway() {
        let now = Clock::system().system_time();
        let mut grant = grant(&[], &[]);
        assert!(!grant.has_ended(now));
        grant.expires_at = Some(now - Duration::from_secs(4));
        assert!(!grant.has_ended(now));
        grant.expires_at = Some(now - Duration::from_secs(6));
        assert!(grant.has_ended(now));
    }
}
