//! Topics of a list, such as those that a token grants: one by one, or by a prefix.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Topic, TopicError};

/// One exact name, or every name that begins with a prefix (`room:*`; `*` alone: every topic, those
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

    /// Whether this is the pattern `*`.
    #[must_use]
    pub fn is_everything(&self) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(parsed.matches(&name.parse().unwrap()), expected, "{pattern} {name}");
            assert_eq!(parsed.to_string(), pattern);
        }
        for text in ["", "a*b", "**", "a b", "*a", "ä*", &"a".repeat(129)] {
            assert!(text.parse::<TopicPattern>().is_err(), "{text:?}");
        }
    }
}
