//! WebSocket frames that break the protocol, or come in floods.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::support::{Gateway, Program, Ws};
use super::{alice, open_ws};

#[tokio::test]
async fn broken_frames_close_with_the_code_of_the_rfc() {
    let gateway = Gateway::serve(&["--max-connections-per-user", "0"]).await;
    for (what, frames, code) in [
        ("unmasked", vec![0x81, 0x02, b'h', b'i'], 1002),
        ("reserved bit", Ws::frame(0xc1, b"{}"), 1002),
        ("unknown opcode", Ws::frame(0x83, b""), 1002),
        ("fragmented ping", Ws::frame(0x09, b""), 1002),
        ("long ping", Ws::frame(0x89, &[0; 126]), 1002),
        ("nothing to continue", Ws::frame(0x80, b"x"), 1002),
        ("text inside text", [Ws::frame(0x01, b"x"), Ws::frame(0x81, b"y")].concat(), 1002),
        ("half a close code", Ws::frame(0x88, b"\x03"), 1002),
        ("a code that is never sent", Ws::frame(0x88, &1005_u16.to_be_bytes()), 1002),
        ("no UTF-8", Ws::frame(0x81, b"\xff"), 1007),
        ("no UTF-8 across fragments", [Ws::frame(0x01, b"\xc3"), Ws::frame(0x80, b"\x28")].concat(), 1007),
        ("cut UTF-8", Ws::frame(0x81, b"\xe2\x82"), 1007),
        ("too long", Ws::frame(0x81, &[b'x'; 16 * 1024 + 1]), 1009),
        ("a length of 2^63", vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 1009),
        (
            "fragments without end",
            [Ws::frame(0x01, &[b'x'; 8000]), Ws::frame(0x00, &[b'x'; 8000]), Ws::frame(0x00, &[b'x'; 8000])]
                .concat(),
            1009,
        ),
    ] {
        let mut ws = open_ws(&gateway).await;
        ws.send(&frames).await;
        assert_eq!(ws.close_code().await, code, "{what}");
    }
    gateway.comes_to_rest().await;
}

#[tokio::test]
async fn a_flood_of_control_frames_or_of_messages_that_are_none_is_4429() {
    let gateway = Gateway::serve(&[]).await;
    for frame in [Ws::frame(0x89, b"!"), Ws::frame(0x8a, b""), Ws::frame(0x82, b"?")] {
        let mut ws = open_ws(&gateway).await;
        ws.send(&frame.repeat(1000)).await;
        assert_eq!(ws.close_code().await, 4429, "{frame:x?}");
    }
    gateway.comes_to_rest().await;
}

/// Sends small frames as fast as they are taken, reading all that comes back, and gives the most memory it cost.
async fn memory_under_a_flood(program: &Program, query: &str, frame: &[u8]) -> u64 {
    let before = program.memory_kib();
    let ws = Ws::open(program.address, query).await;
    let (mut read, mut write) = ws.socket.into_split();
    let reading = tokio::spawn(async move { tokio::io::copy(&mut read, &mut tokio::io::sink()).await });
    let burst = frame.repeat((1 << 20) / frame.len());
    let mut most = 0;
    let pouring = async {
        while write.write_all(&burst).await.is_ok() {
            most = most.max(program.memory_kib().saturating_sub(before));
        }
    };
    // As much as it takes in this time; the gateway may well take it all and close.
    timeout(Duration::from_secs(2), pouring).await.ok();
    reading.abort();
    most.max(program.memory_kib().saturating_sub(before))
}

#[tokio::test]
async fn frames_that_come_faster_than_they_are_handled_stay_with_the_client() {
    let program = Program::serve(&["--commands-per-minute", "0"]);
    for (what, query, frame) in [
        ("commands", alice(), Ws::frame(0x81, b"{}")),
        ("refused", "token=nonsense".to_owned(), Ws::frame(0x8a, b"")),
    ] {
        let cost = memory_under_a_flood(&program, &query, &frame).await;
        assert!(cost < 24 << 10, "{what}: {cost} KiB");
    }
}
