//! Clients that come back at once after every refusal are slowed down, whatever they ask for and for whatever reason it is refused.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::support::{Gateway, raw, request, token};

const HANDSHAKE: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// How long a refusal is held back from the third in ten seconds on (T15).
const HOLD: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn the_third_refusal_of_every_stream_and_poll_is_held_back() {
    let options = ["--trusted-proxy", "127.0.0.1", "--socketio", "/socket.io/"];
    let gateway = Gateway::serve(&options).await;
    let alice = token("alice", &["--subscribe", "*"]);
    let cookie = format!("throughline_token={alice}");
    let foreign = [("Cookie", &*cookie), ("Origin", "https://elsewhere.example")];
    let own = [("Origin", "http://localhost")];
    let malformed = format!("token={alice}&after=01.x");
    let ws = |more: &[(&'static str, &str)], query: &str| {
        let headers: Vec<(&str, &str)> = HANDSHAKE.iter().chain(more).copied().collect();
        request("GET", &format!("/v1/ws?{query}"), &headers, "")
    };
    let get = |target: &str, headers: &[(&str, &str)]| request("GET", target, headers, "");
    let refused = [
        (401, get("/v1/sse?token=x", &[])),
        (401, get("/v1/sse?token=x", &[("Accept", "text/event-stream")])),
        (403, get("/v1/sse", &foreign)),
        (400, get(&format!("/v1/sse?{malformed}"), &[])),
        (401, get("/v1/poll?token=x", &[])),
        (403, get("/v1/poll", &foreign)),
        (400, get(&format!("/v1/poll?{malformed}"), &[])),
        (401, request("POST", "/v1/poll?token=x", &[], "")),
        (400, request("POST", &format!("/v1/poll?token={alice}"), &[], "no form")),
        (413, request("POST", &format!("/v1/poll?token={alice}"), &[], &"x".repeat(400_000))),
        (401, ws(&[], "token=x")),
        (403, ws(&foreign, "")),
        (101, ws(&own, "token=x")),
        (101, ws(&own, &malformed)),
        (403, get("/socket.io/?EIO=4&transport=polling", &foreign)),
    ];
    join_all(refused.iter().enumerate().map(async |(last, (status, request))| {
        let from = format!("X-Forwarded-For: 203.0.113.{last}\r\n\r\n");
        let request = request.replacen("\r\n\r\n", &format!("\r\n{from}"), 1);
        let mut took = Duration::ZERO;
        // On a busy machine three refusals may take more than ten seconds.
        for _ in 0..20 {
            let began = Instant::now();
            let answer = raw(gateway.address, request.as_bytes()).await;
            assert_eq!(answer.status, *status, "{request}{}", answer.body);
            took = began.elapsed();
            if took >= HOLD {
                break;
            }
        }
        assert!(took >= HOLD, "told at once, after {took:?}: {request}");
    }))
    .await;
}
