//! Every byte that is sent: the batch as JSON, and the thin frame that each transport puts around it.

use std::fmt::Write as _;
use std::sync::Arc;
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
    pub events: &'a [Arc<Event>],
}

impl<'a> Batch<'a> {
    /// A batch with nothing but its events.
    #[must_use]
    pub fn new(after: Cursor, cursor: Cursor, events: &'a [Arc<Event>]) -> Self {
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
    fn head(&self) -> String {
        let mut head = String::with_capacity(96);
        // Writing into a String cannot fail.
        let _ = write!(head, r#"{{"after":"{}","cursor":"{}""#, self.after, self.cursor);
        let mut member = |name: &str, json: Option<String>| {
            if let Some(json) = json {
                let _ = write!(head, r#","{name}":{json}"#);
            }
        };
        member("hello", self.hello.and_then(|hello| serde_json::to_string(hello).ok()));
        member("live", self.live.then(|| "true".to_owned()));
        member("more", self.more.then(|| "true".to_owned()));
        member("reset", self.reset.and_then(|reset| serde_json::to_string(reset).ok()));
        member(
            "bye",
            self.bye.map(|bye| {
                let (reason, after_ms) = (bye.reason.as_str(), bye.reconnect_after.as_millis());
                format!(r#"{{"reason":"{reason}","reconnect_after_ms":{after_ms}}}"#)
            }),
        );
        member("expiring", self.expiring.map(|at| format!(r#"{{"expires_at":"{at}"}}"#)));
        head.push_str(r#","events":["#);
        head
    }

    /// The batch as JSON, on one line.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let head = self.head();
        self.write_with_head(&head, out);
    }

    fn write_with_head(&self, head: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(head.as_bytes());
        for (at, event) in self.events.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(event.json());
        }
        out.extend_from_slice(b"]}");
    }

    fn len_with_head(&self, head: &str) -> usize {
        let events: usize = self.events.iter().map(|event| event.json().len()).sum();
        head.len() + events + self.events.len().saturating_sub(1) + b"]}".len()
    }

    /// The batch as one WebSocket text message (RFC 6455 section 5).
    pub fn write_ws(&self, out: &mut Vec<u8>) {
        let head = self.head();
        write_ws_head(OpCode::Text, self.len_with_head(&head), out);
        self.write_with_head(&head, out);
    }

    /// The batch as one server-sent event whose id is the cursor; as one HTTP/1.1 chunk where `chunked`.
    pub fn write_sse(&self, chunked: bool, out: &mut Vec<u8>) {
        let head = self.head();
        let id = format!("id: {}\ndata: ", self.cursor);
        if chunked {
            let len = id.len() + self.len_with_head(&head) + 2;
            out.extend_from_slice(format!("{len:x}\r\n").as_bytes());
        }
        out.extend_from_slice(id.as_bytes());
        self.write_with_head(&head, out);
        out.extend_from_slice(b"\n\n");
        if chunked {
            out.extend_from_slice(b"\r\n");
        }
    }
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
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
    );
    if let Some(protocol) = protocol {
        let _ = write!(head, "Sec-WebSocket-Protocol: {protocol}\r\n");
    }
    let _ = write!(head, "{extra}\r\n");
    out.extend_from_slice(head.as_bytes());
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
    let head = batch.head();
    let len = batch.len_with_head(&head);
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let framing =
        format!("X-Accel-Buffering: no\r\nContent-Length: {len}\r\nConnection: {connection}\r\n{extra}");
    write_head("application/json", &framing, out);
    batch.write_with_head(&head, out);
}

fn write_head(content_type: &str, rest: &str, out: &mut Vec<u8>) {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let head = format!(
        "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: {content_type}\r\nCache-Control: no-store, no-transform\r\n{rest}\r\n"
    );
    out.extend_from_slice(head.as_bytes());
}
