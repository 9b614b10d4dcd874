//! What one user, one address and one reader get at most.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Gateway, Sse, Ws, eventually, get, post, token};
use tokio::time::Instant;

const ROOM: [&str; 4] = ["--subscribe", "room:*", "--publish", "room:*"];

async fn command(ws: &mut Ws, command: &Value) -> Value {
    ws.command(command.clone()).await;
    ws.reply().await
}

/// Sends `n` commands at once, and gives the codes of the replies; `ok` for none.
async fn codes(ws: &mut Ws, n: usize, one: &Value) -> Vec<String> {
    for _ in 0..n {
        ws.command(one.clone()).await;
    }
    let mut codes = Vec::new();
    for _ in 0..n {
        codes.push(ws.reply().await["error"]["code"].as_str().unwrap_or("ok").to_owned());
    }
    codes
}

fn count(codes: &[String], code: &str) -> usize {
    codes.iter().filter(|found| *found == code).count()
}

#[tokio::test]
async fn each_kind_of_command_has_a_rate_of_its_own() {
    let options =
        ["--commands-per-minute", "5", "--publishes-per-minute", "4", "--ephemerals-per-second", "3"];
    let gateway = Gateway::serve(&options).await;
    let mut ws = Ws::open(gateway.address, &format!("token={}", token("alice", &ROOM))).await;
    ws.batch().await;
    let publish = json!({"id": 1, "op": "publish", "topic": "room:1", "type": "t", "data": 1});
    let cursor = json!({"id": 1, "op": "publish", "topic": "room:1", "type": "c", "key": "k", "data": 1, "ephemeral": true});
    let ping = json!({"id": 1, "op": "ping"});
    assert_eq!(count(&codes(&mut ws, 6, &cursor).await, "ok"), 3);
    assert_eq!(count(&codes(&mut ws, 6, &publish).await, "ok"), 4);
    assert_eq!(count(&codes(&mut ws, 6, &ping).await, "ok"), 5);
    let refused = command(&mut ws, &publish).await;
    assert_eq!(refused["error"]["code"], "rate_limited");
    assert!((1..=15_000).contains(&refused["error"]["retry_after_ms"].as_u64().unwrap()), "{refused}");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(command(&mut ws, &cursor).await.get("error"), None, "it comes back by itself");
    let mut other = Ws::open(gateway.address, &format!("token={}", token("bob", &ROOM))).await;
    other.batch().await;
    assert_eq!(count(&codes(&mut other, 4, &publish).await, "ok"), 4, "another user's is another's");
}

