//! The reasons for the end of a connection, in the form of each transport.

use std::time::Duration;

/// Why the gateway ends a stream; the client is told in a `bye` first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByeReason {
    /// This process is going away.
    Drain,
    /// The token has expired.
    ExpiredToken,
    /// A newer connection continues the session.
    Replaced,
    /// An operator or the application ended it.
    Disconnected,
    /// The client did not read for too long.
    Slow,
    /// The stream has reached its maximum age.
    MaxAge,
    /// The client has left too many pings unanswered.
    Silent,
    /// Not now; only before a session begins ([`crate::SseRefusal`]).
    Unavailable,
    /// Too much; only before a session begins.
    RateLimited,
}

impl ByeReason {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::ExpiredToken => "expired_token",
            Self::Replaced => "replaced",
            Self::Disconnected => "disconnected",
            Self::Slow => "slow",
            Self::MaxAge => "max_age",
            Self::Silent => "silent",
            Self::Unavailable => "unavailable",
            Self::RateLimited => "rate_limited",
        }
    }

    /// The close code of a WebSocket that ends for this reason.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Drain | Self::MaxAge => CloseCode::GOING_AWAY,
            Self::ExpiredToken => CloseCode::UNAUTHENTICATED,
            Self::Replaced | Self::Disconnected => CloseCode::ENDED,
            Self::Slow | Self::Silent => CloseCode::SLOW,
            Self::Unavailable => CloseCode::UNAVAILABLE,
            Self::RateLimited => CloseCode::RATE_LIMITED,
        }
    }
}

/// The last message to a client: the reason, and the wait before it reconnects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bye {
    /// Why.
    pub reason: ByeReason,
    /// When this client should reconnect, counted from now.
    pub reconnect_after: Duration,
}

/// A WebSocket close code (RFC 6455 section 7.4; 4000 and up are the protocol's own).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// 1005: the client closed and gave no code. Never sent.
    pub const NONE: Self = Self(1005);
    /// 1000: the client closed and nothing was wrong.
    pub const NORMAL: Self = Self(1000);
    /// 1001: drain, or the stream reached its maximum age.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the framing rules.
    pub const PROTOCOL: Self = Self(1002);
    /// 1007: text that is not UTF-8.
    pub const NOT_UTF8: Self = Self(1007);
    /// 1009: a message over the limit.
    pub const TOO_LARGE: Self = Self(1009);
    /// 4400: a malformed request.
    pub const BAD_REQUEST: Self = Self(4400);
    /// 4401: the token is missing, invalid or expired.
    pub const UNAUTHENTICATED: Self = Self(4401);
    /// 4403: not allowed.
    pub const FORBIDDEN: Self = Self(4403);
    /// 4408: the client did not read for too long.
    pub const SLOW: Self = Self(4408);
    /// 4410: replaced, or disconnected by an operator.
    pub const ENDED: Self = Self(4410);
    /// 4429: too much.
    pub const RATE_LIMITED: Self = Self(4429);
    /// 4503: the store cannot be reached, or this node is behind the cursor.
    pub const UNAVAILABLE: Self = Self(4503);

    /// Whether a peer may send this code in a close frame (RFC 6455 section 7.4.1 and 7.4.2).
    #[must_use]
    pub const fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// How a session ended, for logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// The gateway said `bye`.
    Bye(ByeReason),
    /// The client closed.
    Client,
    /// A poll was answered.
    Answered,
    /// The client broke the WebSocket rules, or sent too much.
    Violation(CloseCode),
    /// History was incomplete, on a line that cannot begin again in place.
    Reset,
    /// The connection failed.
    Lost,
}

impl Ended {
    /// A bounded word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bye(reason) => reason.as_str(),
            Self::Client => "client",
            Self::Answered => "answered",
            Self::Violation(CloseCode::RATE_LIMITED) => "abuse",
            Self::Violation(_) => "violation",
            Self::Reset => "reset",
            Self::Lost => "lost",
        }
    }
}
