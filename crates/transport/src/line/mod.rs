//! Lines: how batches, replies and the end of a session travel on each transport, and what a client
//! may say on it.
//!
//! A session knows no transport. It asks its [`Line`], whose answers each stand in the file of
//! their transport. A new transport is a file that implements [`Protocol`], a variant of [`Line`]
//! and an arm of `each!`.

mod poll;
mod protocol;
mod sio_poll;
mod sio_ws;
mod sse;
mod ws;

use std::time::Duration;

pub use poll::PollLine;
pub use protocol::ExtraHeaders;
pub(crate) use protocol::{Input, Protocol};
pub use sio_poll::SocketIoPollLine;
pub use sio_ws::{SocketIoLine, SocketIoStart};
pub use sse::{SseLine, SseRefusal};
pub use ws::WsLine;

use crate::batch::Batch;
use crate::close::CloseCode;
use crate::request::Transport;

/// The transport of a session, with its state.
#[derive(Debug)]
pub enum Line {
    /// A WebSocket that has been accepted.
    Ws(WsLine),
    /// A stream of server-sent events.
    Sse(SseLine),
    /// One long poll.
    Poll(PollLine),
    /// A WebSocket that carries Socket.IO packets.
    SocketIo(Box<SocketIoLine>),
    /// One poll of a Socket.IO client.
    SocketIoPoll(Box<SocketIoPollLine>),
}

/// Calls the same method on whichever transport a line has.
macro_rules! each {
    ($line:expr, $one:ident => $call:expr) => {
        match $line {
            Line::Ws($one) => $call,
            Line::Sse($one) => $call,
            Line::Poll($one) => $call,
            Line::SocketIo($one) => $call,
            Line::SocketIoPoll($one) => $call,
        }
    };
}

impl Line {
    /// The same line, with what the client had sent behind its request.
    #[must_use]
    pub fn with_received(mut self, bytes: &[u8]) -> Self {
        self.receive(bytes);
        self
    }

    /// Whether commands on it are events of Socket.IO.
    #[must_use]
    pub const fn speaks_socketio(&self) -> bool {
        matches!(self, Self::SocketIo(_) | Self::SocketIoPoll(_))
    }
}

impl Protocol for Line {
    fn transport(&self) -> Transport {
        each!(self, line => line.transport())
    }

    fn is_answer(&self) -> bool {
        each!(self, line => line.is_answer())
    }

    fn begins_with_hello(&self) -> bool {
        each!(self, line => line.begins_with_hello())
    }

    fn wait(&self) -> Option<Duration> {
        each!(self, line => line.wait())
    }

    fn resets_in_place(&self) -> bool {
        each!(self, line => line.resets_in_place())
    }

    fn pong_timeout(&self) -> Option<Duration> {
        each!(self, line => line.pong_timeout())
    }

    fn takes_commands(&self) -> bool {
        each!(self, line => line.takes_commands())
    }

    fn answers_pings(&self) -> bool {
        each!(self, line => line.answers_pings())
    }

    fn write_ping(&self, out: &mut Vec<u8>) {
        each!(self, line => line.write_ping(out));
    }

    fn awaits_close(&self) -> bool {
        each!(self, line => line.awaits_close())
    }

    fn ends_behind_head(&self) -> bool {
        each!(self, line => line.ends_behind_head())
    }

    fn write_head(&self, out: &mut Vec<u8>) {
        each!(self, line => line.write_head(out));
    }

    fn write_batch(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>) {
        each!(self, line => line.write_batch(batch, out));
    }

    fn topics_added(&mut self) -> bool {
        each!(self, line => line.topics_added())
    }

    fn write_reply(&self, reply: &[u8], out: &mut Vec<u8>) {
        each!(self, line => line.write_reply(reply, out));
    }

    fn write_end(&self, code: CloseCode, reason: &str, out: &mut Vec<u8>) {
        each!(self, line => line.write_end(code, reason, out));
    }

    fn wants_bytes(&self) -> bool {
        each!(self, line => line.wants_bytes())
    }

    fn receive(&mut self, bytes: &[u8]) {
        each!(self, line => line.receive(bytes));
    }

    fn has_input(&self) -> bool {
        each!(self, line => line.has_input())
    }

    fn next_input(&mut self, out: &mut Vec<u8>) -> Input {
        each!(self, line => line.next_input(out))
    }

    fn receive_close(&mut self, bytes: &[u8]) -> bool {
        each!(self, line => line.receive_close(bytes))
    }

    fn into_pipelined(self) -> Option<Vec<u8>> {
        each!(self, line => line.into_pipelined())
    }
}
