//! The status of a user in a topic.

use serde::{Serialize, Serializer};

/// The presence of a user or of a session in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    /// No member.
    Offline,
    /// A member who does not look at the topic.
    Away,
    /// A member.
    Online,
}

impl Status {
    /// The word on the wire.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Away => "away",
            Self::Online => "online",
        }
    }

    /// The status of this name.
    #[must_use]
    pub(crate) fn named(word: &str) -> Option<Self> {
        [Self::Offline, Self::Away, Self::Online].into_iter().find(|status| status.as_str() == word)
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
