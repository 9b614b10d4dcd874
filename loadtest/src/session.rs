//! One client session: what phase its connection is in, and what the bytes that arrive mean in it.

use std::os::fd::OwnedFd;

use memchr::memmem;

use crate::dialect::{Ask, Attached, Dialect, Note, Transport};
use crate::ledger::{Ledger, Tally};
use crate::measure::histogram::Histogram;
use crate::net::chunked::Chunked;
use crate::net::http::{Body, Head};
use crate::net::websocket;
use crate::payload::Scanner;
use crate::topic::Topic;

/// Where a connection is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    /// There is none.
    Closed,
    /// The handshake of TCP is under way.
    Connecting,
    /// The head of a response is to come.
    Head,
    /// WebSocket frames.
    Frames,
    /// An SSE body in chunks.
    Chunks(Chunked),
    /// An SSE body up to the end of the connection.
    Plain,
    /// The body of a poll's answer, so many bytes more.
    Answer(usize),
    /// The body of a poll's answer in chunks.
    AnswerChunks(Chunked),
}

/// One client.
pub(crate) struct Session {
    /// Its user's number.
    pub user: u32,
    /// What it follows.
    pub topics: Vec<Topic>,
    /// How it receives.
    pub transport: Transport,
    /// What it has received.
    pub ledger: Ledger,
    /// Where it would go on.
    pub position: Vec<u8>,
    /// Its socket, while there is one.
    pub socket: Option<OwnedFd>,
    /// Where its connection is.
    pub phase: Phase,
    /// Attached: what is published from now on must reach it.
    pub ready: bool,
    /// Whether its arrived bytes are read: a slow reader's are not.
    pub reading: bool,
    /// Resets that the server has sent it: what it lacks, it has been told of.
    pub resets: u32,
    /// After the end of this stream, how long the server wants the client to stay away.
    pub leave_ms: Option<u32>,
    /// Bytes that no whole unit (head, frame, block) has come of yet.
    pub partial: Vec<u8>,
    /// The piece of an SSE block or a poll's body that has come out of its chunks.
    body: Vec<u8>,
    head: Vec<u8>,
}

/// What a session enters its findings in.
pub(crate) struct Findings<'a> {
    /// The server's language.
    pub dialect: &'a dyn Dialect,
    /// Finds the numbers.
    pub scanner: &'a Scanner,
    /// The counts.
    pub tally: &'a mut Tally,
    /// Publish-to-receive, of this session's transport.
    pub latency: &'a mut Histogram,
    /// Now, on the clock that the payloads carry.
    pub now_ns: u64,
    /// What the client has to send in turn.
    pub reply: &'a mut Vec<u8>,
    /// What happened.
    pub outcome: Outcome,
}

/// What reading some bytes led to, beside received events.
#[derive(Default, Debug)]
pub(crate) struct Outcome {
    /// The session became ready.
    pub became_ready: bool,
    /// Resets that the server sent.
    pub resets: u64,
    /// Batches that did not start where the one before ended.
    pub broken: u64,
    /// Messages read.
    pub messages: u64,
    /// A poll's answer is complete: ask again.
    pub ask_again: bool,
    /// The connection is of no more use, and why.
    pub ended: Option<String>,
}

impl Session {
    /// A session that is not connected.
    pub(crate) fn new(user: u32, topics: Vec<Topic>, transport: Transport, ledger: Ledger) -> Self {
        Self {
            user,
            topics,
            transport,
            ledger,
            position: Vec::new(),
            socket: None,
            phase: Phase::Closed,
            ready: false,
            reading: true,
            resets: 0,
            leave_ms: None,
            partial: Vec::new(),
            body: Vec::new(),
            head: Vec::new(),
        }
    }

    /// Its wish, as the dialects read it.
    pub(crate) fn ask<'a>(&'a self, host: &'a str) -> Ask<'a> {
        Ask {
            transport: self.transport,
            user: self.user,
            topics: &self.topics,
            position: &self.position,
            host,
        }
    }

    /// Forgets the connection, not the session; answers its socket.
    pub(crate) fn detach(&mut self) -> Option<OwnedFd> {
        self.phase = Phase::Closed;
        self.ready = false;
        self.partial = Vec::new();
        self.body = Vec::new();
        self.socket.take()
    }

