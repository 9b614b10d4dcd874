//! A master that Sentinel names.

use std::time::Duration;

use super::server::Server;
use super::suite::{data, draft, once};
use super::{node, publish_at_last, reach, read_after, redis_options, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_sentinel_follows_its_failover() {
    let mut master = Server::start(&[]).await;
    let replica = Server::replica_of(&master, &[]).await;
    let sentinel = Server::sentinel_of(&master).await;
    until("sentinel knows the replica", || {
        sentinel.cli(&["SENTINEL", "REPLICAS", "main"]).contains(&replica.port().to_string())
    })
    .await;
    let url = format!("redis-sentinel://127.0.0.1:1,127.0.0.1:{}/main", sentinel.port());
    let [here, other] = [node(&redis_options(&url)).await, node(&redis_options(&url)).await];
    let start = here.publish(draft(&["a"], 0)).await.cursor;
    reach(&other, start).await;
    until("replicated", || replica.cli(&["XLEN", "{log}:s"]) == "2").await;
    master.kill();
    let first = publish_at_last(&here, once("x", draft(&["a"], 1))).await;
    assert_ne!(first.cursor.epoch, start.epoch);
    let second = publish_at_last(&other, draft(&["a"], 2)).await.cursor;
    for node in [&here, &other] {
        reach(node, second).await;
        assert_eq!(read_after(node, "a", start).unwrap().iter().map(data).collect::<Vec<_>>(), [1, 2]);
    }
    // Back, it is made a replica of the new one.
    master.start_again().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let third = publish_at_last(&here, draft(&["a"], 3)).await.cursor;
    reach(&other, third).await;
    assert_eq!(read_after(&other, "a", start).unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_sentinel_does_not_know_is_told() {
    let master = Server::start(&[]).await;
    let sentinel = Server::sentinel_of(&master).await;
    let url = format!("redis-sentinel://127.0.0.1:{}/other", sentinel.port());
    let log = events::Log::new(&events::Options::default());
    let store = events::Redis::open(log, &redis_options(&url)).unwrap();
    until("told", || store.last_error().is_some_and(|error| error == "nobody knows the master")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_that_names_a_dead_master_is_passed_over() {
    let mut dead = Server::start(&[]).await;
    let stale = Server::sentinel_of(&dead).await;
    dead.kill();
    let master = Server::start(&[]).await;
    let sentinel = Server::sentinel_of(&master).await;
    let url = format!("redis-sentinel://127.0.0.1:{},127.0.0.1:{}/main", stale.port(), sentinel.port());
    let node = node(&redis_options(&url)).await;
    let end = node.publish(draft(&["a"], 0)).await.cursor;
    reach(&node, end).await;
}