/// How many events the log has had.
async fn events(gateway: &Gateway) -> u64 {
    let stats = gateway.stats().await;
    stats["log"]["cursor"].as_str().unwrap().split('.').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn each_membership_that_changes_is_charged() {
    let gateway = Gateway::serve(&["--commands-per-minute", "60"]).await;
    let topics: Vec<String> = (0..62).map(|n| format!("room:{n}")).collect();
    let mut ws = Ws::open(gateway.address, &format!("token={}", token("alice", &ROOM))).await;
    ws.batch().await;
    let join =
        |status: &str| json!({"id": 1, "op": "subscribe", "topics": topics, "presence": {"status": status}});
    assert_eq!(
        command(&mut ws, &json!({"id": 1, "op": "subscribe", "topics": topics})).await.get("error"),
        None
    );
    let mut granted = 0;
    for n in 0..40 {
        let reply = command(&mut ws, &join(if n % 2 == 0 { "online" } else { "away" })).await;
        match reply["error"]["code"].as_str() {
            None => granted += 1,
            Some(code) => assert_eq!(code, "rate_limited", "{reply}"),
        }
    }
    assert_eq!(granted, 0, "62 of them cost more than is left");
    let few = json!({"id": 1, "op": "subscribe", "topics": topics[..5], "presence": {"status": "online"}});
    let mut other = Ws::open(gateway.address, &format!("token={}", token("bob", &ROOM))).await;
    other.batch().await;
    for expected in [None, None] {
        assert_eq!(command(&mut other, &few).await.get("error"), expected);
    }
    support::eventually("bob is announced", async || events(&gateway).await >= 5).await;
    let seq = gateway.publish(json!({"topic": "room:1", "type": "t", "data": 1})).await;
    assert_eq!(seq, 6, "what is refused changes nothing, and the same again is no change");
    let mut full = Ws::open(gateway.address, &format!("token={}", token("carol", &ROOM))).await;
    full.batch().await;
    assert_eq!(command(&mut full, &join("online")).await.get("error"), None, "a whole burst is enough");
}

#[tokio::test]
async fn whoever_goes_on_regardless_is_cut_off() {
    let gateway = Gateway::serve(&["--commands-per-minute", "5"]).await;
    let mut ws = Ws::open(gateway.address, &format!("token={}", token("alice", &ROOM))).await;
    ws.batch().await;
    for _ in 0..40 {
        ws.command(json!({"id": 1, "op": "ping"})).await;
    }
    assert_eq!(ws.close_code().await, 4429);
}

#[tokio::test]
async fn a_users_rate_holds_on_http_and_a_backends_is_free() {
    let gateway = Gateway::serve(&["--publishes-per-minute", "2"]).await;
    let bearer = format!("Bearer {}", token("alice", &ROOM));
    let publish = async |bearer: &str, body: &Value| {
        post(gateway.address, "/v1/publish", &[("Authorization", bearer)], &body.to_string()).await
    };
    let draft = json!({"topic": "room:1", "type": "t", "data": 1});
    let answer = publish(&bearer, &json!([draft, draft, draft])).await.json();
    assert_eq!(answer["results"][2]["error"]["code"], "rate_limited");
    let refused = publish(&bearer, &draft).await;
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (429, true));
    for _ in 0..5 {
        assert_eq!(publish("Bearer key", &draft).await.status, 200);
    }
    let backend = format!("Bearer {}", token("worker", &["--publish", "*"]));
    for _ in 0..5 {
        assert_eq!(publish(&backend, &draft).await.status, 200);
    }
}

#[tokio::test]
async fn a_users_rate_is_one_over_all_sessions_and_transports() {
    let options = ["--publishes-per-minute", "4", "--ephemerals-per-second", "4"];
    for ephemeral in [false, true] {
        let gateway = Gateway::serve(&options).await;
        let bearer = token("alice", &ROOM);
        let mut publish = json!({"id": 1, "op": "publish", "topic": "room:1", "type": "t", "data": 1});
        let mut draft = json!({"topic": "room:1", "type": "t", "data": 1});
        if ephemeral {
            (publish["ephemeral"], draft["ephemeral"]) = (json!(true), json!(true));
        }
        let mut first = Ws::open(gateway.address, &format!("token={bearer}")).await;
        let mut second = Ws::open(gateway.address, &format!("token={bearer}")).await;
        assert_eq!(command(&mut first, &publish).await.get("error"), None);
        assert_eq!(command(&mut second, &publish).await.get("error"), None);
        let target = format!("/v1/send?token={bearer}");
        let sent = post(gateway.address, &target, &[], &publish.to_string()).await.json();
        assert_eq!(sent.get("error"), None);
        let headers = [("Authorization", &*format!("Bearer {bearer}"))];
        let posted = async || post(gateway.address, "/v1/publish", &headers, &draft.to_string()).await;
        assert_eq!(posted().await.status, 200);
        // The fifth is one too many, wherever it comes.
        assert_eq!(posted().await.status, 429);
        for ws in [&mut first, &mut second] {
            assert_eq!(command(ws, &publish).await["error"]["code"], "rate_limited");
        }
    }
}

