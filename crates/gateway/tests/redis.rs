//! Several gateways on one log in Redis, with a real server.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod support;

#[path = "../../events/tests/redis/server.rs"]
#[allow(dead_code, reason = "the store's own tests use the rest")]
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use server::{Path, Server};
use support::{Answer, Gateway, Sse, Ws, eventually, get, post, token};

const KEEPS_ALL: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

async fn gateway(url: &str) -> Gateway {
    Gateway::serve(&["--store", "redis", "--redis-url", url, "--log-name", "log"]).await
}

/// A gateway that has read the log.
async fn ready_gateway(url: &str) -> Gateway {
    let gateway = gateway(url).await;
    eventually("ready", async || get(gateway.address, "/ready").await.status == 200).await;
    gateway
}

fn alice() -> String {
    token("alice", &["--subscribe", "*", "--publish", "*"])
}

async fn publish(address: SocketAddr, n: u64) -> Answer {
    let draft = json!({"topic": "room:a", "type": "t", "data": n, "id": format!("id {n}")});
    post(address, "/v1/publish", &[("Authorization", "Bearer key")], &draft.to_string()).await
}

fn data(batch: &Value) -> Vec<u64> {
    batch["events"].as_array().unwrap().iter().map(|event| event["data"].as_u64().unwrap()).collect()
}

