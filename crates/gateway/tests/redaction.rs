//! Who lacks the scope never sees the member, by whatever way.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod support;

use serde_json::{Value, json};
use support::{Gateway, Sse, Ws, get, get_with, post, token};

async fn data_of(gateway: &Gateway, path: &str, token: &str) -> Value {
    get(gateway.address, &format!("{path}&token={token}")).await.json()["events"][0]["data"].clone()
}

#[tokio::test]
async fn a_member_is_shown_to_its_scope_alone() {
    let rules =
        ["--redact", "job:*=/cost,staff", "--redact", "job:*=/debug", "--redact", "room:*=/info/email,staff"];
    let gateway = Gateway::serve(&rules).await;
    let plain = token("alice", &["--subscribe", "job:*", "--subscribe", "room:*"]);
    let staff = token("alice", &["--subscribe", "job:*", "--subscribe", "room:*", "--scope", "staff"]);
    let mut ws = Ws::open(gateway.address, &format!("token={plain}&topics=job:1")).await;
    let start = ws.batch().await["cursor"].as_str().unwrap().to_owned();
    let mut whole = Ws::open(gateway.address, &format!("token={staff}&topics=job:1")).await;
    whole.batch().await;
    let publish =
        || gateway.publish(json!({"topic": "job:1", "type": "t", "data": {"n": 1, "cost": 5, "debug": 6}}));
    let next = async |ws: &mut Ws| loop {
        let batch = ws.batch().await;
        if !batch["events"][0].is_null() {
            break batch["events"][0]["data"].clone();
        }
    };
    publish().await;
    assert_eq!(next(&mut ws).await, json!({"n": 1}));
    assert_eq!(next(&mut whole).await, json!({"n": 1, "cost": 5}));
    let mut sse = Sse::open(gateway.address, &format!("token={plain}&topics=job:1&after={start}")).await;
    assert_eq!(sse.events().await["events"][0]["data"], json!({"n": 1}));
    // The same event again, replayed and from history.
    let replay = format!("/v1/poll?topics=job:1&after={start}");
    assert_eq!(data_of(&gateway, &replay, &plain).await, json!({"n": 1}));
    assert_eq!(data_of(&gateway, &replay, &staff).await, json!({"n": 1, "cost": 5}));
    assert_eq!(data_of(&gateway, "/v1/history?topic=job:1", &plain).await, json!({"n": 1}));
    let key = [("Authorization", gateway.key())];
    let history = get_with(gateway.address, "/v1/history?topic=job:1", &key).await.json();
    assert_eq!(history["events"][0]["data"], json!({"n": 1, "cost": 5, "debug": 6}));

    ws.command(json!({"id": 1, "op": "auth", "token": staff})).await;
    assert_eq!(ws.reply().await.get("error"), None);
    publish().await;
    assert_eq!(next(&mut ws).await, json!({"n": 1, "cost": 5}), "a renewed grant counts at once");
    ws.command(json!({"id": 2, "op": "auth", "token": plain})).await;
    ws.reply().await;
    publish().await;
    assert_eq!(next(&mut ws).await, json!({"n": 1}), "in both directions");

    let passing =
        json!({"topic": "job:1", "type": "t", "ephemeral": true, "data": {"n": 2, "cost": 5, "debug": 6}});
    gateway.publish(passing).await;
    assert_eq!(next(&mut ws).await, json!({"n": 2}), "what only passes by, too");

    let hello = get(gateway.address, &format!("/v1/poll?token={staff}")).await.json();
    let join = json!({"id": 1, "op": "presence", "topic": "room:1", "status": "online", "info": {"email": "a@b", "name": "A"}});
    let target = format!("/v1/send?token={staff}&session={}", hello["hello"]["session"].as_str().unwrap());
    post(gateway.address, &target, &[], &join.to_string()).await;
    for (token, info) in [(&plain, json!({"name": "A"})), (&staff, json!({"email": "a@b", "name": "A"}))] {
        let listed = get(gateway.address, &format!("/v1/presence?topic=room:1&token={token}")).await.json();
        assert_eq!(listed["members"][0]["info"], info);
        let told = data_of(&gateway, &format!("/v1/poll?topics=room:1&after={start}"), token).await;
        assert_eq!(told["info"], info);
    }
}
