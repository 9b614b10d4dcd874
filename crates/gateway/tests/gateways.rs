//! Who is there, and who is sent away, over several gateways of one log.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod support;

#[path = "../../events/tests/redis/server.rs"]
#[allow(dead_code, reason = "the store's own tests use the rest")]
mod server;

use serde_json::{Value, json};
use server::Server;
use support::{Gateway, Sse, Ws, eventually, get, get_with, post, token};

async fn gateways(server: &Server, number: usize) -> Vec<Gateway> {
    let url = server.url();
    let mut gateways = Vec::new();
    for _ in 0..number {
        let options = ["--store", "redis", "--redis-url", &url, "--log-name", "log"];
        gateways.push(Gateway::serve(&options).await);
    }
    for gateway in &gateways {
        eventually("ready", async || get(gateway.address, "/ready").await.status == 200).await;
    }
    gateways
}

fn of(user: &str) -> String {
    token(user, &["--subscribe", "*", "--publish", "*"])
}

async fn enter(gateway: &Gateway, user: &str, query: &str) -> (Ws, String) {
    let query = format!("topics=room:a&access_token={}{query}", of(user));
    let mut ws = Ws::open(gateway.address, &query).await;
    let hello = ws.batch().await;
    let session = hello["hello"]["session"].as_str().unwrap().to_owned();
    (ws, session)
}

async fn show(ws: &mut Ws, status: &str) {
    ws.command(json!({"id": "1", "op": "presence", "topic": "room:a", "status": status, "info": {"n": 1}}))
        .await;
    let reply = ws.reply().await;
    assert!(reply["error"].is_null(), "{reply}");
}

/// The members that a gateway lists: who, how, and how many sessions.
async fn members(gateway: &Gateway) -> Vec<(String, String, u64)> {
    let listed =
        get(gateway.address, &format!("/v1/presence?topic=room:a&access_token={}", of("x"))).await.json();
    let member = |member: &Value| {
        let text = |name: &str| member[name].as_str().unwrap().to_owned();
        (text("user"), text("status"), member["sessions"].as_u64().unwrap())
    };
    let mut members: Vec<_> = listed["members"].as_array().unwrap().iter().map(member).collect();
    members.sort();
    members
}

fn member(user: &str, status: &str, sessions: u64) -> (String, String, u64) {
    (user.to_owned(), status.to_owned(), sessions)
}

