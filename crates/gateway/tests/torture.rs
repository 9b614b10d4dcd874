//! The promise of the whole: clients that change transport all the time, cut in the middle of frames too, get every event
//! of their topics exactly once and in order, while publishers never stop.
//!
//! `TORTURE_SECONDS` makes it longer, `TORTURE_SEED` repeats the choices of a run that failed.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Gateway, PATIENCE, get, token};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const CLIENTS: u64 = 20;
const PUBLISHERS: u64 = 3;
const ROOMS: u64 = 6;

/// Random choices that a seed repeats (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What the log took.
#[derive(Clone, Debug)]
struct Published {
    seq: u64,
    topics: Vec<String>,
    key: Option<String>,
    data: Value,
}

/// Publishes until told to stop, over one connection, and gives what was acknowledged.
async fn publisher(address: SocketAddr, number: u64, seed: u64, stop: Arc<AtomicBool>) -> Vec<Published> {
    let mut dice = Dice(seed ^ (number << 32));
    let mut http = support::Http::open(address).await;
    let mut published = Vec::new();
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let room = |dice: &mut Dice| format!("room:{}", dice.below(ROOMS));
        let mut topics = match dice.below(10) {
            0 => vec!["all".to_owned()],
            1 | 2 => vec![format!("user:c{}", dice.below(CLIENTS))],
            3 => vec![room(&mut dice), room(&mut dice), format!("user:c{}", dice.below(CLIENTS))],
            _ => vec![room(&mut dice)],
        };
        topics.dedup();
        let key = dice.chance(20).then(|| format!("k{}", dice.below(5)));
        count += 1;
        let padding = "x".repeat(if dice.chance(5) { 3000 } else { dice.below(80) as usize });
        let data = json!({"publisher": number, "count": count, "padding": padding});
        let mut draft = json!({"topics": topics, "type": "t", "data": data});
        if let Some(key) = &key {
            draft["key"] = json!(key);
        }
        let answer = http.post("/v1/publish", &[("Authorization", "Bearer key")], &draft.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let seq = answer.json()["seq"].as_u64().expect("a seq");
        published.push(Published { seq, topics, key, data });
        tokio::time::sleep(Duration::from_millis(dice.below(12))).await;
    }
    published
}

/// A connection that ends after a number of bytes, wherever in a frame that is.
struct Cut {
    socket: TcpStream,
    left: usize,
    received: Vec<u8>,
}

impl Cut {
    async fn open(address: SocketAddr, request: &str, bytes: usize) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        Self { socket, left: bytes, received: Vec::new() }
    }

    /// Reads until `take` finds something in what was received. `None`: this was the last byte.
    async fn until<T>(&mut self, mut take: impl FnMut(&mut Vec<u8>) -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = take(&mut self.received) {
                return Some(found);
            }
            if self.left == 0 {
                return None;
            }
            let mut buffer = vec![0; self.left.min(4096)];
            let read = timeout(PATIENCE * 3, self.socket.read(&mut buffer)).await.expect("a batch in time");
            let read = read.unwrap_or(0);
            assert_ne!(read, 0, "the gateway closed a connection that was in order");
            self.left -= read;
            self.received.extend_from_slice(&buffer[..read]);
        }
    }

    async fn head(&mut self) -> Option<String> {
        self.until(|received| {
            let end = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
            Some(String::from_utf8(received.drain(..end).collect()).unwrap())
        })
        .await
    }
}

fn take_line(received: &mut Vec<u8>) -> Option<String> {
    let end = received.iter().position(|byte| *byte == b'\n')? + 1;
    Some(String::from_utf8(received.drain(..end).collect()).unwrap())
}

fn take_frame(received: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (first, second) = (*received.first()?, *received.get(1)?);
    let (len, at) = match second {
        126 => (usize::from(u16::from_be_bytes(received.get(2..4)?.try_into().unwrap())), 4),
        127 => (u64::from_be_bytes(received.get(2..10)?.try_into().unwrap()) as usize, 10),
        len => (usize::from(len), 2),
    };
    let payload = received.get(at..at + len)?.to_vec();
    received.drain(..at + len);
    Some((first, payload))
}

/// One client: its cursor, and all that it was sent.
struct Client {
    address: SocketAddr,
    name: String,
    /// All of its topics, the automatic ones included.
    topics: Vec<String>,
    query: String,
    cursor: String,
    session: Option<String>,
    received: Vec<Value>,
    changes: u64,
    /// The last event of all, once the publishers have stopped; zero before.
    end: Arc<AtomicU64>,
    dice: Dice,
}

