//! The least that a session needs around it: an application that has nothing to say, terms, and lines. For the rig, the
//! simulation and the benches.

use std::sync::Arc;
use std::time::Duration;

use events::{BoxFuture, Cursor, Limit, Reset, ResetReason, Topic};
use parking_lot::Mutex;
use transport::ws::Decoder;
use transport::{
    Access, ByeReason, Host, Identity, Line, Outcome, PollLine, Sent, SseLine, Terms, UnsentBytes, WsLine,
};

/// Told of topics that the session has taken up, and after which cursor it gets their events.
pub type Subscribed = Box<dyn Fn(&[Topic], Cursor) + Send + Sync>;

/// An application whose clients send no commands and are told of no waits.
pub struct QuietHost {
    access: Mutex<Access>,
    unsent: Arc<UnsentBytes>,
    subscribed: Subscribed,
}

impl QuietHost {
    /// For a session with these topics, which shares `unsent` with others.
    pub fn new(topics: Vec<Topic>, unsent: Arc<UnsentBytes>, subscribed: Subscribed) -> Self {
        Self { access: Mutex::new(Access { topics, ..Access::default() }), unsent, subscribed }
    }

    /// Adds a topic, unless it is there. The session takes it up after `Handle::revise`.
    pub fn subscribe(&self, topic: Topic) {
        let mut access = self.access.lock();
        if !access.topics.contains(&topic) {
            access.topics.push(topic);
            access.added += 1;
        }
    }
}

impl Host for QuietHost {
    fn identity(&self) -> Identity<'_> {
        Identity { session: "0123456789abcdefghijkl", user: "alice", deployment: "test" }
    }

    fn access(&self) -> Access {
        self.access.lock().clone()
    }

    fn expires_at(&self) -> String {
        String::new()
    }

    fn expiring(&self) -> String {
        String::new()
    }

    fn unsent(&self) -> &Arc<UnsentBytes> {
        &self.unsent
    }

    fn command(self: Arc<Self>, _: String) -> BoxFuture<'static, Outcome> {
        Box::pin(std::future::ready(Outcome { reply: Vec::new(), end: None }))
    }

    fn not_a_command(&self) -> Vec<u8> {
        Vec::new()
    }

    fn refetch_after(&self, _: ResetReason) -> Duration {
        Duration::ZERO
    }

    fn reconnect_after(&self, _: ByeReason) -> Duration {
        Duration::ZERO
    }

    fn retry_after(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn sent(&self, _: Sent) {}

    fn reset(&self, _: &Reset) {}

    fn subscribed(&self, topics: &[Topic], at: Cursor) {
        self.access.lock().added -= topics.len();
        (self.subscribed)(topics, at);
    }
}

/// Terms of a session that begins anew and lasts.
pub fn terms() -> Terms {
    Terms {
        heartbeat: Duration::from_secs(15),
        interval: Duration::ZERO,
        limit: Limit { events: 1000, bytes: 256 << 10 },
        resumed: false,
        states: false,
        expiry: None,
        expiring_before: Duration::ZERO,
        age_max: None,
        write_timeout: Duration::from_secs(15),
    }
}

/// A WebSocket whose client sends at most 1,000 bytes in a command.
pub fn ws() -> Line {
    Line::Ws(WsLine::new(Decoder::new(1000)))
}

/// An event stream in chunks.
pub fn sse() -> Line {
    Line::Sse(SseLine { chunked: true, pad: 0, headers: "".into() })
}

/// A poll of a client that knows its session, on a connection that can be used again.
pub fn poll(wait_ms: u64) -> Line {
    Line::Poll(poll_line(wait_ms))
}

/// The same, as it is written.
pub fn poll_line(wait_ms: u64) -> PollLine {
    PollLine {
        wait_ms: wait_ms as u32,
        hello: false,
        keep_alive: true,
        headers: "".into(),
        pipelined: Vec::new(),
    }
}
