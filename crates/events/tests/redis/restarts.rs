//! One server that stops, hangs and comes back.

use std::time::Duration;

use events::{Draft, Located, Seq};

use super::server::{Path, Server};
use super::suite::{data, draft, once};
use super::{node, publish_at_last, reach, read_after, redis_options, settle, until};

const KEEPS_ALL: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_that_lost_nothing_resets_nobody() {
    let mut server = Server::start(&KEEPS_ALL).await;
    let [here, other] =
        [node(&redis_options(&server.url())).await, node(&redis_options(&server.url())).await];
    let start = here.publish(draft(&["a"], 0)).await.cursor;
    let mut cursors = vec![start];
    let mut last = Seq::ZERO;
    for round in 0..5 {
        for n in 0..20 {
            let id = round * 20 + n + 1;
            let appended = publish_at_last(&here, once(&format!("id {id}"), draft(&["a"], id))).await;
            cursors.push(appended.cursor);
            last = appended.seq.unwrap();
        }
        server.kill();
        server.start_again().await;
        // A repeat of one that was acknowledged by the server before.
        let id = round * 20 + 20;
        let repeat = publish_at_last(&other, once(&format!("id {id}"), draft(&["a"], id))).await;
        assert_eq!((repeat.duplicate, repeat.seq), (true, Some(last)));
        let expecting = Draft { expect: Some(Seq::ZERO), ..draft(&["a"], 0) };
        assert_eq!(
            publish_conflict(&other, expecting).await,
            events::Rejection::Conflict { last },
            "what is expected is not forgotten"
        );
    }
    let late = node(&redis_options(&server.url())).await;
    for node in [&here, &other, &late] {
        settle(node).await;
        for (at, cursor) in cursors.iter().enumerate() {
            assert_eq!(node.log.locate(*cursor), Located::Here(*cursor));
            let read = read_after(node, "a", *cursor).unwrap();
            let read: Vec<u64> = read.iter().map(data).collect();
            assert_eq!(read, (at as u64 + 1..=100).collect::<Vec<_>>());
        }
    }
}