impl Client {
    async fn new(address: SocketAddr, number: u64, seed: u64, end: Arc<AtomicU64>) -> Self {
        let mut dice = Dice(seed ^ (number << 16) ^ 0xc11e);
        let name = format!("c{number}");
        let rooms: Vec<String> =
            (0..ROOMS).filter(|_| dice.chance(40)).map(|room| format!("room:{room}")).collect();
        let query =
            format!("topics={}&access_token={}", rooms.join(","), token(&name, &["--subscribe", "room:*"]));
        let mut topics = vec![format!("user:{name}"), "all".to_owned()];
        topics.extend(rooms);
        let hello = get(address, &format!("/v1/poll?{query}")).await.json();
        let cursor = hello["cursor"].as_str().expect("a cursor").to_owned();
        let session = hello["hello"]["session"].as_str().map(str::to_owned);
        Self { address, name, topics, query, cursor, session, received: Vec::new(), changes: 0, end, dice }
    }

    fn has_all(&self) -> bool {
        let end = self.end.load(Ordering::Acquire);
        end > 0 && Self::seq(&self.cursor) >= end
    }

    fn seq(cursor: &str) -> u64 {
        cursor.rsplit_once('.').expect("EPOCH.SEQ").1.parse().unwrap()
    }

    /// Checks a batch against everything that the protocol says about it, and takes it.
    fn take(&mut self, batch: &Value) {
        let name = &self.name;
        assert!(batch.get("reset").is_none() && batch.get("bye").is_none(), "{name}: {batch}");
        assert_eq!(batch["after"], self.cursor, "{name}: {batch}");
        let cursor = batch["cursor"].as_str().expect("a cursor");
        let events = batch["events"].as_array().expect("events");
        let mut last = Self::seq(&self.cursor);
        for event in events {
            let seq = event["seq"].as_u64().expect("a seq");
            assert!(seq > last, "{name}: {seq} is not above {last}");
            last = seq;
        }
        assert!(last <= Self::seq(cursor), "{name}: the cursor {cursor} is below the event {last}");
        if let Some(session) = batch["hello"]["session"].as_str() {
            assert_eq!((batch["after"] == batch["cursor"], events.len()), (true, 0), "{name}: {batch}");
            assert_eq!(batch["hello"]["user"], *name);
            self.session = Some(session.to_owned());
        }
        self.received.extend(events.iter().cloned());
        self.cursor = cursor.to_owned();
    }

    /// One connection, from its beginning to a cut.
    async fn connect(&mut self, bytes: usize) {
        self.changes += 1;
        let mut query = format!("{}&after={}", self.query, self.cursor);
        if let Some(session) = self.session.clone().filter(|_| self.dice.chance(60)) {
            query += &format!("&session={session}");
        }
        query += &format!("&heartbeat={}", 2 + self.dice.below(2));
        if self.dice.chance(30) {
            query += &format!("&interval={}", self.dice.below(200));
        }
        if self.dice.chance(50) {
            query += &format!("&limit={}", 1 + self.dice.below(40));
        }
        match self.dice.below(3) {
            0 => self.over_websocket(&query, bytes).await,
            1 => self.over_sse(&query, bytes).await,
            _ => self.over_polls(&query, bytes).await,
        }
    }

