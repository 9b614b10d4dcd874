//! kill -9 of a gateway with its log on disk, at random moments, again and again, while publishers publish and clients
//! go from transport to transport: what was acknowledged comes to every client once and in order, in the same epoch.
//!
//! `KILLS` says how often, `CHAOS_SEED` at which moments.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]
#![expect(clippy::print_stdout, reason = "figures of a random run")]

#[path = "chaos/chance.rs"]
mod chance;
#[path = "chaos/client.rs"]
mod client;
#[path = "../../events/tests/redis/given.rs"]
#[allow(dead_code, reason = "here nothing excuses a gap")]
mod given;
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chance::Chance;
use client::{Client, Way, ask};
use given::Given;
use parking_lot::Mutex;
use serde_json::Value;
use support::{Directory, Program, bound, serving};

/// One publisher each, so that the order of each is known.
const TOPICS: [&str; 4] = ["room:a", "room:b", "room:c", "room:d"];
const CLIENTS: u64 = 6;

/// A log so small that it is trimmed now and then; far more than a client misses while it is away.
const LOG_BYTES: &str = "4194304";

fn arguments(dir: &Path) -> Vec<&str> {
    let mut arguments =
        serving(&["--store", "disk", "--fsync", "always", "--data-dir", dir.to_str().unwrap()]);
    arguments.extend(["--log-bytes", LOG_BYTES, "--ring-events", "1000000", "--log", "error"]);
    arguments
}

fn start(dir: &Path) -> Program {
    let mut gateway = Program::start(&arguments(dir));
    gateway.read_log();
    gateway
}

/// Kills a gateway that has hardly begun: while it reads its files, or a moment before it listens.
async fn kill_at_the_start(dir: &Path, chance: &mut Chance) {
    let mut command = bound(env!("CARGO_BIN_EXE_gateway"));
    let mut gateway =
        command.args(arguments(dir)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    chance.pause(120).await;
    gateway.kill().unwrap();
    gateway.wait().unwrap();
}

/// What everybody knows of the gateway.
struct House {
    address: Mutex<SocketAddr>,
    /// No more is published.
    over: AtomicBool,
    /// Everything was published, and the gateway lives.
    done: AtomicBool,
    /// Requests that were not answered, and repeats that turned out to have been written.
    unanswered: AtomicU64,
    repeated: AtomicU64,
}

/// Publishes `1..` in order, each until it is acknowledged. Gives the last, and the epochs in the answers.
async fn publish(house: Arc<House>, at: usize, mut chance: Chance) -> (u64, Vec<String>) {
    let (mut last, mut last_seq, mut epochs) = (0, 0, Vec::new());
    while !house.over.load(Ordering::Acquire) {
        let upto = last + 1 + chance.below(6);
        let drafts = (last + 1..=upto).map(
            |n| serde_json::json!({"topic": TOPICS[at], "type": "t", "data": n, "id": format!("{at} {n}")}),
        );
        let body = Value::from_iter(drafts).to_string();
        let request = format!(
            "POST /v1/publish HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer key\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = loop {
            let address = *house.address.lock();
            match ask(address, None, &request).await {
                Ok((200, body)) => break serde_json::from_str::<Value>(&body).unwrap(),
                // A gateway that is killed answers nothing, or what it had already said of the head.
                _ => house.unanswered.fetch_add(1, Ordering::Relaxed),
            };
            chance.pause(20).await;
        };
        let results = answer["results"].as_array().unwrap();
        assert_eq!(results.len() as u64, upto - last);
        for result in results {
            let seq = result["seq"].as_u64().unwrap_or_else(|| panic!("{answer}"));
            assert!(seq > last_seq, "{seq} after {last_seq}: {answer}");
            last_seq = seq;
            house.repeated.fetch_add(u64::from(result["duplicate"] == true), Ordering::Relaxed);
            let (epoch, _) = result["cursor"].as_str().unwrap().split_once('.').unwrap();
            if epochs.last().is_none_or(|known| known != epoch) {
                epochs.push(epoch.to_owned());
            }
        }
        last = upto;
        chance.pause(8).await;
    }
    (last, epochs)
}

/// Goes from transport to transport with its cursor until everything was published and nothing more comes.
async fn follow(house: Arc<House>, mut client: Client, mut chance: Chance) -> Client {
    loop {
        let is_last = house.done.load(Ordering::Acquire);
        let way = [Way::Sse, Way::Ws, Way::Poll][chance.below(3) as usize];
        let stay = Duration::from_millis(if is_last { 2500 } else { 30 + chance.below(700) });
        let address = *house.address.lock();
        match client.visit(way, address, None, stay).await {
            Ok(()) if is_last => return client,
            Ok(()) => {}
            Err(_) => chance.pause(40).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_comes_once_and_in_order() {
    let kills: u64 = std::env::var("KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let directory = Directory::new("kills");
    let mut gateway = start(&directory.0);
    let token = support::token("alice", &["--subscribe", "*"]);
    let hello =
        support::get(gateway.address, &format!("/v1/poll?topics=room:a&access_token={token}")).await.json();
    let cursor = hello["cursor"].as_str().unwrap().to_owned();
    let house = Arc::new(House {
        address: Mutex::new(gateway.address),
        over: AtomicBool::new(false),
        done: AtomicBool::new(false),
        unanswered: AtomicU64::new(0),
        repeated: AtomicU64::new(0),
    });
    let publishers: Vec<_> = (0..TOPICS.len())
        .map(|at| tokio::spawn(publish(Arc::clone(&house), at, Chance::new(100 + at as u64))))
        .collect();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = Client::new(&TOPICS, token.clone(), cursor.clone());
            tokio::spawn(follow(Arc::clone(&house), client, Chance::new(200 + number)))
        })
        .collect();

    let mut chance = Chance::new(0);
    let (started, mut at_the_start) = (Instant::now(), 0);
    for _ in 0..kills {
        chance.pause(700).await;
        gateway.signal("KILL");
        drop(gateway);
        if chance.below(4) == 0 {
            kill_at_the_start(&directory.0, &mut chance).await;
            at_the_start += 1;
        }
        gateway = start(&directory.0);
        *house.address.lock() = gateway.address;
    }
    chance.pause(300).await;
    house.over.store(true, Ordering::Release);
    let mut published = Vec::new();
    for publisher in publishers {
        let (last, epochs) = publisher.await.unwrap();
        assert_eq!(epochs, [cursor.split_once('.').unwrap().0], "one epoch");
        published.push(last);
    }
    house.done.store(true, Ordering::Release);
    let mut delivered = 0;
    for client in clients {
        let client = client.await.unwrap();
        assert_eq!(client.reasons, Vec::<String>::new(), "a reset");
        for ((given, last), topic) in client.given.iter().zip(&published).zip(TOPICS) {
            let wrong = given.iter().zip(1..).find(|(given, n)| **given != Given::Event(*n));
            assert_eq!(wrong, None, "{topic}: what was given, and what was owed");
            assert_eq!(given.len() as u64, *last, "{topic}");
            delivered += given.len();
        }
    }
    println!(
        "{kills} kills and {at_the_start} at the start in {:.0} s: {} events acknowledged, {delivered} delivered to \
         {CLIENTS} clients, {} requests unanswered, {} drafts repeated that had been written",
        started.elapsed().as_secs_f64(),
        published.iter().sum::<u64>(),
        house.unanswered.load(Ordering::Relaxed),
        house.repeated.load(Ordering::Relaxed),
    );
    assert!(published.iter().all(|last| *last > kills), "{published:?}");
}
