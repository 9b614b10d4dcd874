//! What operators and other programs do to the keys and to the server.

use std::time::Duration;

use events::{Draft, Rejection, ResetReason};

use super::server::Server;
use super::suite::{data, draft, json, once};
use super::{node, publish_at_last, reach, read_after, redis_options, settle};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_gone_is_noticed_and_everyone_is_reset() {
    for command in [&["FLUSHALL"][..], &["DEL", "{log}:s"]] {
        let server = Server::start(&[]).await;
        let nodes = [node(&redis_options(&server.url())).await, node(&redis_options(&server.url())).await];
        let before = nodes[0].publish(draft(&["a"], 0)).await.cursor;
        reach(&nodes[1], before).await;
        server.cli(command);
        // Nobody publishes: it has to be noticed all the same.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        for node in &nodes {
            let tail = settle(node).await;
            assert_ne!(tail.epoch, before.epoch, "{command:?}");
            let reset = read_after(node, "a", before).unwrap_err();
            assert_eq!(reset.reason, ResetReason::Epoch, "{command:?}");
        }
        let next = nodes[1].publish(draft(&["a"], 1)).await.cursor;
        reach(&nodes[0], next).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_that_is_gone_resets_nobody() {
    let server = Server::start(&[]).await;
    let nodes = [node(&redis_options(&server.url())).await, node(&redis_options(&server.url())).await];
    let before = nodes[0].publish(draft(&["a"], 0)).await.cursor;
    reach(&nodes[1], before).await;
    server.cli(&["DEL", "{log}:f"]);
    let after = publish_at_last(&nodes[1], draft(&["a"], 1)).await.cursor;
    assert_ne!(after.epoch, before.epoch);
    for node in &nodes {
        reach(node, after).await;
        assert_eq!(data(&read_after(node, "a", before).unwrap()[0]), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_type_is_refused_until_it_is_gone() {
    let server = Server::start(&[]).await;
    let node = node(&redis_options(&server.url())).await;
    let before = node.publish(draft(&["a"], 0)).await.cursor;
    server.cli(&["SET", "{log}:s", "something else"]);
    let refused = node.append_one(draft(&["a"], 1)).await;
    assert!(matches!(refused, Err(Rejection::Unavailable(_))), "{refused:?}");
    server.cli(&["DEL", "{log}:s"]);
    let after = publish_at_last(&node, draft(&["a"], 2)).await.cursor;
    reach(&node, after).await;
    assert_eq!(read_after(&node, "a", before).unwrap_err().reason, ResetReason::Epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_scripts_killed_clients_and_a_full_memory_pass() {
    let server = Server::start(&[]).await;
    let node = node(&redis_options(&server.url())).await;
    let start = node.publish(draft(&["a"], 0)).await.cursor;
    for n in 1..=20 {
        match n % 3 {
            0 => server.cli(&["SCRIPT", "FLUSH"]),
            1 => server.cli(&["CLIENT", "KILL", "TYPE", "normal"]),
            _ => {
                server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
                let refused = node.append_one(draft(&["a"], 99)).await;
                assert!(matches!(refused, Err(Rejection::Unavailable(_))), "{refused:?}");
                server.cli(&["CONFIG", "SET", "maxmemory", "0"])
            }
        };
        node.publish(once(&format!("id {n}"), draft(&["a"], n))).await;
    }
    settle(&node).await;
    let read = read_after(&node, "a", start).unwrap();
    assert_eq!(read.iter().map(data).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_are_one_log() {
    let server = Server::start(&[]).await;
    let nodes = [node(&redis_options(&server.url())).await, node(&redis_options(&server.url())).await];
    let start = settle(&nodes[0]).await;
    let publishing = nodes.iter().enumerate().map(|(at, node)| async move {
        for n in 0..200 {
            node.publish(draft(&["a"], at as u64 * 1000 + n)).await;
        }
    });
    futures_join(publishing).await;
    let end = settle(&nodes[0]).await;
    reach(&nodes[1], end).await;
    let reads = nodes.each_ref().map(|node| {
        let read = read_after(node, "a", start).unwrap();
        read.iter().map(json).collect::<Vec<_>>()
    });
    assert_eq!(reads[0].len(), 400);
    assert_eq!(reads[0], reads[1]);
    // A repeat is recognised wherever it comes.
    let first = nodes[0].publish(once("x", draft(&["a"], 0))).await;
    let again = nodes[1].publish(once("x", draft(&["a"], 0))).await;
    assert_eq!((again.seq, again.duplicate), (first.seq, true));
    let wrong = Draft { expect: Some(events::Seq::ZERO), ..draft(&["a"], 0) };
    assert_eq!(nodes[1].append_one(wrong).await, Err(Rejection::Conflict { last: first.seq.unwrap() }));
}

async fn futures_join(all: impl Iterator<Item = impl Future<Output = ()>>) {
    futures_util::future::join_all(all).await;
}
