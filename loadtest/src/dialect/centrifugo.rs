//! Centrifugo 5: subscriptions come with the token, so that connecting takes one message; JSON protocol; SSE in its unidirectional form.

use std::io::Write;

use memchr::memmem;

use super::json::Member;
use super::{Ask, Attached, Dialect, Draft, Note, Transport, post, token};
use crate::net::websocket::UPGRADE;
use crate::payload;
use crate::topic::Topic;

/// Speaks to Centrifugo.
pub(crate) struct Centrifugo {
    tokens: token::Signer,
    publish_headers: String,
    epoch: Member,
}

impl Centrifugo {
    /// With the API key and the HS256 secret of the server.
    pub(crate) fn new(api_key: &str, jwt_secret: &str) -> Self {
        Self {
            tokens: token::Signer::new(jwt_secret),
            publish_headers: format!("X-API-Key: {api_key}\r\nContent-Type: application/json\r\n"),
            epoch: Member::new("\"epoch\":\""),
        }
    }

    /// The connect request. A position is `EPOCH OFFSET`.
    fn connect(&self, ask: &Ask<'_>) -> String {
        let channels: Vec<_> = ask.topics.iter().map(|&topic| format!("\"{}\"", channel(topic))).collect();
        let claims = format!("{{\"sub\":\"u{}\",\"channels\":[{}]}}", ask.user, channels.join(","));
        let token = self.tokens.sign(&claims);
        let position = String::from_utf8_lossy(ask.position);
        let subs = position.split_once(' ').map(|(epoch, offset)| {
            let channel = &channels[0];
            format!(",\"subs\":{{{channel}:{{\"recover\":true,\"epoch\":\"{epoch}\",\"offset\":{offset}}}}}")
        });
        format!("{{\"token\":\"{token}\"{}}}", subs.unwrap_or_default())
    }
}

/// A colon would name a namespace.
fn channel(topic: Topic) -> String {
    topic.to_string().replace(':', "-")
}

impl Dialect for Centrifugo {
    fn serves(&self, transport: Transport) -> bool {
        transport != Transport::Poll
    }

    fn resumes(&self) -> bool {
        true
    }

    fn request(&self, ask: &Ask<'_>, out: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        let _ = match ask.transport {
            Transport::Ws => {
                write!(out, "GET /connection/websocket HTTP/1.1\r\nHost: {}\r\n{UPGRADE}\r\n", ask.host)
            }
            _ => {
                let connect = self
                    .connect(ask)
                    .replace('{', "%7B")
                    .replace('}', "%7D")
                    .replace('"', "%22")
                    .replace(' ', "%20");
                write!(
                    out,
                    "GET /connection/uni_sse?cf_connect={connect} HTTP/1.1\r\nHost: {}\r\n\r\n",
                    ask.host
                )
            }
        };
    }

    fn greet(&self, ask: &Ask<'_>) -> Vec<String> {
        vec![format!("{{\"id\":1,\"connect\":{}}}", self.connect(ask))]
    }

    fn attached(&self, _: Transport) -> Attached {
        Attached::Message
    }

    fn note(&self, transport: Transport, _: &[u8], message: &[u8], position: &mut Vec<u8>) -> Note {
        let connect = memmem::find(message, b"\"connect\":").is_some();
        if connect && let Some(epoch) = self.epoch.find(message) {
            let sameness = position.starts_with(epoch) && position.get(epoch.len()) == Some(&b' ');
            if !sameness {
                position.clear();
                position.extend_from_slice(epoch);
                position.extend_from_slice(b" 0");
            }
        }
        if let Some(space) = memchr::memchr(b' ', position)
            && let Some(offset) = last_offset(message)
        {
            position.truncate(space + 1);
            let _ = write!(position, "{offset}");
        }
        let was_recovering = memmem::find(message, b"\"was_recovering\":true").is_some();
        let recovered = memmem::find(message, b"\"recovered\":true").is_some();
        // The server's ping is an empty object, and so is the answer.
        let ping = transport == Transport::Ws && message == b"{}";
        Note {
            ready: connect,
            reset: was_recovering && !recovered,
            answer: ping.then_some("{}"),
            ..Note::default()
        }
    }

    fn publish(&self, host: &str, drafts: &[Draft], data_bytes: usize, out: &mut Vec<u8>) -> usize {
        let mut command = Vec::new();
        let write_one = |draft: &Draft, out: &mut Vec<u8>| {
            let _ = write!(out, "{{\"channel\":\"{}\",\"data\":\"", channel(draft.topic));
            payload::write(out, draft.numbers, data_bytes);
            out.extend_from_slice(b"\"}");
        };
        if let [draft] = drafts {
            write_one(draft, &mut command);
            post(out, "/api/publish", host, &self.publish_headers, &command);
            return 1;
        }
        command.extend_from_slice(b"{\"commands\":[");
        for (index, draft) in drafts.iter().enumerate() {
            command.extend_from_slice(if index == 0 { b"{\"publish\":" } else { b",{\"publish\":" });
            write_one(draft, &mut command);
            command.push(b'}');
        }
        command.extend_from_slice(b"]}");
        post(out, "/api/batch", host, &self.publish_headers, &command);
        1
    }
}

/// The highest offset in a message. A subscription's own offset may stand behind those of its publications and be lower.
fn last_offset(message: &[u8]) -> Option<u64> {
    let mark = b"\"offset\":";
    let offsets = memmem::find_iter(message, mark).filter_map(|start| {
        let digits = message[start + mark.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(None, |value: Option<u64>, digit| Some(value.unwrap_or(0) * 10 + u64::from(digit - b'0')))
    });
    offsets.max()
}
