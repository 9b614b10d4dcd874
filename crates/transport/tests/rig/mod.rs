//! A session on one end of an in-memory pipe, and a client that reads byte by byte on the other.

#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test uses a part of it")]

mod quiet_host;

use std::sync::Arc;
use std::time::Duration;

use events::{
    BoxFuture, Cursor, Data, Draft, Log, Memory, Options, Reader, Reset, ResetReason, Start, Store as _,
    Topic, Topics, TypeFilter,
};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use transport::{
    Access, ByeReason, End, Ended, Handle, Host, Identity, Line, Outcome, Refused, Sent, Session, Terms,
    UnsentBytes,
};

pub use quiet_host::{poll, poll_line, sse, terms, ws};

/// The reply to a command.
pub type Reply = fn(&str) -> String;

/// What the application around a session does in these tests.
#[derive(Default)]
pub struct Application {
    pub commands: Mutex<Vec<String>>,
    pub sent: Mutex<Vec<Sent>>,
    pub resets: Mutex<Vec<ResetReason>>,
    pub unsent: Arc<UnsentBytes>,
    /// Topics that the next session is refused.
    pub refused: Mutex<Vec<Refused>>,
    pub subscribed: Mutex<Vec<(Topic, Cursor)>>,
    /// What the session may see.
    pub access: Mutex<Access>,
    /// The handle of the session that began last.
    pub handle: Mutex<Handle>,
    /// A topic that the next command adds.
    pub adds: Mutex<Option<Topic>>,
    /// How the next command ends the session.
    pub end: Mutex<Option<End>>,
    /// How long a command takes.
    pub takes: Mutex<Duration>,
    /// What a command is answered with; by default something with its text.
    pub reply: Mutex<Option<Reply>>,
}

impl Application {
    /// Changes what the session that began last may see.
    pub fn revise(&self, change: impl FnOnce(&mut Access)) {
        change(&mut self.access.lock());
        self.handle.lock().revise();
    }

    /// Adds a topic to the session that began last.
    pub fn subscribe(&self, name: &str) {
        self.revise(|access| {
            access.topics.push(topic(name));
            access.added += 1;
        });
    }
}

impl Host for Application {
    fn access(&self) -> Access {
        self.access.lock().clone()
    }

    fn identity(&self) -> Identity<'_> {
        Identity { session: "0123456789abcdefghijkl", user: "alice", deployment: "test" }
    }

    fn expires_at(&self) -> String {
        "2026-01-01T00:00:00Z".to_owned()
    }

    fn take_refused(&self) -> Vec<Refused> {
        std::mem::take(&mut *self.refused.lock())
    }

    fn unsent(&self) -> &Arc<UnsentBytes> {
        &self.unsent
    }

    fn expiring(&self) -> String {
        self.expires_at()
    }

    fn command(self: Arc<Self>, text: String) -> BoxFuture<'static, Outcome> {
        self.commands.lock().push(text.clone());
        Box::pin(async move {
            let takes = *self.takes.lock();
            tokio::time::sleep(takes).await;
            if let Some(topic) = self.adds.lock().take() {
                self.subscribe(topic.as_str());
            }
            let end = self.end.lock().take();
            let reply = *self.reply.lock();
            let reply = reply.map_or_else(|| format!("reply to {text}"), |reply| reply(&text));
            Outcome { reply: reply.into_bytes(), end }
        })
    }

    fn not_a_command(&self) -> Vec<u8> {
        b"not a command".to_vec()
    }

    fn refetch_after(&self, _: ResetReason) -> Duration {
        Duration::from_millis(11)
    }

    fn reconnect_after(&self, _: ByeReason) -> Duration {
        Duration::from_millis(7)
    }

    fn retry_after(&self) -> Duration {
        Duration::from_millis(1500)
    }

    fn sent(&self, sent: Sent) {
        self.sent.lock().push(sent);
    }

    fn reset(&self, reset: &Reset) {
        self.resets.lock().push(reset.reason);
    }

    fn subscribed(&self, topics: &[Topic], at: Cursor) {
        self.access.lock().added -= topics.len();
        self.subscribed.lock().extend(topics.iter().map(|topic| (topic.clone(), at)));
    }
}