async fn publish_conflict(node: &super::Subject, draft: Draft) -> events::Rejection {
    loop {
        match node.append_one(draft.clone()).await.unwrap_err() {
            events::Rejection::Unavailable(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            conflict => return conflict,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_waited_for_and_nothing_comes_twice() {
    let server = Server::start(&[]).await;
    let node = node(&redis_options(&server.url())).await;
    let start = node.publish(draft(&["a"], 0)).await.cursor;
    server.signal("-STOP");
    let refused =
        tokio::time::timeout(Duration::from_secs(9), node.append_one(once("x", draft(&["a"], 1)))).await;
    assert!(matches!(refused, Ok(Err(events::Rejection::Unavailable(_)))), "{refused:?}");
    assert!(node.store.ready().is_err());
    server.signal("-CONT");
    publish_at_last(&node, once("x", draft(&["a"], 1))).await;
    let end = publish_at_last(&node, draft(&["a"], 2)).await.cursor;
    reach(&node, end).await;
    let read = read_after(&node, "a", start).unwrap();
    assert_eq!(read.iter().map(data).collect::<Vec<_>>(), [1, 2]);
    settle(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_told_of_and_comes_back_without_a_gap() {
    let mut server = Server::start(&KEEPS_ALL).await;
    let node = node(&redis_options(&server.url())).await;
    let start = node.publish(draft(&["a"], 0)).await.cursor;
    reach(&node, start).await;
    server.kill();
    let refused = node.append_one(draft(&["a"], 9)).await;
    assert!(matches!(refused, Err(events::Rejection::Unavailable(_))), "{refused:?}");
    // By now the circuit is open: refused at once.
    let mut quick = 0;
    for _ in 0..10 {
        let started = std::time::Instant::now();
        assert!(node.append_one(draft(&["a"], 9)).await.is_err());
        quick += u32::from(started.elapsed() < Duration::from_millis(100));
    }
    assert!(quick >= 5, "{quick} of 10 were refused at once");
    assert!(node.store.ready().is_err());
    assert_eq!(node.log.locate(start), Located::Here(start));
    server.start_again().await;
    let end = publish_at_last(&node, draft(&["a"], 1)).await.cursor;
    reach(&node, end).await;
    let read = read_after(&node, "a", start).unwrap();
    assert_eq!(read.iter().map(data).collect::<Vec<_>>(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_trimmed_while_a_node_was_cut_off_is_a_reset() {
    for keep in [10, 0] {
        let server = Server::start(&[]).await;
        let path = Path::to(&server).await;
        let (near, far) =
            (node(&redis_options(&server.url())).await, node(&redis_options(&path.url())).await);
        let start = near.publish(draft(&["a", "quiet"], 0)).await.cursor;
        reach(&far, start).await;
        path.cut();
        for n in 1..=100 {
            near.publish(draft(&["a"], n)).await;
        }
        server.cli(&["XTRIM", "{log}:s", "MAXLEN", "=", &keep.to_string()]);
        path.mend();
        let end = settle(&near).await;
        reach(&far, end).await;
        assert!(read_after(&near, "a", start).is_ok());
        let reset = read_after(&far, "a", start).unwrap_err();
        assert_eq!(reset.reason, events::ResetReason::Expired);
        let next = near.publish(draft(&["a"], 101)).await.cursor;
        reach(&far, next).await;
        assert_eq!(data(&read_after(&far, "a", end).unwrap()[0]), 101);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_generations_than_are_remembered() {
    let server = Server::start(&[]).await;
    let node = node(&redis_options(&server.url())).await;
    let first = node.publish(draft(&["a"], 0)).await.cursor;
    let mut recent = first;
    for n in 1..=300 {
        // As if the server had restarted.
        server.cli(&["HSET", "{log}:f", "id", "another"]);
        recent = node.publish(draft(&["a"], n)).await.cursor;
    }
    let end = node.publish(draft(&["a"], 301)).await.cursor;
    reach(&node, end).await;
    assert_eq!(data(&read_after(&node, "a", recent).unwrap()[0]), 301);
    assert_eq!(server.cli(&["HLEN", "{log}:f"]), "258");
    let late = super::node(&redis_options(&server.url())).await;
    for node in [&node, &late] {
        reach(node, end).await;
        assert!(read_after(node, "a", recent).is_ok());
        assert!(read_after(node, "a", first).is_err(), "too long ago to be known");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_on_alone_comes_back_to_the_log_and_says_so() {
    let mut server = Server::start(&KEEPS_ALL).await;
    let alone = super::RedisOptions { alone_when_down: true, ..redis_options(&server.url()) };
    let [alone, other] = [node(&alone).await, node(&redis_options(&server.url())).await];
    let start = alone.publish(draft(&["a"], 0)).await.cursor;
    reach(&other, start).await;
    server.kill();
    let first = publish_at_last(&alone, once("x", draft(&["a"], 1))).await;
    assert_ne!(first.cursor.epoch, start.epoch);
    assert!(alone.publish(once("x", draft(&["a"], 1))).await.duplicate);
    let second = alone.publish(draft(&["a"], 2)).await.cursor;
    assert_eq!(read_after(&alone, "a", start).unwrap().iter().map(data).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(alone.store.tail().await, Ok(second));
    assert!(alone.store.ready().is_ok() && alone.store.status().alone);
    assert!(other.store.ready().is_err() && other.append_one(draft(&["a"], 9)).await.is_err());
    server.start_again().await;
    until("not alone any more", || !alone.store.status().alone).await;
    settle(&alone).await;
    let reset = read_after(&alone, "a", second).unwrap_err();
    assert_eq!((reset.reason, reset.at.seq), (events::ResetReason::Epoch, start.seq));
    let next = publish_at_last(&alone, once("x", draft(&["a"], 3))).await;
    assert!(!next.duplicate);
    for node in [&alone, &other] {
        reach(node, next.cursor).await;
        assert_eq!(read_after(node, "a", start).unwrap().iter().map(data).collect::<Vec<_>>(), [3]);
    }
}

/// Behind a balancer that asks whether a node is ready nobody publishes to one that is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_go_on_alone_does_so_though_nobody_publishes() {
    let mut server = Server::start(&KEEPS_ALL).await;
    let alone = super::RedisOptions { alone_when_down: true, ..redis_options(&server.url()) };
    let alone = node(&alone).await;
    let start = alone.publish(draft(&["a"], 0)).await.cursor;
    reach(&alone, start).await;
    server.kill();
    until("not ready", || alone.store.ready().is_err()).await;
    until("alone", || alone.store.status().alone && alone.store.ready().is_ok()).await;
    let own = alone.publish(draft(&["a"], 1)).await.cursor;
    assert_ne!(own.epoch, start.epoch);
    server.start_again().await;
    until("not alone any more", || !alone.store.status().alone).await;
    settle(&alone).await;
    assert!(read_after(&alone, "a", own).is_err());
}

/// How often something was done on a server, by its own count.
fn counted(server: &Server, section: &str, name: &str) -> u64 {
    let info = server.cli(&["INFO", section]);
    let line = info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    line.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_fails_every_command_is_not_stormed() {
    let server = Server::start(&[]).await;
    let node = node(&redis_options(&server.url())).await;
    let start = node.publish(draft(&["a"], 0)).await.cursor;
    // The last number that there is: connecting goes well, and nothing can be appended.
    server.cli(&["XADD", "{log}:s", &format!("{}-18446744073709551615", start.epoch.number()), "x", "y"]);
    let before = counted(&server, "stats", "total_connections_received:");
    let until = std::time::Instant::now() + Duration::from_secs(3);
    while std::time::Instant::now() < until {
        assert!(node.append_one(draft(&["a"], 1)).await.is_err());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let connections = counted(&server, "stats", "total_connections_received:") - before;
    assert!(connections < 60, "{connections} connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_the_tail_at_once_is_answered_by_few_looks() {
    let server = Server::start(&[]).await;
    let node = node(&redis_options(&server.url())).await;
    let start = node.publish(draft(&["a"], 0)).await.cursor;
    let before = counted(&server, "commandstats", "cmdstat_evalsha:calls=");
    let tails = futures_util::future::join_all((0..500).map(|_| node.store.tail())).await;
    assert!(tails.iter().all(|tail| *tail == Ok(start)));
    let looks = counted(&server, "commandstats", "cmdstat_evalsha:calls=") - before;
    assert!(looks < 100, "{looks} looks");
}

/// What the log can replay can be expected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_a_topic_is_kept_for_as_long_as_its_events() {
    let server = Server::start(&[]).await;
    let log = events::Options { ring_age_max: Duration::from_secs(7200), ..events::Options::default() };
    let node = super::node_keeping(&redis_options(&server.url()), &log, Box::new(())).await;
    node.publish(draft(&["a"], 0)).await;
    let ttl: u64 = server.cli(&["PTTL", "{log}:t:a"]).parse().unwrap();
    assert!(ttl > 7_100_000, "{ttl} ms");
}

/// The server did it after the answer was waited for; that is no repeat of the publisher's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_came_too_late_makes_no_duplicate() {
    let server = Server::start(&[]).await;
    let node = node(&redis_options(&server.url())).await;
    let start = node.publish(draft(&["a"], 0)).await.cursor;
    server.signal("-STOP");
    let publishing = node.append_one(once("x", draft(&["a"], 1)));
    let going_on = async {
        tokio::time::sleep(Duration::from_millis(2300)).await;
        server.signal("-CONT");
    };
    let appended = tokio::join!(publishing, going_on).0.unwrap();
    assert!(!appended.duplicate);
    reach(&node, appended.cursor).await;
    assert_eq!(read_after(&node, "a", start).unwrap().len(), 1);
    assert!(node.publish(once("x", draft(&["a"], 1))).await.duplicate);
}
