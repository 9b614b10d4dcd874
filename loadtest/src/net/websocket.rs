//! WebSocket frames as a client reads and writes them (RFC 6455 section 5).

/// The headers that turn a GET into a handshake. The key is RFC 6455's own example: a load generator has no need of a random one.
pub(crate) const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// The answer that belongs to that key (RFC 6455 section 1.3).
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A text message.
pub(crate) const TEXT: u8 = 1;
/// A binary message.
pub(crate) const BINARY: u8 = 2;
/// The end, with a code.
pub(crate) const CLOSE: u8 = 8;
/// A question for a sign of life.
pub(crate) const PING: u8 = 9;
/// The answer to it.
pub(crate) const PONG: u8 = 10;

/// One frame from a server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// Whether it ends its message.
    pub last: bool,
    /// What it is.
    pub opcode: u8,
    /// Its payload, unmasked as servers send it.
    pub payload: &'a [u8],
    /// How many bytes it takes on the wire.
    pub length: usize,
}

/// The first frame in `bytes`: `Ok(None)` while it is incomplete, `Err` when a server must not send it.
pub(crate) fn frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, &'static str> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err("a frame uses an extension that was not agreed");
    }
    if second & 0x80 != 0 {
        return Err("a server's frame is masked");
    }
    let (length, head) = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 4),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as usize, 10)
        }
        (126 | 127, _) => return Ok(None),
        (short, _) => (usize::from(short), 2),
    };
    if length > 64 << 20 {
        return Err("a frame is longer than 64 MiB");
    }
    let Some(payload) = bytes.get(head..head + length) else { return Ok(None) };
    Ok(Some(Frame { last: first & 0x80 != 0, opcode: first & 0x0f, payload, length: head + length }))
}

/// Appends a client's frame. The mask is zero, which is valid and leaves the payload as it is.
pub(crate) fn write_client(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    write_head(out, opcode, payload.len(), 0x80);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Appends the head of a server's frame of `length` payload bytes.
pub(crate) fn write_server_head(out: &mut Vec<u8>, opcode: u8, length: usize) {
    write_head(out, opcode, length, 0);
}

fn write_head(out: &mut Vec<u8>, opcode: u8, length: usize, mask_bit: u8) {
    out.push(0x80 | opcode);
    match length {
        0..126 => out.push(mask_bit | length as u8),
        126..=0xffff => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_form_are_read_back() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let mut wire = Vec::new();
            write_server_head(&mut wire, TEXT, length);
            wire.resize(wire.len() + length, b'x');
            for end in [0, 1, 2, wire.len() - 1].into_iter().filter(|&end| end < wire.len()) {
                assert_eq!(frame(&wire[..end]), Ok(None), "{length} cut at {end}");
            }
            let frame = frame(&wire).expect("valid").expect("complete");
            assert_eq!(
                (frame.payload.len(), frame.length, frame.opcode, frame.last),
                (length, wire.len(), TEXT, true)
            );
        }
    }

    #[test]
    fn masked_and_extended_frames_of_a_server_are_errors() {
        assert!(frame(&[0x81, 0x80, 0, 0, 0, 0]).is_err());
        assert!(frame(&[0xc1, 0x00]).is_err());
    }
}
