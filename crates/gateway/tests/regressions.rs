//! Bugs that were found once, each named after what it did.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Gateway, Http, PATIENCE, SECRET, Ws, eventually, get, get_with, jwt, raw, token};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

fn alice() -> String {
    format!("token={}", token("alice", &[]))
}

#[tokio::test]
async fn the_last_fragment_of_a_command_waited_for_the_next_heartbeat() {
    let gateway = Gateway::serve(&[]).await;
    let mut ws = Ws::open(gateway.address, &format!("{}&heartbeat=60", alice())).await;
    ws.batch().await;
    ws.batch().await;
    ws.send(&Ws::frame(0x01, br#"{"id":1,"#)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    ws.send(&Ws::frame(0x80, br#""op":"ping"}"#)).await;
    let reply = timeout(PATIENCE, ws.reply()).await.expect("a reply long before the heartbeat");
    assert_eq!(reply["reply"], 1);
}

#[tokio::test]
async fn answers_that_nobody_reads_held_a_connection_for_ever() {
    let gateway = Gateway::serve(&["--write-timeout-seconds", "1"]).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = socket.connect(gateway.address).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(400);
    // The gateway stops reading when it cannot write; what does not fit stays here.
    let _ = timeout(Duration::from_millis(500), socket.write_all(request.as_bytes())).await;
    eventually("the connection is given up", async || {
        gateway.metric("throughline_tcp_connections").await <= 1.0
    })
    .await;
}

#[tokio::test]
async fn a_body_was_taken_in_before_anyone_was_asked_for_a_token() {
    let gateway = Gateway::serve(&[]).await;
    for target in ["/v1/send", "/v1/publish"] {
        let mut http = Http::open(gateway.address).await;
        let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n[");
        http.send(head.as_bytes()).await;
        assert_eq!(http.answer().await.status, 401, "{target}");
    }
    let mut http = Http::open(gateway.address).await;
    let form = "Content-Type: application/x-www-form-urlencoded";
    http.send(
        format!("POST /v1/poll HTTP/1.1\r\nHost: localhost\r\n{form}\r\nContent-Length: 1000000\r\n\r\na")
            .as_bytes(),
    )
    .await;
    assert_eq!(http.answer().await.status, 413);
}

#[tokio::test]
async fn a_token_that_ends_after_the_year_9999_killed_its_connection() {
    let gateway = Gateway::serve(&[]).await;
    for exp in [2_763_609_412_123_u64, 9_007_199_254_740_991] {
        let token = jwt(&json!({"alg": "HS256"}), &json!({"sub": "alice", "exp": exp}), SECRET);
        let answer = get(gateway.address, &format!("/v1/poll?token={token}")).await;
        assert!(matches!(answer.status, 200 | 401), "{}: {}", answer.status, answer.body);
        let mut ws = Ws::open(gateway.address, "").await;
        ws.command(json!({"id": 1, "op": "auth", "token": token})).await;
        assert_eq!(ws.reply().await["reply"], 1);
    }
}

#[tokio::test]
async fn a_length_behind_much_white_space_hid_the_next_head() {
    let gateway = Gateway::serve(&[]).await;
    let padded = format!(
        "POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key\r\nContent-Length:{}5\r\n\r\nhello",
        " ".repeat(60)
    );
    let answer = raw(gateway.address, padded.as_bytes()).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("connection"), Some("close"));
}

#[tokio::test]
async fn a_poll_sent_in_chunks_kept_a_connection_on_which_heads_are_not_looked_at() {
    let gateway = Gateway::serve(&[]).await;
    let mut http = Http::open(gateway.address).await;
    let head =
        "POST /v1/poll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let body = format!("token={}", token("alice", &[]));
    http.send(
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes(),
    )
    .await;
    let answer = http.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(http.is_closed().await);
}

#[tokio::test]
async fn one_session_id_opened_any_number_of_connections() {
    let gateway = Gateway::serve(&["--max-connections-per-user", "3"]).await;
    let query = format!("{}&session=s1", alice());
    let mut open = Vec::new();
    for _ in 0..30 {
        open.push(Ws::open(gateway.address, &query).await);
    }
    let connections = gateway.stats().await["byTransport"]["ws"].as_u64().unwrap();
    assert!(connections <= 8, "{connections} connections of one session");
}

#[tokio::test]
async fn in_dev_any_page_could_publish_in_a_visitors_name() {
    let gateway = Gateway::dev().await;
    let foreign = [("Origin", "https://evil.example")];
    let body = r#"{"id":1,"op":"publish","topic":"all","type":"t","data":1}"#;
    assert_eq!(support::post(gateway.address, "/v1/send?user=x", &foreign, body).await.status, 403);
    assert_eq!(get_with(gateway.address, "/v1/poll?user=x", &foreign).await.status, 403);
    let own = format!("http://{}", gateway.address);
    let own = [("Origin", own.as_str())];
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    let request =
        format!("GET /v1/poll?user=x HTTP/1.1\r\nHost: {}\r\nOrigin: {}\r\n\r\n", gateway.address, own[0].1);
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut socket, &mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

#[tokio::test]
async fn an_ephemeral_event_was_too_old_for_a_client_that_spaces_its_batches() {
    let gateway = Gateway::serve(&[]).await;
    let mut ws = Ws::open(gateway.address, &format!("{}&interval=12000", alice())).await;
    ws.batch().await;
    ws.batch().await;
    gateway.publish(json!({"topic": "user:alice", "type": "moved", "ephemeral": true, "data": 1})).await;
    let batch = loop {
        let batch = timeout(PATIENCE * 3, ws.batch()).await.unwrap();
        if !batch["events"].as_array().unwrap().is_empty() {
            break batch;
        }
    };
    assert_eq!(batch["events"][0]["type"], "moved");
}
