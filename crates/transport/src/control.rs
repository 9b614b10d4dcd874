//! How the application reaches into a running session, and how a session asks the application.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use events::{BoxFuture, Cursor, Lens, Reset, ResetReason, Topic};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::batch::Refused;
use crate::close::{Bye, ByeReason, CloseCode};
use crate::unsent::UnsentBytes;

/// Who a session belongs to, as `hello` says it.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Names the session.
    pub session: &'a str,
    /// Whose it is.
    pub user: &'a str,
    /// This gateway release or process group.
    pub deployment: &'a str,
}

/// Something about a session that changes while it runs.
#[derive(Debug)]
pub enum Change {
    /// These topics too, from the session's cursor on.
    Subscribe(Vec<Topic>),
    /// These topics no more.
    Unsubscribe(Vec<Topic>),
    /// Events look different from now on.
    Lens(Option<Arc<dyn Lens>>),
    /// The token was refreshed, and the new one ends then.
    Expiry(Option<Instant>),
    /// End with a `bye`.
    Bye(Bye),
    /// End a WebSocket with this code alone; other streams just end.
    Close(CloseCode, &'static str),
}

/// What a command led to.
#[derive(Debug)]
pub struct Outcome {
    /// The reply, as JSON.
    pub reply: Vec<u8>,
    /// What it changes in the session, made before the reply is sent.
    pub changes: Vec<Change>,
}

/// What was put on the wire in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Events in the batch.
    pub events: usize,
    /// Bytes, framing included.
    pub bytes: usize,
    /// The cursor that the client has with it.
    pub cursor: Cursor,
    /// For a session that has caught up: how long its oldest event was under way in this process
    /// until the session's turn came, in microseconds.
    pub latency_us: Option<u64>,
    /// How many events of the log lay between the session's cursor and the tail.
    pub lag: u64,
}

/// What a session needs from the application around it. Called per batch, never per event.
pub trait Host: Send + Sync + 'static {
    /// Who it is.
    fn identity(&self) -> Identity<'_>;

    /// The topics that the client asked for and that the session does not have. Given once: the
    /// first `hello`, or the answer to a poll, tells them.
    fn take_refused(&self) -> Vec<Refused> {
        Vec::new()
    }

    /// When the token of a session that expires does, as RFC 3339 text.
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

    /// A batch was handed to the socket.
    fn sent(&self, sent: Sent);

    /// The session was told to refetch.
    fn reset(&self, reset: &Reset);

    /// The session has these topics too, and gets their events after `at`.
    fn subscribed(&self, topics: &[Topic], at: Cursor);
}

/// The end of a session that the application holds.
#[derive(Clone, Debug, Default)]
pub struct Handle(Arc<Control>);

#[derive(Debug, Default)]
struct Control {
    /// Rare, so that a session without pays one pointer.
    #[expect(clippy::box_collection, reason = "a third of a Vec in every session")]
    changes: Mutex<Option<Box<Vec<Change>>>>,
    /// Whether there are changes, so that a session looks without the lock.
    pending: AtomicBool,
    waker: AtomicWaker,
}

impl Handle {
    /// Has the session make a change as soon as it runs.
    pub fn change(&self, change: Change) {
        self.0.changes.lock().get_or_insert_default().push(change);
        self.0.pending.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// Ends the session with a `bye`.
    pub fn end(&self, bye: Bye) {
        self.change(Change::Bye(bye));
    }

    /// Takes what is to be changed.
    pub(crate) fn take(&self) -> Vec<Change> {
        if self.0.pending.load(Ordering::Acquire) && self.0.pending.swap(false, Ordering::AcqRel) {
            self.0.changes.lock().take().map_or_else(Vec::new, |changes| *changes)
        } else {
            Vec::new()
        }
    }

    /// Lets go of the task that would be woken, whose session has ended: handles outlive sessions.
    pub(crate) fn let_go(&self) {
        drop(self.0.waker.take());
    }

    /// Ready when there is something to take; otherwise the task is woken once there is.
    pub(crate) fn poll_pending(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.waker.register(cx.waker());
        if self.0.pending.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}
