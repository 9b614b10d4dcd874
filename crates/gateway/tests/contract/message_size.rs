//! How long the messages of a stream are.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Frame, Gateway, PATIENCE, Ws, get, get_with, token};

/// 250 KiB that alice has missed, in events of up to 6 KiB.
async fn missed(gateway: &Gateway) -> usize {
    const EVENTS: usize = 100;
    for n in 0..EVENTS {
        let data = "x".repeat([100, 6_000, 1_500][n % 3]);
        gateway.publish(json!({"topic": "user:alice", "type": "t", "data": data})).await;
    }
    EVENTS
}

/// The sizes of the messages of a stream that begins with the earliest event, until it has them all.
async fn sizes(gateway: &Gateway, transport: &str, query: &str, events: usize) -> Vec<usize> {
    let alice = token("alice", &["--subscribe", "*"]);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let upgrade = if transport == "ws" { upgrade } else { "" };
    let target = format!("/v1/{transport}?after=earliest&token={alice}{query}");
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let (mut received, mut seen, mut sizes) = (Vec::new(), 0, Vec::new());
    let mut head = true;
    while seen < events {
        let read = tokio::time::timeout(PATIENCE, socket.read_buf(&mut received)).await.expect("in time");
        assert_ne!(read.unwrap(), 0, "{}", String::from_utf8_lossy(&received));
        if head {
            let Some(end) = received.windows(4).position(|at| at == b"\r\n\r\n") else { continue };
            received.drain(..end + 4);
            head = false;
        }
        while let Some(message) = take(&mut received, transport) {
            seen += message.matches("\"seq\":").count();
            sizes.push(message.len());
        }
    }
    sizes
}

/// Takes a whole message: the text of a WebSocket, or a block of an event stream.
fn take(received: &mut Vec<u8>, transport: &str) -> Option<String> {
    let (start, len, behind) = if transport == "ws" {
        match *received.get(1)? {
            126 => (4, usize::from(u16::from_be_bytes(received.get(2..4)?.try_into().unwrap())), 0),
            127 => (10, u64::from_be_bytes(received.get(2..10)?.try_into().unwrap()) as usize, 0),
            short => (2, usize::from(short), 0),
        }
    } else {
        let line = received.windows(2).position(|at| at == b"\r\n")?;
        let size = std::str::from_utf8(&received[..line]).unwrap();
        (line + 2, usize::from_str_radix(size, 16).unwrap(), 2)
    };
    if received.len() < start + len + behind {
        return None;
    }
    let message = received[start..start + len].to_vec();
    received.drain(..start + len + behind);
    Some(String::from_utf8(message).unwrap())
}

#[tokio::test]
async fn every_message_of_a_catch_up_fits_what_common_libraries_take() {
    let gateway = Gateway::serve(&[]).await;
    let events = missed(&gateway).await;
    for transport in ["ws", "sse"] {
        for (query, most) in
            [("", 32_768), ("&batch=8192", 8_192), ("&batch=1", 7_000), ("&batch=9999999", 262_144)]
        {
            let sizes = sizes(&gateway, transport, query, events).await;
            let longest = *sizes.iter().max().unwrap();
            assert!(longest <= most && longest > most - most / 3, "{transport} {query}: {sizes:?}");
        }
    }
}

#[tokio::test]
async fn an_operator_chooses_how_long_messages_are() {
    let gateway = Gateway::serve(&["--max-message-bytes", "16384"]).await;
    let events = missed(&gateway).await;
    for (query, most) in [("", 16_384), ("&batch=65536", 65_536)] {
        let sizes = sizes(&gateway, "ws", query, events).await;
        let longest = *sizes.iter().max().unwrap();
        assert!(longest <= most && longest > most / 2, "{query}: {sizes:?}");
    }
}

#[tokio::test]
async fn a_client_that_closed_with_1009_gets_small_messages_and_an_operator_sees_it() {
    let gateway = Gateway::serve(&[]).await;
    let events = missed(&gateway).await;
    let alice = token("alice", &["--subscribe", "*"]);
    let mut ws = Ws::open(gateway.address, &format!("token={alice}&session=mine&after=earliest")).await;
    while ws.batch().await["events"].as_array().unwrap().is_empty() {}
    // As a library with a limit does when the head of a longer message comes.
    ws.send(&Ws::frame(0x88, &1009_u16.to_be_bytes())).await;
    while !matches!(ws.next().await, Frame::Close(1009, _) | Frame::End) {}
    drop(ws);
    gateway.comes_to_rest().await;
    // A library may name its session, or come back as a new one.
    for (transport, query) in [("ws", "&session=mine"), ("ws", ""), ("sse", "&session=mine&batch=65536")] {
        let sizes = sizes(&gateway, transport, query, events).await;
        let longest = *sizes.iter().max().unwrap();
        assert!(longest <= 8_192 && longest > 6_000, "{transport} {query}: {sizes:?}");
    }
    let metrics = get(gateway.address, "/metrics").await.body;
    assert!(metrics.contains("throughline_client_closes_total{code=\"1009\"} 1"), "{metrics}");
    let key = [("Authorization", "Bearer key")];
    let told = get_with(gateway.address, "/v1/explain?user=alice&seq=1", &key).await.json();
    let of_mine = told["sessions"].as_array().unwrap().iter().find(|told| told["session"] == "mine").unwrap();
    assert!(of_mine["detail"].as_str().unwrap().contains("closed a connection with 1009"), "{told}");
    let bob = token("bob", &[]);
    Ws::open(gateway.address, &format!("token={bob}")).await.batch().await;
    let told = get_with(gateway.address, "/v1/explain?user=bob&seq=1", &key).await.json();
    assert!(!told.to_string().contains("1009"), "{told}");
}
