//! The frames that are sent: unmasked, final, and with a length in its shortest form.

use fastwebsockets::{Frame, OpCode, Payload};

use crate::close::CloseCode;

/// Writes `text` as one text message.
pub fn write_ws_text(text: &[u8], out: &mut Vec<u8>) {
    write_ws_head(OpCode::Text, text.len(), out);
    out.extend_from_slice(text);
}

/// Writes `data` as one binary message.
pub fn write_ws_binary(data: &[u8], out: &mut Vec<u8>) {
    write_ws_head(OpCode::Binary, data.len(), out);
    out.extend_from_slice(data);
}

/// Writes a pong that echoes a ping (RFC 6455 section 5.5.3).
pub fn write_ws_pong(payload: &[u8], out: &mut Vec<u8>) {
    write_ws_head(OpCode::Pong, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Writes a ping without a payload (RFC 6455 section 5.5.2).
pub(crate) fn write_ws_ping(out: &mut Vec<u8>) {
    write_ws_head(OpCode::Ping, 0, out);
}

/// Writes a close frame, without a code where the peer gave none.
pub fn write_ws_close(code: Option<CloseCode>, reason: &str, out: &mut Vec<u8>) {
    let mut frame = match code {
        Some(code) => Frame::close(code.0, reason.as_bytes()),
        None => Frame::close_raw(Payload::Borrowed(&[])),
    };
    let mut bytes = Vec::new();
    out.extend_from_slice(frame.write(&mut bytes));
}

/// Writes the head of an unmasked, final frame.
pub(crate) fn write_ws_head(opcode: OpCode, len: usize, out: &mut Vec<u8>) {
    out.push(0x80 | opcode as u8);
    match len {
        0..=125 => out.push(len as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}
