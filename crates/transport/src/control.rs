//! How the application controls a running session, and what a session asks of the application.

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

/// A change to a running session.
#[derive(Debug)]
pub enum Change {
    /// Adds topics, from the session's cursor on.
    Subscribe(Vec<Topic>),
    /// Removes topics.
    Unsubscribe(Vec<Topic>),
    /// Shows later events through this lens, or as they are.
    Lens(Option<Arc<dyn Lens>>),
    /// The token was renewed. The new one ends at this time, or never.
    Expiry(Option<Instant>),
    /// Ends the session with a `bye`.
    Bye(Bye),
    /// Ends a WebSocket with this close code, and any other stream without a word.
    Close(CloseCode, &'static str),
}

/// The result of a command.
#[derive(Debug)]
pub struct Outcome {
    /// The reply, as JSON.
    pub reply: Vec<u8>,
    /// Changes to the session, which are made before the reply is sent.
    pub changes: Vec<Change>,
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
    /// For a session that has caught up: how long its oldest event was under way in this process
    /// until the session's turn came, in microseconds.
    pub latency_us: Option<u64>,
    /// How many events of the log lay between the session's cursor and the tail.
    pub lag: u64,
}

/// What a session needs from the application. Its methods are called for each batch, never for each
/// event.
pub trait Host: Send + Sync + 'static {
    /// The identity of the session.
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

    /// How long a client that reconnects by itself should wait after its connection was lost.
    fn retry_after(&self) -> Duration;

    /// A batch was handed to the socket.
    fn sent(&self, sent: Sent);

    /// The session was told to refetch.
    fn reset(&self, reset: &Reset);

    /// The session has these topics too, and gets their events after `at`.
    fn subscribed(&self, topics: &[Topic], at: Cursor);
}

/// The application's handle on a session.
#[derive(Clone, Debug, Default)]
pub struct Handle(Arc<Control>);

#[derive(Debug, Default)]
struct Control {
    /// Rare, so that a session without pays one pointer.
    #[expect(clippy::box_collection, reason = "a third of a Vec in every session")]
    changes: Mutex<Option<Box<Vec<Change>>>>,
    /// Whether there are changes, so that a session can look without the lock.
    pending: AtomicBool,
    waker: AtomicWaker,
}

impl Handle {
    /// Has the session make a change the next time that it runs.
    pub fn change(&self, change: Change) {
        self.0.changes.lock().get_or_insert_default().push(change);
        self.0.pending.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// Ends the session with a `bye`.
    pub fn end(&self, bye: Bye) {
        self.change(Change::Bye(bye));
    }

    /// Takes the changes that have not been made.
    pub(crate) fn take(&self) -> Vec<Change> {
        if self.0.pending.load(Ordering::Acquire) && self.0.pending.swap(false, Ordering::AcqRel) {
            self.0.changes.lock().take().map_or_else(Vec::new, |changes| *changes)
        } else {
            Vec::new()
        }
    }

    /// Drops the waker of a session that has ended, because handles outlive sessions.
    pub(crate) fn let_go(&self) {
        drop(self.0.waker.take());
    }

    /// Ready when there are changes to take. Otherwise the task is woken once there are.
    pub(crate) fn poll_pending(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.waker.register(cx.waker());
        if self.0.pending.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}
