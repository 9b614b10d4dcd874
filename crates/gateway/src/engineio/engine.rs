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

/// One Engine.IO session of a client that polls, until it ends or is upgraded to a WebSocket.
pub(crate) struct Engine {
    /// Its id, which the client repeats with each request: 128 random bits.
    pub sid: Arc<str>,
    /// The address that opened it.
    pub address: IpAddr,
    /// What waits for the next poll.
    pub mailbox: Arc<Mailbox>,
    /// One body at a time is read, so that its packets take effect in their order.
    pub posting: tokio::sync::Mutex<()>,
    stage: Mutex<Stage>,
    opened: Instant,
    /// Polls that have come. The newest is the one that is answered with events.
    polls: AtomicU64,
    /// A WebSocket is being tried, so no poll may wait for long.
    is_probed: AtomicBool,
}

/// How far a session has come.
#[derive(Clone)]
pub(crate) enum Stage {
    /// It has no CONNECT yet.
    Open,
    /// Its CONNECT is answered, and it has yet to send its token. What it asked for.
    Awaiting(Arc<Request>),
    /// The client is in.
    Connected(Arc<Connected>),
    /// It goes on over a WebSocket.
    Upgraded,
}

/// A client whose CONNECT was accepted.
pub(crate) struct Connected {
    /// What it asked for, where it began.
    pub request: Request,
    /// What the answer to its CONNECT depends on; `None`: that has been answered.
    pub greeting: Option<Greeting>,
    changing: Mutex<Changing>,
}

/// What changes while a client is connected.
struct Changing {
    grant: Arc<Grant>,
    topics: Vec<Topic>,
    /// A command added topics to those of the CONNECT.
    has_more_topics: bool,
    session: Option<Arc<str>>,
    /// Reaches the poll that waits.
    waiting: Handle,
    refusals: u32,
}

/// A poll among those of its session.
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

    /// How far it has come.
    #[must_use]
    pub(crate) fn stage(&self) -> Stage {
        self.stage.lock().clone()
    }

    /// Its age.
    #[must_use]
    pub(super) fn age(&self) -> std::time::Duration {
        self.opened.elapsed()
    }

    /// The client asked for this, and has yet to send its token.
    pub(crate) fn await_token(&self, request: Request) {
        *self.stage.lock() = Stage::Awaiting(Arc::new(request));
    }

    /// The client is in.
    pub(crate) fn connected(&self, connected: Connected) {
        *self.stage.lock() = Stage::Connected(Arc::new(connected));
        self.mailbox.wake();
    }

    /// It goes on over a WebSocket. Returns how far it had come.
    pub(crate) fn upgrade(&self) -> Stage {
        std::mem::replace(&mut self.stage.lock(), Stage::Upgraded)
    }

    /// A new poll: those before it are answered without waiting any longer.
    pub(crate) fn poll(&self) -> PollTicket {
        let ticket = PollTicket(self.polls.fetch_add(1, Ordering::AcqRel) + 1);
        self.answer();
        ticket
    }

    /// Whether no newer poll has come.
    #[must_use]
    pub(crate) fn is_newest(&self, ticket: PollTicket) -> bool {
        self.polls.load(Ordering::Acquire) == ticket.0
    }

    /// Answers the poll that waits, if there is one.
    pub(crate) fn answer(&self) {
        self.mailbox.wake();
        if let Stage::Connected(connected) = self.stage() {
            connected.answer();
        }
    }

    /// Ends the session: the poll that waits says so, and the id is unknown from then on.
    pub(crate) fn end(&self) {
        self.mailbox.end();
        self.answer();
    }

    /// The client ended the session: the poll that waits is let go, and the id is unknown from then
    /// on.
    pub(crate) fn leave(&self) {
        self.mailbox.leave();
        self.answer();
    }

    /// A WebSocket is being tried, or no longer.
    pub(crate) fn probe(&self, is_probed: bool) {
        self.is_probed.store(is_probed, Ordering::Release);
        self.answer();
    }

    /// Whether a WebSocket is being tried.
    #[must_use]
    pub(crate) fn is_probed(&self) -> bool {
        self.is_probed.load(Ordering::Acquire)
    }
}

impl Connected {
    /// A client with this grant that asked for this. `has_more_topics`: among them are topics that
    /// it had before and did not name.
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

    /// What the client may do now.
    #[must_use]
    pub(crate) fn grant(&self) -> Arc<Grant> {
        Arc::clone(&self.changing.lock().grant)
    }

    /// The topics that it wants now.
    #[must_use]
    pub(crate) fn topics(&self) -> Vec<Topic> {
        self.changing.lock().topics.clone()
    }

    /// Whether it has topics that it did not name in its CONNECT.
    #[must_use]
    pub(crate) fn has_more_topics(&self) -> bool {
        self.changing.lock().has_more_topics
    }

    /// Its session, once it has one.
    #[must_use]
    pub(crate) fn session(&self) -> Option<Arc<str>> {
        self.changing.lock().session.clone()
    }

    /// Commands that were refused in a row.
    #[must_use]
    pub(crate) fn refusals(&self) -> u32 {
        self.changing.lock().refusals
    }

    /// A command may have changed what the client may do and wants.
    pub(crate) fn changed(&self, grant: &Arc<Grant>, topics: &[Topic], refusals: u32) {
        let mut changing = self.changing.lock();
        changing.grant = Arc::clone(grant);
        changing.has_more_topics |= topics.iter().any(|topic| !changing.topics.contains(topic));
        changing.topics = topics.to_vec();
        changing.refusals = refusals;
    }

    /// Answers the poll that waits, if there is one.
    pub(crate) fn answer(&self) {
        let waiting = self.changing.lock().waiting.clone();
        waiting.end(End::Answer);
    }

    /// A poll waits, in this session, and is reached by this handle.
    pub(crate) fn waits(&self, session: &Arc<str>, handle: &Handle) {
        let mut changing = self.changing.lock();
        changing.session = Some(Arc::clone(session));
        changing.waiting = handle.clone();
    }
}
