//! One client on one connection: what to send next, and when. The three transports share it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use events::{BoxFuture, Cursor, Event, Limit, Reader, Reset, ResetReason};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::close::{Bye, ByeReason, CloseCode, Ended};
use crate::control::{Change, Handle, Host, Outcome, Sent};
use crate::deadlines::{Deadlines, Moment};
use crate::frame::{self, Batch, ExtraHeaders, Hello, ResetNotice};
use crate::out::Out;
use crate::request::Transport;
use crate::ws::{Decoder, Message, Step};

/// What a connection was promised when it was admitted.
#[derive(Clone, Debug)]
pub struct Terms {
    /// A batch comes at least this often.
    pub heartbeat: Duration,
    /// At most one batch in this time; zero: as they come.
    pub interval: Duration,
    /// What one batch may carry.
    pub limit: Limit,
    /// The client came with a cursor or asked for the earliest: it is told when it has caught up.
    pub resumed: bool,
    /// When its token ends.
    pub expiry: Option<Instant>,
    /// How old the stream may get.
    pub age_max: Option<Duration>,
    /// How long writing may be blocked.
    pub write_timeout: Duration,
}

/// What is particular to the transport of a session.
#[derive(Debug)]
pub enum Line {
    /// A WebSocket that has been accepted.
    Ws(Decoder),
    /// A server-sent event stream; close-delimited unless `chunked`.
    Sse {
        /// The client speaks HTTP/1.1.
        chunked: bool,
        /// Bytes of comment before the first message.
        pad: usize,
        /// For the head of the response.
        headers: ExtraHeaders,
    },
    /// One long poll.
    Poll {
        /// How long it may wait, in milliseconds.
        wait_ms: u32,
        /// Answer at once with `hello` and the tail.
        hello: bool,
        /// The connection can be used again.
        keep_alive: bool,
        /// For the head of the response.
        headers: ExtraHeaders,
        /// What the client sent behind its request.
        pipelined: Vec<u8>,
    },
}

/// A running session. Resolves to how it ended, when it is done with the connection.
pub struct Session<S> {
    socket: S,
    line: Line,
    reader: Reader,
    /// The cursor that the client has: of the last batch, or its own.
    sent_up_to: Cursor,
    host: Arc<dyn Host>,
    handle: Handle,
    /// Events and bytes in one batch.
    limit: [u32; 2],
    deadlines: Deadlines,
    sleep: Pin<Box<Sleep>>,
    /// Framed bytes that the socket has not taken yet. Nothing is read from the log while there are any.
    out: Out,
    command: Option<BoxFuture<'static, Outcome>>,
    /// The next caught-up batch says `live`.
    live_due: bool,
    /// The last read left something behind.
    more: bool,
    /// Dropped once the client has been sent what it missed. Rare, so that a session without pays one thin pointer.
    held: Option<Box<Box<dyn Send + Sync>>>,
    /// Control frames, and messages that are no commands, since `controls_since_ms`, to notice a flood.
    controls: u32,
    /// Counted from the session's start, in a circle of 49 days.
    controls_since_ms: u32,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has been written.
    Opening,
    Open,
    /// The last bytes are on their way or written; the peer may still have to close.
    Closing(Ended),
}

thread_local! {
    /// Where a read puts its events; kept by the worker so that an idle session owns no such buffer.
    static EVENTS: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) };
    /// Where a socket is read into.
    static RECEIVED: RefCell<Box<[u8]>> = RefCell::new(vec![0; 16 << 10].into());
}

