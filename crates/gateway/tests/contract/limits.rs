//! The limits of section 7, each at its edge.

use serde_json::json;

use crate::support::{Gateway, Http, Sse, Ws, eventually, get, get_with, post, token};

fn of(user: &str) -> String {
    format!("token={}", token(user, &["--subscribe", "*"]))
}

#[tokio::test]
async fn the_newest_connection_of_a_user_takes_the_place_of_the_one_that_was_silent_for_longest() {
    let gateway = Gateway::serve(&["--max-connections-per-user", "3"]).await;
    let mut ws = Ws::open(gateway.address, &of("alice")).await;
    ws.batch().await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut sse = Sse::open(gateway.address, &of("alice")).await;
        sse.batch().await;
        streams.push(sse);
    }
    // As many page loads as one likes behind a proxy that never tells that a page has gone.
    for _ in 0..24 {
        let mut newest = Sse::open(gateway.address, &of("alice")).await;
        assert!(newest.batch().await.unwrap()["hello"].is_object());
        let mut oldest = std::mem::replace(&mut streams[0], newest);
        streams.rotate_left(1);
        let mut last = None;
        while let Some(batch) = oldest.batch().await {
            last = Some(batch);
        }
        let bye = &last.unwrap()["bye"];
        assert_eq!(bye["reason"], "replaced");
        assert!(
            bye["reconnect_after_ms"].as_u64().unwrap() >= 60_000,
            "it does not push out the next: {bye}"
        );
    }
    // A WebSocket answers its pings: it is chosen last.
    let seq = gateway.publish(json!({"topic": "user:alice", "type": "t", "data": 1})).await;
    assert_eq!(crate::support::seqs(&ws.events().await), [seq]);
    Sse::open(gateway.address, &of("bob")).await.batch().await.unwrap();
    eventually("no more than the cap", async || {
        let stats = gateway.stats().await;
        let of_alice =
            stats["clientsByUser"].as_array().unwrap().iter().find(|user| user["userId"] == "alice");
        of_alice.unwrap()["connections"] == 3
    })
    .await;
}

#[tokio::test]
async fn connections_of_one_address_are_told_apart_behind_a_trusted_proxy() {
    let options = ["--max-connections-per-ip", "2", "--trusted-proxy", "127.0.0.0/8"];
    let gateway = Gateway::serve(&options).await;
    let from = |address: &'static str| [("X-Forwarded-For", address)];
    let mut open = Vec::new();
    for user in ["alice", "bob"] {
        let mut sse = Sse::open_with(gateway.address, &of(user), &from("203.0.113.7")).await;
        sse.batch().await;
        open.push(sse);
    }
    let status = async |address| {
        get_with(gateway.address, &format!("/v1/poll?{}", of("carol")), &from(address)).await.status
    };
    assert_eq!(status("203.0.113.7").await, 429);
    assert_eq!(status("198.51.100.1, 203.0.113.7").await, 429, "the last untrusted hop counts");
    assert_eq!(status("203.0.113.8").await, 200);
    drop(open);
    gateway.comes_to_rest().await;
    assert_eq!(status("203.0.113.7").await, 200);
    let direct = Gateway::serve(&["--max-connections-per-ip", "1"]).await;
    let mut sse = Sse::open_with(direct.address, &of("alice"), &from("203.0.113.7")).await;
    sse.batch().await;
    let answer = get_with(direct.address, &format!("/v1/poll?{}", of("bob")), &from("203.0.113.9")).await;
    assert_eq!(answer.status, 429, "nobody else's header is believed");
}

