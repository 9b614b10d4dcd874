//! Mercure: SSE only, anonymous subscribers, publishing by form.

use std::io::Write;

use memchr::memmem;

use super::{Ask, Attached, Dialect, Draft, Note, Transport, post, token};
use crate::payload;

/// Speaks to a Mercure hub.
pub(crate) struct Mercure {
    publish_headers: String,
}

impl Mercure {
    /// With the HS256 secret of the hub.
    pub(crate) fn new(jwt_secret: &str) -> Self {
        let token = token::Signer::new(jwt_secret).sign(r#"{"mercure":{"publish":["*"]}}"#);
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        Self { publish_headers: format!("Authorization: Bearer {token}\r\n{form}") }
    }
}

impl Dialect for Mercure {
    fn serves(&self, transport: Transport) -> bool {
        transport == Transport::Sse
    }

    fn resumes(&self) -> bool {
        true
    }

    fn request(&self, ask: &Ask<'_>, out: &mut Vec<u8>) {
        let mut query = String::new();
        for (index, topic) in ask.topics.iter().enumerate() {
            query.push(if index == 0 { '?' } else { '&' });
            query.push_str(&format!("topic={topic}"));
        }
        let last = match ask.position {
            [] => String::new(),
            position => format!("Last-Event-ID: {}\r\n", String::from_utf8_lossy(position)),
        };
        // Writing to a Vec cannot fail.
        let _ = write!(out, "GET /.well-known/mercure{query} HTTP/1.1\r\nHost: {}\r\n{last}\r\n", ask.host);
    }

    fn attached(&self, _: Transport) -> Attached {
        Attached::Head
    }

    fn note(&self, _: Transport, _: &[u8], message: &[u8], position: &mut Vec<u8>) -> Note {
        let id = memmem::find(message, b"id: ").map(|start| &message[start + 4..]);
        if let Some(id) = id.and_then(|rest| rest.split(|&byte| byte == b'\n').next()) {
            position.clear();
            position.extend_from_slice(id);
        }
        Note::default()
    }

    fn publish(&self, host: &str, drafts: &[Draft], data_bytes: usize, out: &mut Vec<u8>) -> usize {
        let mut body = Vec::new();
        for draft in drafts {
            body.clear();
            let _ = write!(body, "topic={}&data=", draft.topic);
            payload::write(&mut body, draft.numbers, data_bytes);
            post(out, "/.well-known/mercure", host, &self.publish_headers, &body);
        }
        drafts.len()
    }
}
