//! Who is asking: where a token is found, what is wrong with it, and how it ends.

use serde_json::json;

use crate::support::{Frame, Gateway, SECRET, Sse, Ws, get, get_with, jwt, now, seqs, token};

/// A token of HS256 with these claims beside the subject.
fn with_claims(user: &str, claims: serde_json::Value) -> String {
    let mut all = json!({"sub": user});
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    jwt(&json!({"alg": "HS256", "typ": "JWT"}), &all, SECRET)
}

#[tokio::test]
async fn a_token_is_found_in_four_places_and_the_first_counts() {
    let gateway = Gateway::serve(&[]).await;
    let of = |user: &str| token(user, &[]);
    let bearer = format!("Bearer {}", of("header"));
    let offer = format!("throughline.v1, bearer.{}", of("subprotocol"));
    let cookie = format!("theme=dark; throughline_token={}; x=y", of("cookie"));
    let all = [("Authorization", bearer.as_str()), ("Sec-WebSocket-Protocol", &offer), ("Cookie", &cookie)];
    let query = format!("token={}&access_token={}", of("alias"), of("query"));
    for (from, query, expected) in [
        (0, query.as_str(), "header"),
        (1, &query, "subprotocol"),
        (2, &query, "cookie"),
        (3, &query, "query"),
        (3, query.split('&').next().unwrap(), "alias"),
    ] {
        let hello = get_with(gateway.address, &format!("/v1/poll?{query}"), &all[from..]).await.json();
        assert_eq!(hello["hello"]["user"], expected);
        let mut ws = Ws::open_with(gateway.address, query, &all[from..]).await;
        assert_eq!(ws.batch().await["hello"]["user"], expected);
    }
    // The first that is found counts, good or not: a wrong one is not passed over for the next.
    let wrong = [("Authorization", "Bearer wrong"), all[2]];
    assert_eq!(get_with(gateway.address, &format!("/v1/poll?{query}"), &wrong).await.status, 401);
    let other_scheme = [("Authorization", "Basic YTpi"), all[2]];
    let hello = get_with(gateway.address, "/v1/poll", &other_scheme).await.json();
    assert_eq!(hello["hello"]["user"], "cookie", "another scheme is for a proxy in front");
}

#[tokio::test]
async fn tokens_that_do_not_hold_are_401() {
    let gateway = Gateway::serve(&["--jwt-issuer", "us", "--jwt-audience", "them"]).await;
    let good = json!({"iss": "us", "aud": ["others", "them"]});
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[name] = value;
        with_claims("alice", claims)
    };
    let unsigned = |alg: &str| {
        let token = jwt(&json!({"alg": alg}), &json!({"sub": "alice", "iss": "us", "aud": "them"}), "");
        token.rsplit_once('.').unwrap().0.to_owned() + "."
    };
    let signed = |alg: &str, secret: &str| {
        jwt(&json!({"alg": alg}), &json!({"sub": "alice", "iss": "us", "aud": "them"}), secret)
    };
    for (what, token) in [
        ("expired", with("exp", json!(now() - 7))),
        ("not yet", with("nbf", json!(now() + 30))),
        ("issuer", with("iss", json!("them"))),
        ("audience", with("aud", json!("us"))),
        ("no subject", with("sub", json!(""))),
        ("subject that is no topic", with("sub", json!("a b"))),
        ("exp of the wrong type", with("exp", json!("tomorrow"))),
        ("subscribe of the wrong type", with("subscribe", json!("room:*"))),
        ("none", unsigned("none")),
        ("None", unsigned("None")),
        ("nOnE", unsigned("nOnE")),
        ("HS256 without a signature", unsigned("HS256")),
        ("another secret", signed("HS256", "another-secret-of-thirty-two-bytes")),
        ("no secret", signed("HS256", "")),
        ("HS384 header", signed("HS384", SECRET)),
        ("RS256 header", signed("RS256", SECRET)),
        ("none, but signed", signed("none", SECRET)),
        ("no token", "a.b.c".to_owned()),
        ("nothing", ".".to_owned()),
        ("long", "x".repeat(9000)),
    ] {
        let answer =
            get_with(gateway.address, "/v1/poll", &[("Authorization", &format!("Bearer {token}"))]).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (401, &json!("unauthenticated")),
            "{what}: {}",
            answer.body
        );
    }
    for (what, token) in [
        ("no exp", with("x", json!(1))),
        ("within the leeway", with("exp", json!(now() - 1))),
        ("nbf within the leeway", with("nbf", json!(now() + 2))),
        ("one audience", with("aud", json!("them"))),
    ] {
        let answer = get(gateway.address, &format!("/v1/poll?token={token}")).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.body);
        assert_eq!(answer.json()["hello"].get("expires_at").is_some(), what == "within the leeway", "{what}");
    }
}

