//! A connection while it speaks HTTP: how long it is waited for, and how it closes.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use transport::{Answer, HttpLimits, Served, serve};

const LIMITS: HttpLimits = HttpLimits {
    head_timeout: Duration::from_secs(10),
    keep_alive: Duration::from_secs(75),
    head_bytes_max: 16 << 10,
    headers_max: 64,
    write_timeout: Duration::from_secs(15),
};

const REFUSAL: &[u8] = b"HTTP/1.1 431 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Answers every request with 413, without a look at its body.
async fn refuse_all<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(socket: S) {
    let refuse = |_| Bytes::from_static(REFUSAL);
    let service = |_, _| async {
        let mut response = Response::new("too much".to_owned());
        *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        Answer::<_, ()>::Response(response)
    };
    let served = serve(socket, Bytes::new(), &LIMITS, pending(), refuse, service).await;
    assert!(matches!(served, Served::Closed));
}

fn start() -> (DuplexStream, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(64 << 10);
    (far, tokio::spawn(refuse_all(near)))
}

/// Reads a response with the body of these tests.
async fn response(socket: &mut DuplexStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"too much") {
        assert!(socket.read_buf(&mut text).await.unwrap() > 0, "{text:?}");
    }
    String::from_utf8(text).unwrap()
}

/// Seconds until the gateway closes.
async fn closes_after(socket: &mut DuplexStream) -> u64 {
    let since = Instant::now();
    let read = timeout(Duration::from_secs(3600), socket.read(&mut [0])).await;
    assert_eq!(read.expect("it closes").unwrap(), 0);
    since.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_for_the_keep_alive_time_and_not_for_the_head_timeout() {
    let (mut socket, _) = start();
    for _ in 0..3 {
        socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(!response(&mut socket).await.contains("close"));
        tokio::time::sleep(Duration::from_secs(74)).await;
    }
    socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    response(&mut socket).await;
    assert_eq!(closes_after(&mut socket).await, 75);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_head_counts_from_its_first_byte() {
    let (mut socket, _) = start();
    for _ in 0..2 {
        socket.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_secs(9)).await;
        socket.write_all(b"Host: a\r\n\r\n").await.unwrap();
        response(&mut socket).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    socket.write_all(b"G").await.unwrap();
    let since = Instant::now();
    tokio::time::sleep(Duration::from_secs(6)).await;
    // More of it does not buy more time.
    socket.write_all(b"E").await.unwrap();
    closes_after(&mut socket).await;
    assert_eq!(since.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_has_the_head_timeout_for_its_first_request() {
    let (mut socket, _) = start();
    assert_eq!(closes_after(&mut socket).await, 10);
}

#[tokio::test(start_paused = true)]
async fn the_part_of_a_pipelined_head_has_a_time_of_its_own() {
    let (mut socket, _) = start();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    socket.write_all(b"\r\nGET / HT").await.unwrap();
    response(&mut socket).await;
    assert_eq!(closes_after(&mut socket).await, 10);
}

/// Answers every request once its body has come.
async fn read_all(socket: DuplexStream) {
    let refuse = |_| Bytes::from_static(REFUSAL);
    let service = |request: Request<Incoming>, _| async {
        let mut body = request.into_body();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            frame.unwrap();
        }
        Answer::<_, ()>::Response(Response::new("too much".to_owned()))
    };
    serve(socket, Bytes::new(), &LIMITS, pending(), refuse, service).await;
}

/// How long a body may take is for the service to say, also once it was asked for with `100 Continue`.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_awaited_is_not_an_idle_connection() {
    for expect in ["", "Expect: 100-continue\r\n"] {
        let (near, mut socket) = tokio::io::duplex(64 << 10);
        tokio::spawn(read_all(near));
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{expect}Content-Length: 5\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        while !expect.is_empty() && !text.ends_with(b"\r\n\r\n") {
            assert!(socket.read_buf(&mut text).await.unwrap() > 0, "{text:?}");
        }
        for byte in b"hello" {
            tokio::time::sleep(Duration::from_secs(70)).await;
            socket.write_all(&[*byte]).await.unwrap();
        }
        assert!(response(&mut socket).await.starts_with("HTTP/1.1 200"));
        assert_eq!(closes_after(&mut socket).await, 75, "an idle connection ends as before");
    }
}

/// A client that writes its whole body before it reads, as most HTTP libraries do.
async fn upload(request: &[u8], body_bytes: usize) -> (std::io::Result<()>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let gateway = tokio::spawn(refuse_all(listener.accept().await.unwrap().0));
    client.write_all(request).await.unwrap();
    let written = client.write_all(&vec![b'x'; body_bytes]).await;
    let mut text = Vec::new();
    let _ = client.read_to_end(&mut text).await;
    drop(client);
    gateway.await.unwrap();
    (written, String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn a_client_that_is_still_sending_its_body_gets_the_refusal() {
    for mebibytes in [1, 6] {
        for _ in 0..20 {
            let bytes = mebibytes << 20;
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n");
            let (written, text) = upload(head.as_bytes(), bytes).await;
            assert!(written.is_ok(), "{written:?}");
            assert!(text.starts_with("HTTP/1.1 413 ") && text.ends_with("too much"), "{text}");
            assert!(
                text.contains("connection: close\r\n"),
                "the client knows that this was the last: {text}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_is_still_sending_a_head_that_is_too_long_gets_the_refusal() {
    for _ in 0..20 {
        let (written, text) = upload(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", 1 << 20).await;
        assert!(written.is_ok(), "{written:?}");
        assert_eq!(text.as_bytes(), REFUSAL);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_stops_sending_is_cut_off() {
    let (mut socket, gateway) = start();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000\r\n\r\n";
    socket.write_all(head).await.unwrap();
    response(&mut socket).await;
    let mut sent = 0;
    while socket.write_all(&[b'x'; 16 << 10]).await.is_ok() {
        sent += 16 << 10;
    }
    assert!((96 << 20..=136 << 20).contains(&sent), "{sent}");
    gateway.await.unwrap();

    // One byte every four seconds, and none at all.
    for (every, limit) in [(4, 30), (1000, 5)] {
        let (mut socket, gateway) = start();
        socket.write_all(head).await.unwrap();
        response(&mut socket).await;
        let since = Instant::now();
        let trickle = async {
            loop {
                tokio::time::sleep(Duration::from_secs(every)).await;
                let _ = socket.write_all(b"x").await;
            }
        };
        tokio::select! {
            () = trickle => {}
            closed = gateway => closed.unwrap(),
        }
        assert!(since.elapsed().as_secs().abs_diff(limit) <= 4, "{:?}", since.elapsed());
    }
}
