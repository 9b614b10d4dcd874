//! The states of topics: what a node has that starts, though the stream does not reach back so far.

use std::time::Duration;

use events::{Data, Draft, Limit, Options, RedisOptions, Seq, StateOptions, Topics};

use super::server::Server;
use super::suite::{Subject, json, topic};
use super::{node_keeping, reach, redis_options, settle};

fn bounded(server: &Server) -> RedisOptions {
    RedisOptions { bytes_max: 1 << 20, ..redis_options(&server.url()) }
}

async fn node(options: &RedisOptions, topics: &str, keys_max: usize) -> Subject {
    let state = StateOptions {
        topics: vec![topics.parse().unwrap()],
        keys_max,
        bytes_max: 1 << 20,
        age_max: Duration::from_secs(3600),
    };
    let log = Options { ring_events_max: 64, state: Some(state), ..Options::default() };
    node_keeping(options, &log, Box::new(())).await
}

fn set(name: &str, key: &str, data: &Data) -> Draft {
    let topics = Topics::one(topic(name));
    Draft { key: Some(key.parse().unwrap()), ..Draft::new(topics, "t".parse().unwrap(), data.clone()) }
}

fn number(n: u64) -> Data {
    Data::from_value(&n).unwrap()
}

/// Pushes everything before it out of the stream.
async fn fill(node: &Subject) {
    let data = Data::from_value(&"x".repeat(10_000)).unwrap();
    let large = Draft::new(Topics::one(topic("elsewhere")), "t".parse().unwrap(), data);
    for _ in 0..8 {
        assert!(node.append(vec![large.clone(); 50]).await.iter().all(Result::is_ok));
    }
}

/// The keys with their data, and whether the state is partial.
fn state(node: &Subject, name: &str) -> (Vec<(String, u64)>, bool) {
    let (mut events, limit) = (Vec::new(), Limit { events: 1000, bytes: 1 << 20 });
    let part = node.log.state(&topic(name), Seq::ZERO, node.log.tail(), limit, &mut events).unwrap();
    assert_eq!(part.next, None);
    let pair =
        |json: serde_json::Value| (json["key"].as_str().unwrap().to_owned(), json["data"].as_u64().unwrap());
    let mut keys: Vec<_> = events.iter().map(json).map(pair).collect();
    keys.sort();
    (keys, part.partial)
}

