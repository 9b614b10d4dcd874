//! Masters that die, hang and are succeeded at random, while publishers publish and clients hop
//! between nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use events::{Cursor, Limit, Located, Options, Reader, ResetReason, Start};

use super::given::{Given, check};
use super::server::Server;
use super::suite::{Subject, data, draft, once, topic};
use super::{node_keeping, reach, redis_options, settle};

const TOPICS: [&str; 3] = ["a", "b", "c"];

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_misses_anything_unawares() {
    let seconds = std::env::var("REDIS_CHAOS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
    let seed = std::env::var("REDIS_CHAOS_SEED").ok().and_then(|text| text.parse().ok());
    let mut chance = Chance(seed.unwrap_or(0x9e37_79b9_7f4a_7c15));
    let mut servers = vec![Server::start(&[]).await];
    for _ in 0..2 {
        servers.push(Server::replica_of(&servers[0], &[]).await);
    }
    let urls: Vec<String> = servers.iter().map(Server::url).collect();
    let options = redis_options(&urls.join(","));
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let log = Options { ring_events_max: 1 << 17, ..Options::default() };
        nodes.push(Arc::new(node_keeping(&options, &log, Box::new(())).await));
    }
    let over = Arc::new(AtomicBool::new(false));
    let published: Arc<[AtomicU64; 3]> = Arc::default();
    let start = nodes[0].log.tail_cursor();
    let publishers: Vec<_> = (0..3)
        .map(|at| {
            let (nodes, over, published) = (nodes.clone(), Arc::clone(&over), Arc::clone(&published));
            tokio::spawn(async move {
                for id in 1.. {
                    publish(&nodes, at, id).await;
                    published[at].store(id, Ordering::Release);
                    if over.load(Ordering::Acquire) {
                        return;
                    }
                }
            })
        })
        .collect();
    let done = Arc::new(AtomicBool::new(false));
    let troubles = Arc::new(AtomicU32::new(0));
    let clients: Vec<_> = (0..6)
        .map(|number| {
            let (nodes, troubles, done) = (nodes.clone(), Arc::clone(&troubles), Arc::clone(&done));
            tokio::spawn(async move { follow(&nodes, start, number, &troubles, &done).await })
        })
        .collect();

    let until = Instant::now() + Duration::from_secs(seconds);
    let mut master = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(300 + chance.below(900))).await;
        troubles.fetch_add(1, Ordering::AcqRel);
        master = trouble(&mut servers, master, &mut chance).await;
    }
    over.store(true, Ordering::Release);
    for publisher in publishers {
        publisher.await.unwrap();
    }
    // Until nobody has anything more to tell.
    let mut end = settle(&nodes[0]).await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = std::mem::replace(&mut end, settle(&nodes[0]).await);
        for node in &nodes {
            reach(node, end).await;
        }
        if end == before {
            break;
        }
    }
    done.store(true, Ordering::Release);
    let published = published.each_ref().map(|last| last.load(Ordering::Acquire));
    let mut resets = 0;
    for client in clients {
        let given = client.await.unwrap();
        for (at, given) in given.iter().enumerate() {
            match check(given, published[at]) {
                Ok(number) => resets += number,
                Err(error) => panic!("{}: {error}", TOPICS[at]),
            }
        }
    }
    assert!(published.iter().all(|last| *last > 50), "{published:?}");
    let mut same = nodes.iter().map(|node| everything(node));
    let first = same.next().unwrap();
    assert!(same.all(|other| other == first), "all nodes hold the same log");
    tracing(troubles.load(Ordering::Acquire), published, resets);
}

/// Says how much was tried, for who looks at it.
#[expect(clippy::print_stdout, reason = "figures of a random run")]
fn tracing(troubles: u32, published: [u64; 3], resets: usize) {
    println!("{troubles} troubles, {published:?} published, {resets} resets of a topic of a client");
}

