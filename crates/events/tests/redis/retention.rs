//! How much of the log Redis keeps, and how much of it a node reads that starts.

use std::time::Duration;

use events::{Cursor, Data, Draft, Event, Limit, Reader, RedisOptions, ResetReason, Start, Topics};

use super::server::Server;
use super::suite::{Subject, data, draft, json, topic};
use super::{node, reach, read_after, redis_options, settle, until};

const MIB: u64 = 1 << 20;

fn bounded(server: &Server, bytes_max: u64, age_max: Duration) -> RedisOptions {
    RedisOptions { bytes_max, age_max, ..redis_options(&server.url()) }
}

/// An event of some 10 kB.
fn large(n: u64) -> Draft {
    let padded = serde_json::json!({"n": n, "pad": "x".repeat(10_000)});
    Draft::new(Topics::one(topic("a")), "t".parse().unwrap(), Data::from_value(&padded).unwrap())
}

fn number(event: &Event) -> u64 {
    json(event)["data"]["n"].as_u64().unwrap()
}

/// Publishes large events of these numbers. The cursor of the last.
async fn publish(node: &Subject, numbers: std::ops::Range<u64>) -> Cursor {
    let mut last = None;
    for n in numbers.clone().step_by(50) {
        let drafts = (n..(n + 50).min(numbers.end)).map(large).collect();
        last = node.append(drafts).await.last().copied();
    }
    last.unwrap().unwrap().cursor
}

fn read_all(node: &Subject, name: &str) -> Vec<Event> {
    let mut reader = Reader::new(&node.log, &[topic(name)], None, Start::Earliest);
    let mut read = Vec::new();
    while reader.read(Limit { events: 1000, bytes: 8 << 20 }, &mut read).unwrap().more {}
    read
}

/// What the stream takes of the server's memory.
fn stream_bytes(server: &Server) -> u64 {
    server.cli(&["MEMORY", "USAGE", "{log}:s", "SAMPLES", "0"]).parse().unwrap_or(0)
}

fn sent_bytes(server: &Server) -> u64 {
    let info = server.cli(&["INFO", "stats"]);
    info.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:")).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_stays_within_its_bytes_and_shrinks_with_age() {
    let server = Server::start(&[]).await;
    let node = node(&bounded(&server, MIB, Duration::from_secs(5))).await;
    let mut most = 0;
    for round in 0..9 {
        publish(&node, round * 500..(round + 1) * 500).await;
        most = most.max(stream_bytes(&server));
    }
    // An allocator rounds 10 kB up to 12.
    assert!(most < MIB * 3 / 2, "{most} bytes of 45 MB that were published");
    assert!(most > MIB / 2, "{most}");
    let marks: u64 = server.cli(&["LLEN", "{log}:m"]).parse().unwrap();
    assert!(marks < 200, "{marks}");
    // Nobody publishes any more. An entry may share its place in memory with one that is not over.
    until("the stream shrinks with age", || stream_bytes(&server) < 64 << 10).await;
    until("and so do the marks", || server.cli(&["LLEN", "{log}:m"]) == "0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_within_the_bounds_stays() {
    let server = Server::start(&[]).await;
    let options = bounded(&server, MIB, Duration::from_secs(600));
    let first = node(&options).await;
    let start = first.publish(draft(&["quiet"], 1)).await.cursor;
    let end = publish(&first, 0..1000).await;
    reach(&first, end).await;
    let late = node(&options).await;
    reach(&late, end).await;
    let read: Vec<u64> = read_all(&late, "a").iter().map(number).collect();
    let oldest = read[0];
    assert_eq!(read, (oldest..1000).collect::<Vec<_>>(), "without a gap");
    assert!((1000 - oldest) * 10_100 >= MIB, "{oldest}: less than may be kept");
    // There is one mark for a script, which appends up to 256 KiB.
    assert!((1000 - oldest) * 10_100 <= MIB * 3 / 2, "{oldest}: more than may be kept");
    // A client that is behind all that is told so, of every topic that may lack something.
    for name in ["a", "quiet"] {
        assert_eq!(read_after(&late, name, start).unwrap_err().reason, ResetReason::Expired, "{name}");
    }
    let cursor = first.publish(draft(&["quiet"], 2)).await.cursor;
    reach(&late, cursor).await;
    assert_eq!(read_after(&late, "quiet", end).unwrap().iter().map(data).collect::<Vec<_>>(), [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_reads_only_what_rings_may_hold() {
    let server = Server::start(&[]).await;
    // One that keeps more, with two generations: as after a change of the configuration.
    let keeps_more = node(&bounded(&server, 64 * MIB, Duration::from_secs(600))).await;
    let start = publish(&keeps_more, 0..800).await;
    server.cli(&["HSET", "{log}:f", "id", "another"]);
    let end = publish(&keeps_more, 800..2000).await;
    settle(&keeps_more).await;
    drop(keeps_more);
    assert!(stream_bytes(&server) > 18 * MIB);
    let before = sent_bytes(&server);
    let late = node(&bounded(&server, MIB, Duration::from_secs(600))).await;
    let sent = sent_bytes(&server) - before;
    // A mark stands for a 64th of what the other keeps.
    assert!(sent < 3 * MIB, "{sent} bytes read");
    reach(&late, end).await;
    let read: Vec<u64> = read_all(&late, "a").iter().map(number).collect();
    assert_eq!(read, (read[0]..2000).collect::<Vec<_>>(), "without a gap");
    assert!((2000 - read[0]) * 10_100 >= MIB, "{}", read[0]);
    assert_eq!(read_after(&late, "a", start).unwrap_err().reason, ResetReason::Expired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_a_log_of_which_all_is_too_old() {
    let server = Server::start(&[]).await;
    let age_max = Duration::from_secs(1);
    let (start, end) = {
        let first = node(&bounded(&server, 64 * MIB, age_max)).await;
        let start = publish(&first, 0..1).await;
        let end = publish(&first, 1..50).await;
        settle(&first).await;
        (start, end)
    };
    let before = server.cli(&["XLEN", "{log}:s"]);
    assert_eq!(before, "51", "nobody is there to trim it");
    tokio::time::sleep(age_max * 2).await;
    let late = node(&bounded(&server, 64 * MIB, age_max)).await;
    assert_eq!(read_all(&late, "a").len(), 0);
    assert_eq!(read_after(&late, "a", start).unwrap_err().reason, ResetReason::Expired);
    assert!(read_after(&late, "a", end).unwrap().is_empty(), "who had everything misses nothing");
    let next = late.publish(draft(&["a"], 7)).await.cursor;
    reach(&late, next).await;
    assert_eq!(read_all(&late, "a").iter().map(data).collect::<Vec<_>>(), [7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_of_another_log_trims_nothing() {
    let server = Server::start(&[]).await;
    let node = node(&bounded(&server, MIB, Duration::from_secs(600))).await;
    let start = node.publish(draft(&["a"], 0)).await.cursor;
    // Left by a master that this log never followed.
    let future = start.epoch.number() + 3_000_000_000_000_000;
    server.cli(&["LPUSH", "{log}:m", &format!("{future}-99 0 0")]);
    let end = node.publish(draft(&["a"], 1)).await.cursor;
    assert!(!server.cli(&["LRANGE", "{log}:m", "0", "-1"]).contains(&future.to_string()));
    let late = super::node(&bounded(&server, MIB, Duration::from_secs(600))).await;
    reach(&late, end).await;
    assert_eq!(read_after(&late, "a", start).unwrap().iter().map(data).collect::<Vec<_>>(), [1]);
}
