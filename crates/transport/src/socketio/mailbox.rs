//! What a polling session has between two polls.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use events::Cursor;
use parking_lot::Mutex;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::payload::Revision;
use super::settings::Pings;

/// The most packets that wait for a poll, and their most bytes. Only answers to the client's own
/// packets wait here; events lie in the log.
const WAITING_MAX: usize = 64;
const WAITING_BYTES_MAX: usize = 64 << 10;

/// What a polling session has between two polls: packets that wait, its cursor, its pings.
#[derive(Debug)]
pub struct Mailbox {
    state: Mutex<State>,
    /// One poll is answered at a time.
    turns: Arc<Semaphore>,
    /// Something is there to be answered.
    changed: Notify,
    pings: Pings,
    revision: Revision,
}

/// Whether a session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The gateway ended it.
    Ended,
    /// The client left.
    Left,
}

#[derive(Debug)]
struct State {
    waiting: Vec<String>,
    /// The client has everything up to here; `None`: it has no session yet.
    cursor: Option<Cursor>,
    ping_at: Instant,
    /// The client is to say something by then: a ping was sent; in revision 3 at any time.
    pong_by: Option<Instant>,
    phase: Phase,
}

/// Too many packets wait: the client sends and does not poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many packets wait for a poll")]
pub struct MailboxFull;

impl Mailbox {
    /// Of a client of this revision. One of revision 4 is pinged and answers; one of revision 3
    /// pings by itself.
    #[must_use]
    pub fn new(pings: Pings, revision: Revision) -> Self {
        let now = Instant::now();
        let state = State {
            waiting: Vec::new(),
            cursor: None,
            ping_at: now + pings.interval,
            pong_by: (revision == Revision::Three).then(|| now + pings.interval + pings.timeout),
            phase: Phase::Open,
        };
        let turns = Arc::new(Semaphore::new(1));
        Self { state: Mutex::new(state), turns, changed: Notify::new(), pings, revision }
    }

    /// The revision that the client speaks.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Adds a packet for the next answer.
    ///
    /// # Errors
    /// When the client does not fetch those that wait.
    pub fn push(&self, packet: String) -> Result<(), MailboxFull> {
        let mut state = self.state.lock();
        let bytes: usize = state.waiting.iter().map(String::len).sum();
        if state.waiting.len() >= WAITING_MAX || bytes + packet.len() > WAITING_BYTES_MAX {
            return Err(MailboxFull);
        }
        state.waiting.push(packet);
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Takes up to `max` of the packets that wait, the oldest first.
    #[must_use]
    pub fn take(&self, max: usize) -> Vec<String> {
        let mut state = self.state.lock();
        let count = state.waiting.len().min(max);
        state.waiting.drain(..count).collect()
    }

    /// Whether packets wait.
    #[must_use]
    pub fn has_packets(&self) -> bool {
        !self.state.lock().waiting.is_empty()
    }

    /// Up to where the client has everything; `None`: it has no session yet.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.state.lock().cursor
    }

    /// How long a poll may wait: until a ping is due, or would be.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.state.lock().ping_at.saturating_duration_since(Instant::now())
    }

    /// Whether a ping is due. It counts as sent. A client of revision 3 is never pinged.
    #[must_use]
    pub fn take_ping(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock();
        let is_due = state.ping_at <= now;
        if is_due {
            state.ping_at = now + self.pings.interval;
            state.pong_by.get_or_insert(now + self.pings.timeout);
        }
        is_due && self.revision == Revision::Four
    }

    /// The client sent something, and so is there.
    pub fn heard(&self) {
        let Pings { interval, timeout } = self.pings;
        let pings_itself = self.revision == Revision::Three;
        self.state.lock().pong_by = pings_itself.then(|| Instant::now() + interval + timeout);
    }

    /// Whether the client is gone: a ping is not answered, or not fetched.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        let now = Instant::now();
        let state = self.state.lock();
        state.pong_by.is_some_and(|by| by <= now) || state.ping_at + self.pings.timeout <= now
    }

    /// Ends the session: no further poll is answered with events.
    pub fn end(&self) {
        self.end_as(Phase::Ended);
    }

    /// The client ended the session.
    pub fn leave(&self) {
        self.end_as(Phase::Left);
    }

    fn end_as(&self, end: Phase) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.phase = end;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Whether the session has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state.lock().phase != Phase::Open
    }

    /// The packet that answers the poll of a session that has ended: a close, or a noop where the
    /// client closed itself. `None`: the session goes on.
    #[must_use]
    pub fn last_packet(&self) -> Option<&'static str> {
        match self.state.lock().phase {
            Phase::Open => None,
            Phase::Ended => Some("1"),
            Phase::Left => Some("6"),
        }
    }

    /// Ready when [`Mailbox::wake`], [`Mailbox::push`] or [`Mailbox::end`] is called later than this.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Wakes those that wait for a change.
    pub fn wake(&self) {
        self.changed.notify_waiters();
    }

    /// Takes the turn to answer a poll, once no other poll has it.
    pub async fn turn(self: &Arc<Self>) -> PollTurn {
        let permit = Arc::clone(&self.turns).acquire_owned().await;
        PollTurn { mailbox: Arc::clone(self), _permit: permit.ok(), progress: Cell::new(Progress::None) }
    }
}

/// The turn to answer a poll. An answer that was begun and not delivered ends the session: the
/// client comes back with its offset.
#[derive(Debug)]
pub struct PollTurn {
    mailbox: Arc<Mailbox>,
    _permit: Option<OwnedSemaphorePermit>,
    progress: Cell<Progress>,
}

#[derive(Clone, Copy, Debug)]
enum Progress {
    None,
    /// Written, or being written.
    UpTo(Cursor),
    Delivered,
}

impl PollTurn {
    /// What waits for the poll.
    #[must_use]
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// The answer is being written. With it the client has everything up to `cursor`.
    pub(crate) fn answers(&self, cursor: Cursor) {
        self.progress.set(Progress::UpTo(cursor));
    }

    /// The answer was handed to the socket as a whole.
    pub(crate) fn delivered(&self) {
        if let Progress::UpTo(cursor) = self.progress.replace(Progress::Delivered) {
            self.mailbox.state.lock().cursor = Some(cursor);
        }
    }
}

impl Drop for PollTurn {
    fn drop(&mut self) {
        if let Progress::UpTo(_) = self.progress.get() {
            self.mailbox.end();
        }
    }
}