    /// Reads newly arrived bytes.
    pub(crate) fn arrived(&mut self, bytes: &[u8], findings: &mut Findings<'_>) {
        if self.partial.is_empty() {
            let used = self.consume(bytes, findings);
            self.partial.extend_from_slice(&bytes[used..]);
        } else {
            let mut partial = std::mem::take(&mut self.partial);
            partial.extend_from_slice(bytes);
            let used = self.consume(&partial, findings);
            partial.drain(..used);
            // An idle session keeps no buffer.
            self.partial = if partial.is_empty() { Vec::new() } else { partial };
        }
    }

    fn consume(&mut self, bytes: &[u8], findings: &mut Findings<'_>) -> usize {
        let mut used = 0;
        while used < bytes.len() && findings.outcome.ended.is_none() {
            let rest = &bytes[used..];
            let step = match self.phase {
                Phase::Head => self.read_head(rest, findings),
                Phase::Frames => self.read_frame(rest, findings),
                Phase::Chunks(decoder) => self.read_chunks(decoder, rest, findings),
                Phase::Plain => {
                    self.read_stream(rest, findings);
                    rest.len()
                }
                Phase::Answer(left) => self.read_answer(left, rest, findings),
                Phase::AnswerChunks(decoder) => self.read_answer_chunks(decoder, rest, findings),
                Phase::Closed | Phase::Connecting => rest.len(),
            };
            if step == 0 {
                break;
            }
            used += step;
        }
        used
    }

    fn read_head(&mut self, bytes: &[u8], findings: &mut Findings<'_>) -> usize {
        let Some(head) = Head::parse(bytes) else { return 0 };
        let length = head.bytes.len();
        let expected = if self.transport == Transport::Ws { 101 } else { 200 };
        // An empty answer to a poll (nchan's 304) is an answer.
        if head.status != expected && !(self.transport == Transport::Poll && head.status == 304) {
            self.leave_ms =
                head.header("retry-after").and_then(|value| value.parse().ok()).map(|s: u32| s * 1000);
            findings.outcome.ended = Some(format!("refused with {}", head.status));
            return length;
        }
        match (self.transport, head.body()) {
            (Transport::Ws, _) => {
                if head.header("sec-websocket-accept") != Some(websocket::ACCEPT) {
                    findings.outcome.ended = Some("a handshake with the wrong answer".to_owned());
                }
                for message in findings.dialect.greet(&self.ask("")) {
                    websocket::write_client(findings.reply, websocket::TEXT, message.as_bytes());
                }
                self.phase = Phase::Frames;
            }
            (Transport::Sse, Body::Chunked) => self.phase = Phase::Chunks(Chunked::new()),
            (Transport::Sse, _) => self.phase = Phase::Plain,
            (Transport::Poll, body) => {
                self.head.clear();
                self.head.extend_from_slice(head.bytes);
                match body {
                    Body::Length(0) => {
                        self.message(b"", findings);
                        self.answered(findings);
                    }
                    Body::Length(length) => self.phase = Phase::Answer(length),
                    Body::Chunked => self.phase = Phase::AnswerChunks(Chunked::new()),
                    Body::UntilClose => {
                        findings.outcome.ended = Some("a poll's answer without a length".to_owned())
                    }
                }
            }
        }
        if findings.dialect.attached(self.transport) == Attached::Head {
            self.become_ready(findings);
        }
        length
    }

    fn read_frame(&mut self, bytes: &[u8], findings: &mut Findings<'_>) -> usize {
        let frame = match websocket::frame(bytes) {
            Ok(Some(frame)) => frame,
            Ok(None) => return 0,
            Err(error) => {
                findings.outcome.ended = Some(error.to_owned());
                return 0;
            }
        };
        match frame.opcode {
            websocket::TEXT | websocket::BINARY if frame.last => self.message(frame.payload, findings),
            websocket::PING => websocket::write_client(findings.reply, websocket::PONG, frame.payload),
            websocket::PONG => {}
            websocket::CLOSE => {
                let code = frame.payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                findings.outcome.ended = Some(format!("closed with {code}"));
            }
            _ => findings.outcome.ended = Some("a fragmented or unknown frame".to_owned()),
        }
        frame.length
    }