#[tokio::test]
async fn a_public_key_is_not_a_secret() {
    // The classic confusion: a token that says HS256, signed with the text of the public key.
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    let path = std::env::temp_dir().join(format!("throughline-{}.pem", std::process::id()));
    std::fs::write(&path, pem).unwrap();
    let gateway =
        Gateway::start(&["serve", "--listen", "127.0.0.1:0", "--jwt-public-key", path.to_str().unwrap()])
            .await;
    std::fs::remove_file(&path).unwrap();
    for secret in [pem, pem.trim()] {
        for alg in ["HS256", "EdDSA", "none"] {
            let token = jwt(&json!({"alg": alg}), &json!({"sub": "alice"}), secret);
            assert_eq!(get(gateway.address, &format!("/v1/poll?token={token}")).await.status, 401, "{alg}");
        }
    }
}

#[tokio::test]
async fn a_session_of_polls_is_told_once_that_its_token_ends() {
    let gateway = Gateway::serve(&[]).await;
    // With the leeway of five seconds it ends in about four.
    let token = with_claims("alice", json!({"exp": now() - 1}));
    let hello = get(gateway.address, &format!("/v1/poll?token={token}")).await.json();
    for session in [format!("&session={}", hello["hello"]["session"].as_str().unwrap()), String::new()] {
        let mut cursor = hello["cursor"].as_str().unwrap().to_owned();
        let mut told = 0;
        for _ in 0..20 {
            let target = format!("/v1/poll?token={token}&after={cursor}&wait=1{session}");
            let answer = get(gateway.address, &target).await;
            if answer.status == 401 {
                break;
            }
            let batch = answer.json();
            told += usize::from(batch.get("expiring").is_some());
            cursor = batch["cursor"].as_str().unwrap().to_owned();
        }
        assert!(told <= 1, "told {told} times");
    }
}

#[tokio::test]
async fn an_expired_token_ends_the_session_unless_it_was_refreshed() {
    let gateway = Gateway::serve(&[]).await;
    // The leeway is five seconds, so this one ends in about two.
    let short = || with_claims("alice", json!({"exp": now() - 3}));
    let mut ws = Ws::open(gateway.address, &format!("token={}", short())).await;
    let mut sse = Sse::open(gateway.address, &format!("token={}", short())).await;
    let mut refreshed = Ws::open(gateway.address, &format!("token={}", short())).await;
    refreshed.batch().await;
    refreshed.command(json!({"id": 1, "op": "auth", "token": token("bob", &[])})).await;
    assert_eq!(refreshed.reply().await["error"]["code"], "forbidden", "the subject may not change");
    refreshed.command(json!({"id": 2, "op": "auth", "token": "nonsense"})).await;
    assert_eq!(refreshed.reply().await["error"]["code"], "unauthenticated");
    refreshed.command(json!({"id": 3, "op": "auth", "token": token("alice", &[])})).await;
    let reply = refreshed.reply().await;
    assert!(reply["ok"]["user"] == "alice" && reply["ok"]["expires_at"].is_string(), "{reply}");
    let hello = ws.batch().await;
    assert!(hello["hello"]["expires_at"].is_string());
    let mut told = false;
    let bye = loop {
        let batch = ws.batch().await;
        told |= batch["expiring"]["expires_at"] == hello["hello"]["expires_at"];
        if batch.get("bye").is_some() {
            break batch;
        }
    };
    assert!(told, "expiring comes before");
    assert_eq!(bye["bye"]["reason"], "expired_token");
    assert_eq!(ws.close_code().await, 4401);
    let mut last = None;
    while let Some(batch) = sse.batch().await {
        last = Some(batch);
    }
    assert_eq!(last.unwrap()["bye"]["reason"], "expired_token");
    let seq = gateway.publish(json!({"topic": "user:alice", "type": "t", "data": 1})).await;
    loop {
        let batch = refreshed.batch().await;
        if !seqs(&batch).is_empty() {
            break assert_eq!(seqs(&batch), [seq]);
        }
    }
}

