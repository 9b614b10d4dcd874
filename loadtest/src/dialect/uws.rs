//! uWebSockets behind `peers/uws/server.py`: WebSocket only, the path is the topic, nothing is kept for those who come back.

use std::io::Write;

use super::{Ask, Attached, Dialect, Draft, Note, Transport, socketio};
use crate::net::websocket::UPGRADE;

/// Speaks to uWebSockets.
pub(crate) struct Uws;

impl Dialect for Uws {
    fn serves(&self, transport: Transport) -> bool {
        transport == Transport::Ws
    }

    fn resumes(&self) -> bool {
        false
    }

    fn request(&self, ask: &Ask<'_>, out: &mut Vec<u8>) {
        let topic = ask.topics.first().map(ToString::to_string).unwrap_or_default();
        // Writing to a Vec cannot fail.
        let _ = write!(out, "GET /{topic} HTTP/1.1\r\nHost: {}\r\n{UPGRADE}\r\n", ask.host);
    }

    fn attached(&self, _: Transport) -> Attached {
        Attached::Head
    }

    fn note(&self, _: Transport, _: &[u8], _: &[u8], _: &mut Vec<u8>) -> Note {
        Note::default()
    }

    fn publish(&self, host: &str, drafts: &[Draft], data_bytes: usize, out: &mut Vec<u8>) -> usize {
        socketio::post_each(host, drafts, data_bytes, out)
    }
}
