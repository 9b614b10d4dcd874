//! A Socket.IO session on one poll: packets are the body of its answer.

use std::sync::Arc;
use std::time::Duration;

use super::poll::PIPELINED_BYTES_MAX;
use super::protocol::{ExtraHeaders, Protocol, write_response_head};
use crate::batch::Batch;
use crate::request::Transport;
use crate::socketio::{Form, Greeting, PACKETS_MAX, Payload, PollTurn, Settings, write_batch};

/// One poll of a client that has sent its CONNECT. Nothing of the response has been written.
#[derive(Debug)]
pub struct SocketIoPollLine {
    /// The turn to answer, with what waits beside the log.
    pub turn: PollTurn,
    /// What all sessions share.
    pub settings: Arc<Settings>,
    /// What the client asked for in its CONNECT, if this poll answers that.
    pub greeting: Option<Box<Greeting>>,
    /// How the ids of the session's own drafts begin; empty: nobody looks at it.
    pub own_tag: Box<str>,
    /// The session has topics that the client did not ask for in its CONNECT.
    pub has_more_topics: bool,
    /// How long the poll may wait.
    pub wait: Duration,
    /// The connection can be used again.
    pub keep_alive: bool,
    /// For the head of the response.
    pub headers: ExtraHeaders,
    /// What the client sent behind its request.
    pub pipelined: Vec<u8>,
}

impl SocketIoPollLine {
    /// The most events of one answer: with the packets around them, no more than
    /// [`PACKETS_MAX`].
    pub const EVENTS_MAX: usize = 10;
}

impl Protocol for SocketIoPollLine {
    fn transport(&self) -> Transport {
        Transport::Poll
    }

    fn is_answer(&self) -> bool {
        true
    }

    fn begins_with_hello(&self) -> bool {
        self.greeting.is_some()
    }

    fn resets_in_place(&self) -> bool {
        false
    }

    fn wait(&self) -> Option<Duration> {
        Some(self.wait)
    }

    fn write_batch(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>) {
        let mailbox = self.turn.mailbox();
        let mut payload = Payload::new(mailbox.revision());
        let greeting = self.greeting.take();
        let batch = &Batch { heartbeat: mailbox.take_ping(), ..batch.clone() };
        let form = Form {
            settings: &self.settings,
            revision: mailbox.revision(),
            own_tag: &self.own_tag,
            has_more_topics: self.has_more_topics,
        };
        write_batch(batch, &form, greeting.as_deref(), &mut payload);
        for packet in mailbox.take(PACKETS_MAX.saturating_sub(payload.packets + 1)) {
            payload.push(&[packet.as_bytes()]);
        }
        // A newer poll of the same client takes over from here; every other end is the session's.
        let is_over = batch.bye.is_some_and(|bye| bye.reason != crate::close::ByeReason::Replaced)
            || (batch.reset.is_some() && batch.hello.is_none());
        if is_over {
            mailbox.end();
        }
        match mailbox.last_packet() {
            Some(last) => payload.push(&[last.as_bytes()]),
            None if payload.packets == 0 => payload.push(&[b"6"]),
            None => {}
        }
        self.turn.answers(batch.cursor);
        let keeps = self.keep_alive && batch.bye.is_none();
        let connection = if keeps { "keep-alive" } else { "close" };
        let (len, headers) = (payload.body.len(), &self.headers);
        let rest = format!("Content-Length: {len}\r\nConnection: {connection}\r\n{headers}");
        write_response_head("text/plain; charset=UTF-8", &rest, out);
        out.extend_from_slice(&payload.body);
    }

    fn wants_bytes(&self) -> bool {
        self.pipelined.len() < PIPELINED_BYTES_MAX
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.pipelined.extend_from_slice(bytes);
    }

    fn into_pipelined(self) -> Option<Vec<u8>> {
        self.turn.delivered();
        self.keep_alive.then_some(self.pipelined)
    }
}
