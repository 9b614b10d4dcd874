//! Members of a topic with the log on disk: kill -9, start again, and nobody has left who comes back in time.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

#[path = "restart/reload.rs"]
mod reload;
mod support;
#[path = "restart/tls.rs"]
mod tls;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Directory, Frame, Program, SECRET, Sse, Ws, eventually, get, post, token};
use tokio::time::Instant;

const ROOM: [&str; 4] = ["--subscribe", "room:*", "--publish", "room:*"];

impl Directory {
    /// Starts a gateway on it, which says nothing before it has the members of before.
    fn start(&self, options: &[&str]) -> Program {
        let dir = self.0.to_str().unwrap();
        let mut arguments = vec!["serve", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET];
        arguments.extend(["--store", "disk", "--data-dir", dir]);
        arguments.extend(options);
        Program::start(&arguments)
    }
}

/// What is listed of each user.
async fn members(gateway: &Program) -> (u64, BTreeMap<String, Value>) {
    let bearer = token("watcher", &ROOM);
    let listed = get(gateway.address, &format!("/v1/presence?topic=room:1&token={bearer}")).await.json();
    let by_user = listed["members"].as_array().unwrap().iter();
    let by_user = by_user.map(|member| (member["user"].as_str().unwrap().to_owned(), member.clone()));
    (listed["count"].as_u64().unwrap(), by_user.collect())
}

fn session_of(batch: &Value) -> String {
    batch["hello"]["session"].as_str().unwrap().to_owned()
}

fn presence(status: &str, info: &Value) -> Value {
    json!({"id": 1, "op": "presence", "topic": "room:1", "status": status, "info": info})
}

/// A WebSocket in the room, and its session. It was told that its user joined, unless that was no news.
async fn joined(gateway: &Program, user: &str) -> (Ws, String) {
    let mut ws = Ws::open(gateway.address, &format!("token={}&topics=room:1", token(user, &ROOM))).await;
    let session = session_of(&ws.batch().await);
    let is_news = !members(gateway).await.1.contains_key(user);
    ws.command(presence("online", &json!({"name": user}))).await;
    let (mut is_answered, mut is_told) = (false, !is_news);
    while !(is_answered && is_told) {
        let Frame::Text(message) = ws.next().await else { panic!("the gateway closed") };
        is_answered |= message["ok"] == json!({});
        let mut events = message["events"].as_array().into_iter().flatten();
        is_told |= events.any(|event| event["type"] == "presence.join" && event["data"]["user"] == user);
    }
    (ws, session)
}

/// What is told of presence, until it is that this user did this. Gives the cursor too.
async fn until(ws: &mut Ws, kind: &str, user: &str) -> (Vec<Value>, String) {
    let mut told = Vec::new();
    loop {
        let batch = ws.batch().await;
        assert_eq!(batch.get("reset"), None);
        let events = batch["events"].as_array().unwrap();
        told.extend(
            events.iter().filter(|event| event["type"].as_str().unwrap().starts_with("presence.")).cloned(),
        );
        if told.iter().any(|event| event["type"] == kind && event["data"]["user"] == user) {
            return (told, batch["cursor"].as_str().unwrap().to_owned());
        }
    }
}

#[tokio::test]
async fn members_hold_their_places_over_kill_9() {
    let directory = Directory::new("kill");
    let gateway = directory.start(&[]);
    let (mut alice, alices) = joined(&gateway, "alice").await;
    let (_bob, _) = joined(&gateway, "bob").await;
    let (_tab, _) = joined(&gateway, "bob").await;
    let carol = token("carol", &ROOM);
    let hello = get(gateway.address, &format!("/v1/poll?token={carol}&topics=room:1")).await.json();
    let target = format!("/v1/send?token={carol}&session={}", session_of(&hello));
    let reply = post(gateway.address, &target, &[], &presence("away", &json!(null)).to_string()).await.json();
    assert_eq!(reply["ok"], json!({}));
    let (mut dave, _) = joined(&gateway, "dave").await;
    dave.command(presence("offline", &json!(null))).await;
    // An event that was delivered is on disk, and with it what is kept of its member and of those before.
    let (_, cursor) = until(&mut alice, "presence.leave", "dave").await;
    let (count, before) = members(&gateway).await;
    assert_eq!((count, before.len()), (3, 4), "{before:?}");
    gateway.signal("KILL");
    gateway.end().await;

    let gateway = directory.start(&[]);
    let started = Instant::now();
    let (count, after) = members(&gateway).await;
    assert_eq!((count, after.len()), (3, 4), "{after:?}");
    for (user, was) in &before {
        let is = &after[user];
        for member in ["status", "info", "since", "sessions"] {
            assert_eq!(is[member], was[member], "{user}");
        }
    }
    assert!(after["alice"]["last_seen"].as_str() <= before["alice"]["last_seen"].as_str(), "not back yet");
    assert_eq!(after["dave"]["last_seen"], before["dave"]["last_seen"]);
    assert_eq!((&after["bob"]["sessions"], &after["carol"]["status"]), (&json!(2), &json!("away")));

    // Alice goes on with her session and her cursor, over another transport, and says nothing of presence.
    let query =
        format!("token={}&topics=room:1&after={cursor}&session={alices}&heartbeat=2", token("alice", &ROOM));
    let mut sse = Sse::open(gateway.address, &query).await;
    let mut told = Vec::new();
    let took = loop {
        let batch = sse.batch().await.unwrap();
        assert_eq!(batch.get("reset"), None);
        told.extend(batch["events"].as_array().unwrap().iter().cloned());
        if !told.is_empty() {
            break started.elapsed();
        }
    };
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["type"], &told[0]["data"]["user"]), (&json!("presence.leave"), &json!("bob")));
    assert_eq!(told[0]["data"]["count"], 2);
    assert!(took > Duration::from_secs(8) && took < Duration::from_secs(14), "{took:?}");
    let (count, after) = members(&gateway).await;
    assert_eq!((count, &after["bob"]["status"]), (2, &json!("offline")));
    assert_eq!((&after["alice"]["status"], &after["alice"]["sessions"]), (&json!("online"), &json!(1)));
    assert_eq!(after["alice"]["since"], before["alice"]["since"], "she never left");
    assert!(after["alice"]["last_seen"].as_str() > before["alice"]["last_seen"].as_str());
    assert_eq!(after["carol"]["status"], "away", "a poller has more time");

    // Once more: what changed since is what is kept.
    gateway.signal("KILL");
    gateway.end().await;
    let gateway = directory.start(&[]);
    let (count, again) = members(&gateway).await;
    assert_eq!((count, again.len(), &again["bob"]["status"]), (2, 4, &json!("offline")));
}

