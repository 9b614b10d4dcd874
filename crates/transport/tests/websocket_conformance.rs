//! RFC 6455 from the client's side, against the echo example: the frame code of the gateway on a
//! connection.

use std::time::Duration;

use rig::{Frame, client_frame, take_frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[path = "../examples/echo/connection.rs"]
mod connection;
mod rig;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// Sends `bytes` in pieces of `piece` and returns every frame that comes until the end.
async fn exchange(bytes: Vec<u8>, piece: usize) -> Vec<Frame> {
    let (near, far) = tokio::io::duplex(64 << 10);
    let server = tokio::spawn(async move { connection::echo(near, &[]).await });
    let (mut reading, mut writing) = tokio::io::split(far);
    let writer = tokio::spawn(async move {
        for piece in bytes.chunks(piece) {
            // The other side may have closed for good before everything is sent.
            if writing.write_all(piece).await.is_err() {
                break;
            }
        }
        writing
    });
    let mut received = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), reading.read_to_end(&mut received));
    read.await.expect("the connection ends").unwrap();
    drop((writer.await.unwrap(), reading));
    server.await.unwrap().unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = take_frame(&mut received) {
        frames.push(frame);
    }
    assert!(received.is_empty(), "a cut frame: {received:?}");
    frames
}

/// What comes for `frames`, followed by a close with 1000: the same however the bytes are cut.
async fn replies(frames: &[Vec<u8>]) -> Vec<(u8, Vec<u8>)> {
    let mut bytes = frames.concat();
    bytes.extend(client_frame(CLOSE, &1000_u16.to_be_bytes()));
    let len = bytes.len();
    let mut all = Vec::new();
    for piece in [len, 1, 7, 997] {
        if len / piece < 200_000 {
            let frames = exchange(bytes.clone(), piece).await;
            all.push(frames.into_iter().map(|frame| (frame.opcode, frame.payload)).collect::<Vec<_>>());
        }
    }
    assert!(all.windows(2).all(|two| two[0] == two[1]), "the same however it is cut");
    all.swap_remove(0)
}

/// The echo of these frames is these messages, and then the close is answered.
async fn assert_echo(frames: &[Vec<u8>], expected: &[(u8, &[u8])]) {
    let mut replies = replies(frames).await;
    assert_eq!(replies.pop(), Some((8, vec![0x03, 0xe8])), "the close is answered");
    let replies: Vec<(u8, &[u8])> = replies.iter().map(|(opcode, payload)| (*opcode, &**payload)).collect();
    assert_eq!(replies, expected);
}

/// The last thing that comes for these frames is a close with this code.
#[track_caller]
fn close_code(replies: &[(u8, Vec<u8>)]) -> u16 {
    let (opcode, payload) = replies.last().expect("a close frame");
    assert_eq!(*opcode, 8);
    u16::from_be_bytes([payload[0], payload[1]])
}

async fn assert_violation(what: &str, frames: &[Vec<u8>], code: u16) {
    let replies = replies(frames).await;
    assert_eq!(close_code(&replies), code, "{what}");
    assert_eq!(replies.iter().filter(|(opcode, _)| *opcode == 8).count(), 1, "{what}");
}

#[tokio::test]
async fn every_encoding_of_a_length_is_echoed() {
    for len in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537] {
        let text = vec![b'*'; len];
        assert_echo(&[client_frame(TEXT, &text)], &[(1, &text)]).await;
        let bytes = vec![0xfe; len];
        assert_echo(&[client_frame(BINARY, &bytes)], &[(2, &bytes)]).await;
    }
}

#[tokio::test]
async fn a_longer_encoding_than_needed_is_understood() {
    for head in [&[TEXT, 0xfe, 0, 2][..], &[TEXT, 0xff, 0, 0, 0, 0, 0, 0, 0, 2]] {
        let frame = [head, &[0, 0, 0, 0], b"hi"].concat();
        assert_echo(&[frame], &[(1, b"hi")]).await;
    }
}

#[tokio::test]
async fn every_mask_is_taken_off() {
    for mask in [[0, 0, 0, 0], [0xff, 0xff, 0xff, 0xff], [1, 0, 0, 0], [0, 0, 0, 0x80]] {
        let payload = b"seventeen bytes..";
        let mut frame = vec![BINARY, 0x80 | payload.len() as u8];
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        assert_echo(&[frame], &[(2, payload)]).await;
    }
}

