//! The sending of a session: `hello`, batches, and its end.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use events::{Cursor, Event, Limit, Reset, ResetReason, Span};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::deadlines::Moment;
use super::state::{Phase, Session};
use crate::batch::{Batch, Hello, ResetNotice};
use crate::close::{Bye, ByeReason, CloseCode, Ended};
use crate::control::Sent;
use crate::line::Protocol as _;

/// How long a peer is given to take the last bytes and close.
const LINGER: Duration = Duration::from_secs(2);
/// What a session frames at once, in messages of its limit: one write takes them, and a client that
/// stops reading holds no more than that.
const FRAMED_BYTES: usize = 256 << 10;
/// What a message on a stream has at most beside its events: both cursors, `live`, `expiring`, and
/// the fields of a server-sent event.
pub(super) const ENVELOPE_BYTES: usize = 256;

thread_local! {
    /// Where a read puts its events; kept by the worker so that an idle session owns no such
    /// buffer.
    static EVENTS: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) };
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Sends what comes first: `hello`, or what the log already holds.
    pub(super) fn open(&mut self, now: Moment) {
        if !self.line.begins_with_hello() {
            self.send_batch(now, false);
            if self.phase == Phase::Opening {
                self.phase = Phase::Open;
            }
            return;
        }
        let line = &self.line;
        self.unsent.write(|out| line.write_head(out));
        self.phase = Phase::Open;
        // A cursor that is too old shows at the first look.
        let reset = self.reader.check().err();
        self.hello(now, reset);
    }

    /// Starts the session, or starts it again in place with a reset.
    fn hello(&mut self, now: Moment, reset: Option<Reset>) {
        let at = self.chain_start(reset.as_ref());
        let notice = reset.as_ref().map(|reset| self.notice(reset));
        let host = Arc::clone(&self.host);
        let identity = host.identity();
        let topics: Vec<_> = self.reader.topics().cloned().collect();
        let refused = host.take_refused();
        let state = self.begin_states(reset.as_ref());
        let parts = if self.line.is_answer() { self.answer_parts() } else { Vec::new() };
        let expires_at = self.deadlines.expires().then(|| host.expires_at());
        let hello = Hello {
            session: identity.session,
            user: identity.user,
            transport: self.line.transport().as_str(),
            heartbeat_ms: self.deadlines.heartbeat().as_millis() as u64,
            topics: topics.iter().collect(),
            refused: &refused,
            state: &state,
            deployment: identity.deployment,
            expires_at: expires_at.as_deref(),
            retry_after: host.retry_after(),
        };
        self.live_due |= notice.is_some() && !self.line.is_answer();
        self.deadlines.hello_sent(now);
        let batch = Batch { hello: Some(&hello), reset: notice.as_ref(), ..Batch::new(at, at, &[]) };
        self.write(&Batch { state: &parts, ..batch });
    }

    /// Sends everything up to the tail, or as much as may be framed at once. An empty batch is sent
    /// only if `must` or if a batch is due; otherwise the next batch tells the cursor.
    pub(super) fn send_batch(&mut self, now: Moment, must: bool) {
        let mut events = EVENTS.take();
        loop {
            match self.read(now, &mut events) {
                Ok(read) => self.send_read(now, must, &read, &events),
                Err(reset) if self.line.resets_in_place() => self.hello(now, Some(reset)),
                Err(reset) => {
                    self.end_with(&reset);
                    break;
                }
            }
            events.clear();
            if !self.more || !self.has_room() {
                break;
            }
        }
        EVENTS.set(events);
    }

    /// Whether another message may be framed behind those that are waiting, so that one write takes
    /// them all.
    pub(super) fn has_room(&self) -> bool {
        let most = self.host.unsent().batch_bytes(FRAMED_BYTES);
        !self.line.is_answer() && self.unsent.rest().len() + self.limit[1] as usize <= most
    }

    /// Reads what comes next.
    ///
    /// # Errors
    /// A reset, which a stream tells in a new `hello`. A line with a single answer tells every
    /// reset in it, in front of what is retained.
    fn read(&mut self, now: Moment, events: &mut Vec<Event>) -> Result<Read, Reset> {
        let [most_events, most_bytes] = self.limit.map(|most| most as usize);
        let envelope = if self.line.is_answer() { 0 } else { ENVELOPE_BYTES };
        let bytes = self.host.unsent().batch_bytes(most_bytes).saturating_sub(envelope);
        let limit = Limit { events: most_events, bytes };
        let was_live = self.phase == Phase::Open && !self.live_due && !self.more;
        let lag = self.reader.lag();
        let holds_ephemeral = self.deadlines.is_ephemeral_spaced(now);
        self.reader.hold_ephemeral(holds_ephemeral);
        let mut lost = None;
        let span = loop {
            match self.reader.read(limit, events) {
                Ok(span) if self.is_in_line() => break span,
                // The access changed while the rings were read: the events may be beyond it.
                Ok(span) => {
                    self.reader.unread(span);
                    events.clear();
                    self.narrow();
                }
                Err(reset) if !self.line.is_answer() => return Err(reset),
                Err(reset) => {
                    self.sent_up_to = self.chain_start(Some(&reset));
                    self.begin_states(Some(&reset));
                    lost = Some(both(lost, reset));
                }
            }
        };
        self.deadlines.ephemeral_waits(holds_ephemeral && self.reader.has_ephemeral());
        if events.last().is_some_and(|event| event.seq().is_none()) {
            self.deadlines.ephemeral_sent(now);
        }
        self.more = span.more;
        Ok(Read { span, lost, was_live, lag })
    }

    /// Sends what was read, unless it is empty and no batch is due. Ephemeral events that do not fit
    /// into the batch follow in batches of their own.
    fn send_read(&mut self, now: Moment, must: bool, read: &Read, events: &[Event]) {
        let Read { span, lost, was_live, lag } = read;
        let live = self.live_due && !span.more;
        self.live_due &= !live;
        let is_due = must || live || lost.is_some() || self.deadlines.is_batch_due(now);
        if !is_due && events.is_empty() {
            return;
        }
        let notice = lost.as_ref().map(|reset| self.notice(reset));
        let heartbeat = self.line.pong_timeout().is_some() && self.deadlines.is_heartbeat_due(now);
        let expiring = self.deadlines.take_expiring(now).then(|| self.host.expiring());
        // An answer without `hello` is the only one that its client gets.
        let refused = if self.line.is_answer() { self.host.take_refused() } else { Vec::new() };
        if self.line.answers_pings() && self.deadlines.take_ping(now) {
            let line = &self.line;
            self.unsent.write(|out| line.write_ping(out));
        }
        let (first, mut rest) = events.split_at(self.fitting(events));
        let parts = if self.line.is_answer() { self.answer_parts() } else { Vec::new() };
        let host = Arc::clone(&self.host);
        let user = self.line.is_answer().then(|| host.identity().user);
        let bytes = self.write(&Batch {
            user,
            live,
            more: span.more && self.line.is_answer(),
            refused: &refused,
            reset: notice.as_ref(),
            expiring: expiring.as_deref(),
            heartbeat,
            state: &parts,
            ..Batch::new(self.sent_up_to, span.cursor, first)
        });
        self.deadlines.batch_sent(now, !events.is_empty(), self.line.pong_timeout());
        let oldest = events.first().filter(|_| *was_live);
        let now_us = || self.reader.log().us_at(self.deadlines.instant(now));
        let latency_us = oldest.map(|event| now_us().saturating_sub(event.applied_us()));
        let sent = |events: &[Event], bytes, latency_us| Sent {
            events: events.len(),
            bytes,
            cursor: span.cursor,
            latency_us,
            lag: *lag,
        };
        self.host.sent(sent(first, bytes, latency_us));
        while !rest.is_empty() {
            let (next, others) = rest.split_at(self.fitting(rest));
            let bytes = self.write(&Batch::new(span.cursor, span.cursor, next));
            self.host.sent(sent(next, bytes, None));
            rest = others;
        }
    }

    /// How many of these events one batch carries: those with a seq, which were read within its
    /// limit, and the ephemeral ones that fit behind them, or one.
    fn fitting(&self, events: &[Event]) -> usize {
        let logged = events.partition_point(|event| event.seq().is_some());
        if logged == events.len() || self.line.is_answer() {
            return events.len();
        }
        let bytes_of = |event: &Event| event.json().len() + 1;
        let mut room = (self.limit[1] as usize).saturating_sub(ENVELOPE_BYTES);
        room = room.saturating_sub(events[..logged].iter().map(bytes_of).sum());
        let fits = |event: &&Event| {
            let left = room.checked_sub(bytes_of(event));
            room = left.unwrap_or(room);
            left.is_some()
        };
        (logged + events[logged..].iter().take_while(fits).count()).max(1)
    }

    /// Tells a reset as the last thing of a line that cannot begin again in place.
    fn end_with(&mut self, reset: &Reset) {
        let notice = self.notice(reset);
        let at = self.sent_up_to;
        self.write(&Batch { reset: Some(&notice), ..Batch::new(at, at, &[]) });
        self.finish_stream(CloseCode::GOING_AWAY, "reset");
        self.close(Ended::Reset);
    }

    /// The `after` of the next batch. It is the cursor that the client knows: an empty read that
    /// moved the reader further was not told. Only a reset that begins a new chain starts
    /// elsewhere.
    fn chain_start(&self, reset: Option<&Reset>) -> Cursor {
        match reset {
            Some(reset) if reset.reason != ResetReason::Expired => reset.at,
            _ => self.sent_up_to,
        }
    }

    fn notice(&self, reset: &Reset) -> ResetNotice {
        self.host.reset(reset);
        ResetNotice::new(reset.reason, reset.topics.clone(), self.host.refetch_after(reset.reason))
    }

    /// Frames a batch behind what is waiting to be written. Returns its bytes on the wire.
    pub(super) fn write(&mut self, batch: &Batch<'_>) -> usize {
        self.sent_up_to = batch.cursor;
        let unfinished = self.has_states_pending().then(|| Batch { is_unfinished: true, ..batch.clone() });
        let batch = unfinished.as_ref().unwrap_or(batch);
        let line = &mut self.line;
        let bytes = self.unsent.write(|out| {
            let before = out.len();
            line.write_batch(batch, out);
            out.len() - before
        });
        if self.line.is_answer() {
            self.close(batch.bye.map_or(Ended::Answered, |bye| Ended::Bye(bye.reason)));
        }
        bytes
    }

    pub(super) fn write_reply(&mut self, reply: &[u8]) {
        let line = &self.line;
        self.unsent.write(|out| line.write_reply(reply, out));
    }

    /// Ends the session for a reason of its own.
    pub(super) fn bye(&mut self, reason: ByeReason) {
        self.say_bye(Bye { reason, reconnect_after: self.host.reconnect_after(reason) });
    }

    /// Says why and ends. A stream that is stuck in the middle of a frame still gets it if it moves
    /// on in time.
    pub(super) fn say_bye(&mut self, bye: Bye) {
        if matches!(self.phase, Phase::Closing(_)) {
            return;
        }
        // A single answer with `hello` would have no room for the end.
        if self.phase == Phase::Opening && self.line.begins_with_hello() && !self.line.is_answer() {
            self.open(self.now());
            if self.ended().is_some() {
                return;
            }
        }
        // The last batch carries no events: the session may not be allowed to see them any more. A
        // single answer has no `hello` in front of it that could have said what is missing.
        let is_answer = self.line.is_answer();
        let reset = if is_answer { self.reader.check().err() } else { None };
        let after = self.chain_start(reset.as_ref());
        let notice = reset.map(|reset| self.notice(&reset));
        let at = self.reader.cursor();
        let host = Arc::clone(&self.host);
        let user = is_answer.then(|| host.identity().user);
        self.write(&Batch { user, bye: Some(bye), reset: notice.as_ref(), ..Batch::new(after, at, &[]) });
        if !is_answer {
            self.finish_stream(bye.reason.close_code(), bye.reason.as_str());
            self.close(Ended::Bye(bye.reason));
        }
    }

    /// Writes the transport's own end of the stream.
    pub(super) fn finish_stream(&mut self, code: CloseCode, reason: &str) {
        let line = &self.line;
        self.unsent.write(|out| line.write_end(code, reason, out));
    }

    pub(super) fn close(&mut self, ended: Ended) {
        self.phase = Phase::Closing(ended);
        self.handle.closes(ended);
        // An answer gets as much time as any write; the last bytes of a stream do not.
        let patience = if ended == Ended::Answered { self.deadlines.write_timeout() } else { LINGER };
        self.deadlines.close_by(Instant::now() + patience);
    }
}

/// What one read of a session gave.
struct Read {
    span: Span,
    /// What an answer has to say is missing.
    lost: Option<Reset>,
    /// The client had everything before.
    was_live: bool,
    /// Events of the log between the cursor and the tail, before the read.
    lag: u64,
}

/// Two resets as one, so that nothing that is missing goes unsaid. Those other than `expired` name
/// every topic.
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
