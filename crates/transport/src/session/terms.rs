//! The terms of a session, which are fixed when it is admitted.

use std::time::Duration;

use events::Limit;
use tokio::time::Instant;

/// The terms of a session, which are fixed when it is admitted.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The longest time without a batch.
    pub heartbeat: Duration,
    /// The shortest time between two batches; zero: no minimum.
    pub interval: Duration,
    /// The most that one batch carries. On a stream the bytes are those of the whole message, so
    /// that every client library takes it; in an answer they are those of the events. A batch always
    /// holds one event.
    pub limit: Limit,
    /// The client came with a cursor or asked for the earliest event, so it is told when it has
    /// caught up.
    pub resumed: bool,
    /// The client wants the states of its topics.
    pub states: bool,
    /// When its token ends.
    pub expiry: Option<Instant>,
    /// How long before that the client is told; zero: it has been told.
    pub expiring_before: Duration,
    /// The greatest age of the stream.
    pub age_max: Option<Duration>,
    /// How long writing may be blocked.
    pub write_timeout: Duration,
}

impl Terms {
    /// How long before its end the client of a token is told, if the token has `left` when the
    /// client is first served: 60 seconds, or half of what is left of a shorter one.
    #[must_use]
    pub fn expiring_before(left: Duration) -> Duration {
        (left / 2).min(Duration::from_secs(60))
    }
}
