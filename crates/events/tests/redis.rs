//! The store in Redis, on real servers: the suite of every store, and what is left after each way of losing a server.

#[macro_use]
#[allow(dead_code, reason = "the suite serves other stores too")]
mod suite;

#[path = "redis/access.rs"]
mod access;
#[path = "redis/board.rs"]
mod board;
#[path = "redis/changes.rs"]
mod changes;
#[path = "redis/chaos.rs"]
mod chaos;
#[path = "redis/cluster.rs"]
mod cluster;
#[path = "redis/failover.rs"]
mod failover;
#[path = "redis/given.rs"]
mod given;
#[path = "redis/masters.rs"]
mod masters;
#[path = "redis/refusals.rs"]
mod refusals;
#[path = "redis/regressions.rs"]
mod regressions;
#[path = "redis/restarts.rs"]
mod restarts;
#[path = "redis/sentinel.rs"]
mod sentinel;
#[path = "redis/server.rs"]
mod server;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use events::{Cursor, Event, Limit, Located, Log, Options, Reader, Redis, RedisOptions, Reset, Start, Store};
use server::Server;
use suite::{Subject, topic};

fn redis_options(url: &str) -> RedisOptions {
    RedisOptions {
        url: url.to_owned(),
        authorities: None,
        log_name: "log".to_owned(),
        wait_replicas: 0,
        events_max: 100_000,
        alone_when_down: false,
    }
}

/// A node of its own on these servers, once it has followed the log to its end.
async fn node(options: &RedisOptions) -> Subject {
    node_keeping(options, &Options { ring_events_max: 1 << 16, ..Options::default() }, Box::new(())).await
}

async fn node_keeping(options: &RedisOptions, log: &Options, keep: Box<dyn Any + Send + Sync>) -> Subject {
    let log = Log::new(log);
    let store = Redis::open(Arc::clone(&log), options).unwrap();
    let followed = tokio::time::timeout(Duration::from_secs(10), store.followed()).await;
    assert!(followed.is_ok(), "not followed: {:?}", store.last_error());
    Subject { log, store: store as Arc<dyn Store>, _keep: keep }
}

async fn open(options: &Options) -> Subject {
    let server = Server::start(&[]).await;
    let url = server.url();
    node_keeping(&redis_options(&url), options, Box::new(server)).await
}

/// Waits until the node's log has come to `cursor`.
async fn reach(node: &Subject, cursor: Cursor) {
    for _ in 0..500 {
        if node.log.locate(cursor) == Located::Here(cursor) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("at {}, not at {cursor}: {:?}", node.log.tail_cursor(), node.store.ready());
}

/// Waits until the node is where the store is, and says where that is.
async fn settle(node: &Subject) -> Cursor {
    for _ in 0..500 {
        if let Ok(tail) = node.store.tail().await
            && node.store.ready().is_ok()
            && node.log.tail_cursor() == tail
        {
            return tail;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("at {}, the store at {:?}", node.log.tail_cursor(), node.store.tail().await);
}

/// Reads what there is now for a topic after a cursor.
fn read_after(node: &Subject, name: &str, cursor: Cursor) -> Result<Vec<Event>, Reset> {
    let mut reader = Reader::new(&node.log, &[topic(name)], None, Start::After(cursor));
    let mut out = Vec::new();
    while reader.read(Limit { events: 1000, bytes: 1 << 20 }, &mut out)?.more {}
    Ok(out)
}

/// Waits until who reads a topic after a cursor is told that something is missing: somebody has to tell of it first.
async fn told_of_loss(node: &Subject, name: &str, cursor: Cursor) -> Reset {
    for _ in 0..500 {
        if let Err(reset) = read_after(node, name, cursor) {
            return reset;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody was told of what {name} lost");
}

/// Waits until what has no seq comes from one node to another.
async fn hears_ephemeral(from: &Subject, to: &Subject) {
    let mut reader = Reader::new(&to.log, &[topic("a")], None, Start::Latest);
    let mut out = Vec::new();
    for _ in 0..250 {
        from.publish(events::Draft { ephemeral: true, ..suite::draft(&["a"], 1) }).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        reader.read(Limit { events: 10, bytes: 1 << 20 }, &mut out).unwrap();
        if !out.is_empty() {
            return;
        }
    }
    panic!("never heard");
}

/// Waits until something holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not in time: {what}");
}

/// Publishes until it is taken.
async fn publish_at_last(node: &Subject, draft: events::Draft) -> events::Appended {
    let until = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        match node.append_one(draft.clone()).await {
            Ok(appended) => return appended,
            Err(rejection) => assert!(std::time::Instant::now() < until, "never taken: {rejection}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

mod conformance {
    conformance!(super::open);
}
