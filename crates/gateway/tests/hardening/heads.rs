//! Heads and bodies that trickle in, do not end, or are none.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::alice;
use super::support::{Answer, Gateway, Http, PATIENCE, get, parse, raw};

/// Writes until the gateway does not take any more, and gives what it said.
async fn pour(address: SocketAddr, start: &[u8], endless: &[u8], bytes_max: usize) -> (usize, Answer) {
    let socket = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = socket.into_split();
    let (start, endless) = (start.to_vec(), endless.to_vec());
    let writing = tokio::spawn(async move {
        let mut written = start.len();
        if write.write_all(&start).await.is_err() {
            return written;
        }
        while written < bytes_max && write.write_all(&endless).await.is_ok() {
            written += endless.len();
        }
        written
    });
    let mut received = Vec::new();
    timeout(PATIENCE * 2, read.read_to_end(&mut received)).await.expect("the gateway closes").ok();
    drop(read);
    (writing.await.unwrap(), parse(&received))
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off() {
    let gateway = Gateway::serve(&["--head-timeout-seconds", "1"]).await;
    let started = Instant::now();
    let mut silent = Http::open(gateway.address).await;
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n").await.unwrap();
    while socket.write_all(b"X: y\r\n").await.is_ok() {
        assert!(started.elapsed() < PATIENCE, "it may trickle for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(silent.is_closed().await, "nor may it stay silent");
    gateway.comes_to_rest().await;
}

#[tokio::test]
async fn a_body_that_trickles_in_is_cut_off() {
    let gateway = Gateway::serve(&["--body-timeout-seconds", "1"]).await;
    let mut http = Http::open(gateway.address).await;
    http.send(b"POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key\r\nContent-Length: 1000\r\n\r\n{").await;
    is_problem(&http.answer().await, 408, "request_timeout");
    assert!(http.is_closed().await);
    gateway.comes_to_rest().await;
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let gateway = Gateway::serve(&[]).await;
    let start = b"GET /health HTTP/1.1\r\nHost: localhost\r\n";
    // What comes after the answer is dropped, and not for ever.
    let fields = b"X-Y: zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\r\n".repeat(1000);
    let (written, answer) = pour(gateway.address, start, &fields, 512 << 20).await;
    assert!(matches!(answer.status, 413 | 0), "{}", answer.head);
    assert!(written < 256 << 20, "{written} bytes were taken");
    let (written, answer) = pour(gateway.address, b"GET /", &[b'a'; 65_536], 512 << 20).await;
    assert!(matches!(answer.status, 413 | 0), "{}", answer.head);
    assert!(written < 256 << 20, "{written} bytes were taken");
    let many: String = (0..100).map(|n| format!("X-{n}: y\r\n")).collect();
    let request = format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
    is_problem(&raw(gateway.address, request.as_bytes()).await, 413, "too_large");
    assert_eq!(get(gateway.address, "/health").await.status, 200);
}

fn is_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{} {}", answer.head, answer.body);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.head);
    assert_eq!((&answer.json()["code"], &answer.json()["status"]), (&json!(code), &json!(status)));
}

#[tokio::test]
async fn what_is_no_request_is_told_so_and_is_the_end() {
    let gateway = Gateway::serve(&[]).await;
    let health = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    for nonsense in [
        "nonsense\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\r\n\r\n",
        "GET /health HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /health HTTP/7.1\r\nHost: a\r\n\r\n",
        "GET \u{1}/health HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    ] {
        is_problem(&raw(gateway.address, nonsense.as_bytes()).await, 400, "bad_request");
        // Behind answers, too: of this service, in its own words, and with a `100 Continue` before one.
        let mut http = Http::open(gateway.address).await;
        http.send(health.as_bytes()).await;
        assert_eq!(http.answer().await.status, 200);
        http.send(
            b"POST /v1/publish HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer key\r\nExpect: 100-continue\r\n\
            Content-Length: 2\r\n\r\n",
        )
        .await;
        assert_eq!(http.answer().await.status, 100);
        http.send(b"17").await;
        let answer = http.answer().await;
        is_problem(&answer, 400, "bad_request");
        assert!(!answer.body.contains("no HTTP/1.1 request"), "{}", answer.body);
        http.send(health.as_bytes()).await;
        assert_eq!(http.answer().await.status, 200);
        http.send(nonsense.as_bytes()).await;
        let answer = http.answer().await;
        is_problem(&answer, 400, "bad_request");
        assert!(answer.body.contains("no HTTP/1.1 request"), "{}", answer.body);
        assert!(http.is_closed().await);
    }
    gateway.comes_to_rest().await;
}

/// Heads whose end or body two HTTP readers could take to be in different places, each with a name.
fn ambiguous_heads() -> Vec<(&'static str, String)> {
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    vec![
        (
            "CL, TE",
            format!(
                "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
            ),
        ),
        (
            "TE, CL",
            format!(
                "POST /v1/publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n{chunks}"
            ),
        ),
        (
            "CL twice",
            "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"
                .to_owned(),
        ),
        (
            "two CL",
            "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
                .to_owned(),
        ),
        ("CL list", "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na".to_owned()),
        ("CL sign", "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na".to_owned()),
        (
            "TE twice",
            format!(
                "POST /v1/publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: identity\r\n\r\n{chunks}"
            ),
        ),
        ("CL space", "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\na".to_owned()),
        ("bare LF", "GET /health HTTP/1.1\nHost: a\n\n".to_owned()),
        ("one bare LF", "GET /health HTTP/1.1\r\nHost: a\n\r\n".to_owned()),
        ("folded", "GET /health HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n".to_owned()),
        ("two Host", "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned()),
        ("Host twice", "GET /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_owned()),
        ("no Host", "GET /health HTTP/1.1\r\n\r\n".to_owned()),
        ("NUL", "GET /health HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n".to_owned()),
        (
            "SSE: CL, TE",
            format!(
                "GET /v1/sse?{} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}",
                alice()
            ),
        ),
        ("SSE: bare LF", format!("GET /v1/sse?{} HTTP/1.1\nHost: a\n\n", alice())),
        (
            "poll: body",
            format!("GET /v1/poll?{} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", alice()),
        ),
        (
            "poll: chunks",
            format!(
                "GET /v1/poll?{} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}",
                alice()
            ),
        ),
    ]
}

#[tokio::test]
async fn heads_that_two_readers_could_understand_differently_are_400_and_the_end() {
    let gateway = Gateway::serve(&[]).await;
    let behind = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (what, head) in ambiguous_heads() {
        let mut http = Http::open(gateway.address).await;
        http.send((head + behind).as_bytes()).await;
        let answer = http.answer().await;
        assert_eq!(answer.status, 400, "{what}: {} {}", answer.head, answer.body);
        assert!(http.is_closed().await, "{what}: what follows is nobody's request");
    }
    assert_eq!(get(gateway.address, "/health").await.status, 200);
    gateway.comes_to_rest().await;
}
