//! What comes over a connection: the query of a request, and the frames of a WebSocket.

use std::time::Duration;

use transport::ws::{Decoder, Message, Violation};
use transport::{After, Request, parse_after};

/// Any query gives a request within the protocol's bounds, or is refused.
///
/// # Panics
/// When it does not.
pub fn request(input: &[u8]) {
    let pairs: Vec<_> = form_urlencoded::parse(input).collect();
    let parsed = Request::parse(pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())));
    let Ok(request) = parsed else { return };
    let unique = request.topics.iter().enumerate().all(|(at, topic)| !request.topics[..at].contains(topic));
    assert!(unique, "{:?}", request.topics);
    let heartbeats = Duration::from_secs(2)..=Duration::from_secs(60);
    assert!(request.heartbeat.is_none_or(|heartbeat| heartbeats.contains(&heartbeat)));
    assert!(request.wait <= Duration::from_secs(60) && request.interval <= Duration::from_secs(60));
    assert!((1..=Request::LIMIT_MAX).contains(&request.limit) && request.pad <= Request::PAD_MAX);
    if let After::Cursor(cursor) = request.after {
        assert_eq!(parse_after(&cursor.to_string()), Ok(request.after));
    }
}

/// However the bytes of a connection are cut into reads, they are the same messages and the same end; no message is
/// over the limit. The first byte says how they are cut.
///
/// # Panics
/// When they are not.
pub fn frame(input: &[u8]) {
    const MESSAGE_BYTES_MAX: usize = 300;
    let Some((&first, bytes)) = input.split_first() else { return };
    let whole = decode(std::iter::once(bytes), MESSAGE_BYTES_MAX);
    let cut = decode(bytes.chunks(usize::from(first % 17) + 1), MESSAGE_BYTES_MAX);
    assert_eq!(whole, cut);
    for message in whole.0 {
        let len = match message {
            Message::Text(text) => text.len(),
            Message::Binary(payload) => payload.len(),
            Message::Ping(payload) => {
                assert!(payload.len() <= 125);
                0
            }
            Message::Pong | Message::Close(_) => 0,
        };
        assert!(len <= MESSAGE_BYTES_MAX);
    }
}

/// Messages up to the first violation.
fn decode<'a>(reads: impl Iterator<Item = &'a [u8]>, bytes_max: usize) -> (Vec<Message>, Option<Violation>) {
    let mut decoder = Decoder::new(bytes_max);
    let mut messages = Vec::new();
    for read in reads {
        decoder.feed(read);
        loop {
            match decoder.message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(violation) => return (messages, Some(violation)),
            }
        }
    }
    (messages, None)
}
