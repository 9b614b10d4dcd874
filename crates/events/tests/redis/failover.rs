//! A master that dies and a replica that lacks its last writes.

use std::time::Duration;

use events::{Located, Reader, RedisOptions, ResetReason, Start};

use super::server::{Path, Server};
use super::suite::{data, draft, once, topic};
use super::{node, publish_at_last, reach, read_after, redis_options, settle, told_of_loss, until};

pub(crate) struct Pair {
    pub(crate) master: Server,
    pub(crate) replica: Server,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let master = Server::start(&[]).await;
        let replica = Server::replica_of(&master, &[]).await;
        Self { master, replica }
    }

    pub(crate) fn options(&self) -> RedisOptions {
        redis_options(&format!("{},{}", self.master.url(), self.replica.url()))
    }

    /// From now on the replica gets nothing more, though it believes to be one.
    pub(crate) fn part(&self) {
        self.replica.cli(&["CONFIG", "SET", "masterauth", "x"]);
        self.master.cli(&["CONFIG", "SET", "requirepass", "secret"]);
        self.master.cli(&["-a", "secret", "CLIENT", "KILL", "TYPE", "replica"]);
    }
}

/// Waits until a server has so many entries.
pub(crate) async fn has(server: &Server, entries: usize) {
    for _ in 0..6_000 {
        if server.cli(&["XLEN", "{log}:s"]) == entries.to_string() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} entries, not {entries}", server.cli(&["XLEN", "{log}:s"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_tail_is_taken_back_and_told_of() {
    let mut pair = Pair::start().await;
    let [here, other] = [node(&pair.options()).await, node(&pair.options()).await];
    let first = here.publish(draft(&["a", "b", "quiet"], 0)).await.cursor;
    reach(&other, first).await;
    has(&pair.replica, 2).await;
    // Clients that stay below, of a topic that loses something and of one that does not.
    let mut below = [
        Reader::new(&other.log, &[topic("a")], None, Start::After(first)),
        Reader::new(&other.log, &[topic("quiet")], None, Start::After(first)),
    ];
    pair.part();
    let mut phantoms = Vec::new();
    for n in 1..=50 {
        phantoms.push(here.publish(draft(&["a"], n)).await.cursor);
    }
    reach(&other, phantoms[49]).await;
    pair.master.kill();
    pair.replica.cli(&["REPLICAOF", "NO", "ONE"]);

    let mut new = Vec::new();
    for n in 100..120 {
        let appended = publish_at_last(&here, once(&format!("id {n}"), draft(&["b"], n))).await;
        assert!(!appended.duplicate);
        new.push(appended.cursor);
    }
    assert_ne!(new[0].epoch, first.epoch);
    let end = settle(&here).await;
    reach(&other, end).await;
    let late = node(&pair.options()).await;
    reach(&late, end).await;
    for node in [&here, &other, &late] {
        let read = read_after(node, "b", first).unwrap();
        assert_eq!(read.iter().map(data).collect::<Vec<_>>(), (100..120).collect::<Vec<_>>());
        for phantom in &phantoms {
            assert_eq!(node.log.locate(*phantom), Located::Phantom { end: first });
        }
        let reset = read_after(node, "b", phantoms[3]).unwrap_err();
        assert_eq!((reset.reason, reset.at), (ResetReason::Epoch, first));
        // Acknowledged and lost: whoever reads the topic is told, even one that has seen none of
        // it.
        assert_eq!(told_of_loss(node, "a", first).await.reason, ResetReason::Expired);
        assert!(read_after(node, "quiet", first).unwrap().is_empty(), "nothing of it was lost");
    }
    let limit = || events::Limit { events: 100, bytes: 1 << 20 };
    assert!(below[0].read(limit(), &mut Vec::new()).is_err());
    assert!(below[1].read(limit(), &mut Vec::new()).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_that_lost_nothing_resets_nobody() {
    let mut pair = Pair::start().await;
    let node = node(&pair.options()).await;
    let first = node.publish(once("x", draft(&["a"], 0))).await;
    has(&pair.replica, 2).await;
    pair.master.kill();
    pair.replica.cli(&["REPLICAOF", "NO", "ONE"]);
    // The same draft again, to another server: one entry.
    let again = publish_at_last(&node, once("x", draft(&["a"], 0))).await;
    assert_eq!((again.seq, again.duplicate), (first.seq, true));
    let next = publish_at_last(&node, draft(&["a"], 1)).await.cursor;
    reach(&node, next).await;
    assert_eq!(data(&read_after(&node, "a", first.cursor).unwrap()[0]), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_demoted_is_left() {
    let pair = Pair::start().await;
    let node = node(&pair.options()).await;
    let first = node.publish(draft(&["a"], 0)).await.cursor;
    has(&pair.replica, 2).await;
    let port = pair.replica.port().to_string();
    pair.replica.cli(&["REPLICAOF", "NO", "ONE"]);
    pair.master.cli(&["REPLICAOF", "127.0.0.1", &port]);
    let next = publish_at_last(&node, draft(&["a"], 1)).await.cursor;
    reach(&node, next).await;
    assert_eq!(read_after(&node, "a", first).unwrap().len(), 1);
    // And back again, without a publish in between: the place of the node is still known.
    let port = pair.master.port().to_string();
    has(&pair.master, 4).await;
    pair.master.cli(&["REPLICAOF", "NO", "ONE"]);
    pair.replica.cli(&["REPLICAOF", "127.0.0.1", &port]);
    let last = publish_at_last(&node, draft(&["a"], 2)).await.cursor;
    reach(&node, last).await;
    let read = read_after(&node, "a", first).unwrap();
    assert_eq!(read.iter().map(data).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_wait_nothing_is_acknowledged_that_a_replica_lacks() {
    let mut pair = Pair::start().await;
    let node = node(&RedisOptions { wait_replicas: 1, ..pair.options() }).await;
    let first = publish_at_last(&node, once("id 0", draft(&["a"], 0))).await.cursor;
    pair.part();
    for n in 1..4 {
        assert!(node.append_one(once(&format!("id {n}"), draft(&["a"], n))).await.is_err());
    }
    assert!(node.store.ready().is_err(), "no publish has a chance");
    let error = node.store.status().error.unwrap_or_default();
    assert!(error.contains("fewer than 1 replicas are connected"), "{error}");
    pair.master.kill();
    pair.replica.cli(&["REPLICAOF", "NO", "ONE"]);
    let second = Server::replica_of(&pair.replica, &[]).await;
    for n in 1..4 {
        let appended = publish_at_last(&node, once(&format!("id {n}"), draft(&["a"], n))).await;
        let id = format!("{}-{}", appended.cursor.epoch.number(), appended.cursor.seq);
        for server in [&pair.replica, &second] {
            assert!(server.cli(&["XRANGE", "{log}:s", &id, &id]).contains(&id));
        }
    }
    settle(&node).await;
    // What was refused had no effect, so nobody is reset.
    assert_eq!(read_after(&node, "a", first).unwrap().iter().map(data).collect::<Vec<_>>(), [1, 2, 3]);
}

/// A replica that is connected and does not answer: only waiting for it shows that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_wait_a_replica_that_hangs_is_not_taken_for_one_that_has_it() {
    let pair = Pair::start().await;
    let node = node(&RedisOptions { wait_replicas: 1, ..pair.options() }).await;
    publish_at_last(&node, draft(&["a"], 0)).await;
    pair.replica.signal("-STOP");
    let ephemeral = events::Draft { ephemeral: true, ..draft(&["a"], 2) };
    let answers = node.append(vec![draft(&["a"], 1), ephemeral]).await;
    assert!(answers[0].is_err(), "{answers:?}");
    assert!(answers[1].is_ok(), "it was sent, and no replica keeps it: {answers:?}");
    assert_eq!(node.store.status().error.as_deref(), Some("too few replicas have it"));
    pair.replica.signal("-CONT");
    publish_at_last(&node, draft(&["a"], 3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_attaches_resets_nobody() {
    let master = Server::start(&[]).await;
    let node = node(&redis_options(&master.url())).await;
    let first = node.publish(draft(&["a"], 0)).await.cursor;
    let _replica = Server::replica_of(&master, &[]).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let next = node.publish(draft(&["a"], 1)).await.cursor;
    reach(&node, next).await;
    assert_eq!(node.log.locate(first), Located::Here(first));
    assert_eq!(read_after(&node, "a", first).unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_failovers_the_second_to_a_server_that_saw_nothing_of_the_first() {
    let mut servers = vec![Server::start(&[]).await];
    for _ in 0..2 {
        servers.push(Server::replica_of(&servers[0], &[]).await);
    }
    let urls: Vec<String> = servers.iter().map(Server::url).collect();
    let options = redis_options(&urls.join(","));
    let nodes = [node(&options).await, node(&options).await];
    let first = nodes[0].publish(draft(&["a", "b", "quiet"], 0)).await.cursor;
    reach(&nodes[1], first).await;
    has(&servers[1], 2).await;
    has(&servers[2], 2).await;
    // The third server stands still from here on.
    servers[2].cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let lost = nodes[0].publish(draft(&["a"], 1)).await.cursor;
    has(&servers[1], 3).await;
    servers[0].kill();
    // The second believes to live 100 years later.
    let future = (first.epoch.number() + 3_000_000_000_000_000).to_string();
    servers[1].cli(&["REPLICAOF", "NO", "ONE"]);
    servers[1].cli(&["HSET", "{log}:f", "gen", &future, "id", "another"]);
    let lost_too = publish_at_last(&nodes[0], draft(&["a"], 2)).await.cursor;
    assert!(lost_too.epoch.number() > first.epoch.number() + 2_000_000_000_000_000);
    for node in &nodes {
        reach(node, lost_too).await;
    }
    servers[1].kill();
    servers[2].cli(&["REPLICAOF", "NO", "ONE"]);
    let last = publish_at_last(&nodes[1], draft(&["b"], 3)).await.cursor;
    assert!(last.epoch.number() < lost_too.epoch.number(), "the new generation is lower than the nodes'");
    for node in &nodes {
        reach(node, last).await;
        for phantom in [lost, lost_too] {
            let located = node.log.locate(phantom);
            assert_eq!(located, Located::Phantom { end: first }, "{phantom}");
        }
        assert_eq!(read_after(node, "b", first).unwrap().iter().map(data).collect::<Vec<_>>(), [3]);
        settle(node).await;
        assert_eq!(told_of_loss(node, "a", first).await.reason, ResetReason::Expired);
        assert!(read_after(node, "quiet", first).unwrap().is_empty(), "nothing of it was lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn back_from_a_master_that_never_had_what_the_next_one_has() {
    let mut servers = vec![Server::start(&[]).await];
    for _ in 0..2 {
        servers.push(Server::replica_of(&servers[0], &[]).await);
    }
    let urls: Vec<String> = servers.iter().map(Server::url).collect();
    let node = node(&redis_options(&urls.join(","))).await;
    let first = node.publish(draft(&["a"], 0)).await.cursor;
    has(&servers[1], 2).await;
    servers[1].cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let second = node.publish(draft(&["b"], 1)).await.cursor;
    reach(&node, second).await;
    has(&servers[2], 3).await;
    servers[0].kill();
    servers[1].cli(&["REPLICAOF", "NO", "ONE"]);
    let phantom = publish_at_last(&node, draft(&["c"], 2)).await.cursor;
    reach(&node, phantom).await;
    assert_eq!(node.log.locate(second), Located::Phantom { end: first });
    servers[1].kill();
    servers[2].cli(&["REPLICAOF", "NO", "ONE"]);
    let last = publish_at_last(&node, draft(&["d"], 3)).await.cursor;
    reach(&node, last).await;
    assert_eq!(node.log.locate(second), Located::Here(second), "it is history again");
    assert_eq!(node.log.locate(phantom), Located::Phantom { end: first }, "where its branch began");
    assert_eq!(data(&read_after(&node, "d", second).unwrap()[0]), 3);
    settle(&node).await;
    assert_eq!(told_of_loss(&node, "c", second).await.reason, ResetReason::Expired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_whose_clock_is_far_behind() {
    let mut pair = Pair::start().await;
    let node = node(&pair.options()).await;
    let first = node.publish(draft(&["a"], 0)).await.cursor;
    has(&pair.replica, 2).await;
    pair.part();
    // The master believes to live 100 years later, and opens a generation there.
    let future = (first.epoch.number() + 3_000_000_000_000_000).to_string();
    pair.master.cli(&["-a", "secret", "HSET", "{log}:f", "gen", &future, "id", "another"]);
    let ahead = publish_at_last(&node, draft(&["a"], 1)).await.cursor;
    assert!(ahead.epoch.number() > first.epoch.number() + 2_000_000_000_000_000);
    reach(&node, ahead).await;
    pair.master.kill();
    pair.replica.cli(&["REPLICAOF", "NO", "ONE"]);
    let last = publish_at_last(&node, draft(&["a"], 2)).await.cursor;
    assert!(last.epoch.number() < ahead.epoch.number(), "the new generation is lower");
    reach(&node, last).await;
    assert_eq!(node.log.locate(ahead), Located::Phantom { end: first });
    let mut read = Reader::new(&node.log, &[topic("a")], None, Start::After(first));
    let mut out = Vec::new();
    while read.read(events::Limit { events: 9, bytes: 999 }, &mut out).is_err() {}
    settle(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_without_a_restart_and_without_a_publish_there() {
    let pair = Pair::start().await;
    let node = node(&pair.options()).await;
    let first = node.publish(draft(&["a"], 0)).await.cursor;
    has(&pair.replica, 2).await;
    for (new, old) in [(&pair.replica, &pair.master), (&pair.master, &pair.replica)] {
        new.cli(&["REPLICAOF", "NO", "ONE"]);
        old.cli(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]);
        until("in step", || old.cli(&["INFO", "replication"]).contains("master_link_status:up")).await;
    }
    let next = publish_at_last(&node, draft(&["a"], 1)).await.cursor;
    assert_ne!(next.epoch, first.epoch);
    reach(&node, next).await;
    assert_eq!(read_after(&node, "a", first).unwrap().iter().map(data).collect::<Vec<_>>(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_moved_without_a_word() {
    let pair = Pair::start().await;
    let path = Path::to(&pair.master).await;
    let moved = node(&redis_options(&path.url())).await;
    let first = moved.publish(draft(&["a"], 0)).await.cursor;
    has(&pair.replica, 2).await;
    let lost = moved.publish(draft(&["a"], 1)).await.cursor;
    reach(&moved, lost).await;
    has(&pair.replica, 3).await;
    pair.replica.cli(&["REPLICAOF", "NO", "ONE"]);
    // It has the scripts already, so that nothing but the server itself is different.
    let there = node(&redis_options(&pair.replica.url())).await;
    path.lead_to(&pair.replica);
    let next = publish_at_last(&moved, draft(&["a"], 2)).await.cursor;
    assert_ne!(next.epoch, first.epoch);
    for node in [&moved, &there] {
        reach(node, next).await;
        assert_eq!(read_after(node, "a", first).unwrap().iter().map(data).collect::<Vec<_>>(), [1, 2]);
    }
    // And back to a server that was never told: what it does not know never happened.
    path.lead_to(&pair.master);
    let back = publish_at_last(&moved, draft(&["b"], 3)).await.cursor;
    reach(&moved, back).await;
    assert!(matches!(moved.log.locate(next), Located::Phantom { .. }));
    assert_eq!(read_after(&moved, "b", lost).unwrap().iter().map(data).collect::<Vec<_>>(), [3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_lacks_the_last_events() {
    let mut server = Server::start(&[]).await;
    let [here, other] =
        [node(&redis_options(&server.url())).await, node(&redis_options(&server.url())).await];
    let start = here.publish(draft(&["a", "b"], 0)).await.cursor;
    let saved = here.publish(draft(&["a"], 1)).await.cursor;
    assert_eq!(server.cli(&["SAVE"]), "OK");
    let lost = here.publish(draft(&["a"], 2)).await.cursor;
    reach(&other, lost).await;
    server.kill();
    server.start_again().await;
    let next = publish_at_last(&other, draft(&["b"], 3)).await.cursor;
    for node in [&here, &other] {
        reach(node, next).await;
        assert_eq!(node.log.locate(lost), Located::Phantom { end: saved });
        assert_eq!(read_after(node, "b", start).unwrap().iter().map(data).collect::<Vec<_>>(), [3]);
        told_of_loss(node, "a", start).await;
    }
}

/// The name of a connection that is in the middle of a command.
fn connections(server: &Server, command: &str) -> Vec<String> {
    let list = server.cli(&["CLIENT", "LIST", "TYPE", "normal"]);
    let clients = list.lines().filter(|client| client.contains(&format!(" cmd={command} ")));
    clients.map(|client| client.split([' ', '=']).nth(1).unwrap().to_owned()).collect()
}

/// Nobody followed the log when these were acknowledged: the one that publishes alone knows that
/// they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_while_nobody_could_follow_is_told_of() {
    for is_new_generation in [false, true] {
        let mut pair = Pair::start().await;
        let [here, other] = [node(&pair.options()).await, node(&pair.options()).await];
        let first = here.publish(draft(&["a", "quiet"], 0)).await.cursor;
        reach(&other, first).await;
        has(&pair.replica, 2).await;
        pair.part();
        // Who follows loses its connection and gets no other; who publishes keeps its own.
        pair.master.cli(&["-a", "secret", "CONFIG", "SET", "requirepass", ""]);
        pair.master.cli(&["ACL", "SETUSER", "default", "-role"]);
        until("reading", || connections(&pair.master, "xread").len() == 2).await;
        for id in connections(&pair.master, "xread") {
            pair.master.cli(&["CLIENT", "KILL", "ID", &id]);
        }
        until("nobody follows", || here.store.ready().is_err() && other.store.ready().is_err()).await;
        if is_new_generation {
            pair.master.cli(&["HSET", "{log}:f", "id", "another"]);
        }
        let lost = here.publish(draft(&["a"], 1)).await.cursor;
        assert_eq!(lost.epoch != first.epoch, is_new_generation);
        assert_eq!((here.log.tail_cursor(), other.log.tail_cursor()), (first, first), "nobody has read it");
        pair.master.kill();
        pair.replica.cli(&["REPLICAOF", "NO", "ONE"]);
        for node in [&here, &other] {
            assert_eq!(told_of_loss(node, "a", first).await.reason, ResetReason::Expired);
            assert!(read_after(node, "quiet", first).unwrap().is_empty(), "nothing of it was lost");
            let reset = read_after(node, "quiet", lost).unwrap_err();
            assert_eq!(reset.reason, ResetReason::Epoch, "a client that was told of the acknowledgement");
        }
    }
}

/// The one that published dies with the master. Whoever has read what it published tells of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_published_is_told_of_by_who_has_read_it() {
    let mut pair = Pair::start().await;
    let [dies, other] = [node(&pair.options()).await, node(&pair.options()).await];
    let first = dies.publish(draft(&["a", "quiet"], 0)).await.cursor;
    reach(&other, first).await;
    has(&pair.replica, 2).await;
    pair.part();
    let lost = dies.publish(draft(&["a"], 1)).await.cursor;
    reach(&other, lost).await;
    pair.master.kill();
    drop(dies);
    pair.replica.cli(&["REPLICAOF", "NO", "ONE"]);
    let late = node(&pair.options()).await;
    for node in [&other, &late] {
        assert_eq!(told_of_loss(node, "a", first).await.reason, ResetReason::Expired);
        assert!(read_after(node, "quiet", first).unwrap().is_empty(), "nothing of it was lost");
        assert_eq!(read_after(node, "quiet", lost).unwrap_err().reason, ResetReason::Epoch);
    }
}

/// How far a source has been taken over is known to the server that has the events, and to no
/// other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_is_lost_with_the_events_that_it_came_with() {
    let mut pair = Pair::start().await;
    let node = node(&pair.options()).await;
    let source: events::SourceName = "outbox".parse().unwrap();
    let store = async |n: u64| {
        let checkpoint = events::Checkpoint::new(source.clone(), n.to_string().into_bytes()).unwrap();
        let drafts = (0..300).map(|k| once(&format!("{n}:{k}"), draft(&["a"], n * 1000 + k))).collect();
        node.store.append_and_checkpoint(drafts, checkpoint).await
    };
    let position = async || node.store.checkpoint(&source).await.map(|at| at.map(|at| at.to_vec()));
    assert_eq!(position().await, Ok(None));
    let kept = store(1).await.unwrap()[299].unwrap();
    has(&pair.replica, 301).await;
    pair.part();
    assert!(store(2).await.is_ok());
    assert_eq!(position().await, Ok(Some(b"2".to_vec())));
    pair.master.kill();
    pair.replica.cli(&["REPLICAOF", "NO", "ONE"]);
    let mut at = position().await;
    for _ in 0..2_000 {
        if at.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        at = position().await;
    }
    assert_eq!(at, Ok(Some(b"1".to_vec())), "as far as its events");
    // The source hands in again what is missing.
    let again = store(2).await.unwrap();
    assert!(again.iter().all(|answer| !answer.unwrap().duplicate));
    assert_eq!(position().await, Ok(Some(b"2".to_vec())));
    reach(&node, again[299].unwrap().cursor).await;
    assert!(matches!(node.log.locate(kept.cursor), Located::Here(_)));
}