/// Reads a stream until it has come to this event.
async fn read_to(sse: &mut Sse, last: u64) -> (Vec<u64>, String) {
    let mut read = Vec::new();
    loop {
        let batch = sse.events().await;
        assert_eq!(batch["reset"], Value::Null, "{batch}");
        read.extend(data(&batch));
        if read.last() >= Some(&last) {
            return (read, batch["cursor"].as_str().unwrap().to_owned());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_goes_on_at_any_gateway_over_any_transport() {
    let server = Server::start(&[]).await;
    let gateways = [ready_gateway(&server.url()).await, ready_gateway(&server.url()).await];
    let query = format!("topics=room:a&access_token={}", alice());
    let mut sse = Sse::open(gateways[0].address, &query).await;
    for n in 1..=20 {
        assert_eq!(publish(gateways[n as usize % 2].address, n).await.status, 200);
    }
    let (read, _) = read_to(&mut sse, 20).await;
    assert_eq!(read, (1..=20).collect::<Vec<_>>());
    drop(sse);
    let mut sse = Sse::open(gateways[0].address, &format!("{query}&after=earliest&limit=7")).await;
    let first = sse.events().await;
    assert_eq!(data(&first), (1..=7).collect::<Vec<_>>());
    let cursor = first["cursor"].as_str().unwrap();
    let answer = get(gateways[1].address, &format!("/v1/poll?{query}&after={cursor}&limit=5&wait=0")).await;
    let second = answer.json();
    assert_eq!((second["reset"].clone(), data(&second)), (Value::Null, (8..=12).collect::<Vec<_>>()));
    let cursor = second["cursor"].as_str().unwrap();
    let mut ws = Ws::open(gateways[0].address, &format!("{query}&after={cursor}")).await;
    assert_eq!(data(&ws.events().await), (13..=20).collect::<Vec<_>>());
    // A repeat is recognised wherever it comes.
    let repeat = publish(gateways[0].address, 1).await.json();
    assert_eq!(repeat["duplicate"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ephemeral_events_reach_every_gateway() {
    let server = Server::start(&[]).await;
    let gateways = [ready_gateway(&server.url()).await, ready_gateway(&server.url()).await];
    let query = format!("topics=room:a&access_token={}", alice());
    let mut streams =
        [Ws::open(gateways[0].address, &query).await, Ws::open(gateways[1].address, &query).await];
    for ws in &mut streams {
        ws.batch().await;
    }
    let draft = json!({"topic": "room:a", "type": "typing", "key": "k", "data": 1, "ephemeral": true});
    let bearer = format!("Bearer {}", alice());
    let answer =
        post(gateways[0].address, "/v1/publish", &[("Authorization", &bearer)], &draft.to_string()).await;
    assert_eq!(answer.json()["seq"], Value::Null);
    for ws in &mut streams {
        assert_eq!(data(&ws.events().await), [1]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_gone_is_told_and_back_it_leaves_no_gap() {
    let mut server = Server::start(&KEEPS_ALL).await;
    let gateways = [ready_gateway(&server.url()).await, ready_gateway(&server.url()).await];
    let query = format!("topics=room:a&access_token={}", alice());
    let mut streams = Vec::new();
    for gateway in &gateways {
        streams.push(Sse::open(gateway.address, &query).await);
    }
    publish(gateways[0].address, 1).await;
    for sse in &mut streams {
        read_to(sse, 1).await;
    }
    server.kill();
    for gateway in &gateways {
        let refused = publish(gateway.address, 2).await;
        assert_eq!(refused.status, 503, "{}", refused.body);
        assert!(refused.header("retry-after").is_some());
        eventually("not ready", async || {
            let ready = get(gateway.address, "/ready").await;
            ready.status == 503 && ready.header("retry-after").is_some()
        })
        .await;
        eventually("metrics tell", async || {
            gateway.metric("throughline_store_ready").await == 0.0
                && gateway.metric("throughline_store_lag_seconds").await > 1.0
                && gateway.metric("throughline_store_failures_total").await > 0.0
        })
        .await;
        assert_eq!(get(gateway.address, "/health").await.status, 200);
        // What is known can be read, and who is new is let in.
        let path = format!("/v1/poll?{query}&after=earliest&wait=0");
        assert_eq!(data(&get(gateway.address, &path).await.json()), [1]);
    }
    server.start_again().await;
    for gateway in &gateways {
        eventually("ready", async || get(gateway.address, "/ready").await.status == 200).await;
    }
    assert_eq!(publish(gateways[1].address, 3).await.status, 200);
    for sse in &mut streams {
        assert_eq!(read_to(sse, 3).await.0, [3], "nobody is reset");
    }
    assert_eq!(gateways[0].metric("throughline_resets_total").await, 0.0);
    eventually("the epoch is counted", async || {
        gateways[0].metric("throughline_store_epochs_total").await >= 2.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_begins_in_a_log_that_has_not_been_read() {
    let mut server = Server::start(&KEEPS_ALL).await;
    let first = ready_gateway(&server.url()).await;
    for n in 1..=30 {
        publish(first.address, n).await;
    }
    server.kill();
    let late = gateway(&server.url()).await;
    let query = format!("topics=room:a&access_token={}", alice());
    for path in ["/v1/sse?", "/v1/poll?after=earliest&", "/v1/poll?"] {
        let answer = get(late.address, &format!("{path}{query}")).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.body);
        assert!(answer.header("retry-after").is_some());
    }
    let history = format!("/v1/history?topic=room:a&access_token={}", alice());
    assert_eq!(get(late.address, &history).await.status, 503);
    assert_eq!(get(late.address, "/ready").await.status, 503);
    assert_eq!(get(late.address, "/health").await.status, 200);
    server.start_again().await;
    eventually("ready", async || get(late.address, "/ready").await.status == 200).await;
    let all = get(late.address, &format!("/v1/poll?{query}&after=earliest&wait=0")).await.json();
    assert_eq!(data(&all), (1..=30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_from_a_faster_gateway_is_waited_for() {
    let server = Server::start(&[]).await;
    let path = Path::to(&server).await;
    let (fast, slow) = (ready_gateway(&server.url()).await, ready_gateway(&path.url()).await);
    let query = format!("topics=room:a&access_token={}", alice());
    publish(fast.address, 1).await;
    path.cut();
    publish(fast.address, 2).await;
    let cursor = get(fast.address, &format!("/v1/poll?{query}&after=earliest&wait=0")).await.json();
    let cursor = cursor["cursor"].as_str().unwrap().to_owned();
    let resume = format!("/v1/poll?{query}&after={cursor}&wait=0");
    // Nobody knows whether it is one of a lost history: neither served nor reset.
    let answer = get(slow.address, &resume).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.header("retry-after").is_some());
    // In time it is served, and what came before it does not come again.
    let resumed = async {
        loop {
            let answer = get(slow.address, &resume).await;
            if answer.status == 200 {
                return answer.json();
            }
        }
    };
    let mend = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        path.mend();
    };
    let batch = tokio::join!(resumed, mend).0;
    assert_eq!((&batch["reset"], data(&batch)), (&Value::Null, vec![]));
    publish(fast.address, 3).await;
    let next = get(slow.address, &format!("/v1/poll?{query}&after={cursor}&wait=10")).await.json();
    assert_eq!((&next["reset"], data(&next)), (&Value::Null, vec![3]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_not_had_an_event_yet_has_a_cursor() {
    let server = Server::start(&[]).await;
    let gateways = [ready_gateway(&server.url()).await, ready_gateway(&server.url()).await];
    let query = format!("topics=room:a&access_token={}", alice());
    let mut sse = Sse::open(gateways[0].address, &query).await;
    let hello = sse.batch().await.unwrap();
    let cursor = hello["cursor"].as_str().unwrap();
    drop(sse);
    publish(gateways[0].address, 1).await;
    let batch = get(gateways[1].address, &format!("/v1/poll?{query}&after={cursor}&wait=10")).await.json();
    assert_eq!((&batch["reset"], data(&batch)), (&Value::Null, vec![1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_are_reset_at_once_do_not_all_come_at_once() {
    let server = Server::start(&[]).await;
    let gateway = ready_gateway(&server.url()).await;
    publish(gateway.address, 1).await;
    let mut streams = Vec::new();
    for user in 0..30 {
        let token = token(&format!("u{user}"), &["--subscribe", "*"]);
        let query = format!("topics=room:a&access_token={token}");
        streams.push(Sse::open(gateway.address, &query).await);
    }
    server.cli(&["FLUSHALL"]);
    let mut waits = Vec::new();
    for sse in &mut streams {
        let reset = loop {
            let batch = sse.batch().await.expect("a batch");
            if batch["reset"] != Value::Null {
                break batch["reset"].clone();
            }
        };
        assert_eq!(reset["reason"], "epoch");
        waits.push(reset["refetch_after_ms"].as_u64().unwrap());
    }
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(most - least > 2000 && *most <= 5000, "{waits:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_may_goes_on_alone_and_comes_back() {
    let mut server = Server::start(&KEEPS_ALL).await;
    let url = server.url();
    let options = ["--store", "redis", "--redis-url", &url, "--log-name", "log", "--redis-down", "local"];
    let gateway = Gateway::serve(&options).await;
    eventually("ready", async || get(gateway.address, "/ready").await.status == 200).await;
    let query = format!("topics=room:a&access_token={}", alice());
    let mut sse = Sse::open(gateway.address, &query).await;
    publish(gateway.address, 1).await;
    read_to(&mut sse, 1).await;
    server.kill();
    eventually("goes on alone", async || publish(gateway.address, 2).await.status == 200).await;
    assert_eq!(read_to(&mut sse, 2).await.0, [2], "nobody is reset by that");
    assert_eq!(get(gateway.address, "/ready").await.status, 200);
    server.start_again().await;
    let reset = loop {
        let batch = sse.batch().await.expect("a batch");
        if batch["reset"] != Value::Null {
            break batch;
        }
    };
    assert_eq!(reset["reset"]["reason"], "epoch");
    eventually("published", async || publish(gateway.address, 3).await.status == 200).await;
    assert_eq!(read_to(&mut sse, 3).await.0, [3]);
}

/// Events that only a gateway that is dead had, of a master that is dead: its clients come elsewhere with cursors of a
/// history that never was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_seen_what_died_with_its_gateway_and_its_redis_is_reset_elsewhere() {
    let mut master = Server::start(&[]).await;
    let replica = Server::replica_of(&master, &[]).await;
    let path = Path::to(&master).await;
    let [near, far] = [&master.url(), &path.url()].map(|first| format!("{first},{}", replica.url()));
    let doomed = support::Program::serve(&["--store", "redis", "--redis-url", &near, "--log-name", "log"]);
    eventually("ready", async || get(doomed.address, "/ready").await.status == 200).await;
    let survivor = ready_gateway(&far).await;
    assert_eq!(publish(doomed.address, 1).await.status, 200);
    let query = format!("topics=room:a&access_token={}", alice());
    let mut steady = Sse::open(survivor.address, &format!("{query}&after=earliest")).await;
    assert_eq!(read_to(&mut steady, 1).await.0, [1]);
    eventually("replicated", async || replica.cli(&["XLEN", "{log}:s"]) == "2").await;
    // From here on only the one gateway reads what the one server takes.
    replica.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    path.cut();
    assert_eq!(publish(doomed.address, 2).await.status, 200);
    let mut sse = Sse::open(doomed.address, &format!("{query}&after=earliest")).await;
    let (read, phantom) = read_to(&mut sse, 2).await;
    assert_eq!(read, [1, 2]);
    doomed.signal("KILL");
    drop(sse);
    master.kill();
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    path.lead_to(&replica);
    path.mend();
    eventually("taken", async || publish(survivor.address, 3).await.status == 200).await;
    let mut resumed = None;
    eventually("answered", async || {
        let path = format!("/v1/poll?{query}&after={phantom}&wait=0");
        let answer = get(survivor.address, &path).await;
        resumed = (answer.status == 200).then(|| answer.json());
        resumed.is_some()
    })
    .await;
    let resumed = resumed.unwrap();
    assert_eq!(resumed["reset"]["reason"], "epoch", "{resumed}");
    assert_eq!(data(&resumed), [3], "all that comes after the last that both histories have");
    // Who was elsewhere goes on: what it never could have seen never happened.
    assert_eq!(read_to(&mut steady, 3).await.0, [3]);
    drop(doomed);
}

/// What is done to a server, and what undoes it.
const REFUSALS: [(&str, &[&str], &[&str]); 6] = [
    ("NOSCRIPT", &["SCRIPT FLUSH"], &[]),
    ("READONLY", &["REPLICAOF 127.0.0.1 1"], &["REPLICAOF NO ONE"]),
    (
        "MASTERDOWN",
        &["CONFIG SET replica-serve-stale-data no", "REPLICAOF 127.0.0.1 1"],
        &["REPLICAOF NO ONE", "CONFIG SET replica-serve-stale-data yes"],
    ),
    ("NOREPLICAS", &["CONFIG SET min-replicas-to-write 1"], &["CONFIG SET min-replicas-to-write 0"]),
    ("OOM", &["CONFIG SET maxmemory 1"], &["CONFIG SET maxmemory 0"]),
    ("NOPERM", &["ACL SETUSER default -xadd"], &["ACL SETUSER default +xadd"]),
];

/// Publishers go on publishing the whole time, each draft until it is taken.
async fn refused_and_taken(server: &mut Server, name: &str, trouble: impl AsyncFnOnce(&mut Server)) {
    let gateway = ready_gateway(&server.url()).await;
    let query = format!("topics=room:a&access_token={}", alice());
    let mut sse = Sse::open(gateway.address, &query).await;
    let address = gateway.address;
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let publishing = tokio::spawn(async move {
        let mut refused = 0;
        for n in 1.. {
            loop {
                let answer = publish(address, n).await;
                if answer.status == 200 {
                    break;
                }
                assert_eq!(answer.status, 503, "{}", answer.body);
                let after = answer.header("retry-after").and_then(|after| after.parse::<u64>().ok());
                assert!(after.is_some_and(|seconds| seconds >= 1), "{:?}", answer.header("retry-after"));
                refused += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            if stopped.try_recv().is_ok() {
                return (n, refused);
            }
        }
        (0, refused)
    });
    trouble(server).await;
    stop.send(()).unwrap();
    let (last, refused) =
        tokio::time::timeout(Duration::from_secs(20), publishing).await.expect(name).unwrap();
    assert_eq!(refused == 0, name == "NOSCRIPT", "{name}: {refused} refused");
    assert_eq!(read_to(&mut sse, last).await.0, (1..=last).collect::<Vec<_>>(), "{name}");
    eventually("ready again", async || get(address, "/ready").await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_of_redis_is_a_503_with_retry_after_and_passes_in_order() {
    let all = REFUSALS.map(async |(name, trouble, cure)| {
        let mut server = Server::start(&[]).await;
        refused_and_taken(&mut server, name, async |server| {
            let each = |commands: &[&str]| {
                for command in commands {
                    let answer = server.cli(&command.split(' ').collect::<Vec<_>>());
                    assert_eq!(answer, "OK", "{command}");
                }
            };
            tokio::time::sleep(Duration::from_millis(300)).await;
            each(trouble);
            tokio::time::sleep(Duration::from_millis(2500)).await;
            each(cure);
            tokio::time::sleep(Duration::from_millis(300)).await;
        })
        .await;
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_still_loading_is_a_503_with_retry_after_and_passes_in_order() {
    let mut server = Server::start(&KEEPS_ALL).await;
    refused_and_taken(&mut server, "LOADING", async |server| {
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.cli(&["BGREWRITEAOF"]);
        eventually("rewritten", async || {
            server.cli(&["INFO", "persistence"]).contains("aof_rewrite_in_progress:0")
        })
        .await;
        let keys: u64 = server.cli(&["DBSIZE"]).parse().unwrap();
        server.kill();
        // Each key takes its time, so that loading lasts for some seconds.
        let delay = (3_000_000 / keys).to_string();
        server.start_again_with(&[
            "--key-load-delay",
            &delay,
            "--loading-process-events-interval-bytes",
            "1024",
        ]);
        eventually("loading", async || server.cli(&["PING"]).starts_with("LOADING")).await;
    })
    .await;
}
