//! Every byte that is sent: the batch as JSON, and the thin frame that each transport puts around it.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use events::{Cursor, Event, ResetReason, Topic};
use fastwebsockets::{Frame, OpCode, Payload};
use serde::Serialize;

use crate::close::{Bye, CloseCode};

/// What the first batch of a stream says about the session.
#[derive(Clone, Debug, Serialize)]
pub struct Hello<'a> {
    /// Names the session; a later connection may continue it.
    pub session: &'a str,
    /// Whose it is.
    pub user: &'a str,
    /// `ws`, `sse` or `poll`.
    pub transport: &'a str,
    /// A batch comes at least this often.
    pub heartbeat_ms: u64,
    /// What is delivered.
    pub topics: Vec<&'a Topic>,
    /// This gateway release or process group.
    pub deployment: &'a str,
    /// When the token ends, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<&'a str>,
}

/// "Events of these topics may be missing; refetch."
#[derive(Clone, Debug, Serialize)]
pub struct ResetNotice {
    reason: &'static str,
    topics: Vec<Topic>,
    refetch_after_ms: u64,
}

impl ResetNotice {
    /// For `topics`, asking the client to wait before it refetches.
    #[must_use]
    pub fn new(reason: ResetReason, topics: Vec<Topic>, refetch_after: Duration) -> Self {
        Self { reason: reason.as_str(), topics, refetch_after_ms: refetch_after.as_millis() as u64 }
    }
}

/// The one object that the gateway sends. Everything but the cursors is optional.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// The cursor of the batch before.
    pub after: Cursor,
    /// Every event up to here has been sent.
    pub cursor: Cursor,
    /// Who this is.
    pub hello: Option<&'a Hello<'a>>,
    /// The session has caught up.
    pub live: bool,
    /// Ask again at once.
    pub more: bool,
    /// What may be missing.
    pub reset: Option<&'a ResetNotice>,
    /// The stream ends.
    pub bye: Option<Bye>,
    /// When the token ends, RFC 3339.
    pub expiring: Option<&'a str>,
    /// The events with a seq in (`after`, `cursor`], then ephemeral ones.
    pub events: &'a [Event],
}

impl<'a> Batch<'a> {
    /// A batch with nothing but its events.
    #[must_use]
    pub fn new(after: Cursor, cursor: Cursor, events: &'a [Event]) -> Self {
        Self {
            after,
            cursor,
            hello: None,
            live: false,
            more: false,
            reset: None,
            bye: None,
            expiring: None,
            events,
        }
    }

