//! Servers that answer, but not with what was asked for.

use std::time::{Duration, Instant};

use events::{Draft, Limit, Log, Options, Reader, Redis, Rejection, ResetReason, Start, Store as _};

use super::server::Server;
use super::suite::{data, draft, once, topic};
use super::{node, publish_at_last, reach, read_after, redis_options, settle, told_of_loss, until};

/// What is done to a server, and what undoes it.
const REFUSALS: [(&str, &[&str], &[&str]); 6] = [
    ("READONLY", &["REPLICAOF 127.0.0.1 1"], &["REPLICAOF NO ONE"]),
    (
        "MASTERDOWN",
        &["CONFIG SET replica-serve-stale-data no", "REPLICAOF 127.0.0.1 1"],
        &["REPLICAOF NO ONE", "CONFIG SET replica-serve-stale-data yes"],
    ),
    ("NOREPLICAS", &["CONFIG SET min-replicas-to-write 1"], &["CONFIG SET min-replicas-to-write 0"]),
    ("NOPERM", &["ACL SETUSER default -xadd"], &["ACL SETUSER default +xadd"]),
    ("OOM", &["CONFIG SET maxmemory 1"], &["CONFIG SET maxmemory 0"]),
    ("NOSCRIPT", &["SCRIPT FLUSH"], &[]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_is_told_and_passes_and_the_order_is_kept() {
    let server = Server::start(&[]).await;
    let node = node(&redis_options(&server.url())).await;
    let start = node.publish(draft(&["a"], 0)).await.cursor;
    let mut expected = Vec::new();
    for (n, (name, trouble, cure)) in (0_u64..).zip(REFUSALS) {
        let all = |commands: &[&str]| {
            for command in commands {
                let answer = server.cli(&command.split(' ').collect::<Vec<_>>());
                assert_eq!(answer, "OK", "{command}");
            }
        };
        all(trouble);
        // Several at once, so that their order could be lost.
        let drafts = |n| (n * 10..n * 10 + 5).map(|n| once(&format!("id {n}"), draft(&["a"], n))).collect();
        let answers = node.append(drafts(n)).await;
        if !cure.is_empty() {
            let refused = |answer: &Result<_, _>| matches!(answer, Err(Rejection::Unavailable(_)));
            assert!(answers.iter().all(refused), "{name}: {answers:?}");
            until("not ready", || node.store.ready().is_err()).await;
            until("the error is told", || node.store.status().error.is_some()).await;
            assert!(node.store.status().failures > 0);
        }
        all(cure);
        let until = Instant::now() + Duration::from_secs(10);
        while node.append(drafts(n)).await.iter().any(Result::is_err) {
            assert!(Instant::now() < until, "{name} does not pass");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        expected.extend(n * 10..n * 10 + 5);
    }
    settle(&node).await;
    assert_eq!(read_after(&node, "a", start).unwrap().iter().map(data).collect::<Vec<_>>(), expected);
    until("ready again", || node.store.ready().is_ok()).await;
    assert_eq!(node.store.status().lag, Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_still_loading_is_waited_for() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let node = node(&redis_options(&server.url())).await;
    let start = node.publish(draft(&["a"], 0)).await.cursor;
    // As many as make loading last for some seconds.
    for n in 1..=60 {
        node.publish(once(&format!("id {n}"), draft(&["a"], n))).await;
    }
    server.cli(&["BGREWRITEAOF"]);
    until("rewritten", || server.cli(&["INFO", "persistence"]).contains("aof_rewrite_in_progress:0")).await;
    server.kill();
    server.start_again_with(&[
        "--key-load-delay",
        "50000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    until("loading", || server.cli(&["PING"]).starts_with("LOADING")).await;
    until("told", || node.store.ready().is_err()).await;
    let end = publish_at_last(&node, once("last", draft(&["a"], 61))).await.cursor;
    reach(&node, end).await;
    assert_eq!(
        read_after(&node, "a", start).unwrap().iter().map(data).collect::<Vec<_>>(),
        (1..=61).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_during_a_script_has_all_of_it_or_nothing() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let node = node(&redis_options(&server.url())).await;
    let start = node.publish(draft(&["a"], 0)).await.cursor;
    const BATCH: u64 = 100;
    for round in 0..12 {
        let batch = || {
            let numbers = round * BATCH + 1..=(round + 1) * BATCH;
            numbers.map(|n| once(&format!("id {n}"), draft(&["a"], n))).collect::<Vec<_>>()
        };
        let answers = tokio::join!(node.store.append(batch()), async {
            tokio::time::sleep(Duration::from_micros(round * 400)).await;
            server.kill();
            server.start_again().await;
        })
        .0;
        if answers.iter().any(Result::is_err) {
            let until = Instant::now() + Duration::from_secs(10);
            while node.store.append(batch()).await.iter().any(Result::is_err) {
                assert!(Instant::now() < until, "it never passes");
            }
        }
    }
    settle(&node).await;
    let late = super::node(&redis_options(&server.url())).await;
    let of = |read: Vec<events::Event>| read.iter().map(data).collect::<Vec<_>>();
    assert_eq!(of(read_after(&node, "a", start).unwrap()), (1..=12 * BATCH).collect::<Vec<_>>());
    match read_after(&late, "a", start) {
        Ok(read) => assert_eq!(of(read), (1..=12 * BATCH).collect::<Vec<_>>()),
        // When Redis reads half a script back it trims as many of the oldest entries: told, and
        // nothing else is missing.
        Err(reset) => {
            assert_eq!(reset.reason, ResetReason::Expired);
            let first = format!("{}-{}", start.epoch.number(), start.seq);
            assert_eq!(server.cli(&["XRANGE", "{log}:s", &first, &first]), "");
            let mut reader =
                events::Reader::new(&late.log, &[super::topic("a")], None, events::Start::Earliest);
            let mut read = Vec::new();
            while reader.read(events::Limit { events: 500, bytes: 1 << 20 }, &mut read).unwrap().more {}
            let read = of(read);
            assert!(read[0] <= BATCH, "{}", read[0]);
            assert_eq!(read, (read[0]..=12 * BATCH).collect::<Vec<_>>());
        }
    }
}

/// A server that was killed in a script leaves half of it in its file, hidden until it starts for
/// the second time: then it stands before the marker of the generation that did not count it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_half_a_script_is_no_part_of_the_log() {
    const HALF: &str = r#"
        local entry = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
        local gen, last = string.match(entry[1], '^(%d+)%-(%d+)$')
        local number = function(n) return string.format('%.0f', n) end
        for n = 1, 600 do redis.call('XADD', KEYS[1], gen .. '-' .. number(last + n), 'd', entry[2][2]) end
        -- Another one, killed in the script in which it opened its generation.
        local void = number(gen + 2)
        redis.call('XADD', KEYS[1], void .. '-' .. number(last + 1000), 'k', 'gen', 'prev', gen .. '-' .. last)
        for n = 1, 7 do redis.call('XADD', KEYS[1], void .. '-' .. number(last + 1000 + n), 'd', entry[2][2]) end
        local new = number(gen + 5)
        redis.call('XADD', KEYS[1], new .. '-' .. number(last + 1048576), 'k', 'gen', 'prev', gen .. '-' .. last)
        if ARGV[1] == 'known' then redis.call('HSET', KEYS[2], gen, last) end
        redis.call('HSET', KEYS[2], 'gen', new)
        return 'done'"#;
    for known in ["known", "forgotten"] {
        let server = Server::start(&[]).await;
        let path = super::server::Path::to(&server).await;
        let far = node(&redis_options(&path.url())).await;
        let first = {
            let node = node(&redis_options(&server.url())).await;
            node.publish(draft(&["a"], 1)).await.cursor
        };
        reach(&far, first).await;
        path.cut();
        // Nothing reads or writes while it is done.
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(server.cli(&["EVAL", HALF, "2", "{log}:s", "{log}:f", known]), "done");
        path.mend();
        let late = node(&redis_options(&server.url())).await;
        let next = publish_at_last(&late, draft(&["a"], 2)).await.cursor;
        for node in [&late, &far] {
            reach(node, next).await;
            if known == "known" {
                let read = read_after(node, "a", first).unwrap();
                assert_eq!(read.iter().map(data).collect::<Vec<_>>(), [2]);
            } else {
                // What was taken for a part of it is taken back, and whoever reads its topic is
                // told.
                assert_eq!(told_of_loss(node, "a", first).await.reason, ResetReason::Expired);
            }
            settle(node).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_to_a_replica_that_can_be_written() {
    let master = Server::start(&[]).await;
    let writer = node(&redis_options(&master.url())).await;
    let start = writer.publish(draft(&["a"], 0)).await.cursor;
    let replica = Server::replica_of(&master, &["--replica-read-only", "no"]).await;
    let log = Log::new(&Options::default());
    let store = Redis::open(log.clone(), &redis_options(&replica.url())).unwrap();
    assert!(store.append(vec![draft(&["a"], 1)]).await[0].is_err());
    assert!(store.ready().is_err() && store.loaded().is_err() && store.tail().await.is_err());
    assert_eq!(store.last_error().unwrap(), "the server is not a master");
    // That a replica came is a new generation of the master's; nothing else is there.
    let end = settle(&writer).await;
    let id = format!("{}-{}", end.epoch.number(), end.seq);
    until("replicated", || replica.cli(&["XINFO", "STREAM", "{log}:s"]).contains(&id)).await;
    assert_eq!(replica.cli(&["XLEN", "{log}:s"]), master.cli(&["XLEN", "{log}:s"]));
    // Once it is the master it will do.
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    until("ready", || store.ready().is_ok() && store.loaded().is_ok()).await;
    assert!(store.append(vec![draft(&["a"], 2)]).await[0].is_ok());
    assert!(matches!(log.locate(start), events::Located::Here(_)));
}

/// It answers, and hears nothing of what is said on the master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ephemeral_events_are_heard_on_the_master() {
    let [stray, master] = [Server::start(&[]).await, Server::start(&[]).await];
    stray.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let options = redis_options(&format!("{},{}", stray.url(), master.url()));
    let [here, other] = [node(&options).await, node(&options).await];
    super::hears_ephemeral(&here, &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_throws_keys_away_is_warned_of() {
    let server = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let node = node(&redis_options(&server.url())).await;
    assert!(node.store.status().warning.is_some_and(|warning| warning.contains("noeviction")));
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    until("no warning any more", || node.store.status().warning.is_none()).await;
}

/// What is said no to must not be done: an ephemeral event that was delivered cannot be taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ephemeral_event_that_is_refused_is_not_delivered() {
    for (name, trouble, cure) in
        REFUSALS.into_iter().filter(|(name, ..)| !["NOSCRIPT", "NOPERM"].contains(name)).chain([
            ("NOPERM for the token", &["ACL SETUSER default -set"][..], &["ACL SETUSER default +set"][..]),
            ("NOPERM for the message", &["ACL SETUSER default -publish"], &["ACL SETUSER default +publish"]),
        ])
    {
        let server = Server::start(&[]).await;
        let [here, other] =
            [node(&redis_options(&server.url())).await, node(&redis_options(&server.url())).await];
        super::hears_ephemeral(&here, &other).await;
        let ephemeral = |n| Draft { ephemeral: true, ..draft(&["a"], n) };
        let mut reader = Reader::new(&other.log, &[topic("a")], None, Start::Latest);
        let all = |commands: &[&str]| {
            for command in commands {
                let answer = server.cli(&command.split(' ').collect::<Vec<_>>());
                assert_eq!(answer, "OK", "{command}");
            }
        };
        all(trouble);
        let answers = here.append(vec![once("x", ephemeral(1)), ephemeral(2)]).await;
        assert!(answers.iter().all(Result::is_err), "{name}: {answers:?}");
        all(cure);
        // The token of what was refused is free, and what comes next shows that nothing came before
        // it.
        assert!(!publish_at_last(&here, once("x", ephemeral(3))).await.duplicate, "{name}");
        // The other may have to connect anew first.
        let mut heard = Vec::new();
        for n in 4.. {
            reader.read(Limit { events: 9, bytes: 999 }, &mut heard).unwrap();
            if !heard.is_empty() {
                break;
            }
            assert!(n < 500, "{name}: never heard");
            tokio::time::sleep(Duration::from_millis(20)).await;
            here.publish(ephemeral(n)).await;
        }
        assert!(heard.iter().all(|event| data(event) > 2), "{name}: {heard:?}");
    }
}

/// Too few replicas are connected: known before anything is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_where_too_few_replicas_are_connected() {
    let server = Server::start(&[]).await;
    let other = node(&redis_options(&server.url())).await;
    let waits = node(&events::RedisOptions { wait_replicas: 1, ..redis_options(&server.url()) }).await;
    let mut reader = Reader::new(&other.log, &[topic("a")], None, Start::Latest);
    let ephemeral = |n| Draft { ephemeral: true, ..draft(&["a"], n) };
    for n in 0..3 {
        let answers = waits.append(vec![draft(&["a"], n), ephemeral(n)]).await;
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
    }
    assert!(waits.store.ready().is_err());
    other.publish(ephemeral(7)).await;
    other.publish(draft(&["a"], 8)).await;
    let mut read = Vec::new();
    until("read", || {
        reader.read(Limit { events: 9, bytes: 999 }, &mut read).unwrap();
        read.len() >= 2
    })
    .await;
    let mut read: Vec<u64> = read.iter().map(data).collect();
    read.sort_unstable();
    assert_eq!(read, [7, 8]);
    // With a replica it goes on.
    let _replica = Server::replica_of(&server, &[]).await;
    publish_at_last(&waits, draft(&["a"], 9)).await;
}

/// What one draft of a batch is refused does not say that those before it were not appended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_in_the_middle_of_a_batch_is_not_told_of_what_was_appended_before_it() {
    let server = Server::start(&[]).await;
    let node = node(&redis_options(&server.url())).await;
    let start = node.publish(draft(&["a"], 0)).await.cursor;
    assert_eq!(server.cli(&["ACL", "SETUSER", "default", "-publish"]), "OK");
    let ephemeral = Draft { ephemeral: true, ..draft(&["a"], 2) };
    let answers = node.append(vec![draft(&["a"], 1), ephemeral, draft(&["a"], 3)]).await;
    assert!(answers[0].is_ok() && answers[1].is_err() && answers[2].is_err(), "{answers:?}");
    assert_eq!(server.cli(&["ACL", "SETUSER", "default", "+publish"]), "OK");
    let end = publish_at_last(&node, draft(&["a"], 4)).await.cursor;
    reach(&node, end).await;
    assert_eq!(read_after(&node, "a", start).unwrap().iter().map(data).collect::<Vec<_>>(), [1, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_is_refused_with_its_events() {
    let server = Server::start(&[]).await;
    let node = node(&redis_options(&server.url())).await;
    let source: events::SourceName = "outbox".parse().unwrap();
    let store = async |drafts: Vec<Draft>| {
        let checkpoint = events::Checkpoint::new(source.clone(), *b"7").unwrap();
        node.store.append_and_checkpoint(drafts, checkpoint).await
    };
    for (trouble, cure) in [
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
        (["ACL", "SETUSER", "default", "-xadd"], ["ACL", "SETUSER", "default", "+xadd"]),
    ] {
        assert_eq!(server.cli(&trouble), "OK");
        assert!(store(vec![once("1", draft(&["a"], 1))]).await.is_err(), "{trouble:?}");
        assert_eq!(server.cli(&cure), "OK");
        assert_eq!(node.store.checkpoint(&source).await, Ok(None), "{trouble:?}");
    }
    let answers = store(vec![once("1", draft(&["a"], 1))]).await.unwrap();
    assert!(!answers[0].unwrap().duplicate);
    assert_eq!(node.store.checkpoint(&source).await.unwrap().as_deref(), Some(&b"7"[..]));
}
