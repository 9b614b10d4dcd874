//! Three gateways on one log in Redis, publishers to all of them, and clients that go from one to another and from one
//! transport to another, while what can be killed, paused and cut is. The wall clocks of the gateways differ by half an
//! hour, and every event has a time to live that is shorter.
//!
//! `CHAOS_SECONDS` says for how long, `CHAOS_SEED` in which order. What holds: every event once and in order, or a reset.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]
#![expect(clippy::print_stdout, reason = "figures of a random run, and what was skipped")]

#[path = "chaos/chance.rs"]
mod chance;
#[path = "chaos/client.rs"]
mod client;
#[path = "../../events/tests/redis/given.rs"]
mod given;
#[path = "chaos/process.rs"]
mod process;
#[path = "../../events/tests/redis/server.rs"]
#[allow(dead_code, reason = "the store's own tests use the rest")]
mod server;
mod support;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chance::Chance;
use client::{Client, Way, ask};
use process::{Namespace, Process, WallClock};
use server::Server;
use tokio::sync::RwLock;

const TOPICS: [&str; 3] = ["room:a", "room:b", "room:c"];
const CLIENTS: u64 = 6;

/// By how much the wall clocks of two of the gateways are wrong, in minutes.
const MINUTES_WRONG: i32 = 15;

/// How long an event may be delivered, in milliseconds: longer than a run takes, and shorter than clocks are wrong.
const TTL_MS: u64 = 14 * 60_000;

