//! The interface between a running session and the application, in both directions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use events::{BoxFuture, Cursor, Lens, Reset, ResetReason, Topic};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::batch::Refused;
use crate::close::{Bye, ByeReason, CloseCode, Ended};
use crate::unsent::UnsentBytes;

/// The identity of a session, as `hello` tells it.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The id of the session.
    pub session: &'a str,
    /// The user of the session.
    pub user: &'a str,
    /// The name of this release or group of processes.
    pub deployment: &'a str,
}

/// What a session may see, and until when. The application owns it; the session brings its reader
/// in line with it whenever it changes.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// All topics of the session, in the order in which an event of several is attributed.
    pub topics: Vec<Topic>,
    /// How many of them, at the end, were added since [`Host::subscribed`] was last called.
    pub added: usize,
    /// How the session sees events; `None`: whole.
    pub lens: Option<Arc<dyn Lens>>,
    /// When its token ends; `None`: never.
    pub expiry: Option<Instant>,
    /// How long before that the client is told; zero: it has been told.
    pub expiring_before: Duration,
}

/// How the application ends a session.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// With a `bye`.
    Bye(Bye),
    /// A poll with what there is; a stream goes on.
    Answer,
    /// A WebSocket with this close code, and any other stream by closing the connection.
    Close(CloseCode, &'static str),
    /// As if the client had closed: it has announced that it leaves.
    Client,
}

impl From<Bye> for End {
    fn from(bye: Bye) -> Self {
        Self::Bye(bye)
    }
}

/// The result of a command.
#[derive(Debug)]
pub struct Outcome {
    /// The reply, as JSON. The session follows its access first.
    pub reply: Vec<u8>,
    /// Ends the session behind the reply.
    pub end: Option<End>,
}

/// A batch that was handed to the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Number of events.
    pub events: usize,
    /// Number of bytes, framing included.
    pub bytes: usize,
    /// The cursor that the client has with it.
    pub cursor: Cursor,
    /// For a session that has caught up: the time from the append of its oldest event to the
    /// session's turn, in microseconds.
    pub latency_us: Option<u64>,
    /// How many events of the log lay between the session's cursor and the tail.
    pub lag: u64,
}

/// What a session needs from the application. Its methods are called for each batch, never for each
/// event.
pub trait Host: Send + Sync + 'static {
    /// The identity of the session.
    fn identity(&self) -> Identity<'_>;

    /// What the session may see now. Asked for after [`Handle::revise`], and never before every
    /// event.
    fn access(&self) -> Access;

    /// The topics that the client asked for and that the session does not have. Given once: the
    /// first `hello`, or the answer to a poll, tells them.
    fn take_refused(&self) -> Vec<Refused> {
        Vec::new()
    }

    /// The end of the session's token as RFC 3339 text.
    fn expires_at(&self) -> String;

    /// The same, for a client that is now told that this is soon. A session of several connections
    /// tells it once for each token.
    fn expiring(&self) -> String;

    /// The unsent bytes of all sessions of the application.
    fn unsent(&self) -> &Arc<UnsentBytes>;

    /// Runs one command that came over the session's own WebSocket.
    fn command(self: Arc<Self>, text: String) -> BoxFuture<'static, Outcome>;

    /// The reply to a message that is no command: a binary one.
    fn not_a_command(&self) -> Vec<u8>;

    /// How long a client should wait before it refetches.
    fn refetch_after(&self, reason: ResetReason) -> Duration;

    /// How long a client should wait before it reconnects after the session ended by itself.
    fn reconnect_after(&self, reason: ByeReason) -> Duration;

    /// How long a client that reconnects by itself should wait after its connection was lost.
    fn retry_after(&self) -> Duration;

    /// The client closes its WebSocket with this code.
    fn client_closed(&self, _code: CloseCode) {}

    /// A batch was handed to the socket.
    fn sent(&self, sent: Sent);

    /// The session was told to refetch.
    fn reset(&self, reset: &Reset);

    /// The session has taken up these topics of [`Access::added`], and gets their events after
    /// `at`.
    fn subscribed(&self, topics: &[Topic], at: Cursor);
}