/// What an observer was told of members, without who was told twice the same.
async fn told(sse: &mut Sse, until: (&str, &str)) -> Vec<(String, String, u64)> {
    let mut told = Vec::new();
    loop {
        for event in sse.events().await["events"].as_array().unwrap() {
            let kind = event["type"].as_str().unwrap().to_owned();
            let user = event["data"]["user"].as_str().unwrap().to_owned();
            let is_last = (kind.as_str(), user.as_str()) == until;
            told.push((kind, user, event["data"]["count"].as_u64().unwrap()));
            if is_last {
                return told;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_room_over_three_gateways() {
    let server = Server::start(&[]).await;
    let gateways = gateways(&server, 3).await;
    let mut observer =
        Sse::open(gateways[2].address, &format!("topics=room:a&access_token={}", of("observer"))).await;
    let (mut alice, _) = enter(&gateways[0], "alice", "").await;
    show(&mut alice, "online").await;
    let everywhere = async |expected: &[(String, String, u64)]| {
        for gateway in &gateways {
            eventually("all gateways list the same", async || members(gateway).await == expected).await;
        }
    };
    everywhere(&[member("alice", "online", 1)]).await;
    let (mut bob, _) = enter(&gateways[1], "bob", "").await;
    show(&mut bob, "away").await;
    everywhere(&[member("alice", "online", 1), member("bob", "away", 1)]).await;
    // A second session of the same user elsewhere is the same member, and the first may go.
    let (mut second, _) = enter(&gateways[1], "alice", "").await;
    show(&mut second, "online").await;
    everywhere(&[member("alice", "online", 2), member("bob", "away", 1)]).await;
    show(&mut alice, "offline").await;
    everywhere(&[member("alice", "online", 1), member("bob", "away", 1)]).await;
    show(&mut second, "offline").await;
    everywhere(&[member("alice", "offline", 0), member("bob", "away", 1)]).await;
    show(&mut bob, "offline").await;
    let told = told(&mut observer, ("presence.leave", "bob")).await;
    let expected = [
        ("presence.join", "alice", 1),
        ("presence.join", "bob", 2),
        ("presence.leave", "alice", 1),
        ("presence.leave", "bob", 0),
    ];
    assert_eq!(told, expected.map(|(kind, user, count)| (kind.to_owned(), user.to_owned(), count)));
    // Who comes later knows who is there.
    show(&mut bob, "online").await;
    let late = self::gateways(&server, 1).await;
    eventually("a new gateway lists them too", async || {
        members(&late[0]).await.contains(&member("bob", "online", 1))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_on_a_gateway_that_died_goes_or_goes_on_elsewhere() {
    let server = Server::start(&[]).await;
    let url = server.url();
    let doomed = support::Program::serve(&["--store", "redis", "--redis-url", &url, "--log-name", "log"]);
    let gateways = gateways(&server, 2).await;
    eventually("ready", async || get(doomed.address, "/ready").await.status == 200).await;
    let mut observer =
        Sse::open(gateways[1].address, &format!("topics=room:a&access_token={}", of("observer"))).await;
    let there = async |user: &str| {
        let query = format!("topics=room:a&access_token={}", of(user));
        let mut ws = Ws::open(doomed.address, &query).await;
        let hello = ws.batch().await;
        show(&mut ws, "online").await;
        (ws, hello["hello"]["session"].as_str().unwrap().to_owned())
    };
    let (_stays, _) = there("alice").await;
    let (_moves, session) = there("bob").await;
    let both = [member("alice", "online", 1), member("bob", "online", 1)];
    eventually("both are listed", async || members(&gateways[0]).await == both).await;
    // Their joins have been told before one of the gateways dies.
    told(&mut observer, ("presence.join", "bob")).await;
    doomed.signal("KILL");
    // Bob's client goes on at another gateway, with the session that it had.
    let (_bob, _) = enter(&gateways[0], "bob", &format!("&session={session}")).await;
    let told = told(&mut observer, ("presence.leave", "alice")).await;
    assert_eq!(told, [("presence.leave".to_owned(), "alice".to_owned(), 1)], "once, and nothing of bob");
    for gateway in &gateways {
        let expected = [member("alice", "offline", 0), member("bob", "online", 1)];
        eventually("one is left", async || members(gateway).await == expected).await;
    }
    // Both that are left noticed it, and both tell: the topic is told once.
    let (mut carol, _) = enter(&gateways[1], "carol", "").await;
    show(&mut carol, "online").await;
    let told = self::told(&mut observer, ("presence.join", "carol")).await;
    assert_eq!(told, [("presence.join".to_owned(), "carol".to_owned(), 2)], "nothing is told twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_counted_and_disconnected_everywhere() {
    let server = Server::start(&[]).await;
    let gateways = gateways(&server, 2).await;
    let (mut here, _) = enter(&gateways[0], "alice", "").await;
    let (mut there, session) = enter(&gateways[1], "alice", "").await;
    let (_bob, _) = enter(&gateways[1], "bob", "").await;
    for gateway in &gateways {
        eventually("the sums are right", async || {
            let stats =
                get_with(gateway.address, "/v1/stats", &[("Authorization", "Bearer key")]).await.json();
            let users = json!([{"userId": "alice", "connections": 2}, {"userId": "bob", "connections": 1}]);
            (&stats["totalUsers"], &stats["totalClients"], &stats["clientsByUser"])
                == (&json!(2), &json!(3), &users)
                && stats["byTransport"]["ws"] == 3
                && stats["byTopic"][0]["connections"] == 3
        })
        .await;
    }
    let end = async |what: Value| {
        let headers = [("Authorization", "Bearer key")];
        post(gateways[0].address, "/v1/disconnect", &headers, &what.to_string()).await.json()["sessions"]
            .clone()
    };
    assert_eq!(end(json!({"session": session})).await, 1, "though another gateway has it");
    assert_eq!(there.close_code().await, 4410);
    drop(there);
    eventually("it is gone", async || gateways[1].metric("throughline_connections").await == 1.0).await;
    let (mut there, _) = enter(&gateways[1], "alice", "").await;
    assert_eq!(end(json!({"user": "alice"})).await, 2);
    for ws in [&mut here, &mut there] {
        assert_eq!(ws.close_code().await, 4410);
    }
    assert_eq!(end(json!({"user": "nobody"})).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_redis_sends_nobody_out_of_the_room() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let gateways = gateways(&server, 2).await;
    let (mut alice, _) = enter(&gateways[0], "alice", "").await;
    let (mut bob, _) = enter(&gateways[1], "bob", "").await;
    show(&mut alice, "online").await;
    show(&mut bob, "online").await;
    let both = [member("alice", "online", 1), member("bob", "online", 1)];
    for gateway in &gateways {
        eventually("both are listed", async || members(gateway).await == both).await;
    }
    server.kill();
    // What changes meanwhile is told when it can be.
    show(&mut bob, "away").await;
    server.start_again().await;
    let now = [member("alice", "online", 1), member("bob", "away", 1)];
    for gateway in &gateways {
        eventually("both are still there", async || members(gateway).await == now).await;
    }
}

/// Where the log cannot be told of a member, no other gateway may take it for told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_whom_the_topic_could_not_be_told_is_not_shown_to_other_gateways() {
    let server = Server::start(&[]).await;
    let gateways = gateways(&server, 2).await;
    let (mut alice, _) = enter(&gateways[0], "alice", "").await;
    assert_eq!(server.cli(&["ACL", "SETUSER", "default", "-xadd"]), "OK");
    show(&mut alice, "online").await;
    // It is tried again and again.
    let failures = async || gateways[0].metric("throughline_store_failures_total").await;
    eventually("tried in vain", async || failures().await >= 3.0).await;
    assert_eq!(members(&gateways[1]).await, []);
    assert_eq!(server.cli(&["ACL", "SETUSER", "default", "+xadd"]), "OK");
    eventually("shown", async || members(&gateways[1]).await == [member("alice", "online", 1)]).await;
}