#[tokio::test]
async fn large_messages_are_echoed_up_to_the_limit() {
    let most = vec![b'x'; connection::MESSAGE_BYTES_MAX];
    let echo =
        exchange([client_frame(TEXT, &most), client_frame(CLOSE, b"")].concat(), usize::MAX >> 1).await;
    assert_eq!((echo[0].opcode, echo[0].payload.len()), (1, most.len()));
    assert_eq!((echo[1].opcode, echo[1].payload.len()), (8, 0));
    let over = [client_frame(0x01, &most), client_frame(0x80, b"x")].concat();
    let frames = exchange(over, 1 << 20).await;
    assert_eq!((frames.len(), &frames[0].payload[..2]), (1, &1009_u16.to_be_bytes()[..]));
    let claimed = [BINARY, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff].to_vec();
    assert_violation("a length that nobody waits for", &[claimed], 1009).await;
}

#[tokio::test]
async fn fragments_are_one_message_with_control_frames_in_between() {
    let one = |opcode: u8, payload: &'static [u8]| client_frame(opcode, payload);
    assert_echo(&[one(0x01, b"a"), one(0x00, b"b"), one(0x80, b"c")], &[(1, b"abc")]).await;
    assert_echo(&[one(0x02, b""), one(0x00, b""), one(0x80, b"")], &[(2, b"")]).await;
    let frames = [
        one(0x01, b"a"),
        one(PING, b"1"),
        one(0x00, b"b"),
        one(PONG, b"?"),
        one(0x80, b"c"),
        one(TEXT, b"d"),
    ];
    assert_echo(&frames, &[(10, b"1"), (1, b"abc"), (1, b"d")]).await;
    let many: Vec<_> = std::iter::once(one(0x02, b"x"))
        .chain(std::iter::repeat_n(one(0x00, b"x"), 1000))
        .chain([one(0x80, b"x")])
        .collect();
    assert_echo(&many, &[(2, &[b'x'; 1002])]).await;
}

#[tokio::test]
async fn pings_are_answered_with_their_payload_and_pongs_are_not() {
    let longest = [0xfe; 125];
    assert_echo(&[client_frame(PING, &longest)], &[(10, &longest)]).await;
    assert_echo(
        &[client_frame(PING, b""), client_frame(PONG, b"x"), client_frame(PING, b"y")],
        &[(10, b""), (10, b"y")],
    )
    .await;
    assert_violation("a ping that is too long", &[client_frame(PING, &[0; 126])], 1002).await;
    assert_violation("a ping in pieces", &[client_frame(0x09, b"x")], 1002).await;
}

#[tokio::test]
async fn reserved_bits_and_opcodes_are_refused() {
    for bits in 1..8_u8 {
        let frame = client_frame(TEXT | bits << 4, b"x");
        assert_violation("reserved bits", &[client_frame(TEXT, b"before"), frame], 1002).await;
    }
    for opcode in (3..8).chain(11..16) {
        assert_violation("a reserved opcode", &[client_frame(0x80 | opcode, b"")], 1002).await;
    }
}

/// Cases 9.3.1 and 9.4.1 of the public suite: 4 MiB in 65,536 fragments of 64 bytes.
#[tokio::test]
async fn a_long_message_in_short_fragments_comes_back_whole() {
    let message = vec![b'*'; 4 << 20];
    for opcode in [0x01, 0x02] {
        let mut bytes = Vec::new();
        for (at, fragment) in message.chunks(64).enumerate() {
            let is_last = (at + 1) * 64 == message.len();
            let first = if at == 0 { opcode } else { 0 } | if is_last { 0x80 } else { 0 };
            bytes.extend(client_frame(first, fragment));
        }
        bytes.extend(client_frame(CLOSE, &1000_u16.to_be_bytes()));
        let frames = exchange(bytes, 64 << 10).await;
        assert_eq!((frames[0].opcode, frames[0].payload.len()), (opcode, message.len()));
        assert!(frames[0].payload == message, "the bytes are the same");
    }
}