#[tokio::test]
async fn a_smaller_grant_drops_topics_at_once() {
    let gateway = Gateway::serve(&[]).await;
    let large = token("alice", &["--subscribe", "room:*", "--publish", "room:*"]);
    let small = token("alice", &["--subscribe", "room:1", "--publish", "room:1"]);
    let mut ws = Ws::open(gateway.address, &format!("token={large}&topics=room:1,room:2")).await;
    ws.batch().await;
    ws.command(json!({"id": 1, "op": "auth", "token": small})).await;
    assert_eq!(ws.reply().await["ok"]["user"], "alice");
    gateway.publish(json!({"topic": "room:2", "type": "t", "data": "secret"})).await;
    gateway.publish(json!({"topics": ["room:2", "room:1"], "type": "t", "data": "both"})).await;
    let batch = loop {
        let batch = ws.batch().await;
        if !seqs(&batch).is_empty() {
            break batch;
        }
    };
    assert_eq!((seqs(&batch), &batch["events"][0]["topic"]), (vec![2], &json!("room:1")));
    ws.command(json!({"id": 2, "op": "subscribe", "topics": ["room:2"]})).await;
    assert_eq!(ws.reply().await["error"]["code"], "forbidden");
    ws.command(json!({"id": 3, "op": "publish", "topic": "room:2", "type": "t", "data": 1})).await;
    assert_eq!(ws.reply().await["error"]["code"], "forbidden");
}

#[tokio::test]
async fn send_refreshes_the_token_of_a_stream_and_drops_its_topics() {
    let gateway = Gateway::serve(&[]).await;
    let large = token("alice", &["--subscribe", "room:*"]);
    let small = token("alice", &["--subscribe", "room:1"]);
    let mut sse = Sse::open(gateway.address, &format!("token={large}&topics=room:1,room:2")).await;
    let session = sse.batch().await.unwrap()["hello"]["session"].as_str().unwrap().to_owned();
    let send = async |user: &str, command: serde_json::Value| {
        let bearer = format!("Bearer {}", token(user, &[]));
        let target = format!("/v1/send?session={session}");
        crate::support::post(gateway.address, &target, &[("Authorization", &bearer)], &command.to_string())
            .await
    };
    let auth = json!({"id": 1, "op": "auth", "token": small});
    assert_eq!(send("bob", auth.clone()).await.status, 404, "nobody else's session");
    assert_eq!(send("alice", auth).await.json()["ok"]["user"], "alice");
    gateway.publish(json!({"topic": "room:2", "type": "t", "data": "secret"})).await;
    let seq = gateway.publish(json!({"topic": "room:1", "type": "t", "data": 1})).await;
    assert_eq!(seqs(&sse.events().await), [seq]);
}

#[tokio::test]
async fn a_smaller_grant_drops_topics_on_every_connection_of_the_session() {
    let gateway = Gateway::serve(&[]).await;
    let large = token("alice", &["--subscribe", "room:*"]);
    let small = token("alice", &["--subscribe", "room:1"]);
    for over in 0..2 {
        let query = format!("token={large}&topics=room:1,room:2");
        let mut older = Ws::open(gateway.address, &query).await;
        let hello = older.batch().await;
        let query = format!("{query}&session={}", hello["hello"]["session"].as_str().unwrap());
        let mut newer = Ws::open(gateway.address, &query).await;
        newer.batch().await;
        let mut sse = Sse::open(gateway.address, &query).await;
        sse.batch().await.unwrap();
        let mut sockets = [older, newer];
        sockets[over].command(json!({"id": 1, "op": "auth", "token": small})).await;
        assert_eq!(sockets[over].reply().await["ok"]["user"], "alice");
        gateway.publish(json!({"topic": "room:2", "type": "t", "data": "secret"})).await;
        let seq = gateway.publish(json!({"topic": "room:1", "type": "t", "data": 1})).await;
        for ws in &mut sockets {
            let batch = loop {
                let batch = ws.batch().await;
                if !seqs(&batch).is_empty() {
                    break batch;
                }
            };
            assert_eq!(seqs(&batch), [seq], "auth over connection {over}");
            ws.command(json!({"id": 2, "op": "subscribe", "topics": ["room:2"]})).await;
            assert_eq!(ws.reply().await["error"]["code"], "forbidden", "auth over connection {over}");
        }
        assert_eq!(seqs(&sse.events().await), [seq], "auth over connection {over}");
    }
}

