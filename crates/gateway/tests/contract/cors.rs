//! Which web pages may connect.

use serde_json::json;

use crate::support::{Gateway, Ws, get_with, raw, request, token};

const PAGE: &str = "https://app.example";

const HANDSHAKE: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

#[tokio::test]
async fn a_foreign_page_opens_no_websocket_by_a_cookie() {
    let gateway = Gateway::serve(&["--allow-origin", PAGE]).await;
    let cookie = format!("throughline_token={}", token("alice", &[]));
    for origin in [
        "https://evil.example",
        "null",
        "https://app.example.evil.example",
        "http://app.example",
        "https://app.example:444",
        "*",
        "",
    ] {
        let mut headers = HANDSHAKE.to_vec();
        headers.extend([("Origin", origin), ("Cookie", cookie.as_str())]);
        let answer = get_with(gateway.address, "/v1/ws", &headers).await;
        assert_eq!(answer.status, 403, "{origin:?}");
        assert_eq!(answer.json()["code"], "forbidden");
    }
    for origin in [PAGE, "http://localhost"] {
        let headers = [("Origin", origin), ("Cookie", cookie.as_str())];
        let mut ws = Ws::open_with(gateway.address, "", &headers).await;
        assert_eq!(ws.batch().await["hello"]["user"], "alice", "{origin}: allowed, or the gateway's own");
    }
    assert!(gateway.metric("throughline_connections_refused_total").await >= 7.0);
}

#[tokio::test]
async fn a_page_with_a_token_of_its_own_opens_a_websocket_from_any_origin() {
    let gateway = Gateway::serve(&[]).await;
    let token = token("alice", &[]);
    let foreign = ("Origin", "https://other.example");
    let bearer = format!("Bearer {token}");
    let offer = format!("throughline.v1, bearer.{token}");
    for (query, header) in [
        (String::new(), Some(("Authorization", bearer.as_str()))),
        (String::new(), Some(("Sec-WebSocket-Protocol", &offer))),
        (format!("token={token}"), None),
    ] {
        let headers: Vec<_> = header.into_iter().chain([foreign, ("Cookie", "theme=dark")]).collect();
        let mut ws = Ws::open_with(gateway.address, &query, &headers).await;
        assert_eq!(ws.batch().await["hello"]["user"], "alice", "{query} {header:?}");
    }
    let mut ws = Ws::open_with(gateway.address, "", &[foreign]).await;
    ws.command(json!({"id": 1, "op": "auth", "token": token})).await;
    assert_eq!(ws.reply().await["ok"]["user"], "alice", "by command");
}

#[tokio::test]
async fn a_refused_origin_is_told_what_would_allow_it() {
    let gateway = Gateway::serve(&[]).await;
    let cookie = format!("throughline_token={}", token("alice", &[]));
    let mut headers = HANDSHAKE.to_vec();
    headers.extend([("Origin", "https://app.example"), ("Cookie", cookie.as_str())]);
    for target in ["/v1/ws", "/v1/poll"] {
        let detail = get_with(gateway.address, target, &headers).await.json()["detail"].to_string();
        for part in ["https://app.example", "localhost (Host)", "--allow-origin https://app.example"] {
            assert!(detail.contains(part), "{part}: {detail}");
        }
    }
}

