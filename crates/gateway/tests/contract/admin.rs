//! The endpoints of operators and orchestrators.

use serde_json::{Value, json};

use crate::support::{Gateway, Sse, Ws, eventually, get, get_with, post, token};

const KEY: (&str, &str) = ("Authorization", "Bearer key");

async fn disconnect(gateway: &Gateway, body: Value) -> Value {
    let answer = post(gateway.address, "/v1/disconnect", &[KEY], &body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["sessions"].clone()
}

async fn bye_of(sse: &mut Sse) -> Value {
    let mut last = None;
    while let Some(batch) = sse.batch().await {
        last = Some(batch);
    }
    last.unwrap()["bye"]["reason"].clone()
}

#[tokio::test]
async fn disconnect_ends_the_sessions_of_a_user_or_one_session() {
    let gateway = Gateway::serve(&[]).await;
    let open = async |user: &str| {
        let mut sse = Sse::open(gateway.address, &format!("token={}", token(user, &[]))).await;
        let session = sse.batch().await.unwrap()["hello"]["session"].as_str().unwrap().to_owned();
        (sse, session)
    };
    let (mut one, id) = open("alice").await;
    let (mut two, _) = open("alice").await;
    let (mut three, _) = open("alice").await;
    let (mut other, _) = open("bob").await;
    assert_eq!(disconnect(&gateway, json!({"session": id})).await, 1);
    assert_eq!(bye_of(&mut one).await, "disconnected");
    eventually("the first is gone", async || gateway.stats().await["byTransport"]["sse"] == 3).await;
    assert_eq!(disconnect(&gateway, json!({"session": id})).await, 0);
    assert_eq!(disconnect(&gateway, json!({"user": "alice"})).await, 2);
    assert_eq!(
        (bye_of(&mut two).await, bye_of(&mut three).await),
        (json!("disconnected"), json!("disconnected"))
    );
    assert_eq!(disconnect(&gateway, json!({"user": "nobody"})).await, 0);
    let seq = gateway.publish(json!({"topic": "user:bob", "type": "t", "data": 1})).await;
    assert_eq!(crate::support::seqs(&other.events().await), [seq], "the others stay");
    for body in ["", "{}", "[]", r#"{"user":"a","session":"b"}"#, r#"{"user":7}"#, r#"{"users":["a"]}"#] {
        let answer = post(gateway.address, "/v1/disconnect", &[KEY], body).await;
        assert_eq!(answer.status, 400, "{body:?}");
    }
}

#[tokio::test]
async fn a_poller_between_two_polls_is_ended_at_its_next() {
    let gateway = Gateway::serve(&[]).await;
    let alice = format!("token={}", token("alice", &[]));
    for target in [json!({"user": "alice"}), json!({"session": "s1"})] {
        let hello = get(gateway.address, &format!("/v1/poll?{alice}&session=s1")).await.json();
        assert_eq!(gateway.stats().await["totalClients"], 1);
        assert_eq!(disconnect(&gateway, target.clone()).await, 1);
        assert_eq!(gateway.stats().await["totalClients"], 0);
        let after = hello["cursor"].as_str().unwrap();
        let poll = format!("/v1/poll?{alice}&session=s1&after={after}");
        assert_eq!(get(gateway.address, &poll).await.json()["bye"]["reason"], "disconnected", "{target}");
        let next = get(gateway.address, &format!("{poll}&wait=0")).await.json();
        assert_eq!(next.get("bye"), None, "a client that comes after that begins anew: {next}");
        disconnect(&gateway, target).await;
        get(gateway.address, &poll).await;
    }
    // Nor does a stream escape by being away for a moment.
    let mut sse = Sse::open(gateway.address, &format!("{alice}&session=s2")).await;
    sse.batch().await;
    drop(sse);
    eventually("it is gone", async || gateway.stats().await["byTransport"]["sse"] == 0).await;
    disconnect(&gateway, json!({"user": "alice"})).await;
    let mut back = Sse::open(gateway.address, &format!("{alice}&session=s2")).await;
    assert_eq!(bye_of(&mut back).await, "disconnected");
}

#[tokio::test]
async fn all_but_publishing_needs_a_key_or_a_grant_for_everything() {
    let gateway = Gateway::serve(&[]).await;
    let with = async |bearer: &str| {
        let bearer = format!("Bearer {bearer}");
        let headers = [("Authorization", bearer.as_str())];
        let stats = get_with(gateway.address, "/v1/stats", &headers).await.status;
        let ended = post(gateway.address, "/v1/disconnect", &headers, r#"{"user":"nobody"}"#).await.status;
        (stats, ended)
    };
    assert_eq!(with("key").await, (200, 200));
    assert_eq!(with(&token("operator", &["--publish", "*"])).await, (200, 200));
    assert_eq!(with(&token("alice", &["--publish", "room:*"])).await, (403, 403));
    assert_eq!(with(&token("alice", &["--subscribe", "*"])).await, (403, 403));
    assert_eq!(with("wrong").await, (401, 401));
    assert_eq!(get(gateway.address, "/v1/stats").await.status, 401);
    assert_eq!(get(gateway.address, "/v1/stats?token=key").await.status, 401);
    assert_eq!(post(gateway.address, "/v1/disconnect", &[], r#"{"user":"alice"}"#).await.status, 401);
}

#[tokio::test]
async fn a_token_reads_only_the_topics_that_it_may_subscribe_to() {
    let gateway = Gateway::serve(&[]).await;
    let with = async |bearer: &str| {
        let bearer = format!("Bearer {bearer}");
        let headers = [("Authorization", bearer.as_str())];
        let history = get_with(gateway.address, "/v1/history?topic=user:bob", &headers).await.status;
        let members = get_with(gateway.address, "/v1/presence?topic=user:bob", &headers).await.status;
        (history, members)
    };
    assert_eq!(with("key").await, (200, 200));
    assert_eq!(with(&token("alice", &["--subscribe", "user:*"])).await, (200, 200));
    assert_eq!(with(&token("worker", &["--publish", "*"])).await, (403, 403), "to publish is not to read");
    assert_eq!(with(&token("alice", &["--subscribe", "room:*"])).await, (403, 403));
}

#[tokio::test]
async fn stats_have_the_documented_shape() {
    let gateway = Gateway::serve(&[]).await;
    let empty = gateway.stats().await;
    assert_eq!((&empty["totalUsers"], &empty["totalClients"]), (&json!(0), &json!(0)));
    assert_eq!(
        (&empty["clientsByUser"], &empty["byTransport"]),
        (&json!([]), &json!({"ws": 0, "sse": 0, "poll": 0, "sio_ws": 0, "sio_poll": 0}))
    );
    let of = |user: &str| format!("token={}", token(user, &[]));
    let mut ws = Ws::open(gateway.address, &of("bob")).await;
    let mut first = Sse::open(gateway.address, &of("alice")).await;
    let mut second = Sse::open(gateway.address, &of("alice")).await;
    ws.batch().await;
    first.batch().await;
    second.batch().await;
    let stats = gateway.stats().await;
    assert_eq!((&stats["totalUsers"], &stats["totalClients"]), (&json!(2), &json!(3)), "{stats}");
    let by_user = json!([{"userId": "alice", "connections": 2}, {"userId": "bob", "connections": 1}]);
    assert_eq!(stats["clientsByUser"], by_user);
    assert_eq!(stats["byTransport"], json!({"ws": 1, "sse": 2, "poll": 0, "sio_ws": 0, "sio_poll": 0}));
    assert_eq!(get(gateway.address, "/health").await.json()["connections"], 3);
    drop((ws, first, second));
    gateway.comes_to_rest().await;
    assert_eq!(gateway.stats().await["totalClients"], 0);
}

#[tokio::test]
async fn stats_count_connections_and_members_by_room() {
    let gateway = Gateway::serve(&[]).await;
    let room = |user: &str, topics: &str| {
        format!("token={}&topics={topics}", token(user, &["--subscribe", "room:*"]))
    };
    let mut alice = Ws::open(gateway.address, &room("alice", "room:1,room:2")).await;
    let mut bob = Sse::open(gateway.address, &room("bob", "room:1")).await;
    alice.batch().await;
    bob.batch().await;
    for (topic, status) in [("room:1", "online"), ("room:2", "away"), ("room:3", "online")] {
        alice.command(json!({"id": 1, "op": "presence", "topic": topic, "status": status})).await;
        assert_eq!(alice.reply().await["ok"], json!({}));
    }
    let expected = json!([
        {"topic": "room:1", "connections": 2, "members": 1},
        {"topic": "room:2", "connections": 1, "members": 1},
    ]);
    let stats = gateway.stats().await;
    assert_eq!(stats["byTopic"], expected, "the busiest first, and only where somebody listens");
    assert_eq!(stats["byTransport"], json!({"ws": 1, "sse": 1, "poll": 0, "sio_ws": 0, "sio_poll": 0}));
    alice.command(json!({"id": 2, "op": "presence", "topic": "room:1", "status": "offline"})).await;
    alice.reply().await;
    alice.command(json!({"id": 3, "op": "unsubscribe", "topics": ["room:2"]})).await;
    alice.reply().await;
    drop(bob);
    eventually("bob is gone", async || gateway.stats().await["byTransport"]["sse"] == 0).await;
    let expected = json!([{"topic": "room:1", "connections": 1, "members": 0}]);
    assert_eq!(gateway.stats().await["byTopic"], expected);
}

#[tokio::test]
async fn health_and_readiness_tell_living_from_draining() {
    let mut gateway = Gateway::serve(&["--admin-listen", "127.0.0.1:0"]).await;
    let health = get(gateway.address, "/health").await.json();
    assert_eq!(
        (&health["status"], &health["websocket"], &health["connections"]),
        (&json!("ok"), &json!("enabled"), &json!(0))
    );
    let timestamp = health["timestamp"].as_str().unwrap();
    assert!(timestamp.len() == 24 && timestamp.ends_with('Z'), "{timestamp}");
    assert_eq!(get(gateway.address, "/ready").await.status, 200);
    // A client that does not close keeps the drain waiting, and both answers can be seen.
    let mut ws = Ws::open(gateway.address, &format!("token={}", token("alice", &[]))).await;
    ws.batch().await;
    gateway.stop();
    while ws.batch().await.get("bye").is_none() {}
    let ready = get(gateway.address, "/ready").await;
    assert_eq!((ready.status, ready.header("retry-after").is_some()), (503, true), "{}", ready.body);
    assert_eq!(get(gateway.address, "/health").await.status, 200, "it still lives");
    let refused = get(gateway.address, &format!("/v1/poll?token={}", token("alice", &[]))).await;
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("unavailable")));
    assert!(refused.header("retry-after").is_some());
    let mut late = Ws::open(gateway.address, &format!("token={}", token("alice", &[]))).await;
    assert_eq!(late.close_code().await, 4503);
    assert_eq!(gateway.metric("throughline_draining").await, 1.0);
}

#[tokio::test]
async fn an_admin_listener_takes_the_backend_endpoints_with_it() {
    let gateway = Gateway::serve(&["--admin-listen", "127.0.0.1:0"]).await;
    let admin = gateway.admin.unwrap();
    let draft = json!({"topic": "t", "type": "t", "data": 1}).to_string();
    assert_eq!(post(admin, "/v1/publish", &[KEY], &draft).await.status, 200);
    assert_eq!(post(gateway.address, "/v1/publish", &[KEY], &draft).await.status, 404);
    for target in ["/v1/stats", "/metrics"] {
        assert_eq!(get_with(admin, target, &[KEY]).await.status, 200, "{target}");
        assert_eq!(get_with(gateway.address, target, &[KEY]).await.status, 404, "{target}");
    }
    let nobody = r#"{"user":"nobody"}"#;
    assert_eq!(post(admin, "/v1/disconnect", &[KEY], nobody).await.status, 200);
    assert_eq!(post(gateway.address, "/v1/disconnect", &[KEY], nobody).await.status, 404);
    let query = format!("token={}", token("alice", &[]));
    assert_eq!(get(gateway.address, &format!("/v1/poll?{query}")).await.status, 200);
    for target in ["/v1/poll", "/v1/sse", "/v1/ws"] {
        assert_eq!(get(admin, &format!("{target}?{query}")).await.status, 404, "{target}");
    }
    for address in [admin, gateway.address] {
        assert_eq!(get(address, "/health").await.status, 200);
        assert_eq!(get(address, "/ready").await.status, 200);
        assert_eq!(get_with(address, "/v1/history?topic=t", &[KEY]).await.status, 200);
    }
}

#[tokio::test]
async fn metrics_count_what_happened_and_name_no_one() {
    let gateway = Gateway::serve(&[]).await;
    let mut sse = Sse::open(gateway.address, &format!("token={}", token("alice-the-user", &[]))).await;
    sse.batch().await;
    gateway.publish(json!({"topic": "user:alice-the-user", "type": "t", "data": 1})).await;
    sse.events().await;
    let answer = get(gateway.address, "/metrics").await;
    assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
    assert!(!answer.body.contains("alice-the-user"));
    assert_eq!(gateway.metric("throughline_events_published_total").await, 1.0);
    assert_eq!(gateway.metric("throughline_events_delivered_total").await, 1.0);
    assert_eq!(gateway.metric("throughline_sessions").await, 1.0);
    drop(sse);
    gateway.comes_to_rest().await;
    assert_eq!(gateway.metric("throughline_sessions_closed_total").await, 1.0);
}
