//! `GET /v1/ws`, its close codes and its commands.

use serde_json::json;

use crate::support::{Frame, Gateway, Ws, eventually, get, get_with, post, seqs, token};

fn alice() -> String {
    format!("token={}", token("alice", &["--subscribe", "room:*"]))
}

#[tokio::test]
async fn the_handshake_is_that_of_the_rfc() {
    let gateway = Gateway::serve(&[]).await;
    let ws = Ws::open(gateway.address, &alice()).await;
    assert!(ws.head.starts_with("HTTP/1.1 101 "), "{}", ws.head);
    assert!(ws.head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{}", ws.head);
    assert!(!ws.head.contains("Sec-WebSocket-Protocol") && !ws.head.contains("Sec-WebSocket-Extensions"));
    let offer = format!("bearer.{}, throughline.v1", token("bob", &[]));
    let headers =
        [("Sec-WebSocket-Protocol", offer.as_str()), ("Sec-WebSocket-Extensions", "permessage-deflate")];
    let mut ws = Ws::open_with(gateway.address, "", &headers).await;
    assert!(ws.head.contains("Sec-WebSocket-Protocol: throughline.v1\r\n"), "{}", ws.head);
    assert!(!ws.head.contains("bearer") && !ws.head.contains("permessage"), "{}", ws.head);
    assert_eq!(ws.batch().await["hello"]["user"], "bob");
}

#[tokio::test]
async fn what_is_no_handshake_is_426_or_400() {
    let gateway = Gateway::serve(&[]).await;
    let target = format!("/v1/ws?{}", alice());
    let plain = get(gateway.address, &target).await;
    assert_eq!(plain.status, 426);
    assert_eq!(
        (plain.header("upgrade"), plain.header("sec-websocket-version")),
        (Some("websocket"), Some("13"))
    );
    assert_eq!(plain.header("content-type"), Some("application/problem+json"));
    let upgrade = [("Upgrade", "websocket"), ("Connection", "Upgrade")];
    let (version, key) = (("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="));
    let status = async |headers: &[(&str, &str)]| get_with(gateway.address, &target, headers).await.status;
    assert_eq!(status(&[upgrade[0], upgrade[1], ("Sec-WebSocket-Version", "8"), key]).await, 426);
    assert_eq!(status(&[upgrade[0], upgrade[1], key]).await, 426);
    assert_eq!(status(&[upgrade[0], upgrade[1], version]).await, 400);
    assert_eq!(status(&[upgrade[0], upgrade[1], version, key, key]).await, 400);
    assert_eq!(status(&[upgrade[0], upgrade[1], version, ("Sec-WebSocket-Key", "short")]).await, 400);
    assert_eq!(post(gateway.address, &target, &[], "").await.status, 405);
}

#[tokio::test]
async fn who_is_refused_is_accepted_first_and_then_closed_with_the_reason() {
    let gateway = Gateway::serve(&["--max-connections-per-ip", "1"]).await;
    for (query, code) in [
        ("token=nonsense".to_owned(), 4401),
        (format!("{}&after=nonsense", alice()), 4400),
        (format!("{}&heartbeat=often", alice()), 4400),
        (format!("{}&topics=a%20b", alice()), 4400),
    ] {
        let mut ws = Ws::open(gateway.address, &query).await;
        assert!(ws.head.starts_with("HTTP/1.1 101 "), "{query}");
        assert_eq!(ws.close_code().await, code, "{query}");
    }
    let mut first = Ws::open(gateway.address, &alice()).await;
    first.batch().await;
    assert_eq!(Ws::open(gateway.address, &alice()).await.close_code().await, 4429);
    drop(first);
    gateway.comes_to_rest().await;
}

#[tokio::test]
async fn a_client_that_is_no_browser_is_refused_by_a_status() {
    let gateway = Gateway::serve(&["--max-connections-per-ip", "1"]).await;
    let handshake = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut first = Ws::open(gateway.address, &alice()).await;
    first.batch().await;
    for (query, status, code, retries) in [
        ("token=nonsense".to_owned(), 401, "unauthenticated", false),
        ("token=another".to_owned(), 401, "unauthenticated", false),
        (alice(), 429, "rate_limited", true),
    ] {
        let answer = get_with(gateway.address, &format!("/v1/ws?{query}"), &handshake).await;
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{query}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("retry-after").is_some(), retries, "{query}");
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{query}");
    }
    drop(first);
    eventually("its place is free", async || gateway.metric("throughline_connections").await == 0.0).await;
    let mut later = get_without_token(gateway.address, &handshake).await;
    later.command(json!({"id": 1, "op": "auth", "token": token("bob", &[])})).await;
    assert_eq!(later.reply().await["ok"]["user"], "bob", "without a token it may still send one");
}

