//! Who is in a topic, as clients of every transport see it.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Gateway, Sse, Ws, get, post, token};

/// The next events of presence, from batch to batch.
async fn told(ws: &mut Ws) -> Vec<Value> {
    loop {
        let batch = ws.batch().await;
        let told: Vec<Value> = changes(&batch);
        if !told.is_empty() {
            return told;
        }
    }
}

fn changes(batch: &Value) -> Vec<Value> {
    let events = batch["events"].as_array().unwrap().iter();
    events.filter(|event| event["type"].as_str().unwrap().starts_with("presence.")).cloned().collect()
}

async fn command(ws: &mut Ws, command: Value) -> Value {
    ws.command(command).await;
    ws.reply().await
}

async fn send(gateway: &Gateway, token: &str, session: &str, command: &Value) -> Value {
    let target = format!("/v1/send?token={token}&session={session}");
    post(gateway.address, &target, &[], &command.to_string()).await.json()
}

async fn members(gateway: &Gateway, token: &str, topic: &str) -> Value {
    let answer = get(gateway.address, &format!("/v1/presence?topic={topic}&token={token}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn session_of(batch: &Value) -> String {
    batch["hello"]["session"].as_str().unwrap().to_owned()
}

const ROOM: [&str; 4] = ["--subscribe", "room:*", "--publish", "room:*"];

#[tokio::test]
async fn who_joins_updates_and_leaves_is_told_in_order() {
    let gateway = Gateway::serve(&[]).await;
    let (alice, bob) = (token("alice", &ROOM), token("bob", &ROOM));
    let mut watching = Ws::open(gateway.address, &format!("token={bob}&topics=room:1")).await;
    watching.batch().await;
    let mut ws = Ws::open(gateway.address, &format!("token={alice}")).await;
    ws.batch().await;
    let subscribe = json!({"id": 1, "op": "subscribe", "topics": ["room:1"],
                           "presence": {"status": "online", "info": {"role": "author"}}});
    let reply = command(&mut ws, subscribe).await;
    assert_eq!(reply["ok"]["topics"], json!(["user:alice", "all", "room:1"]));
    let joined = &told(&mut watching).await[0];
    assert_eq!(
        (&joined["type"], &joined["topic"], &joined["key"]),
        (&json!("presence.join"), &json!("room:1"), &json!("alice"))
    );
    let data = json!({"user": "alice", "status": "online", "info": {"role": "author"}, "count": 1});
    assert_eq!(joined["data"], data);
    assert!(joined["seq"].as_u64().is_some());

    let away = json!({"id": 2, "op": "presence", "topic": "room:1", "status": "away", "info": 7});
    assert_eq!(command(&mut ws, away).await, json!({"reply": 2, "ok": {}}));
    let updated = &told(&mut watching).await[0];
    assert_eq!(updated["type"], "presence.update");
    assert_eq!(updated["data"], json!({"user": "alice", "status": "away", "info": 7, "count": 1}));

    let listed = members(&gateway, &bob, "room:1").await;
    assert_eq!((&listed["topic"], &listed["count"]), (&json!("room:1"), &json!(1)));
    assert_eq!(listed["members"][0]["sessions"], 1);

    command(&mut ws, json!({"id": 3, "op": "presence", "topic": "room:1", "status": "offline"})).await;
    let left = &told(&mut watching).await[0];
    assert_eq!(
        (&left["type"], &left["data"]["status"], &left["data"]["count"]),
        (&json!("presence.leave"), &json!("offline"), &json!(0))
    );
    assert!(
        joined["seq"].as_u64() < updated["seq"].as_u64() && updated["seq"].as_u64() < left["seq"].as_u64()
    );
    let listed = members(&gateway, &bob, "room:1").await;
    assert_eq!((&listed["count"], &listed["members"][0]["status"]), (&json!(0), &json!("offline")));
}

#[tokio::test]
async fn presence_is_no_part_of_history_and_expect_does_not_see_it() {
    let gateway = Gateway::serve(&[]).await;
    let alice = token("alice", &ROOM);
    let mut ws = Ws::open(gateway.address, &format!("token={alice}&topics=room:1")).await;
    let start = ws.batch().await["cursor"].as_str().unwrap().to_owned();
    let publish = |expect: u64| json!({"id": 1, "op": "publish", "topic": "room:1", "type": "t", "data": 1, "expect": expect});
    let seq = command(&mut ws, publish(0)).await["ok"]["seq"].as_u64().unwrap();
    command(&mut ws, json!({"id": 2, "op": "presence", "topic": "room:1", "status": "online"})).await;
    told(&mut ws).await;
    assert!(command(&mut ws, publish(seq)).await["ok"]["seq"].as_u64().unwrap() > seq + 1);
    let history = get(gateway.address, &format!("/v1/history?topic=room:1&token={alice}")).await.json();
    let types: Vec<&Value> =
        history["events"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["t", "t"]);
    assert_eq!(history.get("reset"), None);
    let replayed =
        get(gateway.address, &format!("/v1/poll?topics=room:1&after={start}&token={alice}")).await.json();
    let types: Vec<&Value> =
        replayed["events"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["t", "presence.join", "t"], "in its place for whoever resumes");
    let forged = json!({"id": 3, "op": "publish", "topic": "room:1", "type": "presence.leave", "data": {"user": "bob"}});
    assert_eq!(command(&mut ws, forged).await["error"]["code"], "bad_request");
}

#[tokio::test]
async fn a_storm_of_joins_evicts_no_message() {
    let gateway = Gateway::serve(&["--ring-events", "8", "--commands-per-minute", "0"]).await;
    let alice = token("alice", &ROOM);
    let mut ws = Ws::open(gateway.address, &format!("token={alice}&topics=room:1")).await;
    let start = ws.batch().await["cursor"].as_str().unwrap().to_owned();
    for n in 0..8 {
        gateway.publish(json!({"topic": "room:1", "type": "t", "data": n})).await;
    }
    for user in 0..50 {
        let token = token(&format!("u{user}"), &ROOM);
        let hello = get(gateway.address, &format!("/v1/poll?token={token}&topics=room:1")).await.json();
        let join = json!({"id": 1, "op": "presence", "topic": "room:1", "status": "online"});
        send(&gateway, &token, &session_of(&hello), &join).await;
    }
    // Two sessions more of one who is there already are no news.
    let mut seen = 0;
    while seen < 50 {
        seen += told(&mut ws).await.len();
    }
    let replayed =
        get(gateway.address, &format!("/v1/poll?topics=room:1&after={start}&token={alice}")).await.json();
    assert_eq!(replayed.get("reset"), None);
    let counts: Vec<u64> =
        changes(&replayed).iter().map(|event| event["data"]["count"].as_u64().unwrap()).collect();
    assert_eq!(counts, (1..=50).collect::<Vec<u64>>());
    assert_eq!(replayed["events"].as_array().unwrap().len(), 58);
}

#[tokio::test]
async fn a_change_of_transport_is_no_leave_and_a_lost_connection_is_one_after_10_s() {
    let gateway = Gateway::serve(&[]).await;
    let (alice, bob) = (token("alice", &ROOM), token("bob", &ROOM));
    let mut watching = Ws::open(gateway.address, &format!("token={bob}&topics=room:1")).await;
    watching.batch().await;
    let mut ws = Ws::open(gateway.address, &format!("token={alice}&topics=room:1")).await;
    let session = session_of(&ws.batch().await);
    let join = json!({"id": 1, "op": "presence", "topic": "room:1", "status": "online"});
    command(&mut ws, join).await;
    assert_eq!(told(&mut watching).await[0]["type"], "presence.join");
    drop(ws);
    let mut sse = Sse::open(gateway.address, &format!("token={alice}&topics=room:1&session={session}")).await;
    sse.batch().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(members(&gateway, &bob, "room:1").await["members"][0]["sessions"], 1);
    let gone = tokio::time::Instant::now();
    drop(sse);
    let left = &told(&mut watching).await[0];
    assert_eq!((&left["type"], &left["data"]["user"]), (&json!("presence.leave"), &json!("alice")));
    let took = gone.elapsed();
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(13), "{took:?}");
}

#[tokio::test]
async fn pollers_between_two_polls_are_present() {
    let gateway = Gateway::serve(&[]).await;
    let alice = token("alice", &ROOM);
    let hello = get(gateway.address, &format!("/v1/poll?token={alice}&topics=room:1")).await.json();
    let session = session_of(&hello);
    let join = json!({"id": 1, "op": "presence", "topic": "room:1", "status": "online"});
    assert_eq!(send(&gateway, &alice, &session, &join).await["ok"], json!({}));
    tokio::time::sleep(Duration::from_secs(12)).await;
    let listed = members(&gateway, &alice, "room:1").await;
    assert_eq!((&listed["count"], &listed["members"][0]["status"]), (&json!(1), &json!("online")));
    let cursor = hello["cursor"].as_str().unwrap();
    let target = format!("/v1/poll?token={alice}&topics=room:1&after={cursor}&session={session}");
    assert_eq!(changes(&get(gateway.address, &target).await.json())[0]["type"], "presence.join");
}

#[tokio::test]
async fn a_grant_that_shrinks_ends_membership() {
    let gateway = Gateway::serve(&[]).await;
    let (wide, narrow) = (token("alice", &ROOM), token("alice", &["--subscribe", "room:2"]));
    let mut ws = Ws::open(gateway.address, &format!("token={wide}&topics=room:1,room:2")).await;
    ws.batch().await;
    for room in ["room:1", "room:2"] {
        command(&mut ws, json!({"id": 1, "op": "presence", "topic": room, "status": "online"})).await;
    }
    let bob = token("bob", &ROOM);
    assert_eq!(members(&gateway, &bob, "room:1").await["count"], 1);
    command(&mut ws, json!({"id": 2, "op": "auth", "token": narrow})).await;
    assert_eq!(members(&gateway, &bob, "room:1").await["count"], 0);
    assert_eq!(members(&gateway, &bob, "room:2").await["count"], 1);
    let again = json!({"id": 3, "op": "presence", "topic": "room:1", "status": "online"});
    assert_eq!(command(&mut ws, again).await["error"]["code"], "forbidden");
    command(&mut ws, json!({"id": 4, "op": "unsubscribe", "topics": ["room:2"]})).await;
    assert_eq!(members(&gateway, &bob, "room:2").await["count"], 0, "who unsubscribes leaves");
}

#[tokio::test]
async fn what_is_malformed_or_not_allowed_is_refused() {
    let gateway = Gateway::serve(&[]).await;
    let alice = token("alice", &["--subscribe", "room:1"]);
    let mut ws = Ws::open(gateway.address, &format!("token={alice}")).await;
    ws.batch().await;
    for (presence, code) in [
        (json!({"id": "x", "op": "presence", "topic": "room:2", "status": "online"}), "forbidden"),
        (json!({"id": "x", "op": "presence", "topic": "room:1", "status": "busy"}), "bad_request"),
        (json!({"id": "x", "op": "presence", "topic": "room 1", "status": "online"}), "bad_request"),
        (json!({"id": "x", "op": "presence", "status": "online"}), "bad_request"),
        (
            json!({"id": "x", "op": "presence", "topic": "room:1", "status": "online", "info": "x".repeat(1100)}),
            "too_large",
        ),
        (
            json!({"id": "x", "op": "subscribe", "topics": ["room:1"], "presence": {"status": 1}}),
            "bad_request",
        ),
    ] {
        let reply = command(&mut ws, presence.clone()).await;
        assert_eq!((&reply["reply"], &reply["error"]["code"]), (&json!("x"), &json!(code)), "{presence}");
    }
    let without_session = json!({"id": 1, "op": "presence", "topic": "room:1", "status": "online"});
    let target = format!("/v1/send?token={alice}");
    let answer = post(gateway.address, &target, &[], &without_session.to_string()).await.json();
    assert_eq!(answer["error"]["code"], "bad_request");
    assert_eq!(get(gateway.address, &format!("/v1/presence?token={alice}&topic=room:2")).await.status, 403);
    assert_eq!(get(gateway.address, "/v1/presence?topic=room:1").await.status, 401);
    assert_eq!(get(gateway.address, &format!("/v1/presence?token={alice}")).await.status, 400);
    let headers = [("Authorization", gateway.key())];
    let with_key = support::get_with(gateway.address, "/v1/presence?topic=room:1", &headers).await;
    assert_eq!(with_key.json()["count"], 0);
}