fn keys(of: &[(&str, u64)]) -> Vec<(String, u64)> {
    of.iter().map(|(key, data)| ((*key).to_owned(), *data)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_has_the_states_that_the_stream_does_not_hold_any_more() {
    let server = Server::start(&[]).await;
    let first = node(&bounded(&server), "job:*", 1000).await;
    for (key, data) in
        [("a", number(1)), ("b", number(2)), ("c", number(3)), ("a", number(4)), ("b", Data::null())]
    {
        first.publish(set("job:1", key, &data)).await;
    }
    let both = Topics::new(["job:2", "other", "job:3"].map(topic)).unwrap();
    first.publish(Draft { topics: both, ..set("job:2", "z", &number(9)) }).await;
    fill(&first).await;
    let held: u64 = server.cli(&["XLEN", "{log}:s"]).parse().unwrap();
    assert!(held < 300, "what comes before is gone: {held}");
    let expected = (keys(&[("a", 4), ("c", 3)]), false);
    assert_eq!(state(&first, "job:1"), expected);

    let second = node(&bounded(&server), "job:*", 1000).await;
    assert_eq!(state(&second, "job:1"), expected, "and nothing is missing of a log whose beginning was seen");
    for name in ["job:2", "job:3"] {
        assert_eq!(state(&second, name), (keys(&[("z", 9)]), false), "{name}");
    }
    let gone = second.publish(set("job:1", "a", &Data::null())).await;
    let last = second.publish(set("job:1", "c", &number(5))).await;
    reach(&first, last.cursor).await;
    for node in [&first, &second] {
        assert_eq!(state(node, "job:1"), (keys(&[("c", 5)]), false));
    }
    assert!(gone.seq < last.seq);
    fill(&first).await;
    let third = node(&bounded(&server), "job:*", 1000).await;
    assert_eq!(state(&third, "job:1"), (keys(&[("c", 5)]), false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_with_too_many_keys_says_so_after_a_start_too() {
    let server = Server::start(&[]).await;
    let first = node(&bounded(&server), "job:*", 2).await;
    for (at, key) in ["a", "b", "c"].into_iter().enumerate() {
        first.publish(set("job:1", key, &number(at as u64))).await;
        // The order of two keys of one millisecond is not known.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.publish(set("job:2", "a", &number(7))).await;
    fill(&first).await;
    let second = node(&bounded(&server), "job:*", 2).await;
    for node in [&first, &second] {
        assert_eq!(state(node, "job:1"), (keys(&[("b", 1), ("c", 2)]), true));
        assert_eq!(state(node, "job:2"), (keys(&[("a", 7)]), false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lowered_bound_takes_a_few_keys_with_each_publish_until_it_holds() {
    let server = Server::start(&[]).await;
    let first = node(&bounded(&server), "job:*", 1000).await;
    let many = (0..100).map(|at| set("job:1", &format!("k{at}"), &number(at))).collect();
    assert!(first.append(many).await.iter().all(Result::is_ok));
    let held = || server.cli(&["ZCARD", "{log}:w:job:1"]).parse::<usize>().unwrap();
    assert_eq!(held(), 100);
    let second = node(&bounded(&server), "job:*", 2).await;
    second.publish(set("job:1", "new", &number(1))).await;
    assert_eq!(held(), 101 - 16);
    // A large value takes the place of as many small ones as it needs.
    let large = Data::from_value(&"x".repeat(3000)).unwrap();
    second.publish(set("job:1", "large", &large)).await;
    assert!((20..60).contains(&held()), "{} keys", held());
    for at in 0..10 {
        second.publish(set("job:1", "new", &number(at))).await;
    }
    assert_eq!(held(), 2);
    assert_eq!(server.cli(&["HLEN", "{log}:v:job:1"]), "4", "with the bytes, and until when it is partial");
    let third = node(&bounded(&server), "job:*", 2).await;
    let (mut events, limit) = (Vec::new(), Limit { events: 1000, bytes: 1 << 20 });
    let part = third.log.state(&topic("job:1"), Seq::ZERO, third.log.tail(), limit, &mut events).unwrap();
    assert_eq!((events.len(), part.partial), (2, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_whose_states_are_over_leave_the_index() {
    let server = Server::start(&[]).await;
    let node = node(&bounded(&server), "job:*", 10).await;
    node.publish(set("job:1", "a", &number(1))).await;
    for at in 0..40 {
        server.cli(&["ZADD", "{log}:v", "1000", &format!("over:{at}")]);
    }
    let held = || server.cli(&["ZCARD", "{log}:v"]).parse::<usize>().unwrap();
    node.publish(set("job:1", "b", &Data::null())).await;
    assert_eq!(held(), 41 - 16, "a few with each publish");
    for _ in 0..3 {
        node.publish(set("job:1", "a", &number(1))).await;
    }
    assert_eq!(server.cli(&["ZRANGE", "{log}:v", "0", "-1"]), "job:1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_were_not_kept_before_are_partial() {
    let server = Server::start(&[]).await;
    let first = node(&bounded(&server), "job:*", 10).await;
    first.publish(set("queue:1", "a", &number(1))).await;
    fill(&first).await;
    let second = node(&bounded(&server), "queue:*", 10).await;
    assert_eq!(state(&second, "queue:1"), (keys(&[]), true));
    second.publish(set("queue:1", "b", &number(2))).await;
    settle(&second).await;
    assert_eq!(state(&second, "queue:1"), (keys(&[("b", 2)]), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failover_took_back_is_in_no_state() {
    let master = Server::start(&[]).await;
    let first = node(&redis_options(&master.url()), "job:*", 10).await;
    first.publish(set("job:1", "a", &number(1))).await;
    first.publish(set("job:1", "b", &number(1))).await;
    let replica = Server::replica_of(&master, &[]).await;
    let urls = format!("{},{}", master.url(), replica.url());
    let second = node(&redis_options(&urls), "job:*", 10).await;
    drop(first);
    // The replica hears no more of the master; then it is the master.
    replica.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    second.publish(set("job:1", "a", &number(2))).await;
    second.publish(set("job:1", "b", &Data::null())).await;
    drop(master);
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    let last = publish_to_the_new_master(&second).await;
    reach(&second, last).await;
    let expected = (keys(&[("a", 1), ("b", 1), ("c", 3)]), false);
    // The state is partial until it has been read again.
    for _ in 0..200 {
        if state(&second, "job:1") == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(state(&second, "job:1"), expected, "as the surviving log has it");
}

/// Publishes as soon as the new master is found.
async fn publish_to_the_new_master(node: &Subject) -> events::Cursor {
    for _ in 0..100 {
        if let Ok(appended) = node.append_one(set("job:1", "c", &number(3))).await {
            return appended.cursor;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nothing could be published for ten seconds: {:?}", node.store.ready());
}