    /// Everything before the first event.
    fn write_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"after":""#);
        self.after.write(out);
        out.extend_from_slice(br#"","cursor":""#);
        self.cursor.write(out);
        out.push(b'"');
        if let Some(hello) = self.hello {
            out.extend_from_slice(br#","hello":"#);
            // Writing into memory cannot fail.
            let _ = serde_json::to_writer(&mut *out, hello);
        }
        if self.live {
            out.extend_from_slice(br#","live":true"#);
        }
        if self.more {
            out.extend_from_slice(br#","more":true"#);
        }
        if let Some(reset) = self.reset {
            out.extend_from_slice(br#","reset":"#);
            let _ = serde_json::to_writer(&mut *out, reset);
        }
        if let Some(Bye { reason, reconnect_after }) = self.bye {
            let (reason, after_ms) = (reason.as_str(), reconnect_after.as_millis());
            let _ = write!(out, r#","bye":{{"reason":"{reason}","reconnect_after_ms":{after_ms}}}"#);
        }
        if let Some(at) = self.expiring {
            let _ = write!(out, r#","expiring":{{"expires_at":"{at}"}}"#);
        }
        out.extend_from_slice(br#","events":["#);
    }

    fn write_events(&self, out: &mut Vec<u8>) {
        for (at, event) in self.events.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(event.json());
        }
        out.extend_from_slice(b"]}");
    }

    /// The bytes of [`Batch::write_events`].
    fn events_len(&self) -> usize {
        let events: usize = self.events.iter().map(|event| event.json().len()).sum();
        events + self.events.len().saturating_sub(1) + b"]}".len()
    }

    /// The batch as JSON, on one line.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        self.write_head(out);
        self.write_events(out);
    }

    /// The batch as one WebSocket text message (RFC 6455 section 5).
    pub fn write_ws(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.write_head(out);
        let len = out.len() - start + self.events_len();
        put_before(start, out, |out| write_ws_head(OpCode::Text, len, out));
        self.write_events(out);
    }

    /// The batch as one server-sent event whose id is the cursor; as one HTTP/1.1 chunk where `chunked`.
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

/// Puts what `write` writes before `out[start..]`: a length is known only once there is something, and turning the few
/// bytes of a batch's head costs less than a buffer of their own.
fn put_before(start: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let end = out.len();
    write(out);
    let len = out.len() - end;
    out[start..].rotate_right(len);
}

/// `text` as one WebSocket text message.
pub fn write_ws_text(text: &[u8], out: &mut Vec<u8>) {
    write_ws_head(OpCode::Text, text.len(), out);
    out.extend_from_slice(text);
}

/// A pong that echoes a ping (RFC 6455 section 5.5.3).
pub fn write_ws_pong(payload: &[u8], out: &mut Vec<u8>) {
    write_ws_head(OpCode::Pong, payload.len(), out);
    out.extend_from_slice(payload);
}

/// A close frame; without a code where the peer gave none.
pub fn write_ws_close(code: Option<CloseCode>, reason: &str, out: &mut Vec<u8>) {
    let mut frame = match code {
        Some(code) => Frame::close(code.0, reason.as_bytes()),
        None => Frame::close_raw(Payload::Borrowed(&[])),
    };
    let mut bytes = Vec::new();
    out.extend_from_slice(frame.write(&mut bytes));
}

/// The head of an unmasked, final frame.
pub(crate) fn write_ws_head(opcode: OpCode, len: usize, out: &mut Vec<u8>) {
    out.push(0x80 | opcode as u8);
    match len {
        0..=125 => out.push(len as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// Headers that the gateway adds to a stream's response: CORS, and `Vary`. Complete lines, each with its CRLF.
pub type ExtraHeaders = Box<str>;

/// The answer that turns a connection into a WebSocket (RFC 6455 section 4.2.2).
pub fn write_ws_accept(accept: &str, protocol: Option<&str>, extra: &str, out: &mut Vec<u8>) {
    let _ = write!(
        out,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
    );
    if let Some(protocol) = protocol {
        let _ = write!(out, "Sec-WebSocket-Protocol: {protocol}\r\n");
    }
    let _ = write!(out, "{extra}\r\n");
}

/// The head of an SSE response. Without `chunked`, the end of the connection is the end of the stream.
pub(crate) fn write_sse_head(chunked: bool, extra: &str, out: &mut Vec<u8>) {
    let framing = if chunked { "Transfer-Encoding: chunked\r\n" } else { "Connection: close\r\n" };
    write_head("text/event-stream", &format!("X-Accel-Buffering: no\r\n{framing}{extra}"), out);
}

/// A comment of `bytes` bytes that a client ignores, to push a buffering path past its threshold.
pub(crate) fn write_sse_pad(bytes: usize, chunked: bool, out: &mut Vec<u8>) {
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

/// The end of a chunked body (RFC 9112 section 7.1).
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A poll's whole answer.
pub(crate) fn write_poll(batch: &Batch<'_>, keep_alive: bool, extra: &str, out: &mut Vec<u8>) {
    let start = out.len();
    batch.write_head(out);
    let len = out.len() - start + batch.events_len();
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let framing =
        format!("X-Accel-Buffering: no\r\nContent-Length: {len}\r\nConnection: {connection}\r\n{extra}");
    put_before(start, out, |out| write_head("application/json", &framing, out));
    batch.write_events(out);
}

fn write_head(content_type: &str, rest: &str, out: &mut Vec<u8>) {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let head = format!(
        "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: {content_type}\r\nCache-Control: no-store, no-transform\r\n{rest}\r\n"
    );
    out.extend_from_slice(head.as_bytes());
}
