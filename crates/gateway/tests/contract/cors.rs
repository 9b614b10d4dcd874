//! Which web pages may connect.

use crate::support::{Gateway, Ws, get_with, raw, request, token};

const PAGE: &str = "https://app.example";

#[tokio::test]
async fn a_foreign_page_opens_no_websocket() {
    let gateway = Gateway::serve(&["--allow-origin", PAGE]).await;
    let target = format!("/v1/ws?token={}", token("alice", &[]));
    let handshake = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for origin in [
        "https://evil.example",
        "null",
        "https://app.example.evil.example",
        "http://app.example",
        "https://app.example:444",
        "*",
        "",
    ] {
        let mut headers = handshake.to_vec();
        headers.push(("Origin", origin));
        let answer = get_with(gateway.address, &target, &headers).await;
        assert_eq!(answer.status, 403, "{origin:?}");
        assert_eq!(answer.json()["code"], "forbidden");
    }
    let query = format!("token={}", token("alice", &[]));
    for origin in [PAGE, "http://localhost"] {
        let mut ws = Ws::open_with(gateway.address, &query, &[("Origin", origin)]).await;
        assert_eq!(ws.batch().await["hello"]["user"], "alice", "{origin}: allowed, or the gateway's own");
    }
    assert!(gateway.metric("throughline_connections_refused_total").await >= 7.0);
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
            ("Access-Control-Request-Headers", "authorization,content-type"),
        ]
    };
    let answer = raw(gateway.address, request("OPTIONS", "/v1/send", &headers(PAGE), "").as_bytes()).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
    let allowed = answer.header("access-control-allow-headers").unwrap().to_lowercase();
    assert!(allowed.contains("authorization") && allowed.contains("content-type"), "{allowed}");
    assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
    let foreign =
        raw(gateway.address, request("OPTIONS", "/v1/send", &headers("https://evil.example"), "").as_bytes())
            .await;
    assert!(foreign.header("access-control-allow-origin").is_none(), "{}", foreign.head);
    let plain = raw(gateway.address, request("OPTIONS", "/v1/send", &[], "").as_bytes()).await;
    assert_eq!((plain.status, plain.header("allow")), (405, Some("POST")), "no page asks");
}
