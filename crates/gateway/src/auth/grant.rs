//! What a token allows, parsed once: [`Grant`] and [`TopicPattern`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use events::{Clock, Topic, TopicError};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::Lists;

/// By how much clocks may differ: a token is still good for this long after its `exp`, and already this long before its
/// `nbf`.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// Topics of a grant: one exact name, or every name that begins with a prefix (`room:*`; `*` alone: every topic, those
/// of other users included).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicPattern {
    /// This topic.
    Exact(Topic),
    /// Every topic whose name begins with this text.
    Prefix(Box<str>),
}

impl TopicPattern {
    /// The pattern `*`: every topic.
    #[must_use]
    pub fn everything() -> Self {
        Self::Prefix(Box::default())
    }

    /// Whether the topic is one of these.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        match self {
            Self::Exact(exact) => exact == topic,
            Self::Prefix(prefix) => topic.as_str().starts_with(&**prefix),
        }
    }

    fn is_everything(&self) -> bool {
        matches!(self, Self::Prefix(prefix) if prefix.is_empty())
    }
}

impl FromStr for TopicPattern {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        match text.strip_suffix('*') {
            Some("") => Ok(Self::everything()),
            Some(prefix) => prefix.parse::<Topic>().map(|topic| Self::Prefix(topic.as_str().into())),
            None => text.parse().map(Self::Exact),
        }
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(topic) => topic.fmt(f),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl Serialize for TopicPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TopicPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

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
    pub fn ends_at_instant(&self) -> Option<Instant> {
        /// Tokens that outlive a century need no timer.
        const LEFT_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        let left = self.ends_at()?.duration_since(Clock::system().system_time()).unwrap_or_default();
        Some(Clock::system().now() + left.min(LEFT_MAX))
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
    fn patterns_are_exact_or_a_prefix() {
        for (pattern, name, expected) in [
            ("room:1", "room:1", true),
            ("room:1", "room:10", false),
            ("room:*", "room:1", true),
            ("room:*", "room:", true),
            ("room:*", "rooms", false),
            ("*", "user:bob", true),
        ] {
            let parsed: TopicPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(&topic(name)), expected, "{pattern} {name}");
            assert_eq!(parsed.to_string(), pattern);
        }
        for text in ["", "a*b", "**", "a b", "*a", "ä*", &"a".repeat(129)] {
            assert!(text.parse::<TopicPattern>().is_err(), "{text:?}");
        }
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
