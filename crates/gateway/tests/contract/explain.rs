//! `GET /v1/explain`: why a user did or did not get an event.

use serde_json::{Value, json};

use crate::support::{Gateway, SECRET, Sse, Ws, eventually, get, get_with, post, token};

const KEY: (&str, &str) = ("Authorization", "Bearer key");

async fn explain(gateway: &Gateway, user: &str, seq: u64) -> Value {
    let target = format!("/v1/explain?user={user}&seq={seq}");
    let answer = get_with(gateway.address, &target, &[KEY]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// The verdict, and whether the sentence says this.
async fn is(gateway: &Gateway, user: &str, seq: u64, verdict: &str, says: &str) {
    let told = explain(gateway, user, seq).await;
    assert_eq!((&told["user"], &told["seq"]), (&json!(user), &json!(seq)));
    let detail = told["detail"].as_str().unwrap();
    assert!(told["verdict"] == verdict && detail.contains(says), "wanted {verdict}: {says}\ngot {told}");
}

async fn publish(gateway: &Gateway, topic: &str, draft: Value) -> u64 {
    let mut draft = draft;
    draft["topic"] = json!(topic);
    draft["type"] = draft.get("type").cloned().unwrap_or(json!("t"));
    draft["data"] = json!({"cost": 12});
    gateway.publish(draft).await
}

/// Waits until the user was sent everything up to `seq`.
async fn delivered(gateway: &Gateway, user: &str, seq: u64) {
    eventually("it is sent", async || explain(gateway, user, seq).await["verdict"] == "delivered").await;
}

#[tokio::test]
async fn what_was_sent_is_told_by_session() {
    let gateway = Gateway::serve(&["--redact", "room:*=/cost,staff"]).await;
    let mine = token("alice", &["--subscribe", "room:*"]);
    let mut ws = Ws::open(gateway.address, &format!("token={mine}&topics=room:1")).await;
    let session = ws.batch().await["hello"]["session"].as_str().unwrap().to_owned();
    let mut sse = Sse::open(gateway.address, &format!("token={mine}&types=other")).await;
    sse.batch().await;
    let seq = publish(&gateway, "room:1", json!({})).await;
    while ws.batch().await["events"] == json!([]) {}
    delivered(&gateway, "alice", seq).await;
    let told = explain(&gateway, "alice", seq).await;
    assert_eq!(told["detail"], "it was sent over ws, without /cost (scope staff)");
    let sessions = told["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    let of = |transport: &str| sessions.iter().find(|told| told["transport"] == transport).unwrap();
    assert_eq!((&of("ws")["session"], &of("ws")["verdict"]), (&json!(session), &json!("delivered")));
    assert_eq!(of("sse")["verdict"], "not_subscribed");
    is(&gateway, "alice", seq + 1, "unknown", &format!("ends at {seq}")).await;
}

#[tokio::test]
async fn what_was_not_sent_names_the_grant_the_filter_or_the_time() {
    let gateway = Gateway::serve(&[]).await;
    let early = publish(&gateway, "room:1", json!({})).await;
    let mine = token("alice", &["--subscribe", "room:1", "--subscribe", "job:*"]);
    let mut ws = Ws::open(gateway.address, &format!("token={mine}&topics=room:1&types=t,u*")).await;
    ws.batch().await;
    is(&gateway, "alice", early, "not_connected", &format!("began later, at {early}")).await;
    let foreign = publish(&gateway, "room:2", json!({})).await;
    is(&gateway, "alice", foreign, "not_allowed", "room:2 is beyond the grant, which lists room:1, job:*")
        .await;
    let elsewhere = publish(&gateway, "job:7", json!({})).await;
    is(&gateway, "alice", elsewhere, "not_subscribed", "does not subscribe to job:7").await;
    let unwanted = publish(&gateway, "room:1", json!({"type": "v"})).await;
    is(&gateway, "alice", unwanted, "filtered", "its type").await;
    ws.command(json!({"id": 1, "op": "subscribe", "topics": ["job:7"]})).await;
    ws.reply().await;
    is(&gateway, "alice", elsewhere, "not_subscribed", "subscribed to job:7 later").await;
    let now = publish(&gateway, "job:7", json!({})).await;
    delivered(&gateway, "alice", now).await;

    // The cursor goes along to another connection, and with it what was and was not to be had.
    let cursor = loop {
        let batch = ws.batch().await;
        if batch["events"] != json!([]) {
            break batch["cursor"].as_str().unwrap().to_owned();
        }
    };
    let session = explain(&gateway, "alice", now).await["sessions"][0]["session"].clone();
    drop(ws);
    let query = format!(
        "token={mine}&topics=room:1,job:7,job:8&after={cursor}&session={}",
        session.as_str().unwrap()
    );
    let mut sse = Sse::open(gateway.address, &query).await;
    sse.batch().await;
    for (seq, verdict) in [(early, "not_connected"), (elsewhere, "not_subscribed"), (now, "delivered")] {
        is(&gateway, "alice", seq, verdict, "").await;
    }
    // A token that allows less takes effect at once, and shows here.
    let less = token("alice", &["--subscribe", "job:*"]);
    let command = json!({"id": 2, "op": "auth", "token": less}).to_string();
    let target = format!("/v1/send?token={mine}&session={}", session.as_str().unwrap());
    assert_eq!(post(gateway.address, &target, &[], &command).await.json().get("error"), None);
    let late = publish(&gateway, "room:1", json!({})).await;
    is(&gateway, "alice", late, "not_allowed", "lists job:*").await;
}

#[tokio::test]
async fn what_a_poller_will_get_is_pending_conflated_or_expired() {
    let gateway = Gateway::serve(&["--ring-events", "4"]).await;
    let mine = token("alice", &[]);
    let hello = get(gateway.address, &format!("/v1/poll?token={mine}")).await.json();
    let topic = "user:alice";
    let plain = publish(&gateway, topic, json!({})).await;
    let keyed = publish(&gateway, topic, json!({"key": "k"})).await;
    let brief = publish(&gateway, topic, json!({"ttl_ms": 1})).await;
    is(&gateway, "alice", plain, "pending", "next poll").await;
    is(&gateway, "alice", keyed, "pending", "next poll").await;
    eventually("its time is over", async || explain(&gateway, "alice", brief).await["verdict"] == "expired")
        .await;
    let later = publish(&gateway, topic, json!({"key": "k"})).await;
    is(&gateway, "alice", keyed, "conflated", &format!("{later}, of the same topic, type and key")).await;
    let query = format!(
        "token={mine}&after={}&session={}",
        hello["cursor"].as_str().unwrap(),
        hello["hello"]["session"].as_str().unwrap()
    );
    let answer = get(gateway.address, &format!("/v1/poll?{query}")).await.json();
    assert_eq!(crate::support::seqs(&answer), [plain, later]);
    for (seq, says) in [(plain, "over poll"), (keyed, "only"), (brief, "unless"), (later, "over poll")] {
        is(&gateway, "alice", seq, "delivered", says).await;
    }
    for _ in 0..4 {
        publish(&gateway, topic, json!({})).await;
    }
    is(&gateway, "alice", plain, "expired", "retained no longer").await;
}

#[tokio::test]
async fn the_newest_connection_counts_even_if_an_older_one_stays_longer() {
    let gateway = Gateway::serve(&[]).await;
    let mine = token("alice", &["--subscribe", "room:*"]);
    let first = get(gateway.address, &format!("/v1/poll?token={mine}&topics=room:1")).await.json();
    let (cursor, session) = (first["cursor"].as_str().unwrap(), first["hello"]["session"].as_str().unwrap());
    let poll = |topic: &str, wait: u8| {
        format!("/v1/poll?token={mine}&topics={topic}&after={cursor}&session={session}&wait={wait}")
    };
    let parked = tokio::spawn({
        let (address, target) = (gateway.address, poll("room:1", 2));
        async move { get(address, &target).await.json() }
    });
    eventually("it waits", async || gateway.metric("throughline_connections").await == 1.0).await;
    let seq = publish(&gateway, "room:2", json!({})).await;
    assert_eq!(crate::support::seqs(&get(gateway.address, &poll("room:2", 0)).await.json()), [seq]);
    delivered(&gateway, "alice", seq).await;
    assert_eq!(crate::support::seqs(&parked.await.unwrap()), [] as [u64; 0]);
    delivered(&gateway, "alice", seq).await;
}

#[tokio::test]
async fn who_is_not_there_can_still_come_for_it() {
    let gateway = Gateway::serve(&[]).await;
    let own = publish(&gateway, "user:alice", json!({})).await;
    let room = publish(&gateway, "room:1", json!({})).await;
    is(&gateway, "alice", own, "not_connected", "gets it").await;
    is(&gateway, "alice", room, "not_connected", "subscribes to room:1").await;
    assert_eq!(explain(&gateway, "alice", own).await.get("sessions"), None);
    let mut ws = Ws::open(gateway.address, &format!("token={}", token("alice", &[]))).await;
    let session = ws.batch().await["hello"]["session"].as_str().unwrap().to_owned();
    drop(ws);
    eventually("the connection is gone", async || gateway.stats().await["byTransport"]["ws"] == 0).await;
    let missed = publish(&gateway, "user:alice", json!({})).await;
    let told = explain(&gateway, "alice", missed).await;
    assert_eq!(
        (&told["verdict"], &told["sessions"][0]["session"]),
        (&json!("not_connected"), &json!(session))
    );
    assert!(told["detail"].as_str().unwrap().contains("when it comes back"));
}

#[tokio::test]
async fn only_operators_may_ask() {
    let gateway = Gateway::serve(&["--admin-listen", "127.0.0.1:0"]).await;
    let admin = gateway.admin.unwrap();
    let target = "/v1/explain?user=alice&seq=1";
    assert_eq!(get_with(gateway.address, target, &[KEY]).await.status, 404, "only where operators are");
    let with = async |bearer: &str| {
        let bearer = format!("Bearer {bearer}");
        get_with(admin, target, &[("Authorization", &bearer)]).await.status
    };
    assert_eq!(with("key").await, 200);
    assert_eq!(with(&token("operator", &["--publish", "*"])).await, 200);
    assert_eq!(with(&token("alice", &["--publish", "room:*", "--subscribe", "*"])).await, 403);
    assert_eq!(with("wrong").await, 401);
    assert_eq!(get(admin, target).await.status, 401);
    assert_eq!(
        get(admin, &format!("{target}&token={}", token("operator", &["--publish", "*"]))).await.status,
        401
    );
    for target in [
        "/v1/explain",
        "/v1/explain?user=alice",
        "/v1/explain?seq=1",
        "/v1/explain?user=alice&seq=0",
        "/v1/explain?user=alice&seq=-1",
        "/v1/explain?user=alice&seq=x",
        "/v1/explain?user=alice&seq=9007199254740992",
        "/v1/explain?user=a%20b&seq=1",
        "/v1/explain?user=&seq=1",
    ] {
        assert_eq!(get_with(admin, target, &[KEY]).await.status, 400, "{target}");
    }
    assert_eq!(post(admin, target, &[KEY], "").await.status, 405);
}

#[tokio::test]
async fn the_answer_has_neither_the_data_nor_any_secret() {
    let gateway = Gateway::serve(&["--redact", "user:*=/cost"]).await;
    let mine = token("alice", &[]);
    let mut ws = Ws::open(gateway.address, &format!("token={mine}")).await;
    ws.batch().await;
    let draft = json!({"topic": "user:alice", "type": "t", "key": "a-key-of-mine", "id": "an-id-of-mine",
                       "data": {"cost": "a-cost-of-mine", "note": "a-note-of-mine"}});
    let seq = gateway.publish(draft).await;
    delivered(&gateway, "alice", seq).await;
    let told = explain(&gateway, "alice", seq).await.to_string();
    assert!(told.contains("without /cost"), "{told}");
    for secret in [mine.as_str(), mine.split('.').nth(2).unwrap(), SECRET, "Bearer", "of-mine"] {
        assert!(!told.contains(secret), "{secret}: {told}");
    }
}

#[tokio::test]
async fn what_a_session_had_before_is_not_denied() {
    let gateway = Gateway::serve(&[]).await;
    let mine = token("alice", &["--subscribe", "*"]);
    let mut ws = Ws::open(gateway.address, &format!("token={mine}&topics=room:1")).await;
    ws.batch().await;
    let seq = publish(&gateway, "room:1", json!({})).await;
    delivered(&gateway, "alice", seq).await;
    ws.command(json!({"id": 1, "op": "unsubscribe", "topics": ["room:1"]})).await;
    ws.reply().await;
    is(&gateway, "alice", seq, "not_subscribed", "whether it did when the event was sent is not known").await;
}
