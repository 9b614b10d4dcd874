//! Clocks that differ: of the gateways, and of the server and what it was before.

use std::time::Duration;

use events::{Chance, Clock, Draft, Limit, Log, Options, Reader, SimulatedClock, Start};

use super::server::Server;
use super::suite::{Subject, data, draft, topic};
use super::{node, node_on, reach, redis_options, until};

const QUARTER_MS: i64 = 900_000;

/// A node whose wall clock differs from this machine's.
async fn node_off_by(server: &Server, ms: i64) -> Subject {
    let wall = SimulatedClock::new(Clock::system().unix_ms());
    wall.jump(ms);
    let log = Log::with(&Options::default(), wall.clock(), Chance::system());
    node_on(&redis_options(&server.url()), log, Box::new(wall)).await
}

fn mortal(n: u64) -> Draft {
    Draft { ttl_ms: Some(60_000), ..draft(&["a"], n) }
}

fn read_all(node: &Subject) -> Vec<u64> {
    let mut reader = Reader::new(&node.log, &[topic("a")], None, Start::Earliest);
    let mut read = Vec::new();
    while reader.read(Limit { events: 1000, bytes: 1 << 20 }, &mut read).unwrap().more {}
    read.iter().map(data).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_whose_clocks_differ_by_a_quarter_of_an_hour_lose_nothing() {
    let server = Server::start(&[]).await;
    let off = [0, QUARTER_MS, -QUARTER_MS];
    let mut nodes = Vec::new();
    for ms in off {
        nodes.push(node_off_by(&server, ms).await);
    }
    let mut readers: Vec<Reader> =
        nodes.iter().map(|node| Reader::new(&node.log, &[topic("a")], None, Start::Latest)).collect();
    let mut expected = Vec::new();
    for n in 0..12 {
        let publisher = &nodes[n as usize % nodes.len()];
        let event = if n < 6 { draft(&["a"], n) } else { mortal(n) };
        let cursor = publisher.publish(event).await.cursor;
        expected.push(n);
        for (node, reader) in nodes.iter().zip(&mut readers) {
            node.log.sweep(usize::MAX);
            let read = node.read_to(reader, cursor).await.unwrap();
            assert_eq!(read.iter().map(data).collect::<Vec<_>>(), [n]);
        }
    }
    let end = nodes[0].log.tail_cursor();
    // Those that start later too, whatever their clock.
    for ms in off {
        nodes.push(node_off_by(&server, ms).await);
    }
    for node in &nodes {
        reach(node, end).await;
        node.log.sweep(usize::MAX);
        assert_eq!(read_all(node), expected);
    }
    // Ephemeral events with a time to live.
    for from in 0..3 {
        let ephemeral = |n| Draft { ephemeral: true, ..mortal(n) };
        for (node, reader) in nodes.iter().zip(&mut readers) {
            let mut heard = Vec::new();
            for n in 0.. {
                assert!(n < 500, "never heard");
                nodes[from].publish(ephemeral(n)).await;
                reader.read(Limit { events: 99, bytes: 1 << 20 }, &mut heard).unwrap();
                if !heard.is_empty() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(node.log.tail() >= end.seq);
        }
    }
}

/// A server that took an event in before its clock was set forward, or another whose clock is
/// ahead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_a_server_whose_clock_was_set_is_no_older_than_the_last_look() {
    const AGAIN: &str = r#"
        local entry = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
        local gen, last = string.match(entry[1], '^(%d+)%-(%d+)$')
        local time = redis.call('TIME')[1] * 1000 + tonumber(ARGV[1])
        return redis.call('XADD', KEYS[1], gen .. '-' .. string.format('%.0f', last + 1), 'd', entry[2][2],
          't', string.format('%.0f', time))"#;
    let server = Server::start(&[]).await;
    let follows = node(&redis_options(&server.url())).await;
    follows.publish(mortal(7)).await;
    until("read", || read_all(&follows) == [7]).await;
    // A quarter of an hour ago, and in a quarter of an hour.
    for (count, ms) in [(2, "-900000"), (3, "900000")] {
        let id = server.cli(&["EVAL", AGAIN, "1", "{log}:s", ms]);
        assert!(id.contains('-'), "{id}");
        until("read", || read_all(&follows).len() >= count).await;
        follows.log.sweep(usize::MAX);
        assert_eq!(read_all(&follows), vec![7; count]);
    }
    // A node that starts has no other clock than the server's.
    let starts = node(&redis_options(&server.url())).await;
    assert_eq!(read_all(&starts).len(), 2);
}
