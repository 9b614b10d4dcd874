//! One log over three transports: what a client of each sees.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod support;

use serde_json::json;
use support::{Frame, Gateway, Sse, Ws, get, seqs, token};

#[tokio::test]
async fn an_event_reaches_all_three_transports() {
    let gateway = Gateway::serve(&[]).await;
    let token = token("alice", &["--subscribe", "room:*"]);
    let query = format!("access_token={token}&topics=room:1");
    let mut ws = Ws::open(gateway.address, &query).await;
    let mut sse = Sse::open(gateway.address, &query).await;
    let hello = ws.batch().await;
    assert_eq!(hello["hello"]["transport"], "ws");
    assert_eq!(hello["hello"]["topics"], json!(["user:alice", "all", "room:1"]));
    assert_eq!(sse.batch().await.unwrap()["hello"]["transport"], "sse");
    let tail = get(gateway.address, &format!("/v1/poll?{query}")).await.json()["cursor"]
        .as_str()
        .unwrap()
        .to_owned();

    let poll = tokio::spawn({
        let (address, target) = (gateway.address, format!("/v1/poll?{query}&after={tail}"));
        async move { get(address, &target).await.json() }
    });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let seq = gateway.publish(json!({"topic": "room:1", "type": "t", "data": {"a": 1}})).await;
    let over_ws = loop {
        let batch = ws.batch().await;
        if !seqs(&batch).is_empty() {
            break batch["events"].clone();
        }
    };
    assert_eq!(over_ws[0]["seq"], seq);
    assert_eq!(over_ws[0]["data"], json!({"a": 1}));
    assert_eq!(sse.events().await["events"], over_ws);
    assert_eq!(poll.await.unwrap()["events"], over_ws);
}

#[tokio::test]
async fn a_client_carries_on_over_another_transport() {
    let gateway = Gateway::serve(&[]).await;
    let query = format!("token={}", token("alice", &[]));
    let mut ws = Ws::open(gateway.address, &query).await;
    let hello = ws.batch().await;
    let publish = |n: u64| gateway.publish(json!({"topic": "user:alice", "type": "t", "data": n}));
    for n in 1..=3 {
        publish(n).await;
    }
    let mut cursor = hello["cursor"].as_str().unwrap().to_owned();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let batch = ws.batch().await;
        assert_eq!(batch["after"], cursor);
        cursor = batch["cursor"].as_str().unwrap().to_owned();
        seen.extend(seqs(&batch));
    }
    drop(ws);
    publish(4).await;
    let session = hello["hello"]["session"].as_str().unwrap();
    let mut sse = Sse::open(gateway.address, &format!("{query}&after={cursor}&session={session}")).await;
    let resumed = sse.batch().await.unwrap();
    assert_eq!((&resumed["after"], &resumed["cursor"]), (&json!(cursor), &json!(cursor)));
    assert_eq!(resumed["hello"]["session"], session);
    let batch = sse.batch().await.unwrap();
    assert_eq!((seqs(&batch), &batch["live"]), (vec![4], &json!(true)));
    drop(sse);
    publish(5).await;
    let cursor = batch["cursor"].as_str().unwrap();
    let answer = get(gateway.address, &format!("/v1/poll?{query}&after={cursor}")).await.json();
    assert_eq!((seqs(&answer), &answer["after"]), (vec![5], &json!(cursor)));
}

#[tokio::test]
async fn a_second_batch_comes_after_300_ms_and_an_empty_one_after_a_burst() {
    let gateway = Gateway::serve(&[]).await;
    let mut ws = Ws::open(gateway.address, &format!("token={}", token("alice", &[]))).await;
    ws.batch().await;
    let started = std::time::Instant::now();
    assert_eq!(seqs(&ws.batch().await), [0; 0]);
    let after = started.elapsed().as_millis();
    assert!((200..1500).contains(&after), "{after} ms");
    gateway.publish(json!({"topic": "user:alice", "type": "t", "data": 1})).await;
    assert_eq!(seqs(&ws.batch().await).len(), 1);
    let started = std::time::Instant::now();
    assert_eq!(seqs(&ws.batch().await), [0; 0]);
    let after = started.elapsed().as_millis();
    assert!((150..1500).contains(&after), "{after} ms");
}

