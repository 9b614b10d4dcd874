//! An outbox whose gateways are killed and frozen and whose store refuses at random: what is committed is published,
//! in each writer's order, and nothing twice.
//!
//! `OUTBOX_SECONDS` says for how long, `CHAOS_SEED` at which moments.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]
#![expect(clippy::print_stdout, reason = "figures of a random run")]

#[path = "chaos/chance.rs"]
mod chance;
#[path = "support/postgres.rs"]
mod postgres;
#[path = "../../events/tests/redis/server.rs"]
#[allow(dead_code, reason = "the store's own tests use the rest")]
mod redis;
mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chance::Chance;
use gateway::config::{self, Command};
use postgres::{PgBouncer, Postgres};
use support::{Gateway, Program, eventually, get, get_with, serving};
use tokio::time::Instant;

const WRITERS: u64 = 6;
/// The store knows the ids of five minutes only after a restart, too.
const KEEPS_ALL: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];
/// So that all of the log can be read at the end.
const KEEPS_HISTORY: [&str; 4] = ["--ring-events", "1000000", "--ring-seconds", "86400"];

async fn with_outbox() -> Postgres {
    let server = Postgres::start(&[]).await;
    let Ok(Command::OutboxSql(outbox)) = config::read(["gateway", "outbox-sql"]) else { panic!("no script") };
    server.run(&outbox.script()).await;
    server
}

fn start(store: &str, database: &str) -> Program {
    let options = ["--store", "redis", "--redis-url", store, "--database-url", database];
    let outbox = ["--source-outbox", "throughline_outbox", "--outbox-poll-ms", "20", "--log", "error"];
    let mut program = Program::start(&serving(&[&options[..], &outbox, &KEEPS_HISTORY].concat()));
    program.read_log();
    program
}

/// Commits and rolls back rows `[writer, n]` with growing `n`. Gives those that were committed.
async fn write(port: u16, writer: u64, mut chance: Chance, over: Arc<AtomicBool>) -> Vec<u64> {
    let client = postgres::connect(port).await.unwrap();
    let (mut n, mut committed) = (0, Vec::new());
    while !over.load(Ordering::Acquire) {
        let mut rows = Vec::new();
        client.batch_execute("begin").await.unwrap();
        for _ in 0..=chance.below(3) {
            n += 1;
            let publish = format!("select throughline_publish('w', 't', '[{writer}, {n}]')");
            client.batch_execute(&publish).await.unwrap();
            rows.push(n);
            chance.pause(20).await;
        }
        if chance.below(4) == 0 {
            client.batch_execute("rollback").await.unwrap();
        } else {
            client.batch_execute("commit").await.unwrap();
            committed.append(&mut rows);
        }
        chance.pause(20).await;
    }
    committed
}

/// All events of the topic, by a gateway of its own.
async fn published(store: &str) -> Vec<(u64, u64)> {
    let options = ["--store", "redis", "--redis-url", store];
    let gateway = Gateway::serve(&[&options[..], &KEEPS_HISTORY].concat()).await;
    eventually("ready", async || get(gateway.address, "/ready").await.status == 200).await;
    read(gateway.address).await
}

async fn read(address: SocketAddr) -> Vec<(u64, u64)> {
    let (mut all, mut after) = (Vec::new(), "earliest".to_owned());
    loop {
        let path = format!("/v1/history?topic=w&limit=1000&after={after}");
        let batch = get_with(address, &path, &[("Authorization", "Bearer key")]).await.json();
        let events = batch["events"].as_array().unwrap();
        all.extend(
            events
                .iter()
                .map(|event| (event["data"][0].as_u64().unwrap(), event["data"][1].as_u64().unwrap())),
        );
        after = batch["cursor"].as_str().unwrap().to_owned();
        if events.is_empty() {
            return all;
        }
    }
}

async fn taken_over(server: &Postgres) {
    let left = "select count(*) from throughline_outbox";
    eventually("the outbox is empty", async || server.ask(left).await == "0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_published_once_and_in_each_writers_order() {
    let seconds = std::env::var("OUTBOX_SECONDS").map_or(10, |text| text.parse().expect("a number"));
    let server = with_outbox().await;
    let pooler = PgBouncer::start(&server, "transaction", 2).await;
    let mut store = redis::Server::start(&KEEPS_ALL).await;
    let databases = [pooler.url(), server.url()];
    let mut gateways = databases.each_ref().map(|database| start(&store.url(), database));
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(server.port, writer, Chance::new(writer), Arc::clone(&over))))
        .collect();
    let mut chance = Chance::new(99);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut kills, mut refusals) = (0, 0);
    while Instant::now() < end {
        chance.pause(1_500).await;
        match chance.below(4) {
            0 => {
                refusals += 1;
                store.signal("-STOP");
                chance.pause(1_500).await;
                store.signal("-CONT");
            }
            1 => {
                refusals += 1;
                store.kill();
                chance.pause(500).await;
                store.start_again().await;
            }
            _ => {
                kills += 1;
                let at = chance.below(2) as usize;
                // Dropped, the old one is killed with SIGKILL.
                gateways[at].signal("KILL");
                gateways[at] = start(&store.url(), &databases[at]);
            }
        }
    }
    over.store(true, Ordering::Release);
    let mut committed = Vec::new();
    for writer in writers {
        committed.push(writer.await.unwrap());
    }
    taken_over(&server).await;
    let published = published(&store.url()).await;
    let distinct: BTreeSet<_> = published.iter().collect();
    println!("{} events, {kills} kills, {refusals} refusals of the store", published.len());
    assert_eq!(distinct.len(), published.len(), "nothing twice");
    for (writer, committed) in committed.iter().enumerate() {
        let of_writer = published.iter().filter(|(who, _)| *who == writer as u64);
        let of_writer: Vec<u64> = of_writer.map(|(_, n)| *n).collect();
        assert_eq!(&of_writer, committed, "writer {writer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_gateway_is_relieved_by_the_server_and_repeats_nothing_when_it_wakes() {
    let server = with_outbox().await;
    let store = redis::Server::start(&KEEPS_ALL).await;
    let frozen = start(&store.url(), &server.url());
    server.run("select throughline_publish('w', 't', '[0, 1]')").await;
    taken_over(&server).await;
    // Frozen in the middle of a turn: it has read its rows and waits for the store.
    store.signal("-STOP");
    server
        .run("select throughline_publish('w', 't', json_build_array(0, n)) from generate_series(2, 300) n")
        .await;
    let turns = "select count(*) from pg_stat_activity where state = 'idle in transaction' \
                 and application_name = 'throughline'";
    eventually("it has its turn", async || server.ask(turns).await == "1").await;
    frozen.signal("STOP");
    store.signal("-CONT");
    let other = start(&store.url(), &server.url());
    taken_over(&server).await;
    server.run("select throughline_publish('w', 't', '[0, 301]')").await;
    taken_over(&server).await;
    frozen.signal("CONT");
    eventually("it takes turns again", async || {
        get(frozen.address, "/metrics").await.body.contains("throughline_source_up{source=\"outbox\"} 1")
    })
    .await;
    server.run("select throughline_publish('w', 't', '[0, 302]')").await;
    taken_over(&server).await;
    let all: Vec<u64> = published(&store.url()).await.iter().map(|(_, n)| *n).collect();
    assert_eq!(all, (1..=302).collect::<Vec<_>>());
    assert!(server.log().contains("idle-in-transaction timeout"), "the server has ended its transaction");
    drop(other);
}
