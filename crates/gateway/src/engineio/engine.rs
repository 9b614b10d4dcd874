//! One Engine.IO session.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use events::Topic;
use parking_lot::Mutex;
use tokio::time::Instant;
use transport::socketio::{Greeting, Mailbox};
use transport::{End, Handle, Request};

use crate::auth::Grant;

/// One Engine.IO session of a client that uses polling, until it ends or is upgraded to a
/// WebSocket.
pub(crate) struct Engine {
    /// The id of the session, which the client repeats with each request: 128 random bits.
    pub sid: Arc<str>,
    /// The address that opened the session.
    pub address: IpAddr,
    /// Packets that wait for the next poll.
    pub mailbox: Arc<Mailbox>,
    /// Lock for reading one body at a time, so that packets take effect in order.
    pub posting: tokio::sync::Mutex<()>,
    stage: Mutex<Stage>,
    opened: Instant,
    /// Number of polls so far. Only the newest is answered with events.
    polls: AtomicU64,
    /// Whether a WebSocket is being probed. No poll may wait for long during a probe.
    is_probed: AtomicBool,
}

/// The stage of a session.
#[derive(Clone)]
pub(crate) enum Stage {
    /// The session has no CONNECT yet.
    Open,
    /// The CONNECT is answered, and the token is missing. Holds the client's request.
    Awaiting(Arc<Request>),
    /// The client is connected.
    Connected(Arc<Connected>),
    /// The session continues over a WebSocket.
    Upgraded,
}

/// A client whose CONNECT was accepted.
pub(crate) struct Connected {
    /// The request of the client at the beginning.
    pub request: Request,
    /// The parameters of the answer to the CONNECT; `None`: the CONNECT has been answered.
    pub greeting: Option<Greeting>,
    changing: Mutex<Changing>,
}

/// State that changes while a client is connected.
struct Changing {
    grant: Arc<Grant>,
    topics: Vec<Topic>,
    /// Whether there are topics that the client did not name in its CONNECT: topics of an earlier
    /// session, or topics that a command added.
    has_more_topics: bool,
    session: Option<Arc<str>>,
    /// The handle of the waiting poll.
    waiting: Handle,
    refusals: u32,
}

/// The number of a poll within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PollTicket(u64);

impl Engine {
    /// A session without a CONNECT.
    #[must_use]
    pub(super) fn new(sid: Arc<str>, address: IpAddr, mailbox: Arc<Mailbox>) -> Self {
        Self {
            sid,
            address,
            mailbox,
            posting: tokio::sync::Mutex::default(),
            stage: Mutex::new(Stage::Open),
            opened: Instant::now(),
            polls: AtomicU64::new(0),
            is_probed: AtomicBool::new(false),
        }
    }

    /// The stage of the session.
    #[must_use]
    pub(crate) fn stage(&self) -> Stage {
        self.stage.lock().clone()
    }

    /// The age of the session.
    #[must_use]
    pub(super) fn age(&self) -> std::time::Duration {
        self.opened.elapsed()
    }

    /// Records the client's request. The token is still missing.
    pub(crate) fn await_token(&self, request: Request) {
        *self.stage.lock() = Stage::Awaiting(Arc::new(request));
    }

    /// Records that the client is connected.
    pub(crate) fn connected(&self, connected: Connected) {
        *self.stage.lock() = Stage::Connected(Arc::new(connected));
        self.mailbox.wake();
    }

    /// Records that the session continues over a WebSocket. Returns its previous stage.
    pub(crate) fn upgrade(&self) -> Stage {
        std::mem::replace(&mut self.stage.lock(), Stage::Upgraded)
    }

    /// Registers a new poll. Earlier polls are answered immediately.
    pub(crate) fn poll(&self) -> PollTicket {
        let ticket = PollTicket(self.polls.fetch_add(1, Ordering::AcqRel) + 1);
        self.answer();
        ticket
    }

    /// Whether no newer poll has arrived.
    #[must_use]
    pub(crate) fn is_newest(&self, ticket: PollTicket) -> bool {
        self.polls.load(Ordering::Acquire) == ticket.0
    }

    /// Answers the waiting poll, if there is one.
    pub(crate) fn answer(&self) {
        self.mailbox.wake();
        if let Stage::Connected(connected) = self.stage() {
            connected.answer();
        }
    }

    /// Ends the session. The waiting poll reports the end, and the id is unknown from then on.
    pub(crate) fn end(&self) {
        self.mailbox.end();
        self.answer();
    }

    /// Ends the session on request of the client. The waiting poll is released, and the id is
    /// unknown from then on.
    pub(crate) fn leave(&self) {
        self.mailbox.leave();
        self.answer();
    }

    /// Records whether a WebSocket is being probed.
    pub(crate) fn probe(&self, is_probed: bool) {
        self.is_probed.store(is_probed, Ordering::Release);
        self.answer();
    }

    /// Whether a WebSocket is being probed.
    #[must_use]
    pub(crate) fn is_probed(&self) -> bool {
        self.is_probed.load(Ordering::Acquire)
    }
}

impl Connected {
    /// A connected client. With `has_more_topics`, the request contains topics that the client had
    /// before and did not name.
    #[must_use]
    pub(crate) fn new(
        grant: Arc<Grant>,
        request: Request,
        greeting: Option<Greeting>,
        has_more_topics: bool,
    ) -> Self {
        let topics = request.topics.clone();
        let changing = Changing {
            grant,
            topics,
            has_more_topics,
            session: None,
            waiting: Handle::default(),
            refusals: 0,
        };
        Self { request, greeting, changing: Mutex::new(changing) }
    }

    /// The client's current grant.
    #[must_use]
    pub(crate) fn grant(&self) -> Arc<Grant> {
        Arc::clone(&self.changing.lock().grant)
    }

    /// The client's current topics.
    #[must_use]
    pub(crate) fn topics(&self) -> Vec<Topic> {
        self.changing.lock().topics.clone()
    }

    /// Whether the client has topics that it did not name in its CONNECT.
    #[must_use]
    pub(crate) fn has_more_topics(&self) -> bool {
        self.changing.lock().has_more_topics
    }

    /// The session of the client, once it has one.
    #[must_use]
    pub(crate) fn session(&self) -> Option<Arc<str>> {
        self.changing.lock().session.clone()
    }

    /// Number of consecutive refused commands.
    #[must_use]
    pub(crate) fn refusals(&self) -> u32 {
        self.changing.lock().refusals
    }

    /// Records changes that a command may have made to the client's grant and topics.
    pub(crate) fn changed(&self, grant: &Arc<Grant>, topics: &[Topic], refusals: u32) {
        let mut changing = self.changing.lock();
        changing.grant = Arc::clone(grant);
        changing.has_more_topics |= topics.iter().any(|topic| !changing.topics.contains(topic));
        changing.topics = topics.to_vec();
        changing.refusals = refusals;
    }

    /// Answers the waiting poll, if there is one.
    pub(crate) fn answer(&self) {
        let waiting = self.changing.lock().waiting.clone();
        waiting.end(End::Answer);
    }

    /// Records a waiting poll: its session and its handle.
    pub(crate) fn waits(&self, session: &Arc<str>, handle: &Handle) {
        let mut changing = self.changing.lock();
        changing.session = Some(Arc::clone(session));
        changing.waiting = handle.clone();
    }
}
