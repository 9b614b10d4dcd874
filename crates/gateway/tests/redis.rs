//! Several gateways on one log in Redis, with a real server.

mod support;

#[path = "../../events/tests/redis/server.rs"]
#[allow(dead_code, reason = "the store's own tests use the rest")]
mod server;

use std::net::SocketAddr;

use serde_json::{Value, json};
use server::Server;
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
