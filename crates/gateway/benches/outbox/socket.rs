//! The browser: a WebSocket of either server, which looks for the numbers of events and for nothing
//! else, so that it costs both the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::support::{SECRET, Ws, jwt, token};
use crate::system::{Running, System};

/// What stands before an event's number.
const BEFORE: &[u8] = b"\"n\":";
/// How long a server may take to start.
const START: Duration = Duration::from_secs(30);

/// What has arrived of the events 1 to some number. The event 0 only shows that the way is open.
pub(crate) struct Received {
    began: Instant,
    /// When each was sent, in nanoseconds after the beginning.
    sent: Box<[AtomicU64]>,
    count: AtomicU64,
    zeros: AtomicU64,
    /// How long each took that was sent singly, and when the last one arrived.
    inner: Mutex<(Vec<Duration>, Instant)>,
}

impl Received {
    pub(crate) fn of(events: u64) -> Self {
        let began = Instant::now();
        let sent = (0..=events).map(|_| AtomicU64::new(0)).collect();
        let inner = Mutex::new((Vec::new(), began));
        Self { began, sent, count: AtomicU64::new(0), zeros: AtomicU64::new(0), inner }
    }

    /// Event `n` is sent now.
    pub(crate) fn send(&self, n: u64) {
        self.sent[n as usize].store(self.began.elapsed().as_nanos() as u64, Ordering::Release);
    }

    /// Waits until so many have arrived, each once.
    pub(crate) async fn has(&self, events: u64, patience: Duration) {
        let until = Instant::now() + patience;
        while self.count.load(Ordering::Acquire) < events {
            assert!(Instant::now() < until, "{} of {events} arrived", self.count.load(Ordering::Acquire));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(self.count.load(Ordering::Acquire), events, "none twice");
    }

    /// Waits until an event written now arrives within a poll interval, and no more come.
    pub(crate) async fn is_quiet_after(&self, client: &Client, system: System) {
        let until = Instant::now() + START;
        while self.zeros.load(Ordering::Acquire) == 0 {
            assert!(Instant::now() < until, "{}: nothing arrives", system.name());
            client.batch_execute(&system.insert_one(0)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// When the last one arrived.
    pub(crate) fn last(&self) -> Instant {
        self.inner.lock().1
    }

    /// How long each took.
    pub(crate) fn took(&self) -> Vec<Duration> {
        self.inner.lock().0.clone()
    }

    /// A message arrived.
    fn take(&self, message: &[u8]) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        for at in memchr::memmem::find_iter(message, BEFORE) {
            let digits = message[at + BEFORE.len()..].iter().skip_while(|byte| **byte == b' ');
            let n = digits
                .take_while(|byte| byte.is_ascii_digit())
                .fold(0_u64, |n, byte| n * 10 + u64::from(byte - b'0'));
            if n == 0 {
                self.zeros.fetch_add(1, Ordering::Release);
                continue;
            }
            let sent = self.sent[n as usize].load(Ordering::Acquire);
            if sent > 0 {
                inner.0.push((now - self.began).saturating_sub(Duration::from_nanos(sent)));
            }
            inner.1 = now;
            self.count.fetch_add(1, Ordering::Release);
        }
    }
}

/// A client that is subscribed to all topics. Gone when dropped.
pub(crate) struct Subscriber(JoinHandle<()>);

impl Subscriber {
    /// Connects, and is subscribed once it returns.
    pub(crate) async fn open(running: &Running, received: Arc<Received>) -> Self {
        let until = Instant::now() + START;
        let socket = loop {
            match TcpStream::connect(running.address).await {
                Ok(socket) => break socket,
                Err(error) => assert!(Instant::now() < until, "{}: {error}", running.system.name()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        socket.set_nodelay(true).unwrap();
        let mut socket = BufReader::with_capacity(64 << 10, socket);
        let topics = System::topics();
        let path = match running.system {
            System::Gateway => {
                let token = token("bench", &["--subscribe", "*"]);
                format!("/v1/ws?topics={}&access_token={token}", topics.join(","))
            }
            _ => "/connection/websocket".to_owned(),
        };
        let upgrade = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(upgrade.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        if running.system != System::Gateway {
            let claims = serde_json::json!({ "sub": "bench", "channels": topics });
            let token = jwt(&serde_json::json!({ "alg": "HS256" }), &claims, SECRET);
            let connect = serde_json::json!({ "id": 1, "connect": { "token": token } }).to_string();
            socket.write_all(&Ws::frame(0x81, connect.as_bytes())).await.unwrap();
        }
        let mut message = Vec::new();
        let first = read(&mut socket, &mut message).await.unwrap();
        let said = String::from_utf8_lossy(&message);
        let is_in = said.contains("\"hello\"") || said.contains("\"connect\"");
        assert!(first == 0x81 && is_in, "{}: {said}", running.system.name());
        Self(tokio::spawn(async move {
            while let Ok(first) = read(&mut socket, &mut message).await {
                match first {
                    0x89 => socket.write_all(&Ws::frame(0x8a, &message)).await.unwrap(),
                    // The ping of Centrifugo is an empty object, and so is the answer.
                    0x81 if message == b"{}" => socket.write_all(&Ws::frame(0x81, b"{}")).await.unwrap(),
                    _ => received.take(&message),
                }
            }
        }))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads one frame into `payload`, and gives its first byte.
async fn read(socket: &mut BufReader<TcpStream>, payload: &mut Vec<u8>) -> std::io::Result<u8> {
    let first = socket.read_u8().await?;
    let len = match socket.read_u8().await? {
        126 => usize::from(socket.read_u16().await?),
        127 => socket.read_u64().await? as usize,
        len => usize::from(len),
    };
    payload.resize(len, 0);
    socket.read_exact(payload).await?;
    Ok(first)
}
