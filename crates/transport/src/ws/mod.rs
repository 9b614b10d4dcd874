//! The WebSocket protocol (RFC 6455): the handshake's answer, the frames that are sent, and the
//! [`Decoder`] of those that are received. It knows nothing of sessions.

mod decoder;
#[cfg(test)]
mod decoder_tests;
mod frames;

use std::io::Write as _;

pub use decoder::{Decoder, Message, Step, Violation};
pub use frames::{write_ws_binary, write_ws_close, write_ws_pong, write_ws_text};
pub(crate) use frames::{write_ws_head, write_ws_ping};
use ring::digest;

/// The `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 section 4.2.2).
#[must_use]
pub fn accept_key(key: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    data_encoding::BASE64.encode(context.finish().as_ref())
}

/// Writes the answer that turns a connection into a WebSocket (RFC 6455 section 4.2.2). `extra`
/// holds complete header lines, each with its CRLF.
pub fn write_ws_accept(accept: &str, protocol: Option<&str>, extra: &str, out: &mut Vec<u8>) {
    // Writing into memory cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
    );
    if let Some(protocol) = protocol {
        let _ = write!(out, "Sec-WebSocket-Protocol: {protocol}\r\n");
    }
    let _ = write!(out, "{extra}\r\n");
}
