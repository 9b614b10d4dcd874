use super::accept_key;
use super::decoder::{Decoder, Message, Violation};
use crate::close::CloseCode;

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[1, 2, 3, 4]);
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ [1, 2, 3, 4][at % 4]));
    bytes
}

fn decode(frames: &[Vec<u8>]) -> Result<Vec<Message>, Violation> {
    let mut decoder = Decoder::new(1000);
    let mut messages = Vec::new();
    for byte in frames.concat() {
        decoder.feed(&[byte]);
        while let Some(message) = decoder.message()? {
            messages.push(message);
        }
    }
    Ok(messages)
}

fn code(frames: &[Vec<u8>]) -> u16 {
    decode(frames).unwrap_err().code.0
}

#[test]
fn messages_come_whole_whatever_the_cuts() {
    let frames = [
        frame(0x01, b"he"),
        frame(0x89, b"?"),
        frame(0x80, b"llo"),
        frame(0x82, b"\xff"),
        frame(0x88, b"\x03\xe8"),
    ];
    let messages = decode(&frames).unwrap();
    assert_eq!(
        messages,
        [
            Message::Ping(b"?".to_vec()),
            Message::Text("hello".to_owned()),
            Message::Binary(b"\xff".to_vec()),
            Message::Close(Some(CloseCode(1000))),
        ]
    );
}

#[test]
fn broken_rules_close_with_their_code() {
    assert_eq!(code(&[frame(0xc1, b"")]), 1002, "reserved bit");
    assert_eq!(code(&[frame(0x83, b"")]), 1002, "opcode 3");
    assert_eq!(code(&[frame(0x09, b"")]), 1002, "fragmented ping");
    assert_eq!(code(&[frame(0x89, &[0; 126])]), 1002, "long ping");
    assert_eq!(code(&[frame(0x80, b"x")]), 1002, "continuation of nothing");
    assert_eq!(code(&[frame(0x01, b"x"), frame(0x81, b"y")]), 1002, "a message inside a message");
    assert_eq!(code(&[frame(0x88, b"\x03")]), 1002, "half a close code");
    assert_eq!(code(&[frame(0x88, b"\x03\xed")]), 1002, "1005 is never sent");
    assert_eq!(code(&[vec![0x81, 0x01, b'x']]), 1002, "unmasked");
    assert_eq!(code(&[frame(0x81, b"\xff")]), 1007);
    assert_eq!(code(&[frame(0x81, b"\xc3")]), 1007, "ends inside a character");
    assert_eq!(code(&[frame(0x01, b"\xc3"), frame(0x80, b"\x28")]), 1007, "across fragments");
    assert_eq!(code(&[frame(0x88, b"\x03\xe8\xff")]), 1007, "close reason");
    assert_eq!(code(&[frame(0x81, &[b'x'; 1001])]), 1009);
    assert_eq!(code(&[frame(0x01, &[b'x'; 600]), frame(0x00, &[b'x'; 401])]), 1009, "fragments add up");
    assert!(decode(&[frame(0x81, &[b'x'; 1000])]).is_ok(), "exactly the limit");
    assert!(decode(&[frame(0x01, b"\xc3"), frame(0x80, b"\xa4")]).is_ok(), "a character across fragments");
}

#[test]
fn a_length_over_the_limit_is_refused_before_it_is_sent() {
    let mut decoder = Decoder::new(1000);
    decoder.feed(&[0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(decoder.message().unwrap_err().code, CloseCode::TOO_LARGE);
    decoder = Decoder::new(1000);
    decoder.feed(&[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(decoder.message().unwrap_err().code, CloseCode::TOO_LARGE);
}

#[test]
fn a_decoder_with_a_message_or_a_violation_in_it_needs_no_bytes() {
    let mut decoder = Decoder::new(1000);
    assert!(decoder.needs_bytes());
    for byte in frame(0x81, b"hello") {
        assert!(decoder.needs_bytes());
        decoder.feed(&[byte]);
    }
    assert!(!decoder.needs_bytes());
    decoder.message().unwrap();
    assert!(decoder.needs_bytes());
    decoder.feed(&[0xc1, 0x80]);
    assert!(!decoder.needs_bytes());
}

#[test]
fn the_key_of_the_rfc() {
    assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn many_messages_of_one_read_come_in_order_while_more_is_fed() {
    let message = |n: u32| frame(0x81, format!("message {n}").as_bytes());
    let mut decoder = Decoder::new(1000);
    let mut next = 0;
    for n in 0..3000 {
        decoder.feed(&message(n));
        if n % 3 == 0 {
            let text = format!("message {next}");
            assert_eq!(decoder.message(), Ok(Some(Message::Text(text))));
            next += 1;
        }
    }
    while let Some(message) = decoder.message().unwrap() {
        assert_eq!(message, Message::Text(format!("message {next}")));
        next += 1;
    }
    assert_eq!(next, 3000);
    assert!(decoder.is_empty());
}
