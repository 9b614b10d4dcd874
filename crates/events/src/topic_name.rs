//! The name of a topic, checked once.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The validated name of a topic: `user:alice`, `room:song-1`, `job:42`, `all`.
///
/// 1 to [`Topic::BYTES_MAX`] bytes of `A-Z a-z 0-9 _ . : @ / -`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// The topic that every session has.
    #[must_use]
    pub fn all() -> Self {
        static ALL: LazyLock<Topic> = LazyLock::new(|| Topic(Arc::from("all")));
        ALL.clone()
    }

    /// The topic of one user, `user:ID`.
    ///
    /// # Errors
    /// When the id has bytes that no topic may have, is empty, or is too long.
    pub fn of_user(user: &str) -> Result<Self, TopicError> {
        if user.is_empty() {
            return Err(TopicError::Empty);
        }
        format!("user:{user}").parse()
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not the name of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// No text.
    #[error("a topic needs a name")]
    Empty,
    /// Longer than [`Topic::BYTES_MAX`].
    #[error("a topic has at most 128 bytes")]
    TooLong,
    /// A byte outside the alphabet.
    #[error("a topic is made of A-Z a-z 0-9 _ . : @ / -")]
    Alphabet,
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(name: &str) -> Result<Self, TopicError> {
        if name.is_empty() {
            return Err(TopicError::Empty);
        }
        if name.len() > Self::BYTES_MAX {
            return Err(TopicError::TooLong);
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.:@/-".contains(&b);
        if !name.bytes().all(allowed) {
            return Err(TopicError::Alphabet);
        }
        Ok(Self(Arc::from(name)))
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Topic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_alphabet_and_nothing_else() {
        for name in ["all", "user:alice", "room:song-1", "a_b.C:9@x/y-z", &"t".repeat(128)] {
            assert_eq!(name.parse::<Topic>().as_ref().map(Topic::as_str), Ok(name));
        }
        assert_eq!("".parse::<Topic>(), Err(TopicError::Empty));
        assert_eq!("t".repeat(129).parse::<Topic>(), Err(TopicError::TooLong));
        for name in ["a b", "a,b", "a*", "ä", "a\0", "a\"", "a\n"] {
            assert_eq!(name.parse::<Topic>(), Err(TopicError::Alphabet), "{name:?}");
        }
        assert_eq!(Topic::of_user(""), Err(TopicError::Empty));
    }
}