    fn read_chunks(&mut self, mut decoder: Chunked, bytes: &[u8], findings: &mut Findings<'_>) -> usize {
        let used = decoder.read(bytes, |data| self.read_stream(data, findings));
        self.phase = Phase::Chunks(decoder);
        if decoder.is_done() {
            findings.outcome.ended = Some("end of stream".to_owned());
        }
        used.unwrap_or_else(|| {
            findings.outcome.ended = Some("a body that is not in chunks".to_owned());
            0
        })
    }

    /// Cuts an SSE body into its blocks. Servers here end lines with LF.
    fn read_stream(&mut self, data: &[u8], findings: &mut Findings<'_>) {
        if self.body.is_empty() {
            let used = self.read_blocks(data, findings);
            self.body.extend_from_slice(&data[used..]);
        } else {
            let mut body = std::mem::take(&mut self.body);
            body.extend_from_slice(data);
            let used = self.read_blocks(&body, findings);
            body.drain(..used);
            self.body = if body.is_empty() { Vec::new() } else { body };
        }
    }

    fn read_blocks(&mut self, data: &[u8], findings: &mut Findings<'_>) -> usize {
        let mut used = 0;
        while let Some(length) = memmem::find(&data[used..], b"\n\n") {
            self.message(&data[used..used + length], findings);
            used += length + 2;
        }
        used
    }

    fn read_answer(&mut self, left: usize, bytes: &[u8], findings: &mut Findings<'_>) -> usize {
        let take = left.min(bytes.len());
        if take < left || !self.body.is_empty() {
            self.body.extend_from_slice(&bytes[..take]);
        }
        if take < left {
            self.phase = Phase::Answer(left - take);
        } else if self.body.is_empty() {
            self.message(&bytes[..take], findings);
            self.answered(findings);
        } else {
            let body = std::mem::take(&mut self.body);
            self.message(&body, findings);
            self.answered(findings);
        }
        take
    }

    fn read_answer_chunks(
        &mut self,
        mut decoder: Chunked,
        bytes: &[u8],
        findings: &mut Findings<'_>,
    ) -> usize {
        let used = decoder.read(bytes, |data| self.body.extend_from_slice(data));
        self.phase = Phase::AnswerChunks(decoder);
        if decoder.is_done() {
            let body = std::mem::take(&mut self.body);
            self.message(&body, findings);
            self.answered(findings);
        }
        used.unwrap_or_else(|| {
            findings.outcome.ended = Some("a body that is not in chunks".to_owned());
            0
        })
    }

    fn answered(&mut self, findings: &mut Findings<'_>) {
        self.phase = Phase::Head;
        findings.outcome.ask_again = true;
    }

    fn message(&mut self, message: &[u8], findings: &mut Findings<'_>) {
        let Self { ledger, position, head, transport, leave_ms: stay_away_ms, resets, .. } = self;
        findings.outcome.messages += 1;
        let (tally, latency, now_ns) = (&mut *findings.tally, &mut *findings.latency, findings.now_ns);
        findings.scanner.scan(message, |numbers| {
            ledger.enter(numbers, tally);
            latency.enter(now_ns.saturating_sub(numbers.at_ns));
        });
        let Note { ready, reset, broken, leave_ms, answer } =
            findings.dialect.note(*transport, head, message, position);
        *resets += u32::from(reset);
        findings.outcome.resets += u64::from(reset);
        findings.outcome.broken += u64::from(broken);
        *stay_away_ms = leave_ms.or(*stay_away_ms);
        if let Some(answer) = answer {
            websocket::write_client(findings.reply, websocket::TEXT, answer.as_bytes());
        }
        if ready {
            self.become_ready(findings);
        }
    }