/// A log with its store, and how sessions on it are to be.
pub struct Rig {
    pub log: Arc<Log>,
    pub store: Arc<Memory>,
    pub application: Arc<Application>,
    pub terms: Terms,
    pub topics: Vec<Topic>,
    pub types: Option<TypeFilter>,
    pub start: Start,
    /// Bytes that the pipe holds.
    pub pipe: usize,
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn topic(name: &str) -> Topic {
    name.parse().unwrap()
}

pub fn draft(name: &str, data: &str) -> Draft {
    Draft::new(Topics::one(topic(name)), "t".parse().unwrap(), Data::from_value(data).unwrap())
}

impl Rig {
    pub fn new() -> Self {
        Self::with(&Options::default())
    }

    pub fn with(options: &Options) -> Self {
        let log = Log::new(options);
        let store = Memory::open(Arc::clone(&log));
        Self {
            log,
            store,
            application: Arc::default(),
            terms: Terms { expiring_before: ms(60_000), ..terms() },
            topics: vec![topic("user:alice"), topic("all")],
            types: None,
            start: Start::Latest,
            pipe: 1 << 20,
        }
    }

    /// Sessions come back with this cursor.
    pub fn resume(&mut self, cursor: events::Cursor) {
        self.start = Start::After(cursor);
        self.terms.resumed = true;
    }

    pub async fn publish(&self, name: &str, data: &str) {
        self.append(draft(name, data)).await;
    }

    pub async fn append(&self, draft: Draft) {
        self.store.append(vec![draft]).await.remove(0).unwrap();
    }

    pub fn start(&self, line: Line) -> Client {
        let (near, far) = tokio::io::duplex(self.pipe);
        let (mut session, handle) = self.session(near, line);
        let running = async move {
            let ended = (&mut session).await;
            Closed { ended, reuse: session.reuse(ended) }
        };
        Client {
            handle,
            running: Some(tokio::spawn(running)),
            socket: far,
            received: Vec::new(),
            pings: 0,
            answers_pings: true,
            body: Vec::new(),
            is_over: false,
            since: Instant::now(),
        }
    }

    pub fn session<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
        &self,
        socket: S,
        line: Line,
    ) -> (Session<S>, Handle) {
        let reader = Reader::new(&self.log, &self.topics, self.types.clone(), self.start);
        let handle = Handle::default();
        *self.application.handle.lock() = handle.clone();
        *self.application.access.lock() = Access {
            topics: self.topics.clone(),
            added: 0,
            lens: None,
            expiry: self.terms.expiry,
            expiring_before: self.terms.expiring_before,
        };
        let host = Arc::clone(&self.application) as Arc<dyn Host>;
        let terms = self.terms.clone();
        let session = Session::new(socket, line, reader, host, handle.clone(), terms);
        (session, handle)
    }

    /// The texts `EPOCH.SEQ` with `E` in the place of the epoch.
    pub fn plain(&self, text: &str) -> String {
        let epoch = self.log.tail_cursor().epoch.to_string();
        text.replace(&format!("\"{epoch}."), "\"E.").replace(&format!("id: {epoch}."), "id: E.")
    }
}

/// A frame as a server sends it.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// How a session ended, and its connection where that can be used again.
#[derive(Debug)]
pub struct Closed {
    pub ended: Ended,
    pub reuse: Option<(DuplexStream, Vec<u8>)>,
}

/// The other end of the pipe.
pub struct Client {
    pub handle: Handle,
    pub running: Option<JoinHandle<Closed>>,
    pub socket: DuplexStream,
    pub received: Vec<u8>,
    /// Pings so far.
    pub pings: usize,
    /// Whether it answers them.
    pub answers_pings: bool,
    body: Vec<u8>,
    is_over: bool,
    since: Instant,
}

impl Client {
    /// Milliseconds since the session began.
    pub fn now_ms(&self) -> u64 {
        self.since.elapsed().as_millis() as u64
    }

    /// How the session ended.
    pub async fn closed(&mut self) -> Closed {
        let running = self.running.take().expect("asked for once");
        timeout(ms(3_600_000), running).await.expect("it ends").unwrap()
    }

    /// Reads on; `false` at the end.
    pub async fn receive(&mut self) -> bool {
        let read = timeout(ms(3_600_000), self.socket.read_buf(&mut self.received));
        read.await.expect("something comes").unwrap() > 0
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    pub async fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.send(&client_frame(first, payload)).await;
    }