/// A second batch comes this long after `hello`, so that a client can tell a path that buffers.
pub(crate) const PROBE_AFTER: Duration = Duration::from_millis(300);
/// An empty batch comes this long after a burst, so that a path that holds the last message back lets it go.
pub(crate) const SETTLE_AFTER: Duration = Duration::from_millis(250);
/// How long a peer is given to take the last bytes and close.
const LINGER: Duration = Duration::from_secs(2);
/// What a poll may send behind its request before it is no longer read.
const PIPELINED_BYTES_MAX: usize = 16 << 10;
/// The most pings, pongs and binary messages in [`CONTROLS_WINDOW_MS`].
const CONTROLS_MAX: u32 = 200;
const CONTROLS_WINDOW_MS: u32 = 10_000;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// A session on `socket`, which has been taken over from HTTP with not a byte of the response written
    /// (a WebSocket: with the handshake answered).
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
        if let Line::Poll { wait_ms, .. } = line {
            deadlines.wait_until(now + Duration::from_millis(wait_ms.into()));
        }
        Self {
            socket,
            live_due: terms.resumed && !matches!(line, Line::Poll { .. }),
            line,
            sent_up_to: reader.cursor(),
            reader,
            host,
            handle,
            limit: [terms.limit.events, terms.limit.bytes]
                .map(|most| u32::try_from(most).unwrap_or(u32::MAX)),
            deadlines,
            sleep: Box::pin(tokio::time::sleep_until(now)),
            out: Out::default(),
            command: None,
            more: false,
            held: None,
            controls: 0,
            controls_since_ms: 0,
            phase: Phase::Opening,
        }
    }

    /// Has ephemeral events come in one batch in this time at most, of each key the latest; zero: as they come.
    #[must_use]
    pub fn space_ephemeral(mut self, spacing: Duration) -> Self {
        self.deadlines.space_ephemeral(spacing);
        self
    }

    /// Drops `held` when the client has been sent what it missed, or when the session ends.
    #[must_use]
    pub fn hold_until_caught_up(mut self, held: Box<dyn Send + Sync>) -> Self {
        self.held = Some(Box::new(held));
        self
    }

    /// The transport.
    pub fn transport(&self) -> Transport {
        match self.line {
            Line::Ws(_) => Transport::Ws,
            Line::Sse { .. } => Transport::Sse,
            Line::Poll { .. } => Transport::Poll,
        }
    }

    /// The connection of a session that `ended`, where it can be used again: after an answered poll, with what the
    /// client had sent behind its request.
    pub fn reuse(self, ended: Ended) -> Option<(S, Vec<u8>)> {
        match self.line {
            Line::Poll { keep_alive: true, pipelined, .. } if ended == Ended::Answered => {
                Some((self.socket, pipelined))
            }
            _ => None,
        }
    }

    /// When it began.
    pub fn started(&self) -> Instant {
        self.deadlines.start()
    }

    fn now(&self) -> Moment {
        self.deadlines.moment(Instant::now())
    }

    fn run(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        // Once a wake-up: what is done in one takes no time that a deadline could tell.
        let mut now = self.now();
        // The task is woken once more can be received: until then there is nothing to ask the socket for again.
        let mut listens = false;
        loop {
            let blocked = match self.poll_flush(cx) {
                Poll::Ready(Ok(())) => false,
                Poll::Pending => true,
                Poll::Ready(Err(_)) => return Poll::Ready(self.ended().unwrap_or(Ended::Lost)),
            };
            if !listens {
                if let Poll::Ready(ended) = self.poll_receive(cx) {
                    return Poll::Ready(self.ended().unwrap_or(ended));
                }
                listens = self.may_receive();
            }
            for change in self.handle.take() {
                self.make(change);
            }
            let progressed = match self.phase {
                Phase::Closing(ended) => {
                    let flushed = self.out.is_empty();
                    if flushed && ended == Ended::Answered {
                        return Poll::Ready(ended);
                    }
                    if self.deadlines.is_over(now) {
                        // Half an answer is none, and nothing may follow it on this connection.
                        let cut = ended == Ended::Answered;
                        return Poll::Ready(if cut { Ended::Bye(ByeReason::Slow) } else { ended });
                    }
                    !flushed && !blocked
                }
                Phase::Opening | Phase::Open if self.deadlines.is_stuck(now) => {
                    self.bye(ByeReason::Slow);
                    true
                }
                // The end of a token or a stream does not wait for a reader that takes its time.
                Phase::Opening | Phase::Open if self.deadlines.is_expired(now) => {
                    self.bye(ByeReason::ExpiredToken);
                    true
                }
                Phase::Opening | Phase::Open if self.deadlines.is_aged(now) => {
                    self.bye(ByeReason::MaxAge);
                    true
                }
                Phase::Opening | Phase::Open => self.out.is_empty() && self.step(cx, now),
            };
            if !progressed && self.handle.poll_pending(cx).is_pending() {
                ready!(self.poll_timer(cx, now));
                now = self.now();
            }
        }
    }

    fn ended(&self) -> Option<Ended> {
        match self.phase {
            Phase::Closing(ended) => Some(ended),
            Phase::Opening | Phase::Open => None,
        }
    }

    /// Does the next thing that is due, with nothing left to write. `false`: there is none.
    fn step(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        if self.phase == Phase::Open && !self.live_due && !self.more {
            self.held = None;
        }
        if self.phase == Phase::Opening {
            self.open(now);
        } else if self.poll_command(cx) {
            // Its reply is in `out`.
        } else if self.is_batch_due(cx, now) {
            self.send_batch(now, false);
        } else {
            return false;
        }
        true
    }

    fn is_batch_due(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        if self.deadlines.is_batch_due(now) {
            return true;
        }
        !self.deadlines.is_spaced(now)
            && (self.more
                || self.live_due
                || self.deadlines.is_ephemeral_due(now)
                || self.reader.poll_ready(cx).is_ready())
    }

    /// Sends what comes first: `hello` on a stream or a fresh poll; what is there already on a resumed one.
    fn open(&mut self, now: Moment) {
        match &self.line {
            Line::Ws(_) | Line::Poll { hello: true, .. } => {}
            Line::Poll { .. } => {
                self.send_batch(now, false);
                if self.phase == Phase::Opening {
                    self.phase = Phase::Open;
                }
                return;
            }
            Line::Sse { chunked, pad, headers } => {
                self.out.write(|out| {
                    frame::write_sse_head(*chunked, headers, out);
                    if *pad > 0 {
                        frame::write_sse_pad(*pad, *chunked, out);
                    }
                });
            }
        }
        self.phase = Phase::Open;
        // A cursor that is too old shows at the first look.
        let reset = self.reader.check().err();
        self.hello(now, reset);
    }

    /// Starts the session, or starts it again in place with a reset.
    fn hello(&mut self, now: Moment, reset: Option<Reset>) {
        let at = self.chain_start(reset.as_ref());
        let notice = reset.map(|reset| self.notice(reset));
        let host = Arc::clone(&self.host);
        let identity = host.identity();
        let topics: Vec<_> = self.reader.topics().cloned().collect();
        let expires_at = self.deadlines.expires().then(|| host.expires_at());
        let hello = Hello {
            session: identity.session,
            user: identity.user,
            transport: self.transport().as_str(),
            heartbeat_ms: self.deadlines.heartbeat().as_millis() as u64,
            topics: topics.iter().collect(),
            deployment: identity.deployment,
            expires_at: expires_at.as_deref(),
        };
        self.live_due |= notice.is_some() && self.transport() != Transport::Poll;
        self.deadlines.hello_sent(now);
        self.write(&Batch { hello: Some(&hello), reset: notice.as_ref(), ..Batch::new(at, at, &[]) });
    }

    /// The `after` of the next batch. It is the cursor that the client knows: an empty read that moved the reader further
    /// was not told. Only a reset that begins a new chain starts elsewhere.
    fn chain_start(&self, reset: Option<&Reset>) -> Cursor {
        match reset {
            Some(reset) if reset.reason != ResetReason::Expired => reset.at,
            _ => self.sent_up_to,
        }
    }

    fn notice(&self, reset: Reset) -> ResetNotice {
        self.host.reset(&reset);
        ResetNotice::new(reset.reason, reset.topics, self.host.refetch_after(reset.reason))
    }

    /// Sends everything up to the tail, or up to the limit. If that is nothing, it is sent only if `must` or if a batch
    /// is due; the next one tells the cursor.
    fn send_batch(&mut self, now: Moment, must: bool) {
        let mut events = EVENTS.take();
        let [most_events, most_bytes] = self.limit.map(|most| most as usize);
        let limit = Limit { events: most_events, bytes: most_bytes };
        let is_poll = self.transport() == Transport::Poll;
        let was_live = self.phase == Phase::Open && !self.live_due && !self.more;
        let lag = self.reader.lag();
        let holds_ephemeral = self.deadlines.is_ephemeral_spaced(now);
        self.reader.hold_ephemeral(holds_ephemeral);
        let mut lost = None;
        let mut read = self.reader.read(limit, &mut events);
        while let (true, Err(reset)) = (is_poll, &read) {
            // A poll says it all in one answer: every reset, and what is retained behind it.
            self.sent_up_to = self.chain_start(Some(reset));
            lost = Some(both(lost, reset.clone()));
            read = self.reader.read(limit, &mut events);
        }
        match read {
            Ok(span) => {
                self.deadlines.ephemeral_waits(holds_ephemeral && self.reader.has_ephemeral());
                if events.last().is_some_and(|event| event.seq().is_none()) {
                    self.deadlines.ephemeral_sent(now);
                }
                self.more = span.more;
                let live = self.live_due && !span.more;
                self.live_due &= !live;
                let is_due = must || live || lost.is_some() || self.deadlines.is_batch_due(now);
                if is_due || !events.is_empty() {
                    let notice = lost.map(|reset| self.notice(reset));
                    let expiring = self.deadlines.take_expiring(now).then(|| self.host.expires_at());
                    let bytes = self.write(&Batch {
                        live,
                        more: span.more && is_poll,
                        reset: notice.as_ref(),
                        expiring: expiring.as_deref(),
                        ..Batch::new(self.sent_up_to, span.cursor, &events)
                    });
                    self.deadlines.batch_sent(now, !events.is_empty());
                    let oldest = events.first().filter(|_| was_live);
                    let now_us = || self.reader.log().us_at(self.deadlines.instant(now));
                    let latency_us = oldest.map(|event| now_us().saturating_sub(event.applied_us()));
                    let cursor = self.sent_up_to;
                    self.host.sent(Sent { events: events.len(), bytes, cursor, latency_us, lag });
                }
            }
            Err(reset) => self.hello(now, Some(reset)),
        }
        events.clear();
        EVENTS.set(events);
    }

    /// Frames a batch behind what is waiting to be written. Returns its bytes on the wire.
    fn write(&mut self, batch: &Batch<'_>) -> usize {
        self.sent_up_to = batch.cursor;
        let line = &self.line;
        let bytes = self.out.write(|out| {
            let before = out.len();
            match line {
                Line::Ws(_) => batch.write_ws(out),
                Line::Sse { chunked, .. } => batch.write_sse(*chunked, out),
                Line::Poll { keep_alive, headers, .. } => {
                    frame::write_poll(batch, *keep_alive && batch.bye.is_none(), headers, out);
                }
            }
            out.len() - before
        });
        if self.transport() == Transport::Poll {
            self.close(batch.bye.map_or(Ended::Answered, |bye| Ended::Bye(bye.reason)));
        }
        bytes
    }

    fn bye(&mut self, reason: ByeReason) {
        self.say_bye(Bye { reason, reconnect_after: self.host.reconnect_after(reason) });
    }

    /// Says why and ends. A stream that is stuck in the middle of a frame still gets it if it moves on in time.
    fn say_bye(&mut self, bye: Bye) {
        if matches!(self.phase, Phase::Closing(_)) {
            return;
        }
        let is_poll = self.transport() == Transport::Poll;
        if self.phase == Phase::Opening && !matches!(self.line, Line::Poll { hello: false, .. }) {
            self.open(self.now());
            if self.ended().is_some() {
                return;
            }
        }
        // The last words carry no events: a session that must not see any more does not. A poll has no `hello` that
        // could have said what is missing.
        let reset = if is_poll { self.reader.check().err() } else { None };
        let after = self.chain_start(reset.as_ref());
        let notice = reset.map(|reset| self.notice(reset));
        let at = self.reader.cursor();
        self.write(&Batch { bye: Some(bye), reset: notice.as_ref(), ..Batch::new(after, at, &[]) });
        if !is_poll {
            self.finish_stream(bye.reason.close_code(), bye.reason.as_str());
            self.close(Ended::Bye(bye.reason));
        }
    }

    /// Writes the transport's own end of stream.
    fn finish_stream(&mut self, code: CloseCode, reason: &str) {
        match &self.line {
            Line::Ws(_) => self.out.write(|out| frame::write_ws_close(Some(code), reason, out)),
            Line::Sse { chunked: true, .. } => self.out.write(|out| out.extend_from_slice(frame::LAST_CHUNK)),
            Line::Sse { .. } | Line::Poll { .. } => {}
        }
    }

    fn close(&mut self, ended: Ended) {
        self.phase = Phase::Closing(ended);
        // An answer is worth as much patience as any write; a stream that said its last words is not.
        let patience = if ended == Ended::Answered { self.deadlines.write_timeout() } else { LINGER };
        self.deadlines.close_by(Instant::now() + patience);
    }

    fn make(&mut self, change: Change) {
        if matches!(self.phase, Phase::Closing(_)) {
            return;
        }
        match change {
            Change::Subscribe(topics) => {
                // With the cursor at the tail, the new topics begin where they are and owe nothing.
                if self.phase == Phase::Open && self.out.is_empty() && self.transport() != Transport::Poll {
                    self.send_batch(self.now(), true);
                }
                self.reader.subscribe(&topics);
                self.host.subscribed(&topics, self.reader.cursor());
            }
            Change::Unsubscribe(topics) => self.reader.retain(|topic| !topics.contains(topic)),
            Change::Lens(lens) => self.reader.look_through(lens),
            Change::Expiry(expiry) => self.deadlines.expire(Instant::now(), expiry),
            Change::Bye(bye) => self.say_bye(bye),
            Change::Close(code, reason) => {
                if let (Phase::Opening, Line::Sse { .. }) = (self.phase, &self.line) {
                    self.open(self.now());
                }
                self.finish_stream(code, reason);
                self.close(Ended::Violation(code));
            }
        }
    }

    /// Lets a command go on, or starts the next one. `true`: something is to be written.
    fn poll_command(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(command) = &mut self.command {
            let Poll::Ready(Outcome { reply, changes }) = command.as_mut().poll(cx) else { return false };
            self.command = None;
            let (ends, changes): (Vec<_>, Vec<_>) =
                changes.into_iter().partition(|change| matches!(change, Change::Bye(_) | Change::Close(..)));
            changes.into_iter().for_each(|change| self.make(change));
            self.out.write(|out| frame::write_ws_text(&reply, out));
            ends.into_iter().for_each(|change| self.make(change));
            return true;
        }
        let Line::Ws(decoder) = &mut self.line else { return false };
        if decoder.is_empty() {
            return false;
        }
        let had_a_frame = !decoder.needs_bytes();
        match self.out.write(|out| decoder.step(out)) {
            // A fragment was taken in: what follows it has not been asked for yet.
            Step::Incomplete => return had_a_frame,
            Step::Text(text) => self.command = Some(Arc::clone(&self.host).command(text)),
            Step::Binary(_) => {
                let reply = self.host.not_a_command();
                self.out.write(|out| frame::write_ws_text(&reply, out));
                self.count_control();
            }
            Step::Control => self.count_control(),
            Step::Closed => {
                self.close(Ended::Client);
                self.deadlines.close_by(Instant::now());
            }
            Step::Violated(code) => self.close(Ended::Violation(code)),
        }
        true
    }

    fn count_control(&mut self) {
        let now_ms = self.started().elapsed().as_millis() as u32;
        if now_ms.wrapping_sub(self.controls_since_ms) > CONTROLS_WINDOW_MS {
            self.controls_since_ms = now_ms;
            self.controls = 0;
        }
        self.controls += 1;
        if self.controls > CONTROLS_MAX {
            self.make(Change::Close(CloseCode::RATE_LIMITED, "too many control frames"));
        }
    }

    /// Writes what is waiting.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.out.is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, self.out.rest()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    self.out.advance(written);
                    self.deadlines.wrote(None);
                    if self.phase == Phase::Closing(Ended::Answered) {
                        // An answer may take its time as long as it moves.
                        self.deadlines.close_by(Instant::now() + self.deadlines.write_timeout());
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.deadlines.wrote(Some(Instant::now()));
                    self.out.keep_only_the_rest();
                    return Poll::Pending;
                }
            }
        }
        // Whoever has said its last words closes its half, so that the client sees the end at once. Only on a WebSocket
        // is there an answer to wait for first, unless the client cannot be understood any more.
        let is_last = match self.phase {
            Phase::Closing(Ended::Answered) | Phase::Opening | Phase::Open => false,
            Phase::Closing(Ended::Violation(_)) => true,
            Phase::Closing(_) => !matches!(self.line, Line::Ws(_)),
        };
        let socket = Pin::new(&mut self.socket);
        if is_last { socket.poll_shutdown(cx) } else { socket.poll_flush(cx) }
    }

    /// Reads what the client sent. Ready when it has gone.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            if !self.may_receive() {
                return Poll::Pending;
            }
            let received = RECEIVED.with_borrow_mut(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                let result = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer));
                let bytes = buffer.filled();
                if result.is_err() || bytes.is_empty() {
                    return Poll::Ready(false);
                }
                let closing = matches!(self.phase, Phase::Closing(_));
                match &mut self.line {
                    // What still comes from a client that broke the rules is read and thrown away: a socket that is
                    // closed with bytes unread takes the close frame along.
                    Line::Ws(_) if matches!(self.phase, Phase::Closing(Ended::Violation(_))) => {}
                    Line::Ws(decoder) => decoder.feed(bytes),
                    Line::Poll { pipelined, .. } if !closing => pipelined.extend_from_slice(bytes),
                    // What a client says behind the request of a stream is nothing to the gateway; that it is
                    // still there is.
                    Line::Sse { .. } | Line::Poll { .. } => {}
                }
                Poll::Ready(true)
            });
            if !ready!(received) {
                return Poll::Ready(Ended::Client);
            }
            if let (Phase::Closing(ended), Line::Ws(decoder)) = (self.phase, &mut self.line)
                && !matches!(ended, Ended::Violation(_))
            {
                // Only the peer's own close frame is still of interest.
                while let Ok(Some(message)) = decoder.message() {
                    if let Message::Close(_) = message {
                        return Poll::Ready(ended);
                    }
                }
            }
        }
    }

    /// A client that does not read, or that has a command under way, is not listened to: its bytes stay in the
    /// kernel, and it is slowed down instead of being stored.
    fn may_receive(&self) -> bool {
        if let Phase::Closing(ended) = self.phase {
            return ended != Ended::Answered;
        }
        match &self.line {
            Line::Ws(decoder) => self.out.is_empty() && self.command.is_none() && decoder.needs_bytes(),
            Line::Sse { .. } => true,
            Line::Poll { pipelined, .. } => pipelined.len() < PIPELINED_BYTES_MAX,
        }
    }

    /// Ready when something may be due. A timer that is set too early is left alone: firing once for nothing
    /// costs less than moving it with every batch.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Moment) -> Poll<()> {
        let Some(next) = self.deadlines.next(now, !self.out.is_empty()) else { return Poll::Pending };
        if self.sleep.is_elapsed() || next < self.sleep.deadline() {
            self.sleep.as_mut().reset(next);
        }
        self.sleep.as_mut().poll(cx)
    }
}

/// Two resets as one, so that nothing that is missing goes unsaid. Those other than `expired` name every topic.
fn both(earlier: Option<Reset>, mut later: Reset) -> Reset {
    match earlier {
        Some(earlier) if later.reason == ResetReason::Expired => {
            if earlier.reason != ResetReason::Expired {
                return earlier;
            }
            later.topics.extend(earlier.topics);
            later.topics.sort_unstable();
            later.topics.dedup();
            later
        }
        _ => later,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Session<S> {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let session = self.get_mut();
        let ended = ready!(session.run(cx));
        session.handle.let_go();
        Poll::Ready(ended)
    }
}
