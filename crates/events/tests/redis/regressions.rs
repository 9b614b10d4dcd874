//! What other systems of this kind got wrong, and this one must not.

use std::time::Duration;

use events::{Cursor, Epoch, Located, Options, Reader, ResetReason, Start};

use super::server::Server;
use super::suite::{data, draft, topic};
use super::{node, node_keeping, publish_at_last, reach, read_after, redis_options, settle};

/// A counter that starts over while nodes are ahead of it: they waited for ever for numbers that
/// never came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_that_starts_over_is_not_waited_for() {
    let server = Server::start(&[]).await;
    let node = node(&redis_options(&server.url())).await;
    for n in 0..50 {
        node.publish(draft(&["a"], n)).await;
    }
    let before = settle(&node).await;
    server.cli(&["FLUSHALL"]);
    let next = publish_at_last(&node, draft(&["a"], 50)).await.cursor;
    tokio::time::timeout(Duration::from_secs(180), reach(&node, next)).await.expect("soon");
    assert_eq!(node.log.locate(before), Located::Unknown);
}

/// A quiet client whose cursor grew old though it missed nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_client_is_not_reset_by_a_busy_neighbour() {
    let server = Server::start(&[]).await;
    let small = Options { ring_events_max: 4, ..Options::default() };
    let node = node_keeping(&redis_options(&server.url()), &small, Box::new(())).await;
    let start = node.publish(draft(&["quiet"], 1)).await.cursor;
    let busy = (0..5000).map(|n| draft(&["busy"], n)).collect();
    let last = node.append(busy).await.last().unwrap().unwrap().cursor;
    reach(&node, last).await;
    assert!(read_after(&node, "quiet", start).unwrap().is_empty());
    let next = node.publish(draft(&["quiet"], 2)).await.cursor;
    reach(&node, next).await;
    assert_eq!(read_after(&node, "quiet", start).unwrap().iter().map(data).collect::<Vec<_>>(), [2]);
    assert!(read_after(&node, "busy", start).is_err());
}

/// Recovery that was called complete though nobody knew the id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_that_nobody_knows_is_never_complete() {
    let server = Server::start(&[]).await;
    let node = node(&redis_options(&server.url())).await;
    let here = node.publish(draft(&["a"], 1)).await.cursor;
    reach(&node, here).await;
    for epoch in [1, here.epoch.number() - 1, here.epoch.number() + 1, u64::MAX] {
        let stranger = Cursor { epoch: Epoch::new(epoch), ..here };
        assert_eq!(node.log.locate(stranger), Located::Unknown);
        assert_eq!(read_after(&node, "a", stranger).unwrap_err().reason, ResetReason::Epoch);
    }
    let ahead = Cursor { seq: here.seq.next(), ..here };
    assert_eq!(node.log.locate(ahead), Located::Ahead, "the store has to be asked");
}

/// A search for the place to resume at that began at the oldest entry and gave up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_far_into_a_long_log_is_found() {
    let server = Server::start(&[]).await;
    let first = node(&redis_options(&server.url())).await;
    let mut middle = None;
    for batch in 0..40 {
        let drafts = (0..500).map(|n| draft(&["a"], batch * 500 + n)).collect();
        let last = first.append(drafts).await.last().unwrap().unwrap().cursor;
        if batch == 37 {
            middle = Some(last);
        }
    }
    let end = settle(&first).await;
    // By one that was not there.
    let late = node(&redis_options(&server.url())).await;
    reach(&late, end).await;
    let read = read_after(&late, "a", middle.unwrap()).unwrap();
    assert_eq!(read.iter().map(data).collect::<Vec<_>>(), (19_000..20_000).collect::<Vec<_>>());
}

/// Reading that began again at `$`, and so behind what came while the connection was gone. And a
/// control message whose id was past the cursor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_a_connection_is_gone_is_read() {
    let server = Server::start(&[]).await;
    let [near, far] = [node(&redis_options(&server.url())).await, node(&redis_options(&server.url())).await];
    let start = near.publish(draft(&["a"], 0)).await.cursor;
    reach(&far, start).await;
    let mut reader = Reader::new(&far.log, &[topic("a")], None, Start::After(start));
    let mut read = Vec::new();
    for n in 1..=200 {
        if n % 5 == 0 {
            server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        }
        if n % 40 == 0 {
            // An entry of no topic between the events: a generation begins.
            server.cli(&["HSET", "{log}:f", "id", "another"]);
        }
        publish_at_last(&near, draft(&["a"], n)).await;
        let before = reader.cursor();
        reader.read(events::Limit { events: 100, bytes: 1 << 20 }, &mut read).unwrap();
        assert!(reader.cursor().seq >= before.seq, "a cursor never goes back");
    }
    let end = settle(&far).await;
    while reader.cursor() != end {
        reader.read(events::Limit { events: 100, bytes: 1 << 20 }, &mut read).unwrap();
    }
    let read: Vec<u64> = read.iter().map(data).collect();
    assert_eq!(read, (1..=200).collect::<Vec<_>>());
}

/// An event that is new, given before those that were missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_new_never_comes_before_what_was_missed() {
    let server = Server::start(&[]).await;
    let [here, other] =
        [node(&redis_options(&server.url())).await, node(&redis_options(&server.url())).await];
    let start = here.publish(draft(&["a"], 0)).await.cursor;
    here.append((1..=500).map(|n| draft(&["a"], n)).collect()).await;
    settle(&other).await;
    let publishing = async {
        for n in 501..=1000 {
            here.publish(draft(&["a"], n)).await;
        }
    };
    // Clients that come all the time, all from the same place.
    let coming = async {
        let mut met = 0;
        loop {
            let mut reader = Reader::new(&other.log, &[topic("a")], None, Start::After(start));
            let mut read = Vec::new();
            for _ in 0..100 {
                reader.read(events::Limit { events: 7, bytes: 1 << 20 }, &mut read).unwrap();
                tokio::task::yield_now().await;
            }
            let read: Vec<u64> = read.iter().map(data).collect();
            assert!(read.iter().copied().eq(1..=read.len() as u64), "{read:?}");
            met += u32::from((501..700).contains(&read.len()));
            if read.len() == 700 && other.log.tail_cursor() == settle(&here).await {
                return met;
            }
        }
    };
    let ((), met) = tokio::join!(publishing, coming);
    assert!(met > 0, "nobody came while it was published");
}

/// Of two servers one alone begins anew, the other goes on: first the replica, then the master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_one_of_two_servers_resets_nobody() {
    let kept = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut master = Server::start(&kept).await;
    let mut replica = Server::replica_of(&master, &[]).await;
    let options = redis_options(&format!("{},{}", replica.url(), master.url()));
    let nodes = [node(&options).await, node(&options).await];
    let start = nodes[0].publish(draft(&["a"], 0)).await.cursor;
    for (n, is_master) in [(1, false), (2, true), (3, false)] {
        let server = if is_master { &mut master } else { &mut replica };
        server.kill();
        if is_master {
            assert!(nodes[0].append_one(draft(&["b"], 0)).await.is_err());
        } else {
            publish_at_last(&nodes[0], draft(&["b"], 0)).await;
        }
        server.start_again().await;
        let last = publish_at_last(&nodes[1], draft(&["a"], n)).await.cursor;
        for node in &nodes {
            reach(node, last).await;
            let read = read_after(node, "a", start).unwrap();
            assert_eq!(read.iter().map(data).collect::<Vec<_>>(), (1..=n).collect::<Vec<_>>());
        }
    }
}
