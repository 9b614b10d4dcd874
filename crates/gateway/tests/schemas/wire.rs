//! HTTP/1.1, server-sent events and WebSocket as a client sees them, byte by byte: no library comes between a test and
//! what the gateway sends.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long an answer may take that is due at once, on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// How an answer begins.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The status.
    pub(crate) status: u16,
    /// The headers, by their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// How it begins.
    pub(crate) head: Head,
    /// Its body.
    pub(crate) body: String,
}

/// Something that a gateway sends on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// A WebSocket text message, or one SSE message or comment with its empty line.
    Text(String),
    /// A WebSocket close frame.
    Close(u16),
    /// The end of an SSE body.
    End,
}

/// One request on a connection of its own.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut connection = Connection::open(address);
    connection.ask(method, target, headers, body);
    connection.answer(Instant::now() + PATIENCE)
}

/// A connection to the gateway and what it has sent so far.
pub(crate) struct Connection {
    socket: TcpStream,
    address: SocketAddr,
    received: Vec<u8>,
    /// The bytes of an SSE body, out of their chunks.
    body: Vec<u8>,
    /// The body of the answer has ended.
    is_over: bool,
}

impl Connection {
    /// Connects.
    pub(crate) fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the gateway listens");
        socket.set_nodelay(true).expect("a socket has options");
        Self { socket, address, received: Vec::new(), body: Vec::new(), is_over: false }
    }

    /// Sends a request.
    pub(crate) fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.send(&[head.as_bytes(), body].concat());
    }

    /// Sends the request that opens a WebSocket.
    pub(crate) fn ask_for_websocket(&mut self, target: &str, headers: &[(&str, &str)]) {
        // The key of the example in RFC 6455 section 1.3.
        let mut all = vec![
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        all.extend_from_slice(headers);
        self.ask("GET", target, &all, b"");
    }

    /// Reads a head.
    pub(crate) fn head(&mut self, by: Instant) -> Head {
        let end = loop {
            if let Some(at) = find(&self.received, b"\r\n\r\n") {
                break at;
            }
            assert!(self.receive(by), "no head came; there is {:?}", self.text());
        };
        let head: Vec<u8> = self.received.drain(..end + 4).collect();
        let head = String::from_utf8(head).expect("a head is text");
        let mut lines = head.trim_end().split("\r\n");
        let status =
            lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        let head = Head {
            status: status.unwrap_or_else(|| panic!("not an HTTP answer: {head}")),
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
        };
        if head.status == 101 {
            assert_eq!(head.headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        }
        head
    }

    /// Reads a whole answer.
    pub(crate) fn answer(&mut self, by: Instant) -> Answer {
        let head = self.head(by);
        let body = if let Some(length) = head.headers.get("content-length") {
            let length: usize = length.parse().expect("a length is a number");
            while self.received.len() < length {
                assert!(self.receive(by), "the body is cut: {:?}", self.text());
            }
            self.received.drain(..length).collect()
        } else if head.headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            while !self.is_over {
                self.take_chunks();
                assert!(self.is_over || self.receive(by), "the body is cut: {:?}", self.text());
            }
            std::mem::take(&mut self.body)
        } else {
            Vec::new()
        };
        Answer { head, body: String::from_utf8(body).expect("a body is text") }
    }

    /// The next thing on a WebSocket; `None`: nothing came in time.
    pub(crate) fn next_frame(&mut self, by: Instant) -> Option<Sent> {
        loop {
            if let Some((opcode, payload)) = self.take_frame() {
                match opcode {
                    1 => return Some(Sent::Text(String::from_utf8(payload).expect("text is UTF-8"))),
                    8 => return Some(Sent::Close(u16::from_be_bytes([payload[0], payload[1]]))),
                    9 | 10 => {}
                    _ => panic!("a frame with opcode {opcode}"),
                }
            } else if !self.receive(by) {
                return None;
            }
        }
    }

    /// The next thing in an SSE body; `None`: nothing came in time.
    pub(crate) fn next_message(&mut self, by: Instant) -> Option<Sent> {
        loop {
            self.take_chunks();
            if let Some(at) = find(&self.body, b"\n\n") {
                let message = self.body.drain(..at + 2).collect();
                return Some(Sent::Text(String::from_utf8(message).expect("a message is text")));
            }
            if self.is_over {
                return Some(Sent::End);
            }
            if !self.receive(by) {
                return None;
            }
        }
    }

    /// Sends a WebSocket text message of at most 125 bytes, masked as RFC 6455 asks of a client.
    pub(crate) fn send_text(&mut self, text: &str) {
        const MASK: [u8; 4] = [0x17, 0x2a, 0x5c, 0x91];
        let length = u8::try_from(text.len()).ok().filter(|length| *length <= 125);
        let mut frame = vec![0x81, 0x80 | length.expect("a short message")];
        frame.extend_from_slice(&MASK);
        frame.extend(text.bytes().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.send(&frame);
    }

    fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the gateway takes what is sent");
    }

    /// Reads what has come. `false`: nothing did in time, or the connection has ended.
    fn receive(&mut self, by: Instant) -> bool {
        let left = by.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(left)).expect("a socket has options");
        let mut buffer = [0; 16 << 10];
        match self.socket.read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.received.extend_from_slice(&buffer[..length]);
                true
            }
            Err(error) => {
                let ended = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::ConnectionReset];
                assert!(ended.contains(&error.kind()), "{error}");
                false
            }
        }
    }

    /// Takes the payload out of every chunk that is complete (RFC 9112 section 7.1).
    fn take_chunks(&mut self) {
        while let Some(line) = find(&self.received, b"\r\n") {
            let length = std::str::from_utf8(&self.received[..line]).expect("a chunk's length is text");
            let length = usize::from_str_radix(length, 16).expect("a chunk's length is hexadecimal");
            let end = line + 2 + length;
            if self.received.len() < end + 2 {
                return;
            }
            assert_eq!(&self.received[end..end + 2], b"\r\n", "a chunk ends with a line end");
            self.body.extend_from_slice(&self.received[line + 2..end]);
            self.received.drain(..end + 2);
            self.is_over |= length == 0;
        }
    }

    /// Takes a complete frame: its opcode and payload (RFC 6455 section 5.2).
    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let [first, second, ..] = self.received[..] else { return None };
        assert_eq!(first & 0xf0, 0x80, "whole messages, no extension");
        assert_eq!(second & 0x80, 0, "a server does not mask");
        let (start, length) = match second {
            126 => (4, u64::from(u16::from_be_bytes(self.received.get(2..4)?.try_into().ok()?))),
            127 => (10, u64::from_be_bytes(self.received.get(2..10)?.try_into().ok()?)),
            length => (2, u64::from(length)),
        };
        let end = start + usize::try_from(length).expect("a frame fits into memory");
        if self.received.len() < end {
            return None;
        }
        let payload = self.received[start..end].to_vec();
        self.received.drain(..end);
        Some((first & 0x0f, payload))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
