//! What one log in Redis carries on this machine: acknowledged publishes a second, the way from a publish at one
//! gateway to a client of another, 5,000 clients of a gateway that is killed, and the memory that Redis needs.
//!
//! `cargo bench -p gateway --bench gateways`; needs redis-server.

#![allow(clippy::disallowed_methods, reason = "what it measures is real time")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for people")]

#[path = "../../events/tests/redis/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "the store's own tests use the rest")]
mod server;

use std::io::{BufRead as _, BufReader as StdReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use events::{Data, Draft, Log, Options, Redis, RedisOptions, Store, Topics};
use server::Server;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const SECRET: &str = "a-secret-of-thirty-two-bytes-or-more";
const CLIENTS: usize = 5000;

fn main() {
    // `cargo test --benches` only asks whether it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        publishes().await;
        latency().await;
        succession().await;
        memory().await;
    });
}

async fn publishes() {
    for (name, options) in [
        ("nothing on disk", &[][..]),
        ("appendonly, everysec", &["--appendonly", "yes"]),
        ("appendonly, always", &["--appendonly", "yes", "--appendfsync", "always"]),
    ] {
        let server = Server::start(options).await;
        let options = options_of(&server, 100_000);
        let store = Redis::open(Log::new(&Options::default()), &options).unwrap();
        store.followed().await;
        println!("acknowledged publishes a second, 300 bytes, one gateway, Redis with {name}:");
        for publishers in [1, 64, 1024] {
            let sort = if publishers == 1 { "one after another" } else { "pipelined" };
            println!("  {publishers:5} publishers ({sort}): {:8.0}", rate(&store, publishers).await);
        }
        let started = Instant::now();
        for _ in 0..50 {
            assert!(store.append((0..1000).map(draft).collect()).await.iter().all(Result::is_ok));
        }
        println!("  batches of 1,000: {:8.0}", 50_000.0 / started.elapsed().as_secs_f64());
        let before = memory_kib("self");
        let started = Instant::now();
        let late = Log::new(&Options::default());
        let follower = Redis::open(Arc::clone(&late), &options).unwrap();
        follower.followed().await;
        let stats = late.stats();
        println!(
            "  a gateway that comes later has read the log in {:?}: {} events held, {} MiB more resident",
            started.elapsed(),
            stats.events,
            (memory_kib("self").saturating_sub(before)) >> 10
        );
    }
}

fn options_of(server: &Server, bytes_max: u64) -> RedisOptions {
    RedisOptions {
        url: server.url(),
        authorities: None,
        log_name: "figures".to_owned(),
        wait_replicas: 0,
        bytes_max,
        age_max: Duration::from_secs(600),
        alone_when_down: false,
    }
}

async fn rate(store: &Arc<Redis>, publishers: u64) -> f64 {
    const FOR: Duration = Duration::from_secs(2);
    let started = Instant::now();
    let tasks = (0..publishers).map(|publisher| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut acknowledged = 0_u32;
            while started.elapsed() < FOR {
                assert!(store.append(vec![draft(publisher)]).await[0].is_ok());
                acknowledged += 1;
            }
            acknowledged
        })
    });
    let mut acknowledged = 0;
    for task in tasks.collect::<Vec<_>>() {
        acknowledged += task.await.unwrap();
    }
    f64::from(acknowledged) / started.elapsed().as_secs_f64()
}

fn draft(n: u64) -> Draft {
    to(&format!("user:{}", n % 1000))
}

fn to(topic: &str) -> Draft {
    Draft::new(
        Topics::one(topic.parse().unwrap()),
        "progress".parse().unwrap(),
        Data::from_value(&"x".repeat(298)).unwrap(),
    )
}

/// A gateway as a process of its own.
struct Gateway {
    child: Child,
    address: SocketAddr,
}

