//! One connection: its user, its grant, its topics, and the seq up to which its client was sent events.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use events::{Clock, Seq, Topic, TypeFilter};
use parking_lot::Mutex;
use transport::{Handle, Refused, Terms, Transport};

use super::subscriptions::{Since, Subscriptions};
use crate::auth::Grant;
use crate::session_key::SessionKey;
use crate::time;

/// The state of a connection, or of a request with commands. Shared by the table, the session's task
/// and its commands.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The user.
    pub user: Arc<str>,
    /// The id of its session; `None`: no session.
    pub id: Option<Arc<str>>,
    /// Its transport; `None`: a request with commands.
    pub transport: Option<Transport>,
    /// Whether it carries packets of Socket.IO.
    pub speaks_socketio: bool,
    /// The client's address.
    pub address: IpAddr,
    /// The handle on the session's task.
    pub handle: Handle,
    /// The part that commands change. It has one lock, so that a renewed grant finds every topic that the
    /// grant before it allowed.
    pub held: Mutex<Held>,
    /// The types it wants; `None`: all.
    pub types: Option<TypeFilter>,
    /// The session has the events above this seq; [`NOT_YET`] until it has begun.
    began: AtomicU64,
    /// Whether it began with a cursor of its client. Then an earlier session had the events below.
    resumed: AtomicBool,
    /// The client was sent all events that it may see up to this seq.
    sent: AtomicU64,
    /// How long before the end of the grant the client is told, in milliseconds; zero: it has been told.
    expiring_before_ms: AtomicU32,
}

/// A transport as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShownTransport {
    Ws,
    Sse,
    Poll,
    SocketIoWs,
    SocketIoPoll,
}

impl ShownTransport {
    /// How many there are.
    pub(crate) const COUNT: usize = 5;

    /// A transport, which may carry packets of Socket.IO.
    #[must_use]
    pub(crate) const fn of(transport: Transport, speaks_socketio: bool) -> Self {
        match (transport, speaks_socketio) {
            (Transport::Ws, false) => Self::Ws,
            (Transport::Ws, true) => Self::SocketIoWs,
            (Transport::Poll, false) => Self::Poll,
            (Transport::Poll, true) => Self::SocketIoPoll,
            (Transport::Sse, _) => Self::Sse,
        }
    }

    /// Its name.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Sse => "sse",
            Self::Poll => "poll",
            Self::SocketIoWs => "sio_ws",
            Self::SocketIoPoll => "sio_poll",
        }
    }
}

/// The grant and the topics of a connection. The grant always allows all the topics.
#[derive(Debug)]
pub(crate) struct Held {
    /// What the client's commands may do.
    pub grant: Arc<Grant>,
    /// The topics that it is subscribed to.
    pub subscriptions: Subscriptions,
}

/// Above every seq.
const NOT_YET: u64 = u64::MAX;

impl Connection {
    /// A connection without a session: a grant, topics that it allows, and the types to deliver.
    #[must_use]
    pub(crate) fn new(
        grant: Arc<Grant>,
        topics: Vec<Topic>,
        types: Option<TypeFilter>,
        address: IpAddr,
    ) -> Self {
        Self {
            user: Arc::clone(&grant.user),
            id: None,
            transport: None,
            speaks_socketio: false,
            address,
            handle: Handle::default(),
            held: Mutex::new(Held { grant, subscriptions: Subscriptions::new(topics) }),
            types,
            began: AtomicU64::new(NOT_YET),
            resumed: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            expiring_before_ms: AtomicU32::new(0),
        }
    }

    /// Notes topics that the client asked for and does not get; `hello` names them.
    #[must_use]
    pub(crate) fn refusing(self, refused: Vec<Refused>) -> Self {
        self.held.lock().subscriptions.refuse(refused);
        self
    }

    /// Its session.
    #[must_use]
    pub(crate) fn session(&self) -> Option<SessionKey> {
        Some(SessionKey { user: Arc::clone(&self.user), id: Arc::clone(self.id.as_ref()?) })
    }

    /// The end of the grant in the form that clients read; empty if it does not end.
    #[must_use]
    pub(crate) fn expires_at(&self) -> String {
        self.held.lock().grant.expires_at.map(time::rfc3339).unwrap_or_default()
    }

