//! A WebSocket before it is a session: accepted, and then refused, or asked for its token.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};
use transport::socketio::{Pings, Revision};
use transport::ws::{Decoder, Step};
use transport::{CloseCode, write_ws_binary, write_ws_close, write_ws_text};

use crate::http::socket::ClientSocket;

/// How long a peer is given to read a close frame and go.
const LINGER: Duration = Duration::from_secs(1);
/// The most messages before a valid token.
const MESSAGES_MAX: u32 = 10;

/// An accepted WebSocket that has no session yet.
pub(crate) struct Unadmitted {
    socket: ClientSocket,
    decoder: Decoder,
    /// Bytes to be written with the next write.
    out: Vec<u8>,
    write_timeout: Duration,
    deadline: Instant,
    messages: u32,
    heartbeat: Option<Heartbeat>,
}

/// The heartbeat of a Socket.IO client, which begins before its session.
struct Heartbeat {
    pings: Pings,
    revision: Revision,
    ping_at: Instant,
    /// The client is to say something by then.
    pong_by: Option<Instant>,
}

impl Heartbeat {
    fn new(pings: Pings, revision: Revision) -> Self {
        let mut heartbeat = Self { pings, revision, ping_at: Instant::now() + pings.interval, pong_by: None };
        heartbeat.heard();
        heartbeat
    }

    /// The client sent something. One of revision 3 has to do so again in time, unasked.
    fn heard(&mut self) {
        let Pings { interval, timeout } = self.pings;
        self.pong_by = (self.revision == Revision::Three).then(|| Instant::now() + interval + timeout);
    }

    /// What is due at `now`: `Some(true)`: a ping; `Some(false)`: nothing. `None`: the client has gone.
    fn due(&mut self, now: Instant) -> Option<bool> {
        if self.pong_by.is_some_and(|by| by <= now) {
            return None;
        }
        let is_due = self.ping_at <= now;
        if is_due {
            self.ping_at = now + self.pings.interval;
            self.pong_by.get_or_insert(now + self.pings.timeout);
        }
        Some(is_due && self.revision == Revision::Four)
    }

    /// When something is due next.
    fn next(&self) -> Instant {
        self.pong_by.map_or(self.ping_at, |by| by.min(self.ping_at))
    }
}

/// A message of a client without a session.
#[derive(Debug)]
pub(crate) enum EarlyMessage {
    /// Text.
    Text(String),
    /// Binary data.
    Binary(Vec<u8>),
}

/// Why there is no text message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoText {
    /// No text came in time, or too many other messages came.
    None,
    /// The client closed or broke a rule; the close frame that it is owed is written with the next write.
    Closed,
}

impl Unadmitted {
    /// How long a client may take to send its token.
    pub(crate) const AUTH_WITHIN: Duration = Duration::from_secs(5);

    /// Answers the handshake with `accept`; `received` came behind it. A session begins `within` this time, or never.
    #[must_use]
    pub(crate) fn new(
        socket: ClientSocket,
        accept: &[u8],
        received: &[u8],
        command_bytes_max: usize,
        write_timeout: Duration,
        within: Duration,
    ) -> Self {
        let mut decoder = Decoder::new(command_bytes_max);
        decoder.feed(received);
        let deadline = Instant::now() + within;
        let out = accept.to_vec();
        Self { socket, decoder, out, write_timeout, deadline, messages: 0, heartbeat: None }
    }

    /// A session begins within this time from now on, or never.
    pub(crate) fn expect_within(&mut self, within: Duration) {
        self.deadline = Instant::now() + within;
        self.messages = 0;
    }

    /// The client speaks this revision of Engine.IO, whose heartbeat begins now.
    pub(crate) fn begin_heartbeat(&mut self, pings: Pings, revision: Revision) {
        self.heartbeat = Some(Heartbeat::new(pings, revision));
    }

    /// Writes what is left and gives the socket to a session. `None` when the client is gone.
    pub(crate) async fn into_session(mut self) -> Option<(ClientSocket, Decoder)> {
        self.flush().await?;
        Some((self.socket, self.decoder))
    }