#[tokio::test]
async fn the_forwarded_header_of_a_trusted_proxy_tells_addresses_apart_too() {
    let proxies = ["--trusted-proxy", "127.0.0.0/8", "--trusted-proxy", "2001:db8:aaaa::/48"];
    let options = [&["--max-connections-per-ip", "1"][..], &proxies].concat();
    let gateway = Gateway::serve(&options).await;
    let forwarded = |value: &'static str| [("Forwarded", value)];
    let first = forwarded(r#"for="[2001:db8::17]:47011";proto=https;by=203.0.113.43"#);
    let mut sse = Sse::open_with(gateway.address, &of("alice"), &first).await;
    sse.batch().await;
    let status = async |headers: &[(&str, &str)]| {
        get_with(gateway.address, &format!("/v1/poll?{}", of("bob")), headers).await.status
    };
    for same in [
        r#"for="[2001:db8::17]""#,
        r#"FOR="[2001:db8::17]:1""#,
        r#"for=198.51.100.1, for="[2001:db8::17]""#,
        r#"for="[2001:db8::17]";proto=https, for="[2001:db8:aaaa::1]:443""#,
        r#"for=unknown, for="[2001:db8:0:0:0:0:0:17]""#,
    ] {
        assert_eq!(status(&forwarded(same)).await, 429, "{same}");
    }
    // Two lines are one list, of which the last that is not a trusted proxy counts.
    let lines = [("Forwarded", r#"for="[2001:db8::17]""#), ("Forwarded", "for=127.0.0.9")];
    assert_eq!(status(&lines).await, 429);
    for other in [r#"for="[2001:db8::18]""#, r#"for="[2001:db8::17]", for=192.0.2.60"#] {
        assert_eq!(status(&forwarded(other)).await, 200, "{other}");
    }
    drop(sse);
    gateway.comes_to_rest().await;
    assert_eq!(status(&first).await, 200);
}

#[tokio::test]
async fn connections_of_the_process() {
    let gateway = Gateway::serve(&["--max-connections", "4", "--admin-listen", "127.0.0.1:0"]).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut http = Http::open(gateway.address).await;
        assert_eq!(http.get("/health").await.status, 200);
        open.push(http);
    }
    let mut turned_away = Http::open(gateway.address).await;
    let answer = turned_away.answer().await;
    assert_eq!(answer.status, 503);
    let problem = json!({"type": "urn:throughline:problem:unavailable", "title": answer.json()["title"], "status": 503,
                         "detail": "this gateway has too many connections", "code": "unavailable"});
    assert_eq!((answer.json(), answer.header("content-type")), (problem, Some("application/problem+json")));
    assert!(
        answer.header("retry-after").is_some() && answer.header("connection") == Some("close"),
        "{}",
        answer.head
    );
    assert!(turned_away.is_closed().await);
    let admin = gateway.admin.unwrap();
    assert_eq!(get(admin, "/health").await.status, 200, "operators still get in");
    drop(open);
    eventually("clients get in again", async || get(gateway.address, "/health").await.status == 200).await;
}

#[tokio::test]
async fn topics_of_one_session() {
    let gateway = Gateway::serve(&[]).await;
    let topics = |count: u32| (0..count).map(|n| format!("t:{n}")).collect::<Vec<_>>().join(",");
    let refused = async |list: String| {
        let hello = get(gateway.address, &format!("/v1/poll?{}&topics={list}", of("alice"))).await.json();
        hello["hello"]["refused"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(refused(topics(62)).await, 0, "64 with the automatic two");
    assert_eq!(refused(topics(63)).await, 1);
    assert_eq!(refused(topics(500)).await, 438);
    let repeated = format!("{},all,user:alice", [topics(62), topics(62)].join(","));
    assert_eq!(refused(repeated).await, 0, "each is counted once");
}

#[tokio::test]
async fn topics_of_a_running_session_and_of_its_member() {
    let gateway = Gateway::serve(&["--max-topics-per-session", "4"]).await;
    let bearer = token("alice", &["--subscribe", "room:*"]);
    let mut full = Ws::open(gateway.address, &format!("token={bearer}&topics=room:1,room:2,room:3")).await;
    let refused = full.batch().await["hello"]["refused"].clone();
    assert_eq!(refused, json!([{"topic": "room:3", "code": "too_many_topics"}]));
    let mut ws = Ws::open(gateway.address, &format!("token={bearer}&topics=room:1")).await;
    ws.batch().await;
    let mut code = async |command: serde_json::Value| {
        ws.command(command).await;
        ws.reply().await["error"]["code"].clone()
    };
    let subscribe = |topics: &[&str]| json!({"id": 1, "op": "subscribe", "topics": topics});
    assert_eq!(code(subscribe(&["room:2", "room:3"])).await, "bad_request", "none of them");
    assert_eq!(
        code(subscribe(&["room:2", "room:1", "all"])).await,
        json!(null),
        "those there are count once"
    );
    assert_eq!(code(subscribe(&["room:3"])).await, "bad_request");
    let join =
        |topic: &str, status: &str| json!({"id": 1, "op": "presence", "topic": topic, "status": status});
    for room in ["room:1", "room:2", "room:3", "room:4"] {
        assert_eq!(code(join(room, "online")).await, json!(null), "{room}");
    }
    assert_eq!(code(join("room:5", "online")).await, "bad_request");
    assert_eq!(code(join("room:1", "away")).await, json!(null), "where it is a member already");
    assert_eq!(code(join("room:1", "offline")).await, json!(null));
    assert_eq!(code(join("room:5", "online")).await, json!(null), "there is room again");
}

#[tokio::test]
async fn commands_of_one_user() {
    let gateway = Gateway::serve(&["--commands-per-minute", "5"]).await;
    let mut ws = Ws::open(gateway.address, &of("alice")).await;
    ws.batch().await;
    for n in 0..5 {
        ws.command(json!({"id": n, "op": "ping"})).await;
        assert!(ws.reply().await["ok"].is_object());
    }
    ws.command(json!({"id": "more", "op": "ping"})).await;
    let reply = ws.reply().await;
    assert_eq!((&reply["reply"], &reply["error"]["code"]), (&json!("more"), &json!("rate_limited")));
    assert!((1..=12_000).contains(&reply["error"]["retry_after_ms"].as_u64().unwrap()), "{reply}");
    let bearer = format!("Bearer {}", token("alice", &[]));
    let sent =
        post(gateway.address, "/v1/send", &[("Authorization", &bearer)], r#"{"id":1,"op":"ping"}"#).await;
    assert_eq!(sent.json()["error"]["code"], "rate_limited", "the same bucket");
    let bearer = format!("Bearer {}", token("bob", &[]));
    let sent =
        post(gateway.address, "/v1/send", &[("Authorization", &bearer)], r#"{"id":1,"op":"ping"}"#).await;
    assert!(sent.json()["ok"].is_object(), "not another user's");
    for n in 0..40 {
        ws.command(json!({"id": n, "op": "ping"})).await;
    }
    assert_eq!(ws.close_code().await, 4429, "whoever goes on regardless is cut off");
}

#[tokio::test]
async fn a_message_over_the_limit_is_1009() {
    let gateway = Gateway::serve(&["--max-command-bytes", "1000"]).await;
    let mut ws = Ws::open(gateway.address, &of("alice")).await;
    ws.batch().await;
    let command = |len: usize| {
        let empty = json!({"id": 1, "op": "ping", "padding": ""}).to_string().len();
        json!({"id": 1, "op": "ping", "padding": "x".repeat(len - empty)}).to_string()
    };
    ws.send(&Ws::frame(0x81, command(1000).as_bytes())).await;
    assert!(ws.reply().await["ok"].is_object(), "exactly the limit");
    ws.send(&Ws::frame(0x81, command(1001).as_bytes())).await;
    assert_eq!(ws.close_code().await, 1009);
}

#[tokio::test]
async fn one_session_does_not_hold_more_than_a_few_connections() {
    let gateway = Gateway::serve(&["--max-connections-per-user", "2"]).await;
    let mut first = Sse::open(gateway.address, &of("alice")).await;
    let session = first.batch().await.unwrap()["hello"]["session"].as_str().unwrap().to_owned();
    let started = std::time::Instant::now();
    let mut open = vec![first];
    for _ in 0..7 {
        let mut sse = Sse::open(gateway.address, &format!("{}&session={session}", of("alice"))).await;
        assert!(sse.batch().await.is_some());
        open.push(sse);
    }
    // Continuing is exempt from the cap of the user, so it has one of its own: the oldest go at once.
    eventually("the oldest are gone", async || {
        gateway.stats().await["byTransport"]["sse"].as_u64().unwrap() <= 4
    })
    .await;
    assert!(started.elapsed().as_millis() < 4500, "not only because they were replaced");
    let mut newest = open.pop().unwrap();
    let seq = gateway.publish(json!({"topic": "user:alice", "type": "t", "data": 1})).await;
    assert_eq!(crate::support::seqs(&newest.events().await), [seq]);
}
