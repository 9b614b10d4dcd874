//! What a client and a publisher say to one kind of server. Everything else of the load generator is the same for all of them.

pub(crate) mod centrifugo;
pub(crate) mod floor;
pub(crate) mod gateway;
mod json;
pub(crate) mod mercure;
pub(crate) mod nchan;
pub(crate) mod socketio;
mod token;
pub(crate) mod uws;

use serde::{Deserialize, Serialize};

use crate::payload::Numbers;
use crate::topic::Topic;

/// How a session receives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// WebSocket.
    #[default]
    Ws,
    /// Server-sent events.
    Sse,
    /// Long-polling.
    Poll,
}

impl Transport {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 3] = [Self::Ws, Self::Sse, Self::Poll];

    /// The name in scenario files and tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Sse => "sse",
            Self::Poll => "poll",
        }
    }
}

/// From when on whatever is published must reach a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Attached {
    /// Its request has been sent. Nothing tells when the server has read it, so the session is given a moment.
    Request,
    /// The head of the response is there.
    Head,
    /// A message says so.
    Message,
}

/// One session's wish to be connected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    /// How.
    pub transport: Transport,
    /// Who, by number.
    pub user: u32,
    /// What it follows. The first is its only one where a server knows only one a connection.
    pub topics: &'a [Topic],
    /// Where it goes on, as the dialect noted it; empty for a new session.
    pub position: &'a [u8],
    /// The server's address, for the `Host` header.
    pub host: &'a str,
}

/// What one message told beside its events.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Note {
    /// The session is attached: whatever is published from now on must reach it.
    pub ready: bool,
    /// The server says that events may be missing.
    pub reset: bool,
    /// The batch does not start where the one before it ended.
    pub broken: bool,
    /// The stream is about to end by the server's wish, and the client is asked to stay away for so many milliseconds.
    pub leave_ms: Option<u32>,
    /// The message asks for an answer: a sign of life in the peer's own protocol.
    pub answer: Option<&'static str>,
}

/// One event to publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft {
    /// Where.
    pub topic: Topic,
    /// The numbers that its data carries.
    pub numbers: Numbers,
}

/// What is said to one kind of server.
pub(crate) trait Dialect {
    /// Whether it can serve `transport`.
    fn serves(&self, transport: Transport) -> bool;

    /// Whether a session can go on where it was cut.
    fn resumes(&self) -> bool;

    /// Appends the request that connects a session, or asks the next poll.
    fn request(&self, ask: &Ask<'_>, out: &mut Vec<u8>);

    /// The first messages on a WebSocket, where the request does not say it all. Each is one text message.
    fn greet(&self, _ask: &Ask<'_>) -> Vec<String> {
        Vec::new()
    }

    /// From when on a session is attached.
    fn attached(&self, transport: Transport) -> Attached;

    /// Reads a message (a WebSocket message, an SSE block, the body of a poll's answer whose head is `head`) for anything but its
    /// events, and keeps in `position` where the session could go on.
    fn note(&self, transport: Transport, head: &[u8], message: &[u8], position: &mut Vec<u8>) -> Note;

    /// Appends the requests that publish `drafts` and answers how many responses will come.
    fn publish(&self, host: &str, drafts: &[Draft], data_bytes: usize, out: &mut Vec<u8>) -> usize;
}

/// Appends a POST request.
fn post(out: &mut Vec<u8>, path: &str, host: &str, headers: &str, body: &[u8]) {
    let length = body.len();
    out.extend_from_slice(
        format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\n\r\n")
            .as_bytes(),
    );
    out.extend_from_slice(body);
}