/// The application's handle on a session.
#[derive(Clone, Debug, Default)]
pub struct Handle(Arc<Control>);

#[derive(Debug, Default)]
struct Control {
    /// Rare, so that a session without pays one pointer.
    end: Mutex<Option<Box<End>>>,
    /// Whether there is an end, so that a session can look without the lock.
    is_ended: AtomicBool,
    /// [`OPEN`], [`CLOSING`] or [`DISCONNECTED`].
    progress: AtomicU8,
    /// What [`Handle::client_close`] gives; zero: nothing.
    client_close: AtomicU16,
    /// Counts the changes of the session's access.
    revision: AtomicU32,
    waker: AtomicWaker,
}

/// The session may still be told how it ends.
const OPEN: u8 = 0;
/// The session ends in its own way: an end that comes now is not told.
const CLOSING: u8 = 1;
/// The client was told that it is disconnected.
const DISCONNECTED: u8 = 2;

impl Handle {
    /// The session's access has changed. Once this has returned, the session sends no event that
    /// the new access does not allow, except those that were framed before.
    pub fn revise(&self) {
        self.0.revision.fetch_add(1, Ordering::AcqRel);
        self.0.waker.wake();
    }

    /// Ends the session the next time that it runs. The first end counts, except that any other
    /// takes the place of an answer.
    pub fn end(&self, end: impl Into<End>) {
        let mut first = self.0.end.lock();
        first.take_if(|first| matches!(**first, End::Answer));
        first.get_or_insert_with(|| Box::new(end.into()));
        drop(first);
        self.0.is_ended.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// The client closed this connection, or the one that it continues, with this code. That a
    /// message was too large stays remembered.
    pub fn client_closed(&self, code: CloseCode) {
        let known = &self.0.client_close;
        if known.load(Ordering::Relaxed) != CloseCode::TOO_LARGE.0 {
            known.store(code.0, Ordering::Relaxed);
        }
    }

    /// The code with which the client closed, if it did.
    #[must_use]
    pub fn client_close(&self) -> Option<CloseCode> {
        let code = self.0.client_close.load(Ordering::Relaxed);
        (code != 0).then_some(CloseCode(code))
    }

    /// The session ends in this way, and nothing changes it any more.
    pub fn closes(&self, ended: Ended) {
        let is_disconnected = ended == Ended::Bye(ByeReason::Disconnected);
        self.0.progress.store(if is_disconnected { DISCONNECTED } else { CLOSING }, Ordering::Release);
    }

    /// Whether the session is ending already, so that another [`Handle::end`] would not be heard.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.0.progress.load(Ordering::Acquire) != OPEN
    }

    /// Whether the client was told that it is disconnected.
    #[must_use]
    pub fn has_said_disconnected(&self) -> bool {
        self.0.progress.load(Ordering::Acquire) == DISCONNECTED
    }

    /// How often the session's access has changed.
    pub(crate) fn revision(&self) -> u32 {
        self.0.revision.load(Ordering::Acquire)
    }

    /// How the session is to end, if it is.
    pub(crate) fn take_end(&self) -> Option<End> {
        if self.0.is_ended.load(Ordering::Acquire) && self.0.is_ended.swap(false, Ordering::AcqRel) {
            self.0.end.lock().take().map(|end| *end)
        } else {
            None
        }
    }

    /// Drops the waker of a session that has ended, because handles outlive sessions.
    pub(crate) fn let_go(&self) {
        drop(self.0.waker.take());
    }

    /// Ready when there is an end to take, or a revision other than `revision`. Otherwise the task
    /// is woken once there is.
    pub(crate) fn poll_pending(&self, revision: u32, cx: &mut Context<'_>) -> Poll<()> {
        self.0.waker.register(cx.waker());
        let is_pending = self.0.is_ended.load(Ordering::Acquire) || self.revision() != revision;
        if is_pending { Poll::Ready(()) } else { Poll::Pending }
    }
}
