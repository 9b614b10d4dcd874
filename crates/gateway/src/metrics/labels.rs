//! The closed sets of label values.
//!
//! A label takes its value from one of these enums only. This keeps the number of series fixed: a
//! user, a topic or an address cannot become a label, because none of them is an enum.

use transport::{ByeReason, CloseCode, Ended};

use crate::auth::Refusal;

pub use transport::Transport;

/// A label with a set of values that is known at build time.
pub trait Label: Copy + 'static {
    /// Every value, in declaration order.
    const ALL: &'static [Self];

    /// The value as it appears in the exposition.
    fn as_str(self) -> &'static str;

    /// The index of this value in [`Label::ALL`].
    fn index(self) -> usize;
}

impl Label for Transport {
    const ALL: &'static [Self] = &Self::ALL;

    fn as_str(self) -> &'static str {
        Self::as_str(self)
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl From<Refusal> for AuthFailure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing => Self::Missing,
            Refusal::TooLong => Self::TooLong,
            Refusal::Malformed => Self::Malformed,
            Refusal::Signature => Self::Signature,
            Refusal::Expired => Self::Expired,
            Refusal::NotYet => Self::NotYetValid,
            Refusal::Issuer => Self::Issuer,
            Refusal::Audience => Self::Audience,
            Refusal::Algorithm => Self::Algorithm,
            Refusal::KeyUnknown => Self::UnknownKey,
            Refusal::KeysUnread { .. } => Self::KeysUnread,
            Refusal::Claims => Self::Claims,
            Refusal::Subject => Self::Subject,
        }
    }
}

impl From<transport::Ended> for CloseReason {
    fn from(ended: transport::Ended) -> Self {
        match ended {
            Ended::Bye(ByeReason::Drain) => Self::Drain,
            Ended::Bye(ByeReason::ExpiredToken) => Self::ExpiredToken,
            Ended::Bye(ByeReason::Replaced) => Self::Replaced,
            Ended::Bye(ByeReason::Disconnected) => Self::Disconnected,
            Ended::Bye(ByeReason::Slow) | Ended::Reset => Self::Slow,
            Ended::Bye(ByeReason::MaxAge) => Self::MaxAge,
            Ended::Bye(ByeReason::Silent) => Self::Silent,
            // Sent before a session begins, never at its end.
            Ended::Bye(ByeReason::RateLimited) => Self::RateLimited,
            Ended::Bye(ByeReason::Unavailable) => Self::Error,
            Ended::Client | Ended::Answered | Ended::Violation(CloseCode::NORMAL) => Self::Client,
            Ended::Violation(CloseCode::TOO_LARGE) => Self::TooLarge,
            Ended::Violation(CloseCode::RATE_LIMITED) => Self::RateLimited,
            Ended::Violation(_) | Ended::Lost => Self::Error,
        }
    }
}

impl From<events::ResetReason> for ResetReason {
    fn from(reason: events::ResetReason) -> Self {
        match reason {
            events::ResetReason::Expired => Self::Expired,
            events::ResetReason::Epoch => Self::Epoch,
            events::ResetReason::Ahead => Self::Ahead,
        }
    }
}

impl From<CloseCode> for ClientClose {
    fn from(CloseCode(code): CloseCode) -> Self {
        match code {
            1000 => Self::Normal,
            1001 => Self::GoingAway,
            1002 => Self::Protocol,
            1003 => Self::Unsupported,
            1005 => Self::None,
            1007 => Self::NotUtf8,
            1008 => Self::Policy,
            1009 => Self::TooLarge,
            1010 => Self::Extension,
            1011 => Self::Internal,
            3000..=4999 => Self::Application,
            _ => Self::Other,
        }
    }
}

