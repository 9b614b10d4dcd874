//! What `loadtest floor` understands: WebSocket only, one topic a connection, and lines of `TOPIC DATA` to publish.

use std::io::Write;

use super::{Ask, Attached, Dialect, Draft, Note, Transport, post};
use crate::net::websocket::UPGRADE;
use crate::payload;

/// Speaks to the floor.
pub(crate) struct Floor;

impl Dialect for Floor {
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
        let mut body = Vec::new();
        for draft in drafts {
            let _ = write!(body, "{} ", draft.topic);
            payload::write(&mut body, draft.numbers, data_bytes);
            body.push(b'\n');
        }
        post(out, "/publish", host, "", &body);
        1
    }
}
