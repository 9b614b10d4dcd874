//! More than one server that takes itself for the master.

use std::time::Duration;

use events::{RedisOptions, ResetReason};

use super::failover::{Pair, has};
use super::server::Server;
use super::suite::{data, draft, once};
use super::{node, publish_at_last, reach, read_after, redis_options, settle, told_of_loss, until};

/// Publishes for a while at some nodes, one draft after another, each to a topic of the node's own,
/// and on until something is acknowledged if something has to be. What was.
async fn publish_for(nodes: &[&super::Subject], time: Duration, from: u64, has_to: bool) -> Vec<Vec<u64>> {
    let until = std::time::Instant::now() + time;
    let deadline = until + Duration::from_secs(180);
    let publishing = nodes.iter().enumerate().map(async |(at, node)| {
        let mut acknowledged = Vec::new();
        for n in from.. {
            let draft = once(&format!("{at} {n}"), draft(&[["a", "b"][at]], n));
            if node.store.append(vec![draft]).await[0].is_ok() {
                acknowledged.push(n);
            } else {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let now = std::time::Instant::now();
            if now > until && (!has_to || !acknowledged.is_empty() || now > deadline) {
                break;
            }
        }
        acknowledged
    });
    futures_util::future::join_all(publishing).await
}

/// Every event that was acknowledged is in the log, or whoever reads its topic is told.
async fn nothing_is_lost_unsaid(
    node: &super::Subject,
    server: &Server,
    start: events::Cursor,
    acknowledged: &[Vec<u64>],
    may_lose: bool,
) {
    for (at, acknowledged) in acknowledged.iter().enumerate() {
        let name = ["a", "b"][at];
        let keys: Vec<String> = acknowledged.iter().map(|n| format!("{{log}}:i:p:{at} {n}")).collect();
        let kept = keys.chunks(500).map(|keys| {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            server.cli(&[&["EXISTS"][..], &keys].concat()).parse::<usize>().unwrap()
        });
        let lost = keys.len() - kept.sum::<usize>();
        if lost > 0 {
            assert!(may_lose, "{name} lost {lost} of {}", acknowledged.len());
            told_of_loss(node, name, start).await;
        } else if let Ok(read) = read_after(node, name, start) {
            let read: Vec<u64> = read.iter().map(data).collect();
            assert!(read.is_sorted_by(|a, b| a < b), "{name}: {read:?}");
            assert!(acknowledged.iter().all(|n| read.contains(n)), "{name}");
        }
    }
}

/// Lets go of whoever is connected, who then looks for the master again.
fn let_go(server: &Server) {
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
}

/// Publishes until the event is in another epoch than `epoch`.
async fn publish_elsewhere(node: &super::Subject, name: &str, epoch: events::Epoch) -> events::Cursor {
    for n in 1000..1500 {
        let cursor = publish_at_last(node, draft(&[name], n)).await.cursor;
        if cursor.epoch != epoch {
            return cursor;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("still in {epoch}");
}

/// For how long two servers take themselves for the master.
const SPLIT: Duration = Duration::from_secs(5);

/// Two nodes, each of which has another of two servers first in its list, and five seconds in which
/// both servers are masters.
async fn split(wait_replicas: u32, min_replicas: &str) {
    let pair = Pair::start().await;
    let urls = [pair.master.url(), pair.replica.url()];
    let [one, two] = [(0, 1), (1, 0)].map(|(first, second)| RedisOptions {
        wait_replicas,
        ..redis_options(&format!("{},{}", urls[first], urls[second]))
    });
    let nodes = [node(&one).await, node(&two).await];
    let both = [&nodes[0], &nodes[1]];
    let start = publish_at_last(&nodes[0], draft(&["a", "b"], 0)).await.cursor;
    reach(&nodes[1], start).await;
    for server in [&pair.master, &pair.replica] {
        server.cli(&["CONFIG", "SET", "min-replicas-to-write", min_replicas]);
        server.cli(&["CONFIG", "SET", "min-replicas-max-lag", "1"]);
    }
    let mut acknowledged = publish_for(&both, Duration::from_millis(300), 1, false).await;
    pair.replica.cli(&["REPLICAOF", "NO", "ONE"]);
    let_go(&pair.master);
    let more = publish_for(&both, SPLIT, 10_000, false).await;
    // The split is over: the old master is told that it is none.
    pair.master.cli(&["REPLICAOF", "127.0.0.1", &pair.replica.port().to_string()]);
    let_go(&pair.master);
    until("in step", || pair.master.cli(&["INFO", "replication"]).contains("link_status:up")).await;
    let last = publish_for(&both, Duration::from_millis(1000), 1_000_000, true).await;
    for (all, more) in acknowledged.iter_mut().zip(more.into_iter().zip(last)) {
        all.extend(more.0);
        all.extend(more.1);
    }
    assert!(acknowledged.iter().all(|all| all.last() >= Some(&1_000_000)), "both publish again");
    pair.replica.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let end = settle(&nodes[0]).await;
    reach(&nodes[1], end).await;
    for node in &nodes {
        nothing_is_lost_unsaid(node, &pair.replica, start, &acknowledged, wait_replicas == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_masters_at_once_lose_nothing_unsaid() {
    split(0, "0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_masters_at_once_that_need_a_replica_to_write_lose_nothing_unsaid() {
    split(0, "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_masters_at_once_lose_nothing_that_was_waited_for() {
    split(1, "0").await;
}

/// A master dies, is succeeded, and comes back as a master, first in the list of all nodes: for
/// five seconds.
async fn old_master_is_back(kept: &[&str]) {
    let master = Server::start(kept).await;
    let replica = Server::replica_of(&master, &[]).await;
    let mut pair = Pair { master, replica };
    let options = pair.options();
    let nodes = [node(&options).await, node(&options).await];
    let both = [&nodes[0], &nodes[1]];
    let start = nodes[0].publish(draft(&["a", "b"], 0)).await.cursor;
    reach(&nodes[1], start).await;
    has(&pair.replica, 2).await;
    pair.part();
    // Its successor lacks this.
    let tail = nodes[0].publish(once("0 0", draft(&["a"], 0))).await.cursor;
    reach(&nodes[1], tail).await;
    pair.master.kill();
    pair.replica.cli(&["REPLICAOF", "NO", "ONE"]);
    let mut acknowledged = publish_for(&both, Duration::from_millis(500), 1, true).await;
    acknowledged[0].push(0);
    pair.master.start_again().await;
    let_go(&pair.replica);
    let more = publish_for(&both, SPLIT, 10_000, false).await;
    let came_back = pair.master.cli(&["XLEN", "{log}:s"]).parse::<u64>().unwrap();
    assert!(came_back > 20, "it was published to: {came_back}");
    pair.replica.cli(&["CONFIG", "SET", "masterauth", ""]);
    pair.master.cli(&["REPLICAOF", "127.0.0.1", &pair.replica.port().to_string()]);
    let last = publish_for(&both, Duration::from_millis(1000), 1_000_000, true).await;
    for (all, more) in acknowledged.iter_mut().zip(more.into_iter().zip(last)) {
        all.extend(more.0);
        all.extend(more.1);
    }
    assert!(acknowledged.iter().all(|all| all.last() >= Some(&1_000_000)), "both publish again");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let end = settle(&nodes[0]).await;
    reach(&nodes[1], end).await;
    for node in &nodes {
        nothing_is_lost_unsaid(node, &pair.replica, start, &acknowledged, true).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_master_is_back_empty_as_a_master_for_a_while() {
    old_master_is_back(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_master_is_back_with_all_it_had_as_a_master_for_a_while() {
    old_master_is_back(&["--appendonly", "yes", "--appendfsync", "always"]).await;
}

/// Who publishes loses its connection and finds another master than who follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_publishes_and_who_follows_do_not_stay_on_two_masters() {
    let mut pair = Pair::start().await;
    pair.master.kill();
    pair.replica.cli(&["REPLICAOF", "NO", "ONE"]);
    let node = node(&pair.options()).await;
    let start = publish_at_last(&node, draft(&["a"], 0)).await.cursor;
    reach(&node, start).await;
    pair.master.start_again().await;
    // Only the connection that publishes: who follows has read since.
    tokio::time::sleep(Duration::from_millis(100)).await;
    node.publish(draft(&["a"], 1)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    for client in pair.replica.cli(&["CLIENT", "LIST", "TYPE", "normal"]).lines() {
        let field = |name: &str| client.split(' ').find_map(|field| field.strip_prefix(name));
        if field("cmd=") == Some("evalsha") {
            pair.replica.cli(&["CLIENT", "KILL", "ID", field("id=").unwrap()]);
        }
    }
    let last = publish_elsewhere(&node, "a", start.epoch).await;
    reach(&node, last).await;
    assert_eq!(read_after(&node, "a", start).unwrap_err().reason, ResetReason::Epoch);
    assert_eq!(settle(&node).await, last);
}

/// After a stray visit to a server that knows nothing, what was repeatable before still is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_after_a_visit_to_an_empty_server() {
    let mut pair = Pair::start().await;
    let node = node(&pair.options()).await;
    node.publish(draft(&["a"], 0)).await;
    has(&pair.replica, 2).await;
    pair.master.kill();
    pair.replica.cli(&["REPLICAOF", "NO", "ONE"]);
    let first = publish_at_last(&node, once("x", draft(&["a"], 1))).await;
    // Another generation, so that the one of the first is history there.
    pair.replica.cli(&["HSET", "{log}:f", "id", "another"]);
    let before = publish_elsewhere(&node, "a", first.cursor.epoch).await;
    settle(&node).await;
    pair.master.start_again().await;
    let_go(&pair.replica);
    publish_elsewhere(&node, "b", before.epoch).await;
    settle(&node).await;
    // Nothing is left to read there from which the ends of the generations could be learnt.
    pair.replica.cli(&["XTRIM", "{log}:s", "MAXLEN", "=", "0"]);
    pair.master.kill();
    settle(&node).await;
    let repeat = node.append_one(once("x", draft(&["a"], 1)));
    let again = tokio::time::timeout(Duration::from_secs(180), repeat).await.expect("at once").unwrap();
    assert_eq!((again.duplicate, again.seq), (true, first.seq));
    assert!(node.store.ready().is_ok());
}

/// A log in its first generation knows of no end of any; still there are readers to tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_lost_beside_a_log_in_its_first_generation_is_told_of() {
    let mut stray = Server::start(&[]).await;
    stray.kill();
    let server = Server::start(&[]).await;
    let both = redis_options(&format!("{},{}", stray.url(), server.url()));
    let [here, other] = [node(&both).await, node(&redis_options(&server.url())).await];
    let start = publish_at_last(&here, draft(&["a", "b"], 0)).await.cursor;
    reach(&other, start).await;
    stray.start_again().await;
    let_go(&server);
    let lost = publish_elsewhere(&here, "a", start.epoch).await;
    reach(&here, lost).await;
    stray.kill();
    assert_eq!(told_of_loss(&other, "a", start).await.reason, ResetReason::Expired);
    assert!(read_after(&other, "b", start).unwrap().is_empty(), "nothing of it was lost");
}
