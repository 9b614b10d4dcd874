//! What travels over a simulated connection, whatever the transport.

/// Takes what comes before the next message, and the message, if all of it is there: of a WebSocket,
/// an event stream or the answer to a poll.
pub(crate) fn take_text(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        let (skip, length) = match received.first()? {
            // A WebSocket text message, and other frames.
            0x81 | 0x88 | 0x8a => {
                let length = match *received.get(1)? {
                    126 => (4, usize::from(u16::from_be_bytes(received.get(2..4)?.try_into().unwrap()))),
                    127 => (10, u64::from_be_bytes(received.get(2..10)?.try_into().unwrap()) as usize),
                    short => (2, usize::from(short)),
                };
                if received[0] == 0x81 { length } else { (length.0 + length.1, 0) }
            }
            b'H' => {
                let head = find(received, b"\r\n\r\n")? + 4;
                let text = String::from_utf8_lossy(&received[..head]);
                let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
                (head, length.map_or(0, |length| length.parse().unwrap()))
            }
            b'd' => {
                let end = find(received, b"\n")?;
                ("data: ".len(), end - "data: ".len())
            }
            // Another line of an event stream.
            _ => (find(received, b"\n")? + 1, 0),
        };
        if received.len() < skip + length {
            return None;
        }
        let text: Vec<u8> = received.drain(..skip + length).skip(skip).collect();
        if text.first() == Some(&b'{') {
            return Some(text);
        }
        assert!(text.is_empty(), "{:?}", String::from_utf8_lossy(&text));
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
