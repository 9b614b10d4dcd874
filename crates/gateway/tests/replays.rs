//! Clients that come back all at once, with more to catch up on than may be on its way.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Frame, Gateway, Sse, Ws, eventually, get, post, token};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

/// A client that missed everything and reads nothing of it.
async fn blocked(gateway: &Gateway, token: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = socket.connect(gateway.address).await.unwrap();
    let request = format!("GET /v1/sse?after=earliest&token={token} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

async fn get_owned(address: std::net::SocketAddr, path: String) -> u16 {
    get(address, &path).await.status
}

#[tokio::test]
async fn a_replay_waits_its_turn_and_is_told_to_come_again() {
    let gateway = Gateway::serve(&[
        "--replay-bytes",
        "1000000",
        "--ring-events",
        "4096",
        "--write-timeout-seconds",
        "60",
    ])
    .await;
    let (alice, bob) = (token("alice", &[]), token("bob", &[]));
    // More than the sockets between them hold.
    let much = vec![json!({"topic": "user:alice", "type": "t", "data": "x".repeat(10_000)}); 100];
    let little = json!({"topic": "user:bob", "type": "t", "data": "x".repeat(10_000)});
    for _ in 0..15 {
        let body = json!(much).to_string();
        assert_eq!(
            post(gateway.address, "/v1/publish", &[("Authorization", gateway.key())], &body).await.status,
            200
        );
    }
    gateway.publish(little).await;

    // A client whose history is filtered away holds up nobody, however long it waits.
    let filtered = tokio::spawn(get_owned(
        gateway.address,
        format!("/v1/poll?after=earliest&types=other&wait=60&token={alice}"),
    ));
    eventually("it waits", async || gateway.metric("throughline_connections").await == 1.0).await;
    let mut blocked = Vec::new();
    for _ in 0..4 {
        blocked.push(self::blocked(&gateway, &alice).await);
    }
    eventually("they are there", async || gateway.metric("throughline_connections").await == 5.0).await;
    let poll = |token: &str| format!("/v1/poll?after=earliest&limit=1&token={token}");
    let start = Instant::now();
    let answer = get(gateway.address, &poll(&bob)).await;
    assert_eq!((answer.status, answer.json()["events"].as_array().unwrap().len()), (200, 1));
    assert!(start.elapsed() < Duration::from_secs(2), "what is small does not wait: {:?}", start.elapsed());

    let everything = format!("after=earliest&token={alice}");
    let path = format!("/v1/sse?{everything}");
    let (sse, mut ws) = tokio::join!(get(gateway.address, &path), Ws::open(gateway.address, &everything));
    assert_eq!((sse.status, sse.json()["code"].clone()), (503, json!("unavailable")));
    let seconds: u64 = sse.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=6).contains(&seconds), "{seconds}");
    assert!(matches!(ws.next().await, Frame::Close(4503, _)));
    assert_eq!(gateway.metric("throughline_rate_limited_total").await, 2.0);

    // Whoever waits gets its turn as soon as the one before has gone.
    let next = tokio::spawn({
        let (address, everything) = (gateway.address, everything.clone());
        async move {
            let mut sse = Sse::open(address, &everything).await;
            (sse.batch().await.unwrap(), Instant::now())
        }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!next.is_finished());
    let left = Instant::now();
    drop(blocked);
    filtered.abort();
    let (first, came) = next.await.unwrap();
    assert!(first["hello"].is_object() && came - left < Duration::from_secs(3), "{first}");

    // And one that has caught up holds up nobody.
    let mut live = Sse::open(gateway.address, &everything).await;
    while live.batch().await.unwrap().get("live").is_none() {}
    let start = Instant::now();
    assert_eq!(get(gateway.address, &poll(&alice)).await.status, 200);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}