    /// Replaces the grant, and drops the topics that the new one does not allow.
    pub(crate) fn renew(&self, grant: &Arc<Grant>, clock: &Clock) {
        self.expire(grant.left(clock));
        let mut held = self.held.lock();
        held.grant = Arc::clone(grant);
        held.subscriptions.retain(|topic| grant.may_subscribe(topic));
        self.handle.revise();
    }

    /// Adds topics that the grant allows, and has the session take them up.
    pub(crate) fn subscribe(&self, held: &mut Held, topics: &[Topic]) {
        held.subscriptions.add(topics);
        self.handle.revise();
    }

    /// Gives up topics.
    pub(crate) fn unsubscribe(&self, held: &mut Held, topics: &[Topic]) {
        held.subscriptions.retain(|topic| !topics.contains(topic));
        self.handle.revise();
    }

    /// How long before the grant's end its client is to be told; zero: it has been told.
    #[must_use]
    pub(crate) fn expiring_before(&self) -> Duration {
        Duration::from_millis(self.expiring_before_ms.load(Ordering::Relaxed).into())
    }

    /// Plans the notice of the end of a grant that has `left`.
    fn expire(&self, left: Option<Duration>) {
        let before = Terms::expiring_before(left.unwrap_or_default());
        self.expiring_before_ms.store(before.as_millis() as u32, Ordering::Relaxed);
    }

    /// Takes over from the connection `before` whether the client was told of the end of the same grant.
    pub(crate) fn expire_as(&self, before: Option<&Self>, clock: &Clock) {
        let grant = Arc::clone(&self.held.lock().grant);
        let same = before.filter(|before| before.held.lock().grant.expires_at == grant.expires_at);
        match same {
            Some(before) => {
                let before_ms = before.expiring_before_ms.load(Ordering::Relaxed);
                self.expiring_before_ms.store(before_ms, Ordering::Relaxed);
            }
            None => self.expire(grant.left(clock)),
        }
    }

    /// Notes that the client was told that its grant ends soon.
    pub(crate) fn told_expiring(&self) {
        self.expiring_before_ms.store(0, Ordering::Relaxed);
    }

    /// The connection begins at `at`, which is the client's own cursor if it `resumed`. Its session keeps
    /// the topics that it had over the connection `before`.
    pub(crate) fn begin(&self, at: Seq, resumed: bool, before: Option<&Self>) {
        self.sent.store(at.number(), Ordering::Relaxed);
        let Some(before) = before.filter(|before| resumed && before.began() <= at) else {
            self.began.store(at.number(), Ordering::Relaxed);
            self.resumed.store(resumed, Ordering::Relaxed);
            return;
        };
        self.began.store(before.began().number(), Ordering::Relaxed);
        self.resumed.store(before.has_resumed(), Ordering::Relaxed);
        let mut held = self.held.lock();
        held.subscriptions.go_on_from(&before.held.lock().subscriptions, at);
    }

    /// History broke: the session begins again at `at`.
    pub(crate) fn restarted(&self, at: Seq) {
        self.begin(at, false, None);
        self.held.lock().subscriptions.restart();
    }

    /// The client was sent everything up to `at`.
    pub(crate) fn sent_up_to(&self, at: Seq) {
        self.sent.store(at.number(), Ordering::Relaxed);
    }

    /// The seq above which the session has its topics.
    #[must_use]
    pub(crate) fn began(&self) -> Seq {
        seq(&self.began)
    }

    /// Whether its session has begun. Before, the client has been sent no event, and the session may
    /// still be refused.
    #[must_use]
    pub(crate) fn has_begun(&self) -> bool {
        self.began.load(Ordering::Relaxed) != NOT_YET
    }

    /// Whether the session began with a cursor of its client.
    #[must_use]
    pub(crate) fn has_resumed(&self) -> bool {
        self.resumed.load(Ordering::Relaxed)
    }

    /// The seq up to which the client was sent all events that it may see.
    #[must_use]
    pub(crate) fn sent(&self) -> Seq {
        seq(&self.sent)
    }

    /// The seq above which the session has one of its topics.
    #[must_use]
    pub(crate) fn has_since(&self, topic: &Topic) -> Seq {
        match self.held.lock().subscriptions.since(topic) {
            Since::Beginning => Seq::ZERO,
            Since::After(at) => at,
            Since::Next => self.sent(),
        }
    }
}

fn seq(number: &AtomicU64) -> Seq {
    Seq::new(number.load(Ordering::Relaxed)).unwrap_or(Seq::MAX)
}