impl Gateway {
    async fn start(redis: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET, "--publish-key", "key"]);
        command.args(["--store", "redis", "--redis-url", redis, "--log", "warn"]);
        command.args(["--max-connections-per-user", "0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        StdReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on http://").unwrap().parse().unwrap();
        let gateway = Self { child, address };
        while !ask(address, "GET /ready HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .await
            .contains(" 200 ")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        gateway
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn memory_kib(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn publish(address: SocketAddr, topic: &str, data: u64) {
    let draft = format!(r#"{{"topic":"{topic}","type":"t","data":{data}}}"#);
    let answer = ask(
        address,
        &format!(
            "POST /v1/publish HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer key\r\n\
             Content-Length: {}\r\n\r\n{draft}",
            draft.len()
        ),
    )
    .await;
    assert!(answer.contains(" 200 "), "{answer}");
}

fn token(user: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["token", "--user", user, "--subscribe", "*", "--jwt-secret", SECRET])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A stream of batches.
struct Stream(BufReader<TcpStream>);

impl Stream {
    async fn open(address: SocketAddr, token: &str, after: &str) -> Option<Self> {
        let mut socket = TcpStream::connect(address).await.ok()?;
        let request =
            format!("GET /v1/sse?topics=room:a&access_token={token}{after} HTTP/1.1\r\nHost: h\r\n\r\n");
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut reader = BufReader::with_capacity(4096, socket);
        let mut head = String::new();
        reader.read_line(&mut head).await.ok()?;
        head.contains(" 200 ").then_some(Self(reader))
    }

    async fn batch(&mut self) -> Option<serde_json::Value> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if let Some(batch) = line.strip_prefix("data: ") {
                return serde_json::from_str(batch).ok();
            }
        }
    }
}

async fn latency() {
    let server = Server::start(&[]).await;
    let (one, other) = (Gateway::start(&server.url()).await, Gateway::start(&server.url()).await);
    let mut stream = Stream::open(other.address, &token("alice"), "").await.unwrap();
    stream.batch().await.unwrap();
    let mut took = Vec::new();
    for n in 0..2000 {
        let started = Instant::now();
        let received = async {
            while stream.batch().await.unwrap()["events"][0]["data"] != n {}
            started.elapsed()
        };
        took.push(tokio::join!(publish(one.address, "room:a", n), received).1);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    took.sort_unstable();
    println!(
        "from a publish at one gateway (a connection each) to a client of another: p50 {:?}, p99 {:?}",
        took[took.len() / 2],
        took[took.len() * 99 / 100]
    );
}

/// Clients of a gateway that is killed go on at another, while events are published.
async fn succession() {
    let server = Server::start(&[]).await;
    let (mut doomed, heir) = (Gateway::start(&server.url()).await, Gateway::start(&server.url()).await);
    let (here, there) = (doomed.address, heir.address);
    let token = Arc::new(token("alice"));
    drop(ask(there, "GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await);
    let connected = Arc::new(AtomicUsize::new(0));
    let resumed = Arc::new(AtomicUsize::new(0));
    const EVENTS: u64 = 50;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (token, connected, resumed) =
                (Arc::clone(&token), Arc::clone(&connected), Arc::clone(&resumed));
            tokio::spawn(async move {
                let mut cursor = String::new();
                let mut next = 0;
                let mut address = here;
                let mut is_counted = false;
                loop {
                    let after = if cursor.is_empty() { String::new() } else { format!("&after={cursor}") };
                    if let Some(mut stream) = Stream::open(address, &token, &after).await {
                        while let Some(batch) = stream.batch().await {
                            assert!(batch["reset"].is_null(), "{batch}");
                            cursor = batch["cursor"].as_str().unwrap().to_owned();
                            for event in batch["events"].as_array().unwrap() {
                                assert_eq!(event["data"], next, "in order and each once");
                                next += 1;
                            }
                            if !is_counted {
                                is_counted = true;
                                connected.fetch_add(1, Ordering::Relaxed);
                            }
                            if address == there && next >= EVENTS / 2 {
                                resumed.fetch_add(1, Ordering::Relaxed);
                                address = SocketAddr::from(([0; 4], 0));
                            }
                            if next == EVENTS {
                                return;
                            }
                        }
                    }
                    address = there;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
        })
        .collect();
    while connected.load(Ordering::Relaxed) < CLIENTS {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for n in 0..EVENTS / 2 {
        publish(there, "room:a", n).await;
    }
    doomed.child.kill().unwrap();
    let killed = Instant::now();
    while resumed.load(Ordering::Relaxed) < CLIENTS {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = killed.elapsed();
    for n in EVENTS / 2..EVENTS {
        publish(there, "room:a", n).await;
    }
    for client in clients {
        client.await.unwrap();
    }
    println!(
        "{CLIENTS} clients of a gateway that was killed had resumed on another after {took:?}; lost or twice: 0; \
         that gateway then had {} MiB",
        memory_kib(&heir.child.id().to_string()) >> 10
    );
}

/// What Redis needs for an event, an id and a topic.
async fn memory() {
    let once = |n: u64| Some(format!("{n:020}").into());
    let id = memory_of(|n| Draft { ephemeral: true, once: once(n), ..draft(0) }).await;
    let event = memory_of(|n| Draft { once: once(n), ..draft(0) }).await;
    let topic = memory_of(|n| Draft { once: once(n), ..to(&format!("user:{n}")) }).await;
    println!("bytes of memory in Redis:");
    println!("  an event of 300 bytes: {}", event - id);
    println!("  an id of 20 bytes: {id}");
    println!("  the last event of a topic: {}", topic - event);
}

/// How much more memory a server uses after 100,000 drafts, for each of them.
async fn memory_of(draft: impl Fn(u64) -> Draft) -> u64 {
    const EACH: u64 = 100_000;
    let server = Server::start(&[]).await;
    let store = Redis::open(Log::new(&Options::default()), &options_of(&server, 10 * EACH)).unwrap();
    store.followed().await;
    let used = || {
        let info = server.cli(&["INFO", "memory"]);
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        used.parse::<u64>().unwrap()
    };
    let before = used();
    for batch in 0..EACH / 1000 {
        let drafts = (batch * 1000..(batch + 1) * 1000).map(&draft).collect();
        assert!(store.append(drafts).await.iter().all(Result::is_ok));
    }
    // Until the server has let go of what it sent.
    drop(store);
    tokio::time::sleep(Duration::from_secs(2)).await;
    (used() - before) / EACH
}