async fn publish(nodes: &[Arc<Subject>], at: usize, id: u64) {
    let mut turn = at + id as usize;
    loop {
        let draft = once(&format!("{at} {id}"), draft(&[TOPICS[at]], id));
        if nodes[turn % nodes.len()].store.append(vec![draft]).await[0].is_ok() {
            return;
        }
        turn += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// One thing that happens to the servers. Returns which is the master then.
async fn trouble(servers: &mut [Server], master: usize, chance: &mut Chance) -> usize {
    let other = (master + 1 + chance.below(2) as usize) % 3;
    match chance.below(6) {
        0 => {
            servers[master].cli(&["CLIENT", "KILL", "TYPE", "normal"]);
            master
        }
        1 => {
            servers[master].signal("-STOP");
            tokio::time::sleep(Duration::from_millis(chance.below(3500))).await;
            servers[master].signal("-CONT");
            master
        }
        2 => {
            // An orderly change.
            promote(servers, other);
            let port = servers[other].port().to_string();
            servers[master].cli(&["REPLICAOF", "127.0.0.1", &port]);
            other
        }
        sort => {
            if sort > 3 {
                // The successor lacks what is written from now on.
                servers[other].cli(&["REPLICAOF", "127.0.0.1", "1"]);
                tokio::time::sleep(Duration::from_millis(chance.below(200))).await;
            }
            if sort == 5 {
                // Both are masters for a while.
                promote(servers, other);
                tokio::time::sleep(Duration::from_millis(chance.below(1500))).await;
            }
            servers[master].kill();
            promote(servers, other);
            let port = servers[other].port().to_string();
            tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
            servers[master].start_again().await;
            servers[master].cli(&["REPLICAOF", "127.0.0.1", &port]);
            other
        }
    }
}

/// Makes a server the master, and lets the third one follow it.
fn promote(servers: &[Server], new: usize) {
    servers[new].cli(&["REPLICAOF", "NO", "ONE"]);
    let port = servers[new].port().to_string();
    for (at, server) in servers.iter().enumerate() {
        if at != new && server.cli(&["ROLE"]).starts_with("slave") {
            server.cli(&["REPLICAOF", "127.0.0.1", &port]);
        }
    }
}

/// A client that reads all topics and comes back to another node every now and then.
async fn follow(
    nodes: &[Arc<Subject>],
    start: Cursor,
    number: usize,
    troubles: &AtomicU32,
    done: &AtomicBool,
) -> [Vec<Given>; 3] {
    let mut seen = 0;
    let mut chance = Chance(number as u64 + 77);
    let mut given: [Vec<Given>; 3] = Default::default();
    let mut cursor = start;
    let topics = TOPICS.map(topic);
    loop {
        let node = &nodes[chance.below(3) as usize];
        let is_last = done.load(Ordering::Acquire);
        let Some(start) = start_at(node, cursor).await else { continue };
        let mut reader = Reader::new(&node.log, &topics, None, start);
        let until = Instant::now() + Duration::from_millis(20 + chance.below(500));
        while Instant::now() < until || is_last {
            let mut out = Vec::new();
            let now = troubles.load(Ordering::Acquire);
            for _ in std::mem::replace(&mut seen, now)..now {
                given.iter_mut().for_each(|given| given.push(Given::Trouble));
            }
            match reader.read(Limit { events: 50, bytes: 1 << 20 }, &mut out) {
                Err(reset) => {
                    for topic in &reset.topics {
                        let at = topics.iter().position(|known| known == topic).unwrap();
                        given[at].push(Given::Reset);
                    }
                }
                Ok(span) => {
                    for event in &out {
                        let json = super::suite::json(event);
                        let at = TOPICS.iter().position(|name| json["topic"] == *name).unwrap();
                        given[at].push(Given::Event(data(event)));
                    }
                    if !span.more && is_last {
                        return given;
                    }
                    if !span.more {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
            cursor = reader.cursor();
        }
    }
}

/// What a gateway makes of a cursor; `None`: 503.
async fn start_at(node: &Subject, cursor: Cursor) -> Option<Start> {
    let tail = match node.log.locate(cursor) {
        Located::Here(cursor) => return Some(Start::After(cursor)),
        Located::Phantom { end } => return Some(Start::Broken(ResetReason::Epoch, end)),
        Located::Ahead | Located::Unknown => node.store.tail().await.ok()?,
    };
    for _ in 0..100 {
        let here = node.log.tail_cursor();
        match node.log.locate(cursor) {
            Located::Here(cursor) => return Some(Start::After(cursor)),
            Located::Phantom { end } => return Some(Start::Broken(ResetReason::Epoch, end)),
            Located::Ahead if tail.epoch == cursor.epoch && tail.seq < cursor.seq => {
                return Some(Start::Broken(ResetReason::Ahead, here));
            }
            Located::Unknown if node.log.locate(tail) == Located::Here(tail) => {
                return Some(Start::Broken(ResetReason::Epoch, here));
            }
            Located::Ahead | Located::Unknown => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    None
}

fn everything(node: &Subject) -> Vec<Vec<(u64, u64)>> {
    let of = |name: &str| {
        let mut reader = Reader::new(&node.log, &[topic(name)], None, Start::Earliest);
        let mut out = Vec::new();
        while reader.read(Limit { events: 1000, bytes: 1 << 22 }, &mut out).unwrap().more {}
        out.iter().map(|event| (event.seq().unwrap().number(), data(event))).collect::<Vec<_>>()
    };
    TOPICS.iter().map(|name| of(name)).collect()
}
