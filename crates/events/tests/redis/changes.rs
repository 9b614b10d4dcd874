//! What operators and other programs do to the keys and to the server.

use std::time::Duration;

use events::{Draft, Rejection, ResetReason};

use super::server::{Path, Server};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_stream_in_its_place_gives_no_number_twice() {
    for id in ["5-1", "GEN-1", "GEN-3", "GEN-N", "9000000000000000-7"] {
        let server = Server::start(&[]).await;
        let nodes = [node(&redis_options(&server.url())).await, node(&redis_options(&server.url())).await];
        let mut before = Vec::new();
        for n in 0..10 {
            before.push(nodes[0].publish(draft(&["a"], n)).await.cursor);
        }
        let last = before[9];
        reach(&nodes[1], last).await;
        let generation = last.epoch.number().to_string();
        let id = id.replace("GEN", &generation).replace("-N", &format!("-{}", last.seq));
        server.cli(&[
            "EVAL",
            "redis.call('DEL', KEYS[1]) redis.call('XADD', KEYS[1], ARGV[1], 'x', 'y')",
            "1",
            "{log}:s",
            &id,
        ]);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let next = publish_at_last(&nodes[1], draft(&["a"], 77)).await.cursor;
        assert!(!before.contains(&next), "{id}");
        for node in &nodes {
            reach(node, next).await;
            let after = read_after(node, "a", last);
            match &after {
                // The same id is the same place.
                Ok(read) => assert_eq!(
                    (read.iter().map(data).collect::<Vec<_>>(), id.ends_with(&last.seq.to_string())),
                    (vec![77], true)
                ),
                Err(reset) => assert_eq!(reset.reason, ResetReason::Epoch, "{id}"),
            }
            settle(node).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_in_the_middle_or_at_the_end_is_a_reset() {
    let server = Server::start(&[]).await;
    let path = Path::to(&server).await;
    let (near, far) = (node(&redis_options(&server.url())).await, node(&redis_options(&path.url())).await);
    let start = near.publish(draft(&["a"], 0)).await.cursor;
    reach(&far, start).await;
    for (deleted, kept) in [(1, 2), (2, 0)] {
        path.cut();
        let mut ids = Vec::new();
        for n in 1..=3 {
            let cursor = near.publish(draft(&["a"], n)).await.cursor;
            ids.push((cursor, format!("{}-{}", cursor.epoch.number(), cursor.seq)));
        }
        let before = far.log.tail_cursor();
        for (_, id) in ids.iter().skip(if kept == 0 { 1 } else { 0 }).take(deleted) {
            server.cli(&["XDEL", "{log}:s", id]);
        }
        path.mend();
        reach(&far, ids[2].0).await;
        settle(&far).await;
        assert_eq!(read_after(&far, "a", before).unwrap_err().reason, ResetReason::Expired);
        assert_eq!(read_after(&near, "a", before).unwrap().len(), 3, "who had it keeps it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_trimmed_across_generations_is_a_reset_and_every_cursor_is_known() {
    for keep in [3, 1, 0] {
        let server = Server::start(&[]).await;
        let path = Path::to(&server).await;
        let (near, far) =
            (node(&redis_options(&server.url())).await, node(&redis_options(&path.url())).await);
        let start = near.publish(draft(&["a", "quiet"], 0)).await.cursor;
        reach(&far, start).await;
        path.cut();
        let mut cursors = vec![start];
        for n in 1..=12 {
            if n % 4 == 0 {
                // As if the server had restarted.
                server.cli(&["HSET", "{log}:f", "id", "another"]);
            }
            cursors.push(near.publish(draft(&["a"], n)).await.cursor);
        }
        server.cli(&["XTRIM", "{log}:s", "MAXLEN", "=", &keep.to_string()]);
        path.mend();
        let end = settle(&near).await;
        reach(&far, end).await;
        let late = node(&redis_options(&server.url())).await;
        for node in [&near, &far, &late] {
            for cursor in &cursors {
                assert_eq!(node.log.locate(*cursor), events::Located::Here(*cursor), "keep {keep}");
            }
        }
        for node in [&far, &late] {
            assert_eq!(read_after(node, "a", start).unwrap_err().reason, ResetReason::Expired);
            assert!(read_after(node, "a", end).unwrap().is_empty());
        }
        assert_eq!(read_after(&near, "a", start).unwrap().len(), 12);
        let next = near.publish(draft(&["a"], 99)).await.cursor;
        for node in [&near, &far, &late] {
            reach(node, next).await;
            assert_eq!(read_after(node, "a", end).unwrap().iter().map(data).collect::<Vec<_>>(), [99]);
        }
    }
}

/// The token outlives the log that its event was in; the event does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_of_what_was_deleted_is_appended_and_holds_nobody_up() {
    let server = Server::start(&[]).await;
    let node = node(&redis_options(&server.url())).await;
    let first = node.publish(once("x", draft(&["a"], 0))).await;
    settle(&node).await;
    server.cli(&["DEL", "{log}:s"]);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let next = settle(&node).await;
    let batch = vec![draft(&["b"], 1), once("x", draft(&["a"], 0)), draft(&["b"], 2)];
    let answers = tokio::time::timeout(Duration::from_secs(180), node.append(batch)).await.expect("at once");
    let again = answers[1].as_ref().unwrap();
    assert!(!again.duplicate && again.cursor.epoch != first.cursor.epoch, "{again:?}");
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(node.store.ready().is_ok());
    reach(&node, answers[2].as_ref().unwrap().cursor).await;
    assert_eq!(read_after(&node, "a", next).unwrap().len(), 1);
    assert!(node.publish(once("x", draft(&["a"], 0))).await.duplicate);
}

/// Seqs are numbers: 9 lies before 10, though not as text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_known_though_its_generation_ended_at_a_seq_with_more_digits() {
    let server = Server::start(&[]).await;
    let node = node(&redis_options(&server.url())).await;
    let first = node.publish(once("x", draft(&["a"], 1))).await;
    let generation = first.cursor.epoch.number().to_string();
    // As if the first event had a seq of one digit, in a generation that ended at one of two.
    let held = server.cli(&["GET", "{log}:i:p:x"]);
    let name = held.split_once(' ').unwrap().1;
    server.cli(&["SET", "{log}:i:p:x", &format!("o{generation}-9 {name}")]);
    server.cli(&["HSET", "{log}:f", "id", "another"]);
    publish_at_last(&node, draft(&["a"], 2)).await;
    server.cli(&["HSET", "{log}:f", &generation, "10"]);
    let repeat = node.publish(once("x", draft(&["a"], 1))).await;
    assert_eq!((repeat.duplicate, repeat.seq.map(|seq| seq.number())), (true, Some(9)));
    // One that lies behind the end never happened.
    server.cli(&["SET", "{log}:i:p:x", &format!("o{generation}-11 {name}")]);
    assert!(!node.publish(once("x", draft(&["a"], 1))).await.duplicate);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_gone_takes_its_checkpoints_along() {
    let server = Server::start(&[]).await;
    let node = node(&redis_options(&server.url())).await;
    let source: events::SourceName = "outbox".parse().unwrap();
    let checkpoint = events::Checkpoint::new(source.clone(), *b"7").unwrap();
    node.store.append_and_checkpoint(vec![draft(&["a"], 1)], checkpoint).await.unwrap();
    assert!(node.store.checkpoint(&source).await.unwrap().is_some());
    server.cli(&["DEL", "{log}:s"]);
    publish_at_last(&node, draft(&["a"], 2)).await;
    assert_eq!(node.store.checkpoint(&source).await, Ok(None));
}
