//! What an idle client costs the whole gateway: its socket, its task, its place in every table, its token. Each is a user of
//! its own in a room that all share. Every byte that is asked for is counted; what the allocator adds is not.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]
#![allow(clippy::print_stdout, reason = "the figures are worth more than that they are small enough")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::{Gateway, PATIENCE, get, token};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// Seven rounds of them stay connected at once.
const CLIENTS: usize = 200;

/// Bytes that an idle client may cost. Raise it only with a reason.
const BYTES_MAX: usize = 2050;

/// What the WebSocket of a Socket.IO client may cost beside that of `/v1/ws`.
const SOCKETIO_BYTES_MAX: usize = 64;

/// Bytes that a connection without a request may cost: not one buffer of HTTP's.
const SILENT_BYTES_MAX: usize = 1300;

/// The request of a client with this token, who has seen everything up to a cursor.
type Request = fn(token: &str, cursor: &str) -> String;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_idle_client_is_small() {
    let transports: [(&str, Request); 4] = [
        ("ws", |token, cursor| {
            format!(
                "GET /v1/ws?topics=room:1&after={cursor}&token={token} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
        }),
        ("sse", |token, cursor| {
            format!(
                "GET /v1/sse?topics=room:1&after={cursor}&token={token} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )
        }),
        ("poll", |token, cursor| {
            format!(
                "GET /v1/poll?topics=room:1&wait=60&after={cursor}&token={token} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )
        }),
        ("socketio", |token, _| {
            format!(
                "GET /socket.io/?EIO=4&transport=websocket&topics=room:1&token={token} HTTP/1.1\r\nHost: localhost\r\n\
                 Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
        }),
    ];
    let options = ["--subscribe", "room:*", "--ttl-seconds", "3600"];
    let tokens: Vec<String> = (0..CLIENTS).map(|n| token(&format!("user-{n:06}"), &options)).collect();
    // A gateway keeps for a while what belonged to clients that left, and would give it back in the middle of the next one's
    // figures: nobody leaves before the last.
    let mut before = Vec::new();
    let mut websocket = 0;
    for (name, request) in transports {
        // The first round fills what a worker keeps for all its sessions.
        idle(request, &tokens, &mut before).await;
        let bytes = idle(request, &tokens, &mut before).await;
        println!("{name}: {bytes} bytes an idle client");
        assert!(bytes <= BYTES_MAX, "{name}: {bytes}");
        match name {
            "ws" => websocket = bytes,
            "socketio" => assert!(bytes <= websocket + SOCKETIO_BYTES_MAX, "{bytes} instead of {websocket}"),
            _ => {}
        }
    }
    let bytes = silent().await;
    println!("{bytes} bytes a connection without a request");
    assert!(bytes <= SILENT_BYTES_MAX, "{bytes}");
}

/// Bytes a connection over which nothing has come, as of a client between two polls.
async fn silent() -> usize {
    let gateway = Gateway::serve(&[]).await;
    let mut clients = Vec::with_capacity(CLIENTS);
    let before = in_use_at_rest().await;
    for _ in 0..CLIENTS {
        clients.push(TcpStream::connect(gateway.address).unwrap());
    }
    let after = in_use_at_rest().await;
    assert!(gateway.metric("throughline_tcp_connections").await >= CLIENTS as f64);
    a_client(before, after)
}

/// Bytes a client with [`CLIENTS`] of them, who stay connected.
async fn idle(request: Request, tokens: &[String], others: &mut Vec<(Gateway, Vec<TcpStream>)>) -> usize {
    let gateway = Gateway::serve(&["--socketio", "/socket.io/"]).await;
    let first = get(gateway.address, &format!("/v1/poll?token={}", tokens[0])).await.json();
    let cursor = first["cursor"].as_str().unwrap();
    let requests: Vec<String> = tokens.iter().map(|token| request(token, cursor)).collect();
    let mut clients = Vec::with_capacity(CLIENTS);
    let before = in_use_at_rest().await;
    for request in &requests {
        clients.push(connect(gateway.address, request, cursor));
    }
    let after = in_use_at_rest().await;
    let sessions = gateway.metric("throughline_connections").await;
    assert_eq!(sessions, CLIENTS as f64);
    others.push((gateway, clients));
    a_client(before, after)
}

fn a_client(before: usize, after: usize) -> usize {
    after.checked_sub(before).expect("more is given back than the clients took") / CLIENTS
}

/// Bytes in use, once they have stayed what they are for longer than a stream's second batch takes.
async fn in_use_at_rest() -> usize {
    let mut last = in_use();
    let mut since = Instant::now();
    let end = since + PATIENCE;
    while since.elapsed() < Duration::from_millis(800) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = in_use();
        // A timer may come and go at any moment; a client takes more.
        if now.abs_diff(last) > CLIENTS {
            (last, since) = (now, Instant::now());
        }
        assert!(Instant::now() < end, "the bytes in use do not come to rest");
    }
    in_use()
}

fn in_use() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Connects, and reads what comes first where something does.
fn connect(address: SocketAddr, request: &str, cursor: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    if !request.starts_with("GET /v1/poll") {
        let received = socket.read(&mut [0; 4096]).unwrap();
        assert!(received > 0);
    }
    if request.starts_with("GET /socket.io/") {
        let connect = format!("40{{\"offset\":\"{cursor}\"}}");
        // A masked text frame (RFC 6455 section 5.2), with a mask that changes nothing.
        let mut frame = vec![0x81, 0x80 | connect.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(connect.as_bytes());
        socket.write_all(&frame).unwrap();
        let mut received = Vec::new();
        while !received.windows(18).any(|window| window == b"throughline.cursor") {
            let mut buffer = [0; 4096];
            let count = socket.read(&mut buffer).unwrap();
            assert!(count > 0, "{}", received.escape_ascii());
            received.extend_from_slice(&buffer[..count]);
        }
    }
    socket
}
