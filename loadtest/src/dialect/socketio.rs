//! socket.io 4 (Engine.IO 4) straight over WebSocket, with its connection state recovery where a session wants to come back.

use std::io::Write;

use super::json::Member;
use super::{Ask, Attached, Dialect, Draft, Note, Transport, post};
use crate::net::websocket::UPGRADE;
use crate::payload;

/// Speaks to `peers/socketio/server.js`.
pub(crate) struct SocketIo {
    resumable: bool,
    private_id: Member,
}

impl SocketIo {
    /// `resumable` when the server runs with recovery.
    pub(crate) fn new(resumable: bool) -> Self {
        Self { resumable, private_id: Member::new("\"pid\":\"") }
    }
}

impl Dialect for SocketIo {
    fn serves(&self, transport: Transport) -> bool {
        transport == Transport::Ws
    }

    fn resumes(&self) -> bool {
        true
    }

    fn request(&self, ask: &Ask<'_>, out: &mut Vec<u8>) {
        let host = ask.host;
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\n{UPGRADE}\r\n"
        );
    }

    /// The namespace is joined at once. A position is `PID OFFSET`.
    fn greet(&self, ask: &Ask<'_>) -> Vec<String> {
        let topic = ask.topics.first().map(ToString::to_string).unwrap_or_default();
        let position = String::from_utf8_lossy(ask.position);
        let recovery = position
            .split_once(' ')
            .map(|(pid, offset)| format!(",\"pid\":\"{pid}\",\"offset\":\"{offset}\""));
        vec![format!("40{{\"topic\":\"{topic}\"{}}}", recovery.unwrap_or_default())]
    }

    fn attached(&self, _: Transport) -> Attached {
        Attached::Message
    }

    fn note(&self, _: Transport, _: &[u8], message: &[u8], position: &mut Vec<u8>) -> Note {
        match message {
            b"2" => Note { answer: Some("3"), ..Note::default() },
            [b'4', b'0', ..] => {
                if let Some(pid) = self.private_id.find(message) {
                    // The same id means that the session was recovered, and its offset goes on.
                    let recovered = position.starts_with(pid) && position.len() > pid.len();
                    let reset = !position.is_empty() && !recovered;
                    if !recovered {
                        position.clear();
                        position.extend_from_slice(pid);
                    }
                    return Note { ready: true, reset, ..Note::default() };
                }
                Note { ready: true, ..Note::default() }
            }
            // An event; with recovery its last argument is its offset.
            [b'4', b'2', .., b'"', b']'] if self.resumable => {
                let arguments = &message[..message.len() - 2];
                if let Some(start) = memchr::memrchr(b'"', arguments) {
                    let length = memchr::memchr(b' ', position).unwrap_or(position.len());
                    position.truncate(length);
                    position.push(b' ');
                    position.extend_from_slice(&arguments[start + 1..]);
                }
                Note::default()
            }
            _ => Note::default(),
        }
    }

    fn publish(&self, host: &str, drafts: &[Draft], data_bytes: usize, out: &mut Vec<u8>) -> usize {
        post_each(host, drafts, data_bytes, out)
    }
}

/// One POST to `/pub/TOPIC` for each draft.
pub(super) fn post_each(host: &str, drafts: &[Draft], data_bytes: usize, out: &mut Vec<u8>) -> usize {
    let mut body = Vec::new();
    for draft in drafts {
        body.clear();
        payload::write(&mut body, draft.numbers, data_bytes);
        post(out, &format!("/pub/{}", draft.topic), host, "", &body);
    }
    drafts.len()
}