#[tokio::test]
async fn commands_are_answered_and_the_token_may_come_first() {
    let gateway = Gateway::serve(&[]).await;
    let mut ws = Ws::open(gateway.address, "").await;
    ws.command(json!({"id": "0", "op": "ping"})).await;
    assert_eq!(ws.reply().await["error"]["code"], "unauthenticated");
    ws.command(json!({"id": "1", "op": "auth", "token": token("alice", &["--subscribe", "room:*"])})).await;
    assert_eq!(ws.reply().await["ok"]["user"], "alice");
    assert_eq!(ws.batch().await["hello"]["user"], "alice");
    ws.command(json!({"id": "2", "op": "ping"})).await;
    let reply = ws.reply().await;
    assert_eq!((&reply["reply"], reply["ok"]["time"].is_string()), (&json!("2"), true));
    ws.command(json!({"id": "3", "op": "subscribe", "topics": ["room:1"]})).await;
    assert_eq!(ws.reply().await["ok"]["topics"], json!(["user:alice", "all", "room:1"]));
    ws.command(json!({"id": "4", "op": "subscribe", "topics": ["job:1"]})).await;
    assert_eq!(ws.reply().await["error"]["code"], "forbidden");
    ws.send(&Ws::frame(0x81, b"{nonsense")).await;
    assert_eq!(ws.reply().await["error"]["code"], "bad_request");
    ws.send(&Ws::frame(0x89, b"hi")).await;
    loop {
        match ws.next().await {
            Frame::Pong(payload) => break assert_eq!(payload, b"hi"),
            Frame::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
    ws.send(&Ws::frame(0x88, &1000_u16.to_be_bytes())).await;
    assert_eq!(ws.close_code().await, 1000);
}

#[tokio::test]
async fn a_drain_says_bye_to_everyone() {
    let mut gateway = Gateway::serve(&[]).await;
    let query = format!("token={}", token("alice", &[]));
    let mut ws = Ws::open(gateway.address, &query).await;
    let mut sse = Sse::open(gateway.address, &query).await;
    ws.batch().await;
    sse.batch().await;
    gateway.stop();
    loop {
        let batch = ws.batch().await;
        if batch.get("bye").is_some() {
            assert_eq!(batch["bye"]["reason"], "drain");
            break assert!(batch["bye"]["reconnect_after_ms"].is_u64());
        }
    }
    assert_eq!(ws.close_code().await, 1001);
    let mut last = None;
    while let Some(batch) = sse.batch().await {
        last = Some(batch);
    }
    assert_eq!(last.unwrap()["bye"]["reason"], "drain");
    drop((ws, sse));
    tokio::time::timeout(support::PATIENCE, gateway.task).await.expect("the gateway ends").unwrap();
}

#[tokio::test]
async fn a_drain_gives_each_client_a_slot_of_its_own() {
    let mut gateway = Gateway::serve(&["--reconnects-per-second", "2"]).await;
    let mut streams = Vec::new();
    for n in 0..6 {
        let token = token(&format!("user{n}"), &[]);
        let mut stream = Sse::open(gateway.address, &format!("token={token}")).await;
        stream.batch().await;
        streams.push(stream);
    }
    gateway.stop();
    let mut slots = Vec::new();
    for stream in &mut streams {
        let mut slot = None;
        while let Some(batch) = stream.batch().await {
            slot = batch["bye"]["reconnect_after_ms"].as_u64().or(slot);
        }
        slots.push(slot.expect("a bye"));
    }
    slots.sort_unstable();
    for (n, slot) in (0..).zip(&slots) {
        assert!((500 * n..=500 * n + 500).contains(slot), "{slots:?}");
    }
}