    async fn over_websocket(&mut self, query: &str, bytes: usize) {
        let request = format!(
            "GET /v1/ws?{query} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let mut cut = Cut::open(self.address, &request, bytes).await;
        let Some(head) = cut.head().await else { return };
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        while let Some((first, payload)) = cut.until(take_frame).await {
            if first == 0x89 {
                // Cut short, it cannot be answered either.
                let _ = cut.socket.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await;
                continue;
            }
            assert_eq!(first, 0x81, "{}", String::from_utf8_lossy(&payload));
            self.take(&serde_json::from_slice(&payload).unwrap());
            if self.has_all() {
                return;
            }
        }
    }

    async fn over_sse(&mut self, query: &str, bytes: usize) {
        let version = if self.dice.chance(20) { "1.0" } else { "1.1" };
        let mut request = format!("GET /v1/sse?{query} HTTP/{version}\r\nHost: localhost\r\n");
        if self.dice.chance(30) {
            // It wins over a cursor that is wrong.
            request = request.replace(&format!("after={}", self.cursor), "after=earliest");
            request += &format!("Last-Event-ID: {}\r\n", self.cursor);
        }
        let mut cut = Cut::open(self.address, &(request + "\r\n"), bytes).await;
        let Some(head) = cut.head().await else { return };
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        while let Some(line) = cut.until(take_line).await {
            if let Some(data) = line.strip_prefix("data: ") {
                self.take(&serde_json::from_str(data).unwrap());
            }
            if self.has_all() {
                return;
            }
        }
    }

    /// Polls over one connection, one behind the other.
    async fn over_polls(&mut self, query: &str, bytes: usize) {
        let mut cut = Cut::open(self.address, "", bytes).await;
        while !self.has_all() {
            let at = query.find("&after=").expect("a cursor");
            let rest = query[at + 1..].find('&').map_or("", |end| &query[at + 1 + end..]);
            let (cursor, wait) = (&self.cursor, self.dice.below(3));
            let target = format!("/v1/poll?{}&after={cursor}{rest}&wait={wait}", &query[..at]);
            let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            cut.socket.write_all(request.as_bytes()).await.unwrap();
            let Some(head) = cut.head().await else { return };
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            let len = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let len: usize = len.expect("a length").parse().unwrap();
            let whole = |received: &mut Vec<u8>| {
                (received.len() >= len).then(|| received.drain(..len).collect::<Vec<u8>>())
            };
            let Some(body) = cut.until(whole).await else { return };
            self.take(&serde_json::from_slice(&body).unwrap());
        }
    }

    /// Reconnects until it has seen everything up to `end`, which is known once the publishers have stopped.
    async fn run(mut self) -> Self {
        while !self.has_all() {
            // Short ones cut heads and hellos, long ones let the client become live.
            let bytes = match self.dice.below(4) {
                0 => 1 + self.dice.below(600),
                1 => 600 + self.dice.below(3000),
                _ => 1500 + self.dice.below(30_000),
            };
            self.connect(bytes as usize).await;
        }
        self
    }

    /// Compares what came with what was published to its topics.
    fn judge(&self, published: &BTreeMap<u64, Published>) {
        let name = &self.name;
        let is_mine = |event: &&Published| event.topics.iter().any(|topic| self.topics.contains(topic));
        for event in &self.received {
            let seq = event["seq"].as_u64().unwrap();
            let original = published.get(&seq).unwrap_or_else(|| panic!("{name}: {seq} was never published"));
            let topic = event["topic"].as_str().unwrap().to_owned();
            assert!(original.topics.contains(&topic) && self.topics.contains(&topic), "{name}: {event}");
            assert_eq!(event["data"], original.data, "{name}: {seq}");
            assert_eq!(event["key"].as_str(), original.key.as_deref(), "{name}: {seq}");
        }
        let seqs: Vec<u64> = self.received.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert!(seqs.is_sorted_by(|a, b| a < b), "{name}: in order, each once");
        let plain = |seq: &u64| published[seq].key.is_none();
        let got: Vec<u64> = seqs.iter().copied().filter(plain).collect();
        let owed: Vec<u64> = published
            .values()
            .filter(is_mine)
            .filter(|event| event.key.is_none())
            .map(|event| event.seq)
            .collect();
        assert_eq!(got, owed, "{name}: exactly what was published to {:?}", self.topics);
        // Of those with a key, the latest of each topic must be there: by the topic that this session sees.
        let mut latest = BTreeMap::new();
        for event in published.values().filter(is_mine) {
            if let Some(key) = &event.key {
                let seen_by = self.topics.iter().find(|topic| event.topics.contains(topic));
                latest.insert((seen_by, key), event.seq);
            }
        }
        for ((topic, key), seq) in latest {
            assert!(seqs.contains(&seq), "{name}: {seq}, the latest {key} of {topic:?}, is missing");
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changing_transports_all_the_time_loses_nothing_and_repeats_nothing() {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = variable("TORTURE_SEED").unwrap_or(clock.as_nanos() as u64);
    let length = Duration::from_secs(variable("TORTURE_SECONDS").unwrap_or(10));
    #[allow(clippy::print_stderr, reason = "shown when the test fails")]
    {
        eprintln!("TORTURE_SEED={seed}");
    }
    let gateway = Gateway::serve(&["--ring-events", "1000000", "--max-connections-per-user", "0"]).await;
    let (stop, end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(Client::new(gateway.address, number, seed, Arc::clone(&end)).await);
    }
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|number| tokio::spawn(publisher(gateway.address, number, seed, Arc::clone(&stop))))
        .collect();
    let running: Vec<_> = clients.into_iter().map(|client| tokio::spawn(client.run())).collect();
    let deadline = Instant::now() + length;
    while Instant::now() < deadline && !running.iter().any(tokio::task::JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut published = BTreeMap::new();
    for publisher in publishers {
        for event in publisher.await.unwrap() {
            assert!(published.insert(event.seq, event).is_none(), "a seq was given twice");
        }
    }
    end.store(*published.keys().last().expect("events"), Ordering::Release);
    let mut changes = 0;
    let mut received = 0;
    for client in running {
        let client = timeout(PATIENCE * 6, client).await.expect("every client catches up").unwrap();
        client.judge(&published);
        changes += client.changes;
        received += client.received.len();
    }
    assert!(changes >= 300, "only {changes} changes of transport");
    assert!(published.len() >= 200 && received > published.len(), "{received} of {}", published.len());
    gateway.comes_to_rest().await;
}
