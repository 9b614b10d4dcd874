//! Throughline's own protocol, version 1, as a client and a backend that know nothing but its text.

use std::io::Write;

use memchr::memmem::Finder;

use super::json::{Member, number};
use super::{Ask, Attached, Dialect, Draft, Note, Transport, post, token};
use crate::net::websocket::UPGRADE;
use crate::payload;
use crate::topic::Topic;

/// Speaks to a gateway.
pub(crate) struct Gateway {
    publish_headers: String,
    tokens: token::Signer,
    heartbeat_s: u32,
    cursor: Member,
    after: Member,
    session: Member,
    hello: Finder<'static>,
    reset: Finder<'static>,
    bye: Finder<'static>,
}

impl Gateway {
    /// With the publish key and the HS256 secret of the gateway. Sessions ask for the longest heartbeat, 60 s.
    pub(crate) fn new(publish_key: &str, jwt_secret: &str) -> Self {
        Self {
            publish_headers: format!(
                "Authorization: Bearer {publish_key}\r\nContent-Type: application/x-ndjson\r\n"
            ),
            tokens: token::Signer::new(jwt_secret),
            heartbeat_s: 60,
            cursor: Member::new("\"cursor\":\""),
            after: Member::new("\"after\":\""),
            session: Member::new("\"session\":\""),
            hello: Finder::new(b"\"hello\":{"),
            reset: Finder::new(b"\"reset\":{"),
            bye: Finder::new(b"\"bye\":{"),
        }
    }
}

impl Dialect for Gateway {
    fn serves(&self, _: Transport) -> bool {
        true
    }

    fn resumes(&self) -> bool {
        true
    }

    fn request(&self, ask: &Ask<'_>, out: &mut Vec<u8>) {
        let name = ask.transport.name();
        let mut query = format!("/v1/{name}?heartbeat={}", self.heartbeat_s);
        if ask.transport == Transport::Poll {
            query.push_str("&wait=60&limit=1000");
        }
        // The user's own topic needs no asking.
        let rooms = ask.topics.iter().filter(|topic| matches!(topic, Topic::Room(_)));
        for (index, topic) in rooms.enumerate() {
            query.push_str(if index == 0 { "&topics=" } else { "," });
            query.push_str(&topic.to_string());
        }
        // A position is `CURSOR SESSION`: a client that comes back goes on as the same session, as every poll after the first does.
        let position = String::from_utf8_lossy(ask.position);
        if let Some((cursor, session)) = position.split_once(' ') {
            query.push_str(&format!("&after={cursor}"));
            if !session.is_empty() {
                query.push_str(&format!("&session={session}"));
            }
        }
        let upgrade = if ask.transport == Transport::Ws { UPGRADE } else { "" };
        let host = ask.host;
        let token = self.tokens.sign(&format!("{{\"sub\":\"u{}\",\"subscribe\":[\"*\"]}}", ask.user));
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            "GET {query} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{upgrade}\r\n"
        );
    }

    fn attached(&self, _: Transport) -> Attached {
        Attached::Message
    }

    fn note(&self, transport: Transport, _head: &[u8], message: &[u8], position: &mut Vec<u8>) -> Note {
        // Rules 1 and 2 of the batch: it starts where the one before ended, and its cursor is where the session would go on.
        let Some(cursor) = self.cursor.find(message) else { return Note::default() };
        let after = self.after.find(message).unwrap_or_default();
        let hello = self.hello.find(message).map(|start| &message[start..]);
        let reset = self.reset.find(message).is_some();
        let space = memchr::memchr(b' ', position);
        let broken = space.is_some_and(|space| &position[..space] != after) && !reset;
        match (hello.and_then(|hello| self.session.find(hello)), space) {
            (None, Some(space)) => drop(position.splice(..space, cursor.iter().copied())),
            (session, _) => {
                position.clear();
                position.extend_from_slice(cursor);
                position.push(b' ');
                position.extend_from_slice(session.unwrap_or_default());
            }
        }
        let leave_ms =
            self.bye.find(message).map(|_| number(message, "\"reconnect_after_ms\":").unwrap_or(0));
        // A session is attached with its first batch; a poll with the first question that carries a cursor, right after it.
        Note { ready: hello.is_some() || transport == Transport::Poll, reset, broken, leave_ms, answer: None }
    }

    fn publish(&self, host: &str, drafts: &[Draft], data_bytes: usize, out: &mut Vec<u8>) -> usize {
        let mut body = Vec::with_capacity(drafts.len() * (data_bytes + 64));
        for draft in drafts {
            let _ = write!(body, "{{\"topic\":\"{}\",\"type\":\"load\",\"data\":\"", draft.topic);
            payload::write(&mut body, draft.numbers, data_bytes);
            body.extend_from_slice(b"\"}\n");
        }
        post(out, "/v1/publish", host, &self.publish_headers, &body);
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_comes_back_names_its_cursor_and_its_session() {
        let gateway = Gateway::new("k", "s");
        let (topics, mut out) = ([Topic::Room(3), Topic::User(1)], Vec::new());
        let ask = Ask { transport: Transport::Sse, user: 1, topics: &topics, position: b"e.5 s1", host: "h" };
        gateway.request(&ask, &mut out);
        let text = String::from_utf8(out).expect("text");
        assert!(
            text.starts_with("GET /v1/sse?heartbeat=60&topics=room:r3&after=e.5&session=s1 HTTP/1.1\r\n"),
            "{text}"
        );
    }

    #[test]
    fn a_batch_must_start_where_the_one_before_ended() {
        let gateway = Gateway::new("k", "s");
        let mut position = Vec::new();
        let mut note = |text: &str| gateway.note(Transport::Ws, b"", text.as_bytes(), &mut position);
        assert!(note(r#"{"after":"e.5","cursor":"e.5","events":[],"hello":{"session":"s"}}"#).ready);
        assert!(!note(r#"{"after":"e.5","cursor":"e.7","events":[{}]}"#).broken);
        assert!(note(r#"{"after":"e.8","cursor":"e.9","events":[]}"#).broken);
        let reset = note(r#"{"after":"f.1","cursor":"f.1","events":[],"reset":{"reason":"epoch"}}"#);
        assert_eq!((reset.reset, reset.broken), (true, false));
        let bye = note(
            r#"{"after":"f.1","cursor":"f.1","events":[],"bye":{"reason":"drain","reconnect_after_ms":730}}"#,
        );
        assert_eq!((bye.leave_ms, bye.broken), (Some(730), false));
        assert_eq!(position, b"f.1 s");
    }
}
