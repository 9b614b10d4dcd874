//! Clients that do not read.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;

use super::support::{self, Gateway, Http, Program, Ws, eventually, get};
use super::{KEY, alice, connections_of};

/// Publishes `count` events of `bytes` bytes to a user.
async fn publish_many(address: SocketAddr, user: &str, count: usize, bytes: usize) {
    let mut http = Http::open(address).await;
    let draft = json!({"topic": format!("user:{user}"), "type": "t", "data": "x".repeat(bytes)});
    // A request holds 1 MiB.
    let at_once = 50;
    let body = json!(vec![draft; at_once]).to_string();
    for _ in 0..count / at_once {
        assert_eq!(http.post("/v1/publish", &[KEY], &body).await.status, 200);
    }
}

#[tokio::test]
async fn a_reader_that_never_reads_costs_little_and_is_let_go() {
    let program = Program::serve(&["--write-timeout-seconds", "1"]);
    let small_socket = async |request: String| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut socket = socket.connect(program.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    };
    let sse = small_socket(format!("GET /v1/sse?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", alice())).await;
    let ws = small_socket(format!(
        "GET /v1/ws?{} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        alice()
    ))
    .await;
    eventually("both are there", async || connections_of(program.address).await == 2).await;
    publish_many(program.address, "warm-up", 10_000, 2000).await;
    let before = program.memory_kib();
    publish_many(program.address, "alice", 10_000, 2000).await;
    let cost = program.memory_kib().saturating_sub(before);
    assert!(cost < 16 << 10, "{cost} KiB for 20 MB that two clients do not read");
    eventually("both are let go", async || connections_of(program.address).await == 0).await;
    let slow = get(program.address, "/metrics").await.body;
    let slow: f64 = slow
        .lines()
        .filter(|line| line.starts_with("throughline_slow_readers_total"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert_eq!(slow, 2.0);
    drop((sse, ws));
}

#[tokio::test]
async fn a_slow_reader_that_comes_back_to_life_is_told() {
    let gateway = Gateway::serve(&["--write-timeout-seconds", "1", "--ring-events", "2000"]).await;
    let mut ws = Ws::open(gateway.address, &alice()).await;
    ws.batch().await;
    publish_many(gateway.address, "alice", 10_000, 5000).await;
    eventually("it was noticed", async || gateway.metric("throughline_slow_readers_total").await == 1.0)
        .await;
    let mut cursor = None;
    let code = loop {
        match ws.next().await {
            support::Frame::Text(batch) => {
                let is_next = cursor.as_ref().is_none_or(|cursor| batch["after"] == *cursor);
                assert!(is_next || batch.get("reset").is_some(), "no hole passes unnoticed");
                cursor = Some(batch["cursor"].clone());
            }
            support::Frame::Close(code, _) => break code,
            // Cut, if the last words did not fit any more.
            support::Frame::End => break 4408,
            support::Frame::Pong(_) => {}
        }
    };
    assert_eq!(code, 4408);
    gateway.comes_to_rest().await;
}
