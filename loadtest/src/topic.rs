//! The topics that sessions follow and publishers publish to.

use std::fmt;

/// A topic by its number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Topic {
    /// A room that many sessions follow.
    Room(u32),
    /// One user's own topic.
    User(u32),
}

impl fmt::Display for Topic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(number) => write!(out, "room:r{number}"),
            Self::User(number) => write!(out, "user:u{number}"),
        }
    }
}
