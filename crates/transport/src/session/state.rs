//! The state of a session, and what the application sets before it runs.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use events::{BoxFuture, Cursor, Reader};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use super::deadlines::{Deadlines, Moment};
use super::pending_states::States;
use super::terms::Terms;
use super::write_buffer::WriteBuffer;
use crate::close::Ended;
use crate::control::{Handle, Host, Outcome};
use crate::line::{Line, Protocol as _};
use crate::request::Transport;

/// A running session. The future resolves to how the session ended, once it is done with the
/// connection.
pub struct Session<S> {
    pub(super) socket: S,
    pub(super) line: Line,
    pub(super) reader: Reader,
    /// The cursor that the client has: that of the last batch, or its own.
    pub(super) sent_up_to: Cursor,
    pub(super) host: Arc<dyn Host>,
    pub(super) handle: Handle,
    /// The revision of the access that the reader is in line with.
    pub(super) revision: u32,
    /// Events and bytes in one batch.
    pub(super) limit: [u32; 2],
    pub(super) deadlines: Deadlines,
    pub(super) sleep: Pin<Box<Sleep>>,
    /// Framed bytes that the socket has not taken yet. Nothing is read from the log while there are
    /// any.
    pub(super) unsent: WriteBuffer,
    pub(super) command: Option<BoxFuture<'static, Outcome>>,
    /// The next caught-up batch says `live`.
    pub(super) live_due: bool,
    /// The access has topics that the reader does not have yet.
    pub(super) adds_topics: bool,
    /// The last read left something behind.
    pub(super) more: bool,
    /// What few sessions have. A session without pays one thin pointer.
    pub(super) rare: Option<Box<Rare>>,
    /// Control frames, and messages that are no commands, since `controls_since_ms`, to notice a
    /// flood.
    pub(super) controls: u8,
    /// Counted from the session's start; wraps after 49 days.
    pub(super) controls_since_ms: u32,
    pub(super) phase: Phase,
}

/// What few sessions have.
#[derive(Default)]
pub(super) struct Rare {
    /// Dropped once the client has been sent what it missed.
    held: Option<Box<dyn Send + Sync>>,
    /// The states of topics, if the client wants them.
    pub(super) states: Option<States>,
}

impl Rare {
    fn has_states_pending(&self) -> bool {
        self.states.as_ref().is_some_and(States::are_pending)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing has been written.
    Opening,
    Open,
    /// The last bytes are being written or have been; the peer may still have to close.
    Closing(Ended),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// A session on `socket`, which has been taken over from HTTP with not a byte of the response
    /// written (a WebSocket: with the handshake answered).
    pub fn new(
        socket: S,
        line: Line,
        reader: Reader,
        host: Arc<dyn Host>,
        handle: Handle,
        terms: Terms,
    ) -> Self {
        let now = Instant::now();
        let mut deadlines = Deadlines::new(now, &terms);
        if let Some(wait) = line.wait() {
            deadlines.wait_until(now + wait);
        }
        if line.pong_timeout().is_some() {
            deadlines.fix_heartbeat();
        }
        Self {
            socket,
            live_due: terms.resumed && !line.is_answer(),
            line,
            sent_up_to: reader.cursor(),
            reader,
            host,
            handle,
            revision: 0,
            limit: [terms.limit.events, terms.limit.bytes]
                .map(|most| u32::try_from(most).unwrap_or(u32::MAX)),
            deadlines,
            sleep: Box::pin(tokio::time::sleep_until(now)),
            unsent: WriteBuffer::default(),
            command: None,
            adds_topics: false,
            more: false,
            rare: terms
                .states
                .then(|| Box::new(Rare { held: None, states: Some(States::new(terms.resumed)) })),
            controls: 0,
            controls_since_ms: 0,
            phase: Phase::Opening,
        }
    }

    /// Sends ephemeral events at most once in `spacing`, the latest of each key; zero: as they
    /// come.
    #[must_use]
    pub fn space_ephemeral(mut self, spacing: Duration) -> Self {
        self.deadlines.space_ephemeral(spacing);
        self
    }

    /// Drops `held` when the client has been sent what it missed, or when the session ends.
    #[must_use]
    pub fn hold_until_caught_up(mut self, held: Box<dyn Send + Sync>) -> Self {
        self.rare.get_or_insert_default().held = Some(held);
        self
    }

    /// The client has been sent what it missed of the log.
    pub(super) fn has_caught_up(&mut self) {
        let Some(rare) = self.rare.as_mut().filter(|rare| !rare.has_states_pending()) else { return };
        rare.held = None;
        if rare.states.is_none() {
            self.rare = None;
        }
    }

    /// The transport.
    pub fn transport(&self) -> Transport {
        self.line.transport()
    }

    /// The connection of a session that `ended`, where it can be used again: after an answered
    /// poll, with what the client had sent behind its request.
    pub fn reuse(self, ended: Ended) -> Option<(S, Vec<u8>)> {
        if ended != Ended::Answered {
            return None;
        }
        let pipelined = self.line.into_pipelined()?;
        Some((self.socket, pipelined))
    }

    /// When it began.
    pub fn started(&self) -> Instant {
        self.deadlines.start()
    }

    pub(super) fn now(&self) -> Moment {
        self.deadlines.moment(Instant::now())
    }

    /// How it ended, once its last bytes are written or being written.
    pub(super) fn ended(&self) -> Option<Ended> {
        match self.phase {
            Phase::Closing(ended) => Some(ended),
            Phase::Opening | Phase::Open => None,
        }
    }
}
