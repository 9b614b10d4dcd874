//! A session as server-sent events: a batch is one message, whose id is the cursor.

use std::io::Write as _;
use std::time::Duration;

use events::Cursor;

use super::protocol::{ExtraHeaders, Protocol, write_response_head};
use crate::batch::{Batch, put_before};
use crate::close::{Bye, CloseCode};
use crate::request::Transport;

/// A stream of server-sent events.
///
/// What the client sends behind its request is dropped: reading it only shows that the client is
/// still there.
#[derive(Debug)]
pub struct SseLine {
    /// The body is chunked, for a client that speaks HTTP/1.1. Otherwise the end of the connection
    /// is its end.
    pub chunked: bool,
    /// Bytes of comment in the first message, so that a path that buffers lets it through; zero once
    /// that is written.
    pub pad: usize,
    /// For the head of the response.
    pub headers: ExtraHeaders,
}

/// The end of a chunked body (RFC 9112 section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Protocol for SseLine {
    fn transport(&self) -> Transport {
        Transport::Sse
    }

    fn ends_behind_head(&self) -> bool {
        true
    }

    fn write_head(&self, out: &mut Vec<u8>) {
        let Self { chunked, headers, .. } = self;
        let framing = if *chunked { "Transfer-Encoding: chunked\r\n" } else { "Connection: close\r\n" };
        write_response_head(
            "text/event-stream; charset=utf-8",
            &format!("X-Accel-Buffering: no\r\n{framing}{headers}"),
            out,
        );
    }

    fn write_batch(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>) {
        batch.write_sse(std::mem::take(&mut self.pad), self.chunked, out);
    }

    fn write_end(&self, _code: CloseCode, _reason: &str, out: &mut Vec<u8>) {
        if self.chunked {
            out.extend_from_slice(LAST_CHUNK);
        }
    }
}

/// The body of a stream that says `bye` before a session begins: to a client that reconnects by
/// itself after the end of a stream, and that never comes back after a status other than 200.
#[derive(Clone, Copy, Debug)]
pub struct SseRefusal {
    /// From where the client is to go on.
    pub cursor: Cursor,
    /// Whether the client is told that as the id, which it sends back. Otherwise it repeats its
    /// request.
    pub has_id: bool,
    /// Why, and when to come back.
    pub bye: Bye,
    /// Bytes of comment in front.
    pub pad: usize,
}

impl SseRefusal {
    /// Writes the one block of the body.
    pub fn write(&self, out: &mut Vec<u8>) {
        let batch = Batch { bye: Some(self.bye), ..Batch::new(self.cursor, self.cursor, &[]) };
        batch.write_sse(self.pad, false, out);
        if !self.has_id {
            let id_len = batch.id_line_len(out);
            out.truncate(out.len() - id_len);
            out.extend_from_slice(b"\n\n");
        }
    }
}

impl Batch<'_> {
    /// The batch as one server-sent event whose id is the cursor, behind a comment of `pad` spaces
    /// if that is not zero; as one HTTP/1.1 chunk where `chunked`.
    ///
    /// Everything is in one block: a block without `data` is an empty message to many libraries.
    /// `id` comes last, because some libraries keep the id of an event that breaks off behind it.
    pub fn write_sse(&self, pad: usize, chunked: bool, out: &mut Vec<u8>) {
        let start = out.len();
        if pad > 0 {
            out.push(b':');
            out.resize(out.len() + pad, b' ');
            out.push(b'\n');
        }
        if let Some(after) = self.retry_after() {
            let _ = writeln!(out, "retry: {}", after.as_millis());
        }
        out.extend_from_slice(b"data: ");
        self.write_head(out);
        if chunked {
            let len = out.len() - start + self.events_len() + self.id_line_len(out);
            put_before(start, out, |out| drop(write!(out, "{len:x}\r\n")));
        }
        self.write_events(out);
        self.write_id_line(out);
        if chunked {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// When a client comes back that reconnects by itself: after this connection was lost, or after
    /// its end.
    fn retry_after(&self) -> Option<Duration> {
        let at_the_end = self.bye.map(|bye| bye.reconnect_after);
        at_the_end.or(self.hello.map(|hello| hello.retry_after))
    }

    fn write_id_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\nid: ");
        // An empty id makes a client that reconnects by itself begin anew.
        if !self.is_unfinished {
            self.cursor.write(out);
        }
        out.extend_from_slice(b"\n\n");
    }

    /// The number of bytes that [`Batch::write_id_line`] writes. `out` is left as it was.
    fn id_line_len(&self, out: &mut Vec<u8>) -> usize {
        let end = out.len();
        self.write_id_line(out);
        let len = out.len() - end;
        out.truncate(end);
        len
    }
}
