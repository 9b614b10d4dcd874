//! Errors over HTTP, as RFC 9457 has them.

use serde_json::json;

use crate::support::{Answer, Gateway, Http, get, get_with, post, raw, request, token};

const KEY: (&str, &str) = ("Authorization", "Bearer key");

fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let problem = answer.json();
    assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)), "{problem}");
    for member in ["type", "title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem}");
    }
}

#[tokio::test]
async fn every_error_is_a_problem_with_its_status_and_code() {
    let gateway = Gateway::serve(&["--max-body-bytes", "1000", "--max-connections-per-user", "0"]).await;
    let at = gateway.address;
    let alice = format!("token={}", token("alice", &[]));
    check(&get(at, &format!("/v1/poll?{alice}&after=x")).await, 400, "bad_request");
    check(&get(at, &format!("/v1/sse?{alice}&topics=a%20b")).await, 400, "bad_request");
    check(&post(at, "/v1/publish", &[KEY], "{").await, 400, "bad_request");
    check(&get(at, "/v1/sse").await, 401, "unauthenticated");
    check(&get(at, &format!("/v1/history?{alice}&topic=room:1")).await, 403, "forbidden");
    check(&get(at, "/v1/nothing").await, 404, "not_found");
    check(&get(at, "/").await, 404, "not_found");
    check(&get(at, "/v1/poll/").await, 404, "not_found");
    check(&get(at, "/V1/POLL").await, 404, "not_found");
    check(&get_with(at, "/v1/publish", &[KEY]).await, 405, "method_not_allowed");
    check(&post(at, "/v1/publish", &[KEY], &" ".repeat(1001)).await, 413, "too_large");
    check(&get(at, "/v1/ws").await, 426, "upgrade_required");
    let expect = json!({"topic": "t", "type": "t", "data": 1, "expect": 5}).to_string();
    check(&post(at, "/v1/publish", &[KEY], &expect).await, 409, "conflict");
}

#[tokio::test]
async fn a_wrong_method_is_405_and_says_which_is_right() {
    let gateway = Gateway::serve(&[]).await;
    for (method, target, allow) in [
        ("DELETE", "/v1/poll", "GET, POST"),
        ("PUT", "/v1/publish", "POST"),
        ("GET", "/v1/send", "POST"),
        ("GET", "/v1/disconnect", "POST"),
        ("POST", "/v1/sse", "GET"),
        ("POST", "/v1/stats", "GET"),
        ("POST", "/v1/history", "GET"),
        ("HEAD", "/v1/sse", "GET"),
        ("HEAD", "/v1/publish", "POST"),
        ("TRACE", "/health", "GET"),
        ("BREW", "/health", "GET"),
    ] {
        let answer = raw(gateway.address, request(method, target, &[KEY], "").as_bytes()).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {target}");
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let gateway = Gateway::serve(&[]).await;
    for target in [
        "/health",
        "/ready",
        "/metrics",
        "/v1/stats",
        "/v1/history?topic=t",
        "/v1/presence?topic=t",
        "/v1/explain?user=alice&seq=1",
    ] {
        let answer = raw(gateway.address, request("HEAD", target, &[KEY], "").as_bytes()).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{target}");
        assert!(answer.header("content-length").is_some_and(|len| len != "0"), "{}", answer.head);
    }
    let missing = raw(gateway.address, request("HEAD", "/nothing", &[], "").as_bytes()).await;
    assert_eq!((missing.status, missing.body.as_str()), (404, ""));
}

#[tokio::test]
async fn a_401_says_how_to_authenticate() {
    let gateway = Gateway::serve(&[]).await;
    let bad = ("Authorization", "Bearer nonsense");
    let asked = "Bearer realm=\"throughline\"";
    let refused = "Bearer realm=\"throughline\", error=\"invalid_token\"";
    for (method, target, body) in [
        ("GET", "/v1/poll", ""),
        ("GET", "/v1/sse", ""),
        ("GET", "/v1/history?topic=t", ""),
        ("GET", "/v1/presence?topic=t", ""),
        ("GET", "/v1/stats", ""),
        ("POST", "/v1/poll", ""),
        ("POST", "/v1/send", "{}"),
        ("POST", "/v1/publish", "{}"),
        ("POST", "/v1/disconnect", "{}"),
    ] {
        for (headers, challenge) in [(&[][..], asked), (&[bad], refused)] {
            let answer = raw(gateway.address, request(method, target, headers, body).as_bytes()).await;
            assert_eq!(
                (answer.status, answer.header("www-authenticate")),
                (401, Some(challenge)),
                "{target}"
            );
        }
    }
    let forbidden = get(gateway.address, &format!("/v1/history?topic=t&token={}", token("alice", &[]))).await;
    assert_eq!((forbidden.status, forbidden.header("www-authenticate")), (403, None));
}

#[tokio::test]
async fn a_token_that_is_too_long_is_told_so() {
    let gateway = Gateway::serve(&[]).await;
    let long = format!("Bearer {}", "x".repeat(9000));
    let answer = get_with(gateway.address, "/v1/poll", &[("Authorization", &long)]).await;
    check(&answer, 401, "unauthenticated");
    assert_eq!(answer.json()["detail"], "the token has more than 8192 bytes");
    let longer = format!("Bearer {}", "x".repeat(17_000));
    let answer = get_with(gateway.address, "/v1/poll", &[("Authorization", &longer)]).await;
    check(&answer, 413, "too_large");
}

#[tokio::test]
async fn too_much_says_when_to_come_back() {
    let gateway = Gateway::serve(&["--max-connections-per-ip", "1"]).await;
    let alice = format!("token={}", token("alice", &[]));
    let mut sse = crate::support::Sse::open(gateway.address, &alice).await;
    sse.batch().await;
    let many = get(gateway.address, &format!("/v1/sse?{alice}")).await;
    check(&many, 429, "rate_limited");
    assert!(many.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
}

#[tokio::test]
async fn an_error_keeps_the_connection_where_it_can() {
    let gateway = Gateway::serve(&[]).await;
    let mut http = Http::open(gateway.address).await;
    assert_eq!(http.get("/nothing").await.status, 404);
    assert_eq!(http.get("/v1/poll").await.status, 401);
    assert_eq!(http.post("/v1/publish", &[KEY], "{").await.status, 400);
    assert_eq!(http.get("/health").await.status, 200);
}
