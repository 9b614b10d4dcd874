//! The audit log: what somebody tried and must not, and what an operator did.
//!
//! One line each, target `audit`, always with the same fields: `event`, `user` (empty: not known), `address`, `reason`.
//! Never a token, a key or data.

use std::net::IpAddr;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A token was missing or not good.
    TokenRefused,
    /// A publish key was not good.
    KeyRefused,
    /// A page of a foreign origin.
    OriginRefused,
    /// The grant does not allow the topic.
    TopicRefused,
    /// Commands, publishes, ephemeral events or connections reached a limit; said once until it is kept again.
    LimitReached,
    /// Somebody went on regardless and was cut off.
    Abuse,
    /// An operator ended sessions.
    Disconnected,
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
        }
    }
}

/// Writes a line.
pub(crate) fn record(deed: Deed, user: &str, address: IpAddr, reason: &str) {
    tracing::info!(target: "audit", event = deed.as_str(), user, %address, reason);
}
