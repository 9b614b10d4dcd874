//! A session as one long poll: a batch is the whole response.

use std::time::Duration;

use super::protocol::{ExtraHeaders, Protocol, write_response_head};
use crate::batch::{Batch, put_before};
use crate::request::Transport;

/// One long poll, of whose response nothing has been written.
#[derive(Debug)]
pub struct PollLine {
    /// How long it may wait for an event, in milliseconds.
    pub wait_ms: u32,
    /// It is answered at once, with `hello` and the tail.
    pub hello: bool,
    /// The connection can be used again.
    pub keep_alive: bool,
    /// For the head of the response.
    pub headers: ExtraHeaders,
    /// What the client sent behind its request.
    pub pipelined: Vec<u8>,
}

/// The most bytes behind a poll's request, beyond which the client is not read until the poll is
/// answered.
pub(super) const PIPELINED_BYTES_MAX: usize = 16 << 10;

impl Protocol for PollLine {
    fn transport(&self) -> Transport {
        Transport::Poll
    }

    fn is_answer(&self) -> bool {
        true
    }

    fn begins_with_hello(&self) -> bool {
        self.hello
    }

    fn wait(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.wait_ms.into()))
    }

    fn write_batch(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        batch.write_head(out);
        let len = out.len() - start + batch.events_len();
        let keeps = self.keep_alive && batch.bye.is_none();
        let connection = if keeps { "keep-alive" } else { "close" };
        let headers = &self.headers;
        let rest = format!(
            "X-Accel-Buffering: no\r\nContent-Length: {len}\r\nConnection: {connection}\r\n{headers}"
        );
        put_before(start, out, |out| write_response_head("application/json", &rest, out));
        batch.write_events(out);
    }

    fn wants_bytes(&self) -> bool {
        self.pipelined.len() < PIPELINED_BYTES_MAX
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.pipelined.extend_from_slice(bytes);
    }

    fn into_pipelined(self) -> Option<Vec<u8>> {
        self.keep_alive.then_some(self.pipelined)
    }
}