macro_rules! labels {
    ($(
        $(#[$doc:meta])*
        $name:ident { $( $(#[$variant_doc:meta])* $variant:ident = $text:literal, )+ }
    )+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[$variant_doc])* $variant, )+ }

        impl $name {
            /// The value as it appears in the exposition.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$( Self::$variant, )+];

            fn as_str(self) -> &'static str {
                $name::as_str(self)
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    )+};
}

labels! {
    /// Why a session ended. The first seven are the reasons of `bye` at the end of a session.
    CloseReason {
        /// The gateway drains.
        Drain = "drain",
        /// The token expired and was not refreshed.
        ExpiredToken = "expired_token",
        /// A newer connection continues the session.
        Replaced = "replaced",
        /// An operator ended the session.
        Disconnected = "disconnected",
        /// Writing was blocked for longer than the write timeout.
        Slow = "slow",
        /// The stream reached its maximum age.
        MaxAge = "max_age",
        /// A WebSocket left too many pings unanswered.
        Silent = "silent",
        /// The client closed, or its connection went away.
        Client = "client",
        /// A polling client did not return in time.
        Idle = "idle",
        /// A broken frame, a protocol error or an I/O error.
        Error = "error",
        /// A malformed request or command (4400).
        BadRequest = "bad_request",
        /// No valid token arrived (4401).
        Unauthenticated = "unauthenticated",
        /// The grant does not allow the request (4403).
        Forbidden = "forbidden",
        /// A message over the limit (1009).
        TooLarge = "too_large",
        /// Repeated abuse of a limit (4429).
        RateLimited = "rate_limited",
        /// The store cannot be reached, or this node is behind the cursor (4503).
        Unavailable = "unavailable",
    }

    /// Why a connection was refused before it had a session.
    RefuseReason {
        /// The request was malformed.
        BadRequest = "bad_request",
        /// The token is missing or invalid.
        Unauthenticated = "unauthenticated",
        /// The grant does not allow the request.
        Forbidden = "forbidden",
        /// A foreign `Origin`.
        Origin = "origin",
        /// The TLS handshake failed, or took too long.
        Tls = "tls",
        /// A limit on connections; `throughline_rate_limited_total` shows the limit.
        Limit = "limit",
        /// The request head or body did not arrive in time.
        Timeout = "timeout",
        /// The gateway drains.
        Draining = "draining",
        /// The store cannot be reached, or this node is behind the cursor.
        Unavailable = "unavailable",
    }

    /// The origin of an event.
    Source {
        /// `POST /v1/publish`.
        Http = "http",
        /// A client's `publish` command.
        Command = "command",
        /// A Redis channel.
        Redis = "redis",
        /// PostgreSQL: a notification or the outbox table.
        Postgres = "postgres",
    }

    /// A source of events outside the gateway.
    SourceKind {
        /// Redis pub/sub.
        Redis = "redis",
        /// A Redis stream with a consumer group.
        RedisStream = "redis_stream",
        /// PostgreSQL NOTIFY.
        Notify = "notify",
        /// The outbox table in PostgreSQL.
        Outbox = "outbox",
    }

    /// Why a message of a source became no event.
    RejectReason {
        /// The payload is not JSON.
        NotJson = "not_json",
        /// The payload is not UTF-8.
        NotUtf8 = "not_utf8",
        /// Every topic template of the rule has a missing part.
        NoTopic = "no_topic",
        /// The result of the rule is not a valid draft.
        BadDraft = "bad_draft",
        /// `data` is larger than `--max-data-bytes`, or the payload has too many drafts.
        TooLarge = "too_large",
    }

    /// The result of a resume from a client's cursor.
    ResumeOutcome {
        /// The log had all events after the cursor.
        Complete = "complete",
        /// The cursor is older than a ring: a reset.
        Expired = "expired",
        /// The cursor's epoch and its history are gone: a reset.
        Epoch = "epoch",
        /// The store itself is behind the cursor: a reset.
        Ahead = "ahead",
        /// This node was behind the cursor, waited, and caught up in time: complete.
        Waited = "waited",
        /// This node was behind the cursor, or the store was unreachable, for too long: 503 or
        /// 4503.
        Refused = "refused",
    }

    /// The code with which a client closed its WebSocket (RFC 6455 section 7.4.1).
    ClientClose {
        /// A normal end.
        Normal = "1000",
        /// The page or the process ends.
        GoingAway = "1001",
        /// The client saw a violation of the protocol.
        Protocol = "1002",
        /// The client does not accept such messages.
        Unsupported = "1003",
        /// The client received text that is not UTF-8.
        NotUtf8 = "1007",
        /// A rule of the client itself.
        Policy = "1008",
        /// A message is larger than the client accepts.
        TooLarge = "1009",
        /// The client misses an extension.
        Extension = "1010",
        /// The client failed, or got no answer to its pings.
        Internal = "1011",
        /// A code of the application.
        Application = "3000-4999",
        /// The client gave no code.
        None = "none",
        /// Any other code.
        Other = "other",
    }

    /// Why a session was told to fetch its state again.
    ResetReason {
        /// The session needs events that are older than the ring's oldest event.
        Expired = "expired",
        /// History was lost.
        Epoch = "epoch",
        /// The store is behind the cursor.
        Ahead = "ahead",
    }

    /// Why a token or a publish key was refused.
    AuthFailure {
        /// A token or key is required and missing.
        Missing = "missing",
        /// The token is longer than the accepted maximum.
        TooLong = "too_long",
        /// The text is not a token.
        Malformed = "malformed",
        /// The algorithm is not accepted for the key. Includes `none`.
        Algorithm = "algorithm",
        /// No key has that id.
        UnknownKey = "unknown_key",
        /// The token's key may be in a key set that could not be read since the token arrived.
        KeysUnread = "keys_unread",
        /// The signature does not match.
        Signature = "signature",
        /// The time is past `exp`.
        Expired = "expired",
        /// The time is before `nbf`.
        NotYetValid = "not_yet_valid",
        /// The `iss` is not an accepted one.
        Issuer = "issuer",
        /// The `aud` is not an accepted one.
        Audience = "audience",
        /// A claim has the wrong type, or is too large.
        Claims = "claims",
        /// The `sub` gives no topic, or the token refreshes another `sub`.
        Subject = "subject",
        /// A publish key that is not configured.
        PublishKey = "publish_key",
    }

    /// The limit that was reached.
    RateLimit {
        /// Commands of one user.
        Commands = "commands",
        /// Publishes of one user.
        Publishes = "publishes",
        /// Ephemeral events of one user.
        Ephemerals = "ephemerals",
        /// Connections of one user.
        ConnectionsUser = "connections_user",
        /// Connections from one address.
        ConnectionsAddress = "connections_address",
        /// Connections of the whole gateway.
        ConnectionsTotal = "connections_total",
        /// Bytes of request bodies accepted and not yet stored.
        AcceptedBytes = "accepted_bytes",
        /// Bytes of history on their way to returning clients.
        ReplayBytes = "replay_bytes",
    }

    /// How a Socket.IO client connected, or tried to.
    Handshake {
        /// By polling.
        Polling = "polling",
        /// On a WebSocket.
        WebSocket = "websocket",
        /// By an upgrade from polling to a WebSocket.
        Upgraded = "upgraded",
        /// By a WebSocket upgrade that was abandoned.
        UpgradeFailed = "upgrade_failed",
        /// With the id of a session that this gateway does not have: without sticky sessions, a
        /// session of another gateway.
        UnknownSession = "unknown_session",
    }

    /// The bound of the log that evicted an event.
    EvictionCause {
        /// The ring's number of events.
        Count = "count",
        /// The ring's bytes.
        Bytes = "bytes",
        /// The ring's age.
        Age = "age",
        /// The byte budget of the whole log.
        Budget = "budget",
    }

    /// The store's answer to an append.
    AppendOutcome {
        /// The events have their seqs.
        Ok = "ok",
        /// The store had the id already.
        Duplicate = "duplicate",
        /// The condition of `expect` did not hold.
        Conflict = "conflict",
        /// The store refused, or could not be reached.
        Unavailable = "unavailable",
    }

    /// The endpoint of a request.
    Route {
        /// `/v1/ws`.
        Ws = "ws",
        /// `/v1/sse`.
        Sse = "sse",
        /// `/v1/poll`.
        Poll = "poll",
        /// The path of Socket.IO clients.
        SocketIo = "socketio",
        /// `/v1/send`.
        Send = "send",
        /// `/v1/leave`.
        Leave = "leave",
        /// `/v1/history`.
        History = "history",
        /// `/v1/state`.
        State = "state",
        /// `/v1/presence`.
        Presence = "presence",
        /// `/v1/publish`.
        Publish = "publish",
        /// `/v1/disconnect`.
        Disconnect = "disconnect",
        /// `/v1/reload`.
        Reload = "reload",
        /// `/v1/stats`.
        Stats = "stats",
        /// `/v1/explain`.
        Explain = "explain",
        /// `/health`.
        Health = "health",
        /// `/ready`.
        Ready = "ready",
        /// `/metrics`.
        Metrics = "metrics",
        /// The page of `gateway dev` and its resources.
        Page = "page",
        /// Any other path.
        Other = "other",
    }

    /// Classes of routes with comparable durations.
    RouteClass {
        /// `/v1/ws` and `/v1/sse`: up to the head of the response.
        Stream = "stream",
        /// `/v1/poll`: including the wait.
        Poll = "poll",
        /// Other requests of clients.
        Client = "client",
        /// Requests of backends.
        Backend = "backend",
        /// Requests of monitoring.
        Probe = "probe",
        /// Pages and unknown paths.
        Other = "other",
    }

    /// The first digit of an HTTP status.
    StatusClass {
        /// Informational, including 101.
        Informational = "1xx",
        /// Success.
        Success = "2xx",
        /// Redirection.
        Redirection = "3xx",
        /// A fault of the client.
        ClientError = "4xx",
        /// A failure of the gateway.
        ServerError = "5xx",
    }
}

impl SourceKind {
    /// The origin under which the events of this source are counted.
    #[must_use]
    pub const fn origin(self) -> Source {
        match self {
            Self::Redis | Self::RedisStream => Source::Redis,
            Self::Notify | Self::Outbox => Source::Postgres,
        }
    }
}

impl Route {
    /// The class of this route's durations.
    #[must_use]
    pub const fn class(self) -> RouteClass {
        match self {
            Self::Ws | Self::Sse => RouteClass::Stream,
            Self::Poll | Self::SocketIo => RouteClass::Poll,
            Self::Send | Self::Leave | Self::History | Self::State | Self::Presence => RouteClass::Client,
            Self::Publish | Self::Disconnect | Self::Reload | Self::Stats | Self::Explain => {
                RouteClass::Backend
            }
            Self::Health | Self::Ready | Self::Metrics => RouteClass::Probe,
            Self::Page | Self::Other => RouteClass::Other,
        }
    }
}

impl StatusClass {
    /// The class of a status code. A code outside 100 to 499 counts as a failure of the gateway.
    #[must_use]
    pub const fn of(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}