fn seconds(short: u64) -> Duration {
    let given = std::env::var("CHAOS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(short))
}

/// The gateways, and how each reaches Redis.
struct House {
    gateways: RwLock<Vec<Process>>,
    /// Where they are now.
    addresses: std::sync::Mutex<Vec<SocketAddr>>,
    urls: Vec<String>,
    namespace: Option<Namespace>,
    /// The wall clocks of the gateways differ, where that can be had.
    wall_clocks: [WallClock; 3],
}

impl House {
    /// Three gateways on these servers. The last is behind a network that can be cut, where that can be had.
    fn open(servers: &[Server]) -> Arc<Self> {
        let namespace = Namespace::new();
        if let Err(error) = &namespace {
            println!("skipped: a network that is cut ({error}); run this as root");
        }
        let namespace = namespace.ok();
        let url_at = |host: &str| {
            servers
                .iter()
                .map(|server| format!("redis://{host}:{}", server.port()))
                .collect::<Vec<_>>()
                .join(",")
        };
        let near = url_at("127.0.0.1");
        let far = namespace.as_ref().map_or(near.clone(), |namespace| url_at(&namespace.redis().to_string()));
        let urls = vec![near.clone(), near, far];
        let wall_clocks = [0, MINUTES_WRONG, -MINUTES_WRONG].map(|minutes| {
            WallClock::wrong_by(minutes).unwrap_or_else(|error| {
                println!("skipped: wall clocks that differ ({error})");
                WallClock::right()
            })
        });
        let start =
            |at: usize| Process::start(&urls[at], namespace.as_ref().filter(|_| at == 2), &wall_clocks[at]);
        let gateways: Vec<Process> = (0..3).map(start).collect();
        let addresses = gateways.iter().map(|gateway| gateway.address).collect();
        Arc::new(Self {
            gateways: RwLock::new(gateways),
            addresses: std::sync::Mutex::new(addresses),
            urls,
            namespace,
            wall_clocks,
        })
    }

    fn start_again(&self, at: usize) -> Process {
        Process::start(&self.urls[at], self.namespace.as_ref().filter(|_| at == 2), &self.wall_clocks[at])
    }

    /// The wall clocks are as wrong as they should be.
    async fn check_wall_clocks(&self) {
        for (at, wall_clock) in self.wall_clocks.iter().enumerate() {
            let request = "GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
            let (_, health) = ask(self.address(at as u64), self.from(), request).await.unwrap();
            let health: serde_json::Value = serde_json::from_str(&health).unwrap();
            let shown = minute_of_the_day(health["timestamp"].as_str().unwrap());
            let wrong_by = (shown - minute_of_the_day(&now())).rem_euclid(24 * 60);
            let expected = wall_clock.minutes().rem_euclid(24 * 60);
            assert!((wrong_by - expected).abs() <= 1, "gateway {at}: {health}");
        }
    }

    fn address(&self, at: u64) -> SocketAddr {
        self.addresses.lock().unwrap()[at as usize % 3]
    }

    fn from(&self) -> Option<IpAddr> {
        self.namespace.as_ref().map(Namespace::clients)
    }

    async fn ready(&self) {
        for at in 0..3 {
            let request = "GET /ready HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
            let until = Instant::now() + Duration::from_secs(30);
            while !matches!(ask(self.address(at), self.from(), request).await, Ok((200, _))) {
                let log = self.gateways.read().await[at as usize].log();
                assert!(Instant::now() < until, "gateway {at} is not ready: {log}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Where a gateway's log ends.
    async fn tail(&self, at: u64) -> Option<String> {
        let token = support::token("alice", &["--subscribe", "*"]);
        let request = format!(
            "GET /v1/poll?topics={}&access_token={token} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            TOPICS.join(",")
        );
        let (_, hello) = ask(self.address(at), self.from(), &request).await.ok()?;
        let hello: serde_json::Value = serde_json::from_str(&hello).ok()?;
        hello["cursor"].as_str().map(str::to_owned)
    }

    /// Waits until all gateways are where they were a while ago, and at the same place: no notice is to come.
    async fn rest(&self) {
        let mut before = None;
        for _ in 0..20 {
            let tails = [self.tail(0).await, self.tail(1).await, self.tail(2).await];
            if tails.iter().all(|tail| tail.is_some() && *tail == before) {
                return;
            }
            before = tails.into_iter().next().flatten();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        panic!("the gateways do not come to rest");
    }

    /// Something happens to a gateway.
    async fn trouble(&self, chance: &mut Chance) {
        let at = chance.below(3) as usize;
        match chance.below(if self.namespace.is_some() { 3 } else { 2 }) {
            0 => {
                let mut gateways = self.gateways.write().await;
                gateways[at].signal("KILL");
                gateways[at] = self.start_again(at);
                self.addresses.lock().unwrap()[at] = gateways[at].address;
            }
            1 => {
                self.gateways.read().await[at].signal("STOP");
                chance.pause(3000).await;
                self.gateways.read().await[at].signal("CONT");
            }
            _ => {
                if let Some(namespace) = &self.namespace {
                    namespace.cut();
                    chance.pause(6000).await;
                    namespace.mend();
                }
            }
        }
    }
}

/// The minute of the day of a timestamp of the gateway, or of [`now`].
fn minute_of_the_day(timestamp: &str) -> i32 {
    let (_, time) = timestamp.split_once('T').expect("a time of RFC 3339");
    let number = |at: std::ops::Range<usize>| time[at].parse::<i32>().unwrap();
    number(0..2) * 60 + number(3..5)
}

/// The time of this process, as far as [`minute_of_the_day`] needs it.
fn now() -> String {
    let minutes = support::now() / 60;
    format!("T{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

/// What is running, and what came of it.
struct Run {
    house: Arc<House>,
    over: Arc<AtomicBool>,
    done: Arc<AtomicBool>,
    published: Arc<[AtomicU64; 3]>,
    publishers: Vec<tokio::task::JoinHandle<()>>,
    clients: Vec<tokio::task::JoinHandle<Client>>,
}

impl Run {
    async fn start(house: Arc<House>) -> Self {
        house.ready().await;
        house.check_wall_clocks().await;
        let token = support::token("alice", &["--subscribe", "*"]);
        let cursor = house.tail(0).await.unwrap();
        let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let published: Arc<[AtomicU64; 3]> = Arc::default();
        let publishers = (0..3).map(|at| {
            let (house, over, published) = (Arc::clone(&house), Arc::clone(&over), Arc::clone(&published));
            tokio::spawn(async move {
                let mut chance = Chance::new(at + 100);
                for n in 1.. {
                    publish(&house, at, n, &mut chance).await;
                    published[at as usize].store(n, Ordering::Release);
                    if over.load(Ordering::Acquire) {
                        return;
                    }
                    chance.pause(4).await;
                }
            })
        });
        let publishers = publishers.collect();
        let clients = (0..CLIENTS).map(|number| {
            let (house, done) = (Arc::clone(&house), Arc::clone(&done));
            let client = Client::new(&TOPICS, token.clone(), cursor.clone());
            tokio::spawn(follow(house, client, Chance::new(number + 200), done))
        });
        let clients = clients.collect();
        Self { house, over, done, published, publishers, clients }
    }

    /// Lets everyone come to rest and looks at what each client was given. How many resets there were.
    async fn end(self) -> usize {
        // On a busy machine the trouble is over before much was published.
        while self.published.iter().any(|last| last.load(Ordering::Acquire) <= 50) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.over.store(true, Ordering::Release);
        for publisher in self.publishers {
            publisher.await.unwrap();
        }
        self.house.ready().await;
        self.house.rest().await;
        self.done.store(true, Ordering::Release);
        let published = self.published.each_ref().map(|last| last.load(Ordering::Acquire));
        let mut resets = 0;
        for client in self.clients {
            let client = client.await.unwrap();
            for ((given, last), topic) in client.given.iter().zip(published).zip(TOPICS) {
                match given::check(given, last) {
                    Ok(number) => resets += number,
                    Err(error) => {
                        let gateways = self.house.gateways.read().await;
                        let logs: Vec<String> = gateways.iter().map(Process::log).collect();
                        panic!("{topic}: {error}\n{:?}\n{}", client.reasons, logs.join("\n--\n"));
                    }
                }
            }
        }
        assert!(published.iter().all(|last| *last > 50), "{published:?}");
        println!("{published:?} published, {resets} resets of a topic of a client");
        resets
    }
}

/// Publishes one event to any gateway until it is acknowledged.
async fn publish(house: &House, at: u64, n: u64, chance: &mut Chance) {
    let draft = format!(
        r#"{{"topic":"{}","type":"t","data":{n},"id":"{at} {n}","ttl_ms":{TTL_MS}}}"#,
        TOPICS[at as usize]
    );
    let request = format!(
        "POST /v1/publish HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer key\r\n\
         Content-Length: {}\r\n\r\n{draft}",
        draft.len()
    );
    while !matches!(ask(house.address(chance.below(3)), house.from(), &request).await, Ok((200, _))) {
        chance.pause(40).await;
    }
}

async fn follow(house: Arc<House>, mut client: Client, mut chance: Chance, done: Arc<AtomicBool>) -> Client {
    loop {
        let is_last = done.load(Ordering::Acquire);
        let way = [Way::Sse, Way::Ws, Way::Poll][chance.below(3) as usize];
        // At the end everybody stays until there is nothing more to come.
        let stay = Duration::from_millis(if is_last { 2500 } else { 30 + chance.below(700) });
        let visit = client.visit(way, house.address(chance.below(3)), house.from(), stay).await;
        match visit {
            Ok(()) if is_last => return client,
            Ok(()) => {}
            Err(_) => chance.pause(50).await,
        }
    }
}

const KEEPS_ALL: [&str; 6] = ["--appendonly", "yes", "--appendfsync", "always", "--protected-mode", "no"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_redis_keeps_all_nobody_misses_or_is_reset() {
    let mut servers = vec![Server::start(&[&KEEPS_ALL[..], &["--bind", "0.0.0.0"]].concat()).await];
    let house = House::open(&servers);
    let run = Run::start(Arc::clone(&house)).await;
    let mut chance = Chance::new(1);
    let until = Instant::now() + seconds(15);
    while Instant::now() < until {
        chance.pause(700).await;
        let server = &mut servers[0];
        match chance.below(6) {
            0 => drop(server.cli(&["CLIENT", "KILL", "TYPE", "normal"])),
            1 => {
                server.signal("-STOP");
                chance.pause(4000).await;
                server.signal("-CONT");
            }
            2 => {
                server.kill();
                chance.pause(2000).await;
                server.start_again().await;
            }
            3 => {
                server.cli(&["SHUTDOWN", "NOSAVE"]);
                server.kill();
                server.start_again().await;
            }
            _ => house.trouble(&mut chance).await,
        }
    }
    assert_eq!(run.end().await, 0, "a restart that lost nothing resets nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_redis_loses_nobody_misses_unawares() {
    let options = ["--protected-mode", "no", "--bind", "0.0.0.0"];
    let mut servers = vec![Server::start(&options).await];
    for _ in 0..2 {
        servers.push(Server::replica_of(&servers[0], &options).await);
    }
    let house = House::open(&servers);
    let run = Run::start(Arc::clone(&house)).await;
    let mut chance = Chance::new(2);
    let until = Instant::now() + seconds(20);
    let mut master = 0;
    while Instant::now() < until {
        chance.pause(900).await;
        match chance.below(8) {
            0 => {
                // What a gateway that stands still has not read is gone when it goes on.
                let at = chance.below(3) as usize;
                house.gateways.read().await[at].signal("STOP");
                chance.pause(500).await;
                servers[master].cli(&["XTRIM", "{log}:s", "MAXLEN", "=", "3"]);
                house.gateways.read().await[at].signal("CONT");
            }
            1 => drop(servers[master].cli(&["FLUSHALL"])),
            2 | 3 => house.trouble(&mut chance).await,
            4 => {
                servers[master].signal("-STOP");
                chance.pause(3000).await;
                servers[master].signal("-CONT");
            }
            // Another becomes the master: in order, or one that lacks the last writes.
            how => {
                let next = (master + 1 + chance.below(2) as usize) % 3;
                if how > 5 {
                    servers[next].cli(&["REPLICAOF", "127.0.0.1", "1"]);
                    chance.pause(300).await;
                    servers[master].kill();
                }
                servers[next].cli(&["REPLICAOF", "NO", "ONE"]);
                let port = servers[next].port().to_string();
                if how > 5 {
                    servers[master].start_again().await;
                }
                for (at, server) in servers.iter().enumerate() {
                    if at != next {
                        server.cli(&["REPLICAOF", "127.0.0.1", &port]);
                    }
                }
                master = next;
            }
        }
    }
    run.end().await;
}