#[tokio::test]
async fn connections_have_caps_and_a_session_that_changes_its_transport_is_exempt() {
    let gateway = Gateway::serve(&["--max-connections-per-user", "2", "--max-connections-per-ip", "3"]).await;
    let (alice, bob, carol) = (token("alice", &ROOM), token("bob", &ROOM), token("carol", &ROOM));
    let query = |token: &str| format!("token={token}");
    let mut first = Ws::open(gateway.address, &query(&alice)).await;
    let session = first.batch().await["hello"]["session"].as_str().unwrap().to_owned();
    let mut second = Ws::open(gateway.address, &query(&alice)).await;
    second.batch().await;
    let mut moved = Sse::open(gateway.address, &format!("{}&session={session}", query(&alice))).await;
    assert_eq!(moved.batch().await.unwrap()["hello"]["session"], session);
    let mut third = Ws::open(gateway.address, &query(&alice)).await;
    assert!(third.batch().await["hello"].is_object());
    let mut last = None;
    while let Some(batch) = moved.batch().await {
        last = Some(batch);
    }
    assert_eq!(last.unwrap()["bye"]["reason"], "replaced", "the quietest makes room");
    drop(first);
    eventually("two are left", async || gateway.metric("throughline_connections").await == 2.0).await;
    let mut bobs = Ws::open(gateway.address, &query(&bob)).await;
    bobs.batch().await;
    let refused = get(gateway.address, &format!("/v1/poll?{}", query(&carol))).await;
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (429, true), "the address is full");
}

#[tokio::test]
async fn a_reader_gets_the_latest_of_each_user_and_key_ten_times_a_second() {
    let gateway = Gateway::serve(&["--ephemerals-per-second", "10"]).await;
    let bob = token("bob", &ROOM);
    let mut reader = Ws::open(gateway.address, &format!("token={bob}&topics=room:1")).await;
    let start = reader.batch().await["cursor"].as_str().unwrap().to_owned();
    // Backends have no rate of their own, so that what is seen is the reader's.
    let publisher = tokio::spawn({
        let address = gateway.address;
        let bearers = ["alice", "carol"].map(|user| format!("Bearer {}", token(user, &["--publish", "*"])));
        async move {
            for n in 0..100 {
                for bearer in &bearers {
                    let draft = json!({"topic": "room:1", "type": "c", "key": "cursor", "ephemeral": true, "data": n});
                    post(address, "/v1/publish", &[("Authorization", bearer)], &draft.to_string()).await;
                }
            }
        }
    });
    let began = Instant::now();
    let (mut batches, mut last) = (0_u32, Vec::new());
    while last != [99, 99] {
        let batch = reader.batch().await;
        let data: Vec<u64> =
            batch["events"].as_array().unwrap().iter().filter_map(|event| event["data"].as_u64()).collect();
        if !data.is_empty() {
            batches += 1;
            assert!(data.len() <= 2, "one of each user: {batch}");
            let keeps = usize::from(data.len() < 2);
            last.drain(..last.len().saturating_sub(keeps));
            last.extend(data);
        }
        assert_eq!(batch["cursor"], start, "nothing was logged");
    }
    let most = began.elapsed().as_millis() as u32 / 100 + 2;
    assert!(batches <= most, "{batches} batches, {most} at most");
    publisher.await.unwrap();
    let replayed =
        get(gateway.address, &format!("/v1/poll?token={bob}&topics=room:1&after={start}&wait=0")).await;
    assert_eq!(replayed.json()["events"], json!([]));
}

#[tokio::test]
async fn a_poll_that_waits_gets_what_passes_by() {
    let gateway = Gateway::serve(&[]).await;
    let bob = token("bob", &ROOM);
    let hello = get(gateway.address, &format!("/v1/poll?token={bob}&topics=room:1")).await.json();
    let target = format!("/v1/poll?token={bob}&topics=room:1&after={}", hello["cursor"].as_str().unwrap());
    let address = gateway.address;
    let poll = tokio::spawn(async move { get(address, &target).await.json() });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let draft = json!({"topic": "room:1", "type": "c", "ephemeral": true, "data": 7});
    gateway.publish(draft).await;
    let batch = poll.await.unwrap();
    assert_eq!((&batch["events"][0]["data"], batch["events"][0].get("seq")), (&json!(7), None));
}
