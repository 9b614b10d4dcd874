//! A session on a WebSocket: a batch, a reply or a command is one text message.

use fastwebsockets::OpCode;

use super::protocol::{Input, Protocol};
use crate::batch::{Batch, put_before};
use crate::close::CloseCode;
use crate::request::Transport;
use crate::ws::{Decoder, Message, Step, write_ws_close, write_ws_head, write_ws_ping, write_ws_text};

/// A WebSocket that has been accepted, with what its client has sent so far.
#[derive(Debug)]
pub struct WsLine(Decoder);

impl WsLine {
    /// The line behind a handshake; `decoder` holds what came after it.
    #[must_use]
    pub fn new(decoder: Decoder) -> Self {
        Self(decoder)
    }
}

impl Protocol for WsLine {
    fn transport(&self) -> Transport {
        Transport::Ws
    }

    fn takes_commands(&self) -> bool {
        true
    }

    fn answers_pings(&self) -> bool {
        true
    }

    fn write_ping(&self, out: &mut Vec<u8>) {
        write_ws_ping(out);
    }

    fn awaits_close(&self) -> bool {
        true
    }

    fn write_batch(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>) {
        batch.write_ws(out);
    }

    fn write_reply(&self, reply: &[u8], out: &mut Vec<u8>) {
        write_ws_text(reply, out);
    }

    fn write_end(&self, code: CloseCode, reason: &str, out: &mut Vec<u8>) {
        write_ws_close(Some(code), reason, out);
    }

    fn wants_bytes(&self) -> bool {
        self.0.needs_bytes()
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    fn has_input(&self) -> bool {
        !self.0.is_empty()
    }

    fn next_input(&mut self, out: &mut Vec<u8>) -> Input {
        let had_a_frame = !self.0.needs_bytes();
        match self.0.step(out) {
            Step::Incomplete if had_a_frame => Input::Part,
            Step::Incomplete => Input::None,
            Step::Text(text) => Input::Command(text),
            Step::Binary(_) => Input::NotACommand,
            Step::Control => Input::Control,
            Step::Closed(code) => Input::Closed(code.unwrap_or(CloseCode::NONE)),
            Step::Violated(code) => Input::Violated(code),
        }
    }

    fn receive_close(&mut self, bytes: &[u8]) -> bool {
        self.0.feed(bytes);
        while let Ok(Some(message)) = self.0.message() {
            if let Message::Close(_) = message {
                return true;
            }
        }
        false
    }
}

impl Batch<'_> {
    /// The batch as one WebSocket text message (RFC 6455 section 5).
    pub fn write_ws(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.write_head(out);
        let len = out.len() - start + self.events_len();
        put_before(start, out, |out| write_ws_head(OpCode::Text, len, out));
        self.write_events(out);
    }
}
