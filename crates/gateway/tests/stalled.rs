//! Thousands of clients that all stop reading, and a burst of events for all of them: the memory of the gateway stays
//! within the log's budget and a fixed allowance, and clients that read go on getting their events.
//!
//! `STALLED=16000` says how many clients stop reading (`make test-stalled`). They live in processes of their own, since
//! each socket is an open file of both ends.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]
#![allow(clippy::print_stdout, reason = "the figures are worth more than that they are small enough")]

mod support;

use std::io::{BufRead as _, BufReader, Lines, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use support::{Program, eventually, request, token};

const KEY: (&str, &str) = ("Authorization", "Bearer key");

/// The budget of the log.
const LOG_BYTES: u64 = 64 << 20;

/// What the gateway may have beyond it, whatever its clients do.
const ALLOWANCE_BYTES: u64 = 256 << 20;

/// What is published while nobody of them reads.
const BURST_BYTES: usize = 10 << 20;

/// The longest data of an event.
const EVENT_BYTES: usize = 10 << 10;

/// Clients of one process: it may have 20,000 files open.
const CROWD: usize = 4000;

/// Clients of one user: it may have 20 connections.
const USER: usize = 16;

fn stalled() -> usize {
    std::env::var("STALLED").ok().and_then(|text| text.parse().ok()).unwrap_or(400)
}

/// Clients that have read the head of their stream and the batch with `hello`, and read no more. They end with this.
struct Crowd {
    child: Child,
    /// The process ends when it can no longer say that it still runs.
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Crowd {
    fn start(address: SocketAddr, first: usize, clients: usize) -> Self {
        let mut child = support::bound(std::env::current_exe().unwrap().to_str().unwrap())
            .args(["--exact", "crowd", "--ignored", "--nocapture"])
            .env("STALLED_ADDRESS", address.to_string())
            .env("STALLED_FIRST", first.to_string())
            .env("STALLED_CLIENTS", clients.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line == "connected")), "the crowd has ended");
        Self { child, _lines: lines }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
#[ignore = "run by the test below as a process of its own"]
async fn crowd() {
    let number = |name: &str| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let address: SocketAddr = std::env::var("STALLED_ADDRESS").unwrap().parse().unwrap();
    let (first, clients) = (number("STALLED_FIRST"), number("STALLED_CLIENTS"));
    let mut sockets = Vec::with_capacity(clients);
    let mut credential = String::new();
    for client in 0..clients {
        if client % USER == 0 {
            let user = format!("user-{}", first + client);
            credential = token(&user, &["--subscribe", "room:*"]);
        }
        let target = if client % 2 == 0 { "sse" } else { "ws" };
        sockets.push(stop_reading(address, target, &credential).await);
    }
    println!("connected");
    // Until the process that started this one ends it, or has ended itself.
    drop(std::io::stdin().read(&mut [0]));
    drop(sockets);
}

async fn stop_reading(address: SocketAddr, target: &str, token: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // The system takes as little as possible in the place of the client.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = socket.connect(address).await.unwrap();
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let upgrade = if target == "ws" { upgrade } else { "" };
    let head =
        format!("GET /v1/{target}?topics=room:1&token={token} HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let mut buffer = [0; 1024];
    while !received.windows(7).any(|window| window == b"\"hello\"") {
        let read = socket.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&buffer[..read]);
    }
    socket
}

/// The most memory that the process ever had, in bytes.
fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// One request and the body of its answer, however long a busy machine takes.
async fn ask(address: SocketAddr, bytes: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    socket.read_to_end(&mut received).await.unwrap();
    let answer = support::parse(&received);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

async fn publish(address: SocketAddr, body: &Value) {
    ask(address, &request("POST", "/v1/publish", &[KEY], &body.to_string())).await;
}

async fn metric(address: SocketAddr, name: &str) -> f64 {
    let text = ask(address, &request("GET", "/metrics", &[], "")).await;
    let of = |line: &str| {
        line.strip_prefix(name)?.strip_prefix([' ', '{'])?.rsplit(' ').next()?.parse::<f64>().ok()
    };
    text.lines().filter_map(of).sum::<f64>()
}

/// A client that reads.
struct Reader {
    socket: TcpStream,
    received: Vec<u8>,
}

impl Reader {
    async fn open(address: SocketAddr) -> Self {
        let token = token("reader", &["--subscribe", "room:*"]);
        let mut socket = TcpStream::connect(address).await.unwrap();
        let head = format!("GET /v1/sse?topics=room:2&token={token} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut reader = Self { socket, received: Vec::new() };
        reader.until("\"hello\"").await;
        reader
    }

    /// Reads until this text has come.
    async fn until(&mut self, text: &str) {
        while !self.received.windows(text.len()).any(|window| window == text.as_bytes()) {
            let mut buffer = [0; 4096];
            let read = self.socket.read(&mut buffer).await.unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&self.received));
            self.received.extend_from_slice(&buffer[..read]);
        }
        self.received.clear();
    }

    /// The slowest of a hundred live events, from the publish on.
    async fn slowest_of_a_hundred(&mut self, address: SocketAddr) -> Duration {
        let mut slowest = Duration::ZERO;
        for n in 1000..1100 {
            let before = Instant::now();
            publish(address, &json!({"topic": "room:2", "type": "t", "data": n})).await;
            self.until(&format!("\"data\":{n}}}")).await;
            slowest = slowest.max(before.elapsed());
        }
        slowest
    }
}

#[tokio::test]
async fn clients_that_stop_reading_in_a_burst_stay_within_the_allowance() {
    let (clients, log_bytes) = (stalled(), LOG_BYTES.to_string());
    let connections = (clients + 100).to_string();
    let mut program = Program::serve(&[
        "--max-connections",
        &connections,
        "--log-bytes",
        &log_bytes,
        "--ring-events",
        "4000",
        "--write-timeout-seconds",
        "60",
        "--max-stream-seconds",
        "3600",
    ]);
    let _log = program.read_log();
    let mut reader = Reader::open(program.address).await;
    let crowds: Vec<Crowd> = (0..clients)
        .step_by(CROWD)
        .map(|first| Crowd::start(program.address, first, CROWD.min(clients - first)))
        .collect();
    // However long this machine takes: the crowds have had their `hello`.
    let connected = metric(program.address, "throughline_connections").await;
    assert!(connected >= (clients + 1) as f64, "only {connected} of {clients} are there");
    let before = reader.slowest_of_a_hundred(program.address).await;
    let idle = peak_bytes(program.pid());

    let draft = json!({"topic": "room:1", "type": "t", "data": "x".repeat(EVENT_BYTES - 2)});
    let drafts = json!(vec![draft; 64]);
    for _ in 0..BURST_BYTES / EVENT_BYTES / 64 {
        publish(program.address, &drafts).await;
    }
    // Every client holds an event at least that its socket does not take.
    let all_stalled = (clients * EVENT_BYTES / 2) as f64;
    let mut unsent = 0.0;
    while unsent < all_stalled {
        tokio::time::sleep(Duration::from_millis(500)).await;
        unsent = metric(program.address, "throughline_unsent_bytes").await;
    }
    let after = reader.slowest_of_a_hundred(program.address).await;
    unsent = metric(program.address, "throughline_unsent_bytes").await;
    let peak = peak_bytes(program.pid());
    println!(
        "{clients} clients: peak {} MiB before the burst, {} MiB with {} MiB unsent; slowest of 100 live events {before:?} \
         before, {after:?} with all of them stalled",
        idle >> 20,
        peak >> 20,
        unsent as u64 >> 20,
    );
    assert!(peak <= LOG_BYTES + ALLOWANCE_BYTES, "{peak} bytes");
    // Full batches up to a 32nd of the budget, then one event for each client.
    let unsent_max = LOG_BYTES / 32 + (1 << 20) + clients as u64 * (EVENT_BYTES as u64 + 2048);
    assert!(unsent as u64 <= unsent_max, "{unsent} bytes unsent");
    drop(crowds);
    eventually("nothing is unsent", async || {
        metric(program.address, "throughline_unsent_bytes").await == 0.0
    })
    .await;
}