#[tokio::test]
async fn those_who_left_are_forgotten_for_good_when_their_time_is_over() {
    let directory = Directory::new("ttl");
    let ttl = ["--presence-ttl-seconds", "2"];
    let gateway = directory.start(&ttl);
    let (mut alice, _) = joined(&gateway, "alice").await;
    let (mut bob, _) = joined(&gateway, "bob").await;
    bob.command(presence("offline", &json!(null))).await;
    until(&mut alice, "presence.leave", "bob").await;
    gateway.signal("KILL");
    gateway.end().await;
    let gateway = directory.start(&ttl);
    assert_eq!(members(&gateway).await.1.len(), 2);
    eventually("bob is forgotten", async || !members(&gateway).await.1.contains_key("bob")).await;
    assert_eq!(members(&gateway).await.0, 1, "alice still has time");
    // Whoever is told of after him is kept after him.
    let (_carol, _) = joined(&gateway, "carol").await;
    gateway.signal("KILL");
    gateway.end().await;
    let gateway = directory.start(&["--presence-ttl-seconds", "1000"]);
    let (_, members) = members(&gateway).await;
    assert_eq!(members.keys().map(String::as_str).collect::<Vec<_>>(), ["alice", "carol"]);
}

#[tokio::test]
async fn who_comes_back_with_a_smaller_grant_is_no_member_of_what_it_lacks() {
    let directory = Directory::new("grant");
    let gateway = directory.start(&[]);
    let (_alice, session) = joined(&gateway, "alice").await;
    let (_bob, _) = joined(&gateway, "bob").await;
    gateway.signal("KILL");
    gateway.end().await;
    let gateway = directory.start(&[]);
    assert_eq!(members(&gateway).await.0, 2);
    let less = token("alice", &["--subscribe", "room:2"]);
    let mut ws = Ws::open(gateway.address, &format!("token={less}&session={session}")).await;
    ws.batch().await;
    let (count, members) = members(&gateway).await;
    assert_eq!((count, &members["alice"]["status"]), (1, &json!("offline")));
}

#[tokio::test]
async fn a_drain_notes_until_when_members_were_there() {
    let directory = Directory::new("drain");
    let gateway = directory.start(&[]);
    let (mut alice, session) = joined(&gateway, "alice").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = members(&gateway).await.1["alice"].clone();
    gateway.signal("TERM");
    while alice.batch().await.get("bye").is_none() {}
    drop(alice);
    assert_eq!(gateway.end().await.0, Some(0));
    let gateway = directory.start(&[]);
    let after = members(&gateway).await.1["alice"].clone();
    assert_eq!((&after["status"], &after["since"]), (&json!("online"), &before["since"]));
    assert!(after["last_seen"].as_str() >= before["last_seen"].as_str(), "{before} {after}");
    // Her poll, which another transport led to, continues the session.
    let query = format!("token={}&topics=room:1&after=latest&session={session}", token("alice", &ROOM));
    assert_eq!(session_of(&get(gateway.address, &format!("/v1/poll?{query}")).await.json()), session);
    let alice = members(&gateway).await.1["alice"].clone();
    assert_eq!((&alice["status"], &alice["sessions"]), (&json!("online"), &json!(1)));
    let metrics = get(gateway.address, "/metrics").await.body;
    let polling =
        metrics.lines().find(|line| line.starts_with("throughline_sessions{") && line.contains("poll"));
    assert!(polling.unwrap().ends_with(" 1"), "{polling:?}");
}