    /// The next text message.
    ///
    /// # Errors
    /// Why none comes that could be the right one.
    pub(crate) async fn next_text(&mut self) -> Result<String, NoText> {
        loop {
            if let EarlyMessage::Text(text) = self.next_message().await? {
                return Ok(text);
            }
        }
    }

    /// The next message.
    ///
    /// # Errors
    /// Why none comes.
    pub(crate) async fn next_message(&mut self) -> Result<EarlyMessage, NoText> {
        self.flush().await.ok_or(NoText::None)?;
        loop {
            let step = self.decoder.step(&mut self.out);
            // The answers to pings are bounded by the deadline.
            let is_pong = matches!(&step, Step::Text(text) if self.heartbeat.is_some() && text == "3");
            if step != Step::Incomplete && !is_pong {
                self.messages += 1;
                if self.messages > MESSAGES_MAX {
                    return Err(NoText::None);
                }
            }
            match step {
                Step::Text(text) => return Ok(EarlyMessage::Text(text)),
                Step::Binary(data) => return Ok(EarlyMessage::Binary(data)),
                Step::Control => self.flush().await.ok_or(NoText::None)?,
                Step::Incomplete if self.decoder.needs_bytes() => {
                    self.receive().await.ok_or(NoText::None)?;
                }
                // A fragment was taken in, and more is there already.
                Step::Incomplete => {}
                Step::Closed(_) | Step::Violated(_) => return Err(NoText::Closed),
            }
        }
    }

    /// Sends binary data.
    pub(crate) async fn reply_binary(&mut self, data: &[u8]) {
        write_ws_binary(data, &mut self.out);
        let _ = self.flush().await;
    }

    /// Sends a reply.
    pub(crate) async fn reply(&mut self, reply: &[u8]) {
        write_ws_text(reply, &mut self.out);
        // If the client is gone, the next read reports it.
        let _ = self.flush().await;
    }

    /// Closes with a code.
    pub(crate) async fn refuse(&mut self, code: CloseCode, reason: &str) {
        // A close frame holds 123 bytes of reason (RFC 6455 section 5.5).
        let end = (0..=reason.len().min(123)).rfind(|at| reason.is_char_boundary(*at)).unwrap_or(0);
        write_ws_close(Some(code), &reason[..end], &mut self.out);
        self.close().await;
    }

    /// Writes what is left, a close frame at its end, and waits a moment for the client to have read it.
    pub(crate) async fn close(&mut self) {
        if self.flush().await.is_none() || self.socket.shutdown().await.is_err() {
            return;
        }
        // Further bytes are read and dropped: a socket that is closed with bytes unread may lose the close
        // frame.
        let mut buffer = [0; 2048];
        let gone = async { while self.socket.read(&mut buffer).await.is_ok_and(|received| received > 0) {} };
        // A client that stays longer has had the time to read it.
        let _ = timeout(LINGER, gone).await;
    }

    async fn flush(&mut self) -> Option<()> {
        let write = async {
            self.socket.write_all(&self.out).await?;
            self.socket.flush().await
        };
        let written = timeout(self.write_timeout, write).await;
        self.out.clear();
        written.ok()?.ok()
    }

    async fn receive(&mut self) -> Option<()> {
        let mut buffer = [0; 2048];
        let received = loop {
            let next = self.heartbeat.as_ref().map_or(self.deadline, |beat| beat.next().min(self.deadline));
            if let Ok(received) = timeout_at(next, self.socket.read(&mut buffer)).await {
                break received.ok()?;
            }
            let now = Instant::now();
            if self.deadline <= now {
                return None;
            }
            if let Some(heartbeat) = &mut self.heartbeat
                && heartbeat.due(now)?
            {
                write_ws_text(b"2", &mut self.out);
                self.flush().await?;
            }
        };
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.heard();
        }
        self.decoder.feed(&buffer[..received]);
        (received > 0).then_some(())
    }
}
