//! A session as server-sent events: a batch is one message, whose id is the cursor.

use std::io::Write as _;

use super::protocol::{ExtraHeaders, Protocol, write_response_head};
use crate::batch::{Batch, put_before};
use crate::close::CloseCode;
use crate::request::Transport;

/// A stream of server-sent events, of which nothing has been written.
///
/// What the client sends behind its request is dropped: reading it only shows that the client is
/// still there.
#[derive(Debug)]
pub struct SseLine {
    /// The body is chunked, for a client that speaks HTTP/1.1. Otherwise the end of the connection
    /// is its end.
    pub chunked: bool,
    /// Bytes of comment before the first message, so that a path that buffers lets it through.
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
        let Self { chunked, pad, headers } = self;
        let framing = if *chunked { "Transfer-Encoding: chunked\r\n" } else { "Connection: close\r\n" };
        write_response_head(
            "text/event-stream",
            &format!("X-Accel-Buffering: no\r\n{framing}{headers}"),
            out,
        );
        if *pad > 0 {
            write_pad(*pad, *chunked, out);
        }
    }

    fn write_batch(&self, batch: &Batch<'_>, out: &mut Vec<u8>) {
        batch.write_sse(self.chunked, out);
    }

    fn write_end(&self, _code: CloseCode, _reason: &str, out: &mut Vec<u8>) {
        if self.chunked {
            out.extend_from_slice(LAST_CHUNK);
        }
    }
}

/// A comment of `bytes` spaces, which a client ignores.
fn write_pad(bytes: usize, chunked: bool, out: &mut Vec<u8>) {
    let len = bytes + b":\n\n".len();
    if chunked {
        out.extend_from_slice(format!("{len:x}\r\n").as_bytes());
    }
    out.push(b':');
    out.resize(out.len() + bytes, b' ');
    out.extend_from_slice(b"\n\n");
    if chunked {
        out.extend_from_slice(b"\r\n");
    }
}

impl Batch<'_> {
    /// The batch as one server-sent event whose id is the cursor; as one HTTP/1.1 chunk where
    /// `chunked`.
    pub fn write_sse(&self, chunked: bool, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(b"id: ");
        self.cursor.write(out);
        out.extend_from_slice(b"\ndata: ");
        self.write_head(out);
        if chunked {
            let len = out.len() - start + self.events_len() + b"\n\n".len();
            put_before(start, out, |out| drop(write!(out, "{len:x}\r\n")));
        }
        self.write_events(out);
        out.extend_from_slice(b"\n\n");
        if chunked {
            out.extend_from_slice(b"\r\n");
        }
    }
}