    /// The next WebSocket frame; `None`: the end. Pings are answered and counted, as libraries do.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = take_frame(&mut self.received) {
                if frame.opcode != 9 {
                    return Some(frame);
                }
                self.pings += 1;
                if self.answers_pings {
                    self.send_frame(0x8a, &frame.payload).await;
                }
                continue;
            }
            if !self.receive().await {
                assert!(self.received.is_empty(), "a cut frame: {:?}", self.received);
                return None;
            }
        }
    }

    /// The next text message.
    pub async fn text(&mut self) -> String {
        let frame = self.frame().await.expect("a text message");
        assert_eq!(frame.opcode, 1, "{frame:?}");
        String::from_utf8(frame.payload).unwrap()
    }

    /// The code of the close frame that comes next.
    pub async fn close_code(&mut self) -> u16 {
        let frame = self.frame().await.expect("a close frame");
        assert_eq!(frame.opcode, 8, "{frame:?}");
        u16::from_be_bytes([frame.payload[0], frame.payload[1]])
    }

    /// Bytes up to and including `end`.
    async fn until(&mut self, end: &[u8]) -> String {
        loop {
            if let Some(at) = self.received.windows(end.len()).position(|window| window == end) {
                return String::from_utf8(self.received.drain(..at + end.len()).collect()).unwrap();
            }
            assert!(self.receive().await, "the end instead of {end:?}");
        }
    }

    /// The head of the response.
    pub async fn head(&mut self) -> String {
        self.until(b"\r\n\r\n").await
    }

    /// The next block of a chunked event stream, without its empty line; `None`: the
    /// body is over.
    pub async fn message(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.body.windows(2).position(|window| window == b"\n\n") {
                let message = self.body.drain(..at + 2).take(at).collect();
                return Some(String::from_utf8(message).unwrap());
            }
            if self.is_over {
                assert!(self.body.is_empty());
                return None;
            }
            let size = self.until(b"\r\n").await;
            let size = usize::from_str_radix(size.trim_end(), 16).expect("the size of a chunk");
            while self.received.len() < size + 2 {
                assert!(self.receive().await, "a cut chunk");
            }
            self.body.extend(self.received.drain(..size));
            assert_eq!(self.received.drain(..2).collect::<Vec<_>>(), b"\r\n");
            self.is_over = size == 0;
        }
    }

    /// The answer of a poll: head and body.
    pub async fn answer(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let length: usize = length.expect("a length").parse().unwrap();
        while self.received.len() < length {
            assert!(self.receive().await, "a cut answer");
        }
        (head, String::from_utf8(self.received.drain(..length).collect()).unwrap())
    }

    /// The JSON of the next batch, whatever the transport.
    pub async fn batch(&mut self, line: &str) -> String {
        match line {
            "ws" => self.text().await,
            "sse" => {
                let message = self.message().await.expect("a message");
                let data = message.lines().find_map(|line| line.strip_prefix("data: "));
                data.expect("data").to_owned()
            }
            _ => self.answer().await.1,
        }
    }

    /// Nothing comes for so long, or nothing more at all.
    pub async fn quiet(&mut self, time: Duration) {
        assert!(self.received.is_empty(), "{:?}", String::from_utf8_lossy(&self.received));
        let read = timeout(time, self.socket.read_buf(&mut self.received)).await;
        assert!(
            !matches!(read, Ok(Ok(1..))),
            "nothing is due at {}: {:?}",
            self.now_ms(),
            String::from_utf8_lossy(&self.received)
        );
    }
}

/// A masked frame.
pub fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Takes a whole unmasked frame, in the shortest encoding of its length.
pub fn take_frame(received: &mut Vec<u8>) -> Option<Frame> {
    let [first, second, ..] = received[..] else { return None };
    assert_eq!(first & 0x70, 0, "no reserved bit");
    assert_ne!(first & 0x80, 0, "the gateway does not fragment");
    assert_eq!(second & 0x80, 0, "a server does not mask");
    let (start, len) = match second {
        126 => {
            let len = u16::from_be_bytes(received.get(2..4)?.try_into().unwrap());
            assert!(len > 125);
            (4, usize::from(len))
        }
        127 => {
            let len = u64::from_be_bytes(received.get(2..10)?.try_into().unwrap());
            assert!(len > 0xffff);
            (10, len as usize)
        }
        len => (2, usize::from(len)),
    };
    if received.len() < start + len {
        return None;
    }
    let payload = received.drain(..start + len).skip(start).collect();
    Some(Frame { opcode: first & 0x0f, payload })
}