    fn become_ready(&mut self, findings: &mut Findings<'_>) {
        if !self.ready {
            self.ready = true;
            findings.outcome.became_ready = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::gateway::Gateway;

    const HELLO: &str = r#"{"after":"e.4","cursor":"e.4","events":[],"hello":{"session":"s"}}"#;
    const EVENTS: &str = r#"{"after":"e.4","cursor":"e.6","events":[{"seq":5,"data":"~lt:0:1:7:x"},{"seq":6,"data":"~lt:0:2:8:x"}]}"#;

    /// What a session makes of `wire`, cut into two reads at `cut`.
    fn read(transport: Transport, wire: &[u8], cut: usize) -> (Session, Tally, u64, Vec<u8>, Option<String>) {
        let mut session = Session::new(1, vec![Topic::Room(0)], transport, Ledger::follow([(0, 0)]));
        session.phase = Phase::Head;
        let (dialect, scanner) = (Gateway::new("k", "s"), Scanner::new());
        let (mut tally, mut latency, mut reply) = (Tally::default(), Histogram::new(), Vec::new());
        let (mut messages, mut broken, mut ended) = (0, 0, None);
        for piece in [&wire[..cut], &wire[cut..]] {
            let mut findings = Findings {
                dialect: &dialect,
                scanner: &scanner,
                tally: &mut tally,
                latency: &mut latency,
                now_ns: 10,
                reply: &mut reply,
                outcome: Outcome::default(),
            };
            session.arrived(piece, &mut findings);
            messages += findings.outcome.messages;
            broken += findings.outcome.broken;
            ended = ended.or(findings.outcome.ended);
        }
        assert_eq!(broken, 0);
        (session, tally, messages, reply, ended)
    }

    fn check(transport: Transport, wire: &[u8]) {
        for cut in 0..=wire.len() {
            let (session, tally, messages, _, ended) = read(transport, wire, cut);
            assert_eq!((tally.received, tally.duplicates, messages), (2, 0, 2), "{transport:?} cut at {cut}");
            assert!(
                session.ready && session.partial.is_empty() && ended.is_none(),
                "{transport:?} cut at {cut}"
            );
            assert_eq!(session.position, b"e.6 s");
        }
    }

    #[test]
    fn websocket_frames_however_they_are_cut() {
        let mut wire =
            format!("HTTP/1.1 101 S\r\nSec-WebSocket-Accept: {}\r\n\r\n", websocket::ACCEPT).into_bytes();
        for message in [HELLO, EVENTS] {
            websocket::write_server_head(&mut wire, websocket::TEXT, message.len());
            wire.extend_from_slice(message.as_bytes());
        }
        check(Transport::Ws, &wire);
    }

    #[test]
    fn event_streams_however_they_are_cut() {
        let (hello, events) =
            (format!("retry: 1\ndata: {HELLO}\nid: e.4\n\n"), format!("data: {EVENTS}\nid: e.6\n\n"));
        // The second message comes in two chunks.
        let (first, second) = events.split_at(40);
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(Transport::Sse, [head, &chunk(&hello), &chunk(first), &chunk(second)].concat().as_bytes());
        check(Transport::Sse, ["HTTP/1.0 200 OK\r\n\r\n", &hello, &events].concat().as_bytes());
    }

    #[test]
    fn answers_to_polls_however_they_are_cut() {
        let answer = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        check(Transport::Poll, [answer(HELLO), answer(EVENTS)].concat().as_bytes());
    }

    #[test]
    fn pings_are_answered_and_a_close_ends_with_its_code() {
        let mut wire =
            format!("HTTP/1.1 101 S\r\nSec-WebSocket-Accept: {}\r\n\r\n", websocket::ACCEPT).into_bytes();
        wire.extend_from_slice(b"\x89\x02hi\x88\x02\x11\x38");
        let (_, _, _, reply, ended) = read(Transport::Ws, &wire, 20);
        assert_eq!(reply, b"\x8a\x82\0\0\0\0hi");
        assert_eq!(ended.as_deref(), Some("closed with 4408"));
    }

    #[test]
    fn a_refusal_keeps_how_long_to_stay_away() {
        let wire = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n";
        let (session, _, _, _, ended) = read(Transport::Sse, wire, 5);
        assert_eq!((session.leave_ms, ended.as_deref()), (Some(3000), Some("refused with 503")));
    }
}