#[tokio::test]
async fn a_trusted_proxy_may_call_a_websocket_wss() {
    let gateway = Gateway::serve(&["--trusted-proxy", "127.0.0.1"]).await;
    let cookie = format!("throughline_token={}", token("alice", &[]));
    for (origin, forwarding) in [
        ("https://localhost", &[("X-Forwarded-Proto", "wss")][..]),
        ("http://localhost", &[("X-Forwarded-Proto", "ws")]),
        ("https://pub.example", &[("X-Forwarded-Host", "pub.example"), ("X-Forwarded-Proto", "wss")]),
        (
            "https://pub.example:8443",
            &[("Forwarded", r#"for=192.0.2.1;host="pub.example:8443";proto=https"#)],
        ),
        ("https://localhost:8443", &[("X-Forwarded-Proto", "wss"), ("X-Forwarded-Port", "8443")]),
    ] {
        let own = [("Origin", origin), ("Cookie", cookie.as_str())];
        let headers: Vec<_> = own.into_iter().chain(forwarding.iter().copied()).collect();
        let mut ws = Ws::open_with(gateway.address, "", &headers).await;
        assert_eq!(ws.batch().await["hello"]["user"], "alice", "{headers:?}");
    }
}

#[tokio::test]
async fn dev_lets_in_the_pages_of_this_machine() {
    let gateway = Gateway::dev().await;
    for headers in [
        &[("Origin", "http://localhost:3000")][..],
        &[("Origin", "http://127.0.0.1:5173")],
        &[("Origin", "https://my.test"), ("X-Forwarded-Host", "my.test")],
    ] {
        let mut ws = Ws::open_with(gateway.address, "user=alice", headers).await;
        assert_eq!(ws.batch().await["hello"]["user"], "alice", "{headers:?}");
        let answer = get_with(gateway.address, "/v1/poll?user=alice", headers).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some(headers[0].1));
    }
    let mut foreign = HANDSHAKE.to_vec();
    foreign.push(("Origin", "https://evil.example"));
    assert_eq!(
        get_with(gateway.address, "/v1/ws?user=alice", &foreign).await.status,
        403,
        "a name is no token"
    );
}

#[tokio::test]
async fn a_cookie_counts_only_from_a_page_that_is_allowed() {
    let gateway = Gateway::serve(&["--allow-origin", PAGE]).await;
    let cookie = format!("throughline_token={}", token("alice", &["--subscribe", "t"]));
    for (method, target) in [
        ("GET", "/v1/sse?"),
        ("GET", "/v1/poll?"),
        ("POST", "/v1/poll?"),
        ("POST", "/v1/send?"),
        ("GET", "/v1/history?topic=t&"),
    ] {
        let body = if target == "/v1/send?" { r#"{"op":"ping"}"# } else { "" };
        let headers = [("Cookie", cookie.as_str()), ("Origin", "https://evil.example")];
        let answer = raw(gateway.address, request(method, target, &headers, body).as_bytes()).await;
        assert_eq!(answer.status, 403, "{method} {target}");
        assert!(answer.header("access-control-allow-origin").is_none(), "{}", answer.head);
        // With a token of its own the page needs no permission: the browser did not add it.
        let own = format!("{target}token={}", token("alice", &["--subscribe", "t"]));
        if !target.contains("sse") {
            let answer = raw(gateway.address, request(method, &own, &headers[1..], body).as_bytes()).await;
            assert_eq!(answer.status, 200, "{method} {target}: {}", answer.body);
            let allowed = [("Cookie", cookie.as_str()), ("Origin", PAGE)];
            let answer = raw(gateway.address, request(method, target, &allowed, body).as_bytes()).await;
            assert_eq!(answer.status, 200, "{method} {target}: {}", answer.body);
            assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE), "{method} {target}");
            assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
            assert!(answer.header("vary").unwrap().to_lowercase().contains("origin"));
        }
    }
}

#[tokio::test]
async fn a_stream_carries_the_cors_headers_too_and_so_does_a_problem() {
    let gateway = Gateway::serve(&["--allow-origin", PAGE]).await;
    let query = format!("token={}", token("alice", &[]));
    let sse = crate::support::Sse::open_with(gateway.address, &query, &[("Origin", PAGE)]).await;
    let head = sse.head.to_lowercase();
    assert!(head.contains(&format!("access-control-allow-origin: {PAGE}")), "{head}");
    assert!(head.contains("access-control-allow-credentials: true"), "{head}");
    let refused = get_with(gateway.address, "/v1/poll", &[("Origin", PAGE)]).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some(PAGE)));
}

#[tokio::test]
async fn a_preflight_is_answered() {
    let gateway = Gateway::serve(&["--allow-origin", PAGE]).await;
    let headers = |origin| {
        [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization,content-type,traceparent,baggage"),
        ]
    };
    let answer = raw(gateway.address, request("OPTIONS", "/v1/send", &headers(PAGE), "").as_bytes()).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
    let allowed = answer.header("access-control-allow-headers").unwrap().to_lowercase();
    for header in ["authorization", "content-type", "traceparent", "tracestate", "baggage"] {
        assert!(allowed.contains(header), "{header}: {allowed}");
    }
    assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
    let foreign =
        raw(gateway.address, request("OPTIONS", "/v1/send", &headers("https://evil.example"), "").as_bytes())
            .await;
    assert!(foreign.header("access-control-allow-origin").is_none(), "{}", foreign.head);
    let plain = raw(gateway.address, request("OPTIONS", "/v1/send", &[], "").as_bytes()).await;
    assert_eq!((plain.status, plain.header("allow")), (405, Some("POST")), "no page asks");
}