#[tokio::test]
async fn send_refreshes_the_grant_of_a_websockets_own_commands() {
    let gateway = Gateway::serve(&[]).await;
    let large = token("alice", &["--subscribe", "room:*", "--publish", "room:*"]);
    let small = token("alice", &["--subscribe", "room:1", "--publish", "room:1"]);
    let mut ws = Ws::open(gateway.address, &format!("token={large}")).await;
    let session = ws.batch().await["hello"]["session"].as_str().unwrap().to_owned();
    let send = async |token: &str, command: serde_json::Value| {
        let bearer = format!("Bearer {token}");
        let target = format!("/v1/send?session={session}");
        let headers = [("Authorization", bearer.as_str())];
        crate::support::post(gateway.address, &target, &headers, &command.to_string()).await.json()
    };
    let commands = [
        json!({"id": 2, "op": "subscribe", "topics": ["room:2"]}),
        json!({"id": 3, "op": "publish", "topic": "room:2", "type": "t", "data": 1}),
        json!({"id": 4, "op": "presence", "topic": "room:2", "status": "online"}),
    ];
    for (token, allowed) in [(&small, false), (&large, true), (&small, false)] {
        let renewed = send(&large, json!({"id": 1, "op": "auth", "token": token})).await;
        assert_eq!(renewed["ok"]["user"], "alice");
        for command in &commands {
            ws.command(command.clone()).await;
            let reply = ws.reply().await;
            assert_eq!(reply.get("error").is_none(), allowed, "{command}: {reply}");
        }
    }
    let publish = send(&large, commands[1].clone()).await;
    assert_eq!(publish.get("error"), None, "what a request may do is what its own token allows: {publish}");
}

#[tokio::test]
async fn the_user_parameter_is_for_gateway_dev_alone() {
    let dev = Gateway::dev().await;
    assert_eq!(get(dev.address, "/v1/poll?user=alice").await.json()["hello"]["user"], "alice");
    assert_eq!(Ws::open(dev.address, "user=alice").await.batch().await["hello"]["user"], "alice");
    assert_eq!(get(dev.address, "/v1/poll").await.status, 401);
    assert_eq!(get(dev.address, "/v1/poll?user=a%20b").await.status, 401);
    let secret = jwt(&json!({"alg": "HS256"}), &json!({"sub": "bob"}), "dev-secret");
    assert_eq!(
        get(dev.address, &format!("/v1/poll?user=alice&token={secret}")).await.json()["hello"]["user"],
        "bob"
    );
    let serve = Gateway::serve(&[]).await;
    assert_eq!(get(serve.address, "/v1/poll?user=alice").await.status, 401);
    let mut ws = Ws::open(serve.address, "user=alice").await;
    ws.command(json!({"id": 1, "op": "ping"})).await;
    assert_eq!(ws.reply().await["error"]["code"], "unauthenticated");
    assert_eq!(get(serve.address, "/").await.status, 404, "nor is there a page");
}

#[tokio::test]
async fn a_grant_lists_topics_exactly_or_by_prefix() {
    let gateway = Gateway::serve(&[]).await;
    let token = token("alice", &["--subscribe", "room:1", "--subscribe", "job:*"]);
    let refused = async |topics: &str| {
        let hello = get(gateway.address, &format!("/v1/poll?token={token}&topics={topics}")).await.json();
        hello["hello"]["refused"].as_array().map_or(0, Vec::len)
    };
    for topics in ["room:1", "job:1,job:2", "user:alice", "all", "", "job:"] {
        assert_eq!(refused(topics).await, 0, "{topics}");
    }
    for topics in ["room:12", "room:", "job", "user:bob", "job:1,room:2"] {
        assert_eq!(refused(topics).await, 1, "{topics}");
    }
}

#[tokio::test]
async fn a_token_never_outlives_its_end_by_being_remembered() {
    let gateway = Gateway::serve(&[]).await;
    let short = with_claims("alice", json!({"exp": now() - 3}));
    let status = async || get(gateway.address, &format!("/v1/poll?token={short}")).await.status;
    assert_eq!(status().await, 200);
    crate::support::eventually("it is refused", async || status().await == 401).await;
    let mut ws = Ws::open(gateway.address, &format!("token={short}")).await;
    match tokio::time::timeout(crate::support::PATIENCE, ws.next()).await.unwrap() {
        Frame::Close(code, _) => assert_eq!(code, 4401),
        other => panic!("{other:?}"),
    }
}
