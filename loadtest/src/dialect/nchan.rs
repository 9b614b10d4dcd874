//! nchan (nginx): one channel a connection, no envelope; message ids only where a session wants to come back.

use std::io::Write;

use memchr::memmem;

use super::{Ask, Attached, Dialect, Draft, Note, Transport, post};
use crate::net::http::Head;
use crate::net::websocket::UPGRADE;
use crate::payload;

/// Speaks to nchan.
pub(crate) struct Nchan {
    /// Sessions note message ids: on WebSocket that takes a subprotocol with a longer frame.
    pub(crate) resumable: bool,
}

impl Dialect for Nchan {
    fn serves(&self, _: Transport) -> bool {
        true
    }

    fn resumes(&self) -> bool {
        true
    }

    fn request(&self, ask: &Ask<'_>, out: &mut Vec<u8>) {
        let topic = ask.topics.first().map(ToString::to_string).unwrap_or_default();
        let position = String::from_utf8_lossy(ask.position);
        let (mut query, mut headers) = (String::new(), String::new());
        match ask.transport {
            // A poll's place is two headers of the answer before it.
            Transport::Poll => headers.push_str(&position),
            _ if position.is_empty() => {}
            _ => query = format!("?last_event_id={position}"),
        }
        match ask.transport {
            Transport::Ws if self.resumable => {
                headers = format!("{UPGRADE}Sec-WebSocket-Protocol: ws+meta.nchan\r\n")
            }
            Transport::Ws => headers.push_str(UPGRADE),
            Transport::Sse => headers.push_str("Accept: text/event-stream\r\n"),
            Transport::Poll => {}
        }
        // Writing to a Vec cannot fail.
        let _ = write!(out, "GET /sub/{topic}{query} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", ask.host);
    }

    fn attached(&self, transport: Transport) -> Attached {
        if transport == Transport::Poll { Attached::Request } else { Attached::Head }
    }

    fn note(&self, transport: Transport, head: &[u8], message: &[u8], position: &mut Vec<u8>) -> Note {
        if transport == Transport::Poll {
            let head = Head::parse(head);
            let header = |name| head.as_ref().and_then(|head| head.header(name));
            if let (Some(modified), Some(etag)) = (header("last-modified"), header("etag")) {
                position.clear();
                let _ = write!(position, "If-Modified-Since: {modified}\r\nIf-None-Match: {etag}\r\n");
            }
        } else if self.resumable {
            let id = memmem::find(message, b"id: ").map(|start| &message[start + 4..]);
            if let Some(id) = id.and_then(|rest| rest.split(|&byte| byte == b'\n').next()) {
                position.clear();
                position.extend_from_slice(id);
            }
        }
        Note::default()
    }

    fn publish(&self, host: &str, drafts: &[Draft], data_bytes: usize, out: &mut Vec<u8>) -> usize {
        let mut body = Vec::new();
        for draft in drafts {
            body.clear();
            payload::write(&mut body, draft.numbers, data_bytes);
            post(out, &format!("/pub/{}", draft.topic), host, "", &body);
        }
        drafts.len()
    }
}