#[tokio::test]
async fn the_order_of_fragments_is_kept() {
    let cases = [
        ("nothing to continue", vec![client_frame(0x80, b"x")]),
        ("nothing to continue, open", vec![client_frame(0x00, b"x")]),
        ("a message in a message", vec![client_frame(0x01, b"x"), client_frame(TEXT, b"y")]),
        ("after the end", vec![client_frame(0x01, b"x"), client_frame(0x80, b"y"), client_frame(0x80, b"z")]),
        ("unmasked", vec![vec![TEXT, 1, b'x']]),
    ];
    for (what, frames) in cases {
        assert_violation(what, &frames, 1002).await;
    }
}

#[tokio::test]
async fn text_is_utf8_whatever_the_cuts() {
    let good = [
        "\u{0}",
        "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}",
        "\u{d7ff}\u{e000}\u{fffd}",
        "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}",
    ];
    for text in good {
        let bytes = text.as_bytes();
        assert_echo(&[client_frame(TEXT, bytes)], &[(1, bytes)]).await;
        let mut pieces: Vec<_> = bytes.iter().map(|byte| client_frame(0x00, &[*byte])).collect();
        pieces[0][0] = 0x01;
        pieces.push(client_frame(0x80, b""));
        assert_echo(&pieces, &[(1, bytes)]).await;
    }
    let bad: [&[u8]; 14] = [
        b"\x80",
        b"\xbf",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xe0\x80\xaf",
        b"\xe0\x9f\xbf",
        b"\xf0\x80\x80\xaf",
        b"\xf0\x8f\xbf\xbf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xfe",
        b"ok\xce\xba\xe1\xbd",
    ];
    for bytes in bad {
        assert_violation("not UTF-8", &[client_frame(TEXT, bytes)], 1007).await;
        assert_violation(
            "not UTF-8",
            &[client_frame(0x01, &bytes[..1]), client_frame(0x80, &bytes[1..])],
            1007,
        )
        .await;
        assert_echo(&[client_frame(BINARY, bytes)], &[(2, bytes)]).await;
    }
}

#[tokio::test]
async fn text_that_is_none_is_refused_before_its_frame_is_complete() {
    let (near, mut far) = tokio::io::duplex(64 << 10);
    let server = tokio::spawn(async move { connection::echo(near, &[]).await });
    let frame = client_frame(TEXT, &[&[b'x'; 50][..], b"\xf4\x90", &[b'x'; 50]].concat());
    // The head, the mask and the payload up to the byte that no character can go on with.
    far.write_all(&frame[..2 + 4 + 52]).await.unwrap();
    let mut received = [0; 4];
    far.read_exact(&mut received).await.unwrap();
    assert_eq!((received[0], &received[2..]), (CLOSE, &1007_u16.to_be_bytes()[..]));
    drop(far);
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn close_codes_that_may_be_sent_come_back() {
    let codes =
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
    for code in codes {
        let reason = [&u16::to_be_bytes(code)[..], "gr\u{fc}n".as_bytes()].concat();
        let replies =
            replies(&[client_frame(CLOSE, &reason), client_frame(TEXT, b"nothing behind it")]).await;
        assert_eq!((replies.len(), close_code(&replies)), (1, code));
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        assert_violation(&format!("close {code}"), &[client_frame(CLOSE, &u16::to_be_bytes(code))], 1002)
            .await;
    }
}

#[tokio::test]
async fn close_frames_have_a_form() {
    let replies = replies(&[client_frame(CLOSE, b"")]).await;
    assert_eq!(replies, [(8, Vec::new())], "no code, no code back");
    let longest = [&1000_u16.to_be_bytes()[..], &[b'x'; 123]].concat();
    assert_echo(&[client_frame(CLOSE, &longest)], &[]).await;
    assert_violation("half a code", &[client_frame(CLOSE, b"\x03")], 1002).await;
    assert_violation("too long", &[client_frame(CLOSE, &[&longest[..], b"x"].concat())], 1002).await;
    assert_violation("a reason that is no text", &[client_frame(CLOSE, b"\x03\xe8\xff")], 1007).await;
    assert_violation("in pieces", &[client_frame(0x08, b"\x03\xe8")], 1002).await;
}