/// A WebSocket without an origin and without a token.
async fn get_without_token(address: std::net::SocketAddr, handshake: &[(&str, &str)]) -> Ws {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut ws = Ws::open(address, "").await;
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request =
        crate::support::request("GET", "/v1/ws", handshake, "").replace("Connection: close\r\n", "");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    ws.socket = socket;
    ws
}

#[tokio::test]
async fn a_session_is_ended_by_an_operator() {
    let gateway = Gateway::serve(&[]).await;
    let mut ws = Ws::open(gateway.address, &alice()).await;
    ws.batch().await;
    let answer =
        post(gateway.address, "/v1/disconnect", &[("Authorization", "Bearer key")], r#"{"user":"alice"}"#)
            .await;
    assert_eq!(answer.json(), json!({"sessions": 1}));
    let bye = loop {
        let batch = ws.batch().await;
        if batch.get("bye").is_some() {
            break batch["bye"].clone();
        }
    };
    assert_eq!(bye["reason"], "disconnected");
    assert_eq!(ws.next().await, Frame::Close(4410, "disconnected".to_owned()));
}

#[tokio::test]
async fn a_drain_closes_with_1001_and_a_continued_session_with_4410() {
    let mut gateway = Gateway::serve(&[]).await;
    let mut older = Ws::open(gateway.address, &alice()).await;
    let session = older.batch().await["hello"]["session"].as_str().unwrap().to_owned();
    let mut newer = Ws::open(gateway.address, &format!("{}&session={session}", alice())).await;
    newer.batch().await;
    assert_eq!(older.close_code().await, 4410);
    gateway.stop();
    assert_eq!(newer.close_code().await, 1001);
}

#[tokio::test]
async fn topics_come_and_go_while_the_session_runs() {
    let gateway = Gateway::serve(&[]).await;
    let mut ws = Ws::open(gateway.address, &alice()).await;
    let hello = ws.batch().await;
    // Behind the session's cursor only what comes from now on is there; what it has not seen yet is owed.
    ws.command(json!({"id": 1, "op": "subscribe", "topics": ["room:1", "room:1", "room:2"]})).await;
    assert_eq!(ws.reply().await["ok"]["topics"], json!(["user:alice", "all", "room:1", "room:2"]));
    let seq = gateway.publish(json!({"topic": "room:1", "type": "t", "data": 1})).await;
    let batch = loop {
        let batch = ws.batch().await;
        if !seqs(&batch).is_empty() {
            break batch;
        }
    };
    assert_eq!(seqs(&batch), [seq]);
    ws.command(json!({"id": 2, "op": "unsubscribe", "topics": ["room:1"]})).await;
    assert_eq!(ws.reply().await["ok"]["topics"], json!(["user:alice", "all", "room:2"]));
    gateway.publish(json!({"topic": "room:1", "type": "t", "data": 2})).await;
    let mine = gateway.publish(json!({"topic": "user:alice", "type": "t", "data": 3})).await;
    let batch = loop {
        let batch = ws.batch().await;
        if !seqs(&batch).is_empty() {
            break batch;
        }
    };
    assert_eq!(seqs(&batch), [mine]);
    assert!(hello["hello"]["topics"].is_array());
    for topics in [json!(["user:alice"]), json!(["all"]), json!([])] {
        ws.command(json!({"id": 3, "op": "unsubscribe", "topics": topics})).await;
        assert_eq!(ws.reply().await["error"]["code"], "bad_request", "{topics}");
    }
    let many: Vec<_> = (0..63).map(|n| format!("room:{n}")).collect();
    ws.command(json!({"id": 4, "op": "subscribe", "topics": many})).await;
    assert_eq!(ws.reply().await["error"]["code"], "bad_request", "64 topics, the automatic two included");
}

#[tokio::test]
async fn a_new_topic_starts_at_the_cursor_of_the_session() {
    let gateway = Gateway::serve(&[]).await;
    gateway.publish(json!({"topic": "room:1", "type": "t", "data": "before"})).await;
    let mut ws = Ws::open(gateway.address, &alice()).await;
    ws.batch().await;
    ws.command(json!({"id": 1, "op": "subscribe", "topics": ["room:1"]})).await;
    let seq = gateway.publish(json!({"topic": "room:1", "type": "t", "data": "behind"})).await;
    let mut seen = Vec::new();
    while seen.is_empty() {
        if let Frame::Text(text) = ws.next().await
            && text.get("reply").is_none()
        {
            seen.extend(seqs(&text));
        }
    }
    assert_eq!(seen, [seq], "nothing from before the session's cursor");
}

#[tokio::test]
async fn malformed_commands_are_answered_with_their_id_and_the_session_goes_on() {
    let gateway = Gateway::serve(&["--commands-per-minute", "0"]).await;
    let mut ws = Ws::open(gateway.address, &alice()).await;
    ws.batch().await;
    for text in [
        "",
        "{",
        "7",
        "[]",
        // The members of a command in order, without their names.
        r#"["ping"]"#,
        r#"["ping",null]"#,
        "null",
        r#"{"id":1}"#,
        r#"{"id":1,"op":7}"#,
        r#"{"id":1,"op":"fly"}"#,
        r#"{"id":1,"op":"subscribe"}"#,
        r#"{"id":1,"op":"subscribe","topics":"room:1"}"#,
        r#"{"id":1,"op":"auth"}"#,
    ] {
        ws.send(&Ws::frame(0x81, text.as_bytes())).await;
        let reply = ws.reply().await;
        assert_eq!(reply["error"]["code"], "bad_request", "{text}: {reply}");
        assert!(reply["error"]["message"].is_string());
        assert!(reply["reply"].is_null() || reply["reply"] == 1, "{text}: {reply}");
    }
    ws.send(&Ws::frame(0x82, b"binary")).await;
    assert_eq!(ws.reply().await["error"]["code"], "bad_request");
    // Whatever else is wrong, the caller is told of which command.
    for text in [
        r#"{"id":"m1"}"#,
        r#"{"id":"m1","op":7}"#,
        r#"{"op":null,"id":"m1"}"#,
        r#"{"id":"m1","op":"ping","op":"ping"}"#,
        r#"{"id":"m1","op":"publish","ephemeral":1,"ephemeral":2}"#,
        r#"{"id":"m1","op":"presence","topic":"a b"}"#,
    ] {
        ws.send(&Ws::frame(0x81, text.as_bytes())).await;
        let reply = ws.reply().await;
        assert_eq!(
            (&reply["reply"], &reply["error"]["code"]),
            (&json!("m1"), &json!("bad_request")),
            "{text}"
        );
    }
    for id in [json!("seven"), json!(7), json!({"a": [1]}), json!(null)] {
        ws.command(json!({"id": id, "op": "ping"})).await;
        let reply = ws.reply().await;
        assert!(reply["reply"] == id && reply["ok"]["time"].is_string(), "{reply}");
    }
}

#[tokio::test]
async fn a_command_publishes_where_the_grant_allows() {
    let gateway = Gateway::serve(&[]).await;
    let token = token("alice", &["--subscribe", "room:*", "--publish", "room:*"]);
    let mut ws = Ws::open(gateway.address, &format!("token={token}&topics=room:1")).await;
    ws.batch().await;
    let command = json!({"id": 1, "op": "publish", "topic": "room:1", "type": "m", "data": {"a": 1}, "event_id": "e1", "expect": 0});
    ws.command(command.clone()).await;
    let reply = ws.reply().await;
    assert_eq!(reply["ok"]["seq"], 1, "{reply}");
    assert!(reply["ok"]["cursor"].as_str().unwrap().ends_with(".1"));
    let event = loop {
        let batch = ws.batch().await;
        if let Some(event) = batch["events"].get(0) {
            break event.clone();
        }
    };
    assert_eq!((&event["id"], &event["data"]), (&json!("e1"), &json!({"a": 1})));
    ws.command(command).await;
    let repeat = ws.reply().await;
    assert_eq!((&repeat["ok"]["seq"], &repeat["ok"]["duplicate"]), (&json!(1), &json!(true)), "{repeat}");
    ws.command(json!({"id": 2, "op": "publish", "topic": "room:1", "type": "m", "data": 1, "expect": 0}))
        .await;
    let conflict = ws.reply().await;
    assert_eq!((&conflict["error"]["code"], &conflict["error"]["seq"]), (&json!("conflict"), &json!(1)));
    ws.command(json!({"id": 3, "op": "publish", "topic": "job:1", "type": "m", "data": 1})).await;
    assert_eq!(ws.reply().await["error"]["code"], "forbidden");
    ws.command(json!({"id": 4, "op": "publish", "topic": "room:1", "type": "m", "data": "x".repeat(11_000)}))
        .await;
    assert_eq!(ws.reply().await["error"]["code"], "too_large");
    ws.command(
        json!({"id": 5, "op": "publish", "topic": "room:1", "type": "m", "data": 1, "ephemeral": true}),
    )
    .await;
    assert!(ws.reply().await["ok"].get("seq").is_none());
}

#[tokio::test]
async fn the_token_may_come_first_and_within_5_seconds() {
    let gateway = Gateway::serve(&[]).await;
    let started = std::time::Instant::now();
    let mut silent = Ws::open(gateway.address, "").await;
    let mut closing = Ws::open(gateway.address, "").await;
    closing.send(&Ws::frame(0x88, &1000_u16.to_be_bytes())).await;
    assert_eq!(closing.close_code().await, 1000);
    for (frame, code) in [
        (vec![0x81, 0x02, b'h', b'i'], 1002),
        (Ws::frame(0x81, b"\xff"), 1007),
        (Ws::frame(0x81, &[b'x'; 16 * 1024 + 1]), 1009),
    ] {
        let mut broken = Ws::open(gateway.address, "").await;
        broken.send(&frame).await;
        assert_eq!(broken.close_code().await, code);
    }
    let mut wrong = Ws::open(gateway.address, "").await;
    wrong.command(json!({"id": 1, "op": "auth", "token": "nonsense"})).await;
    assert_eq!(wrong.reply().await["error"]["code"], "unauthenticated");
    wrong.command(json!({"id": 2, "op": "auth", "token": token("bob", &[])})).await;
    assert_eq!(wrong.reply().await["ok"]["user"], "bob");
    assert_eq!(wrong.batch().await["hello"]["user"], "bob");
    assert_eq!(silent.close_code().await, 4401);
    assert!(started.elapsed() > std::time::Duration::from_millis(4500));
}

#[tokio::test]
async fn send_carries_commands_for_the_transports_that_have_no_way_back() {
    let gateway = Gateway::serve(&[]).await;
    let bearer = format!("Bearer {}", token("alice", &["--publish", "room:*", "--subscribe", "room:*"]));
    let with = [("Authorization", bearer.as_str())];
    let send = async |query: &str, body: String| {
        post(gateway.address, &format!("/v1/send{query}"), &with, &body).await
    };
    let one = send("", json!({"id": "a", "op": "ping"}).to_string()).await;
    assert_eq!(one.status, 200);
    assert!(one.json()["ok"]["time"].is_string() && one.json()["reply"] == "a");
    let publish = |topic: &str| json!({"id": topic, "op": "publish", "topic": topic, "type": "t", "data": 1});
    let huge =
        json!({"id": "big", "op": "publish", "topic": "room:1", "type": "t", "data": "x".repeat(17_000)});
    let many =
        send("", json!([publish("room:1"), publish("job:1"), huge, publish("room:2"), 7]).to_string()).await;
    assert_eq!(many.status, 200, "{}", many.body);
    let replies = many.json();
    assert_eq!(replies.as_array().unwrap().len(), 5);
    assert_eq!((&replies[0]["ok"]["seq"], &replies[3]["ok"]["seq"]), (&json!(1), &json!(2)), "{replies}");
    assert_eq!(replies[1]["error"]["code"], "forbidden");
    assert_eq!(replies[2]["error"]["code"], "too_large", "in its place, and those around it are answered");
    assert_eq!(replies[4]["error"]["code"], "bad_request");
    assert_eq!(send("", huge_command()).await.status, 413);
    assert_eq!(send("", "{".to_owned()).await.json()["error"]["code"], "bad_request");
    assert_eq!(send("?session=unknown", json!({"id": 1, "op": "ping"}).to_string()).await.status, 404);
    let subscribe = json!({"id": 1, "op": "subscribe", "topics": ["room:1"]}).to_string();
    assert_eq!(
        send("", subscribe).await.json()["error"]["code"],
        "bad_request",
        "reconnect with other topics"
    );
    let nameless = send("", r#"[{"id":"m1"},{"id":"m2","op":null}]"#.to_owned()).await.json();
    assert_eq!((&nameless[0]["reply"], &nameless[1]["reply"]), (&json!("m1"), &json!("m2")));
    let nobody = post(gateway.address, "/v1/send", &[], "{}").await;
    assert_eq!(nobody.status, 401);
    eventually("nothing is left", async || gateway.stats().await["byTransport"]["sse"] == 0).await;
}

fn huge_command() -> String {
    json!({"id": "big", "op": "ping", "padding": "x".repeat(17_000)}).to_string()
}
