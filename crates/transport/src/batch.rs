//! The batch, and its JSON, which is the same on every transport.

use std::io::Write as _;
use std::time::Duration;

use events::{Cursor, Event, ResetReason, Topic};
use serde::Serialize;

use crate::close::Bye;
use crate::state_part::StatePart;

/// A topic that was asked for and that the session does not have. The session goes on without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The topic.
    pub topic: Topic,
    /// Why.
    pub code: RefusedCode,
}

/// Why a session does not have a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedCode {
    /// The grant does not allow it.
    Forbidden,
    /// The session has as many topics as it may have.
    TooManyTopics,
}

/// What the first batch of a stream tells the client about its session.
#[derive(Clone, Debug, Serialize)]
pub struct Hello<'a> {
    /// The id of the session, with which a later connection continues it.
    pub session: &'a str,
    /// The user of the session.
    pub user: &'a str,
    /// `ws`, `sse` or `poll`.
    pub transport: &'a str,
    /// The longest time between two batches, in milliseconds.
    pub heartbeat_ms: u64,
    /// The topics that are delivered.
    pub topics: Vec<&'a Topic>,
    /// What was asked for beside these, and is not delivered.
    #[serde(skip_serializing_if = "<[Refused]>::is_empty")]
    pub refused: &'a [Refused],
    /// The topics whose states follow.
    #[serde(skip_serializing_if = "<[Topic]>::is_empty")]
    pub state: &'a [Topic],
    /// The name of this release or group of processes.
    pub deployment: &'a str,
    /// When the token ends, in RFC 3339 format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<&'a str>,
    /// How long a client waits before it reconnects by itself after its connection was lost. Not
    /// part of the JSON: only server-sent events have a field for it.
    #[serde(skip)]
    pub retry_after: Duration,
}

/// Tells the client to fetch the state of some topics again, because events may be missing.
#[derive(Clone, Debug, Serialize)]
pub struct ResetNotice {
    reason: &'static str,
    topics: Vec<Topic>,
    refetch_after_ms: u64,
}

impl ResetNotice {
    /// A notice for `topics`. The client waits for `refetch_after` before it fetches.
    #[must_use]
    pub fn new(reason: ResetReason, topics: Vec<Topic>, refetch_after: Duration) -> Self {
        Self { reason: reason.as_str(), topics, refetch_after_ms: refetch_after.as_millis() as u64 }
    }
}

/// The one kind of object that the gateway sends on a stream. All but the cursors and the events is
/// optional.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// The cursor of the batch before.
    pub after: Cursor,
    /// Every event up to here has been sent.
    pub cursor: Cursor,
    /// About the session.
    pub hello: Option<&'a Hello<'a>>,
    /// The user of the session, in an answer without `hello`.
    pub user: Option<&'a str>,
    /// The session has caught up.
    pub live: bool,
    /// More is there already, so the client should ask again at once.
    pub more: bool,
    /// What was asked for and is not delivered, in an answer without `hello`.
    pub refused: &'a [Refused],
    /// The topics of which events may be missing.
    pub reset: Option<&'a ResetNotice>,
    /// The stream ends.
    pub bye: Option<Bye>,
    /// When the token ends, in RFC 3339 format.
    pub expiring: Option<&'a str>,
    /// The heartbeat is due. The JSON does not say so: any batch is one.
    pub heartbeat: bool,
    /// Parts of the states of topics.
    pub state: &'a [StatePart],
    /// A state has not been sent whole, so that a client could not go on from the cursor. The JSON
    /// does not say so: only a server-sent event has an id, which the client sends back.
    pub is_unfinished: bool,
    /// The events with a seq in (`after`, `cursor`], then ephemeral ones.
    pub events: &'a [Event],
}

impl<'a> Batch<'a> {
    /// A batch with nothing but its events.
    #[must_use]
    pub fn new(after: Cursor, cursor: Cursor, events: &'a [Event]) -> Self {
        Self {
            after,
            cursor,
            hello: None,
            user: None,
            live: false,
            more: false,
            refused: &[],
            reset: None,
            bye: None,
            expiring: None,
            heartbeat: false,
            state: &[],
            is_unfinished: false,
            events,
        }
    }

    /// Writes everything before the first event.
    pub(crate) fn write_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"after":""#);
        self.after.write(out);
        out.extend_from_slice(br#"","cursor":""#);
        self.cursor.write(out);
        out.push(b'"');
        if let Some(hello) = self.hello {
            out.extend_from_slice(br#","hello":"#);
            // Writing into memory cannot fail.
            let _ = serde_json::to_writer(&mut *out, hello);
        }
        if let Some(user) = self.user {
            out.extend_from_slice(br#","user":"#);
            let _ = serde_json::to_writer(&mut *out, user);
        }
        if self.live {
            out.extend_from_slice(br#","live":true"#);
        }
        if self.more {
            out.extend_from_slice(br#","more":true"#);
        }
        if !self.refused.is_empty() {
            out.extend_from_slice(br#","refused":"#);
            let _ = serde_json::to_writer(&mut *out, self.refused);
        }
        if let Some(reset) = self.reset {
            out.extend_from_slice(br#","reset":"#);
            let _ = serde_json::to_writer(&mut *out, reset);
        }
        if let Some(Bye { reason, reconnect_after }) = self.bye {
            let (reason, after_ms) = (reason.as_str(), reconnect_after.as_millis());
            let _ = write!(out, r#","bye":{{"reason":"{reason}","reconnect_after_ms":{after_ms}}}"#);
        }
        if let Some(at) = self.expiring {
            let _ = write!(out, r#","expiring":{{"expires_at":"{at}"}}"#);
        }
        for (at, part) in self.state.iter().enumerate() {
            out.extend_from_slice(if at == 0 { br#","state":["# } else { b"," });
            part.write_json(out);
        }
        if !self.state.is_empty() {
            out.push(b']');
        }
        out.extend_from_slice(br#","events":["#);
    }

    /// Writes the events and the end of the object.
    pub(crate) fn write_events(&self, out: &mut Vec<u8>) {
        for (at, event) in self.events.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(event.json());
        }
        out.extend_from_slice(b"]}");
    }

    /// The number of bytes that [`Batch::write_events`] writes.
    pub(crate) fn events_len(&self) -> usize {
        let events: usize = self.events.iter().map(|event| event.json().len()).sum();
        events + self.events.len().saturating_sub(1) + b"]}".len()
    }

    /// Writes the batch as JSON, on one line.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        self.write_head(out);
        self.write_events(out);
    }
}

/// Puts what `write` writes before `out[start..]`. A frame states a length that is known only once
/// the batch's head is written, and rotating the few bytes of that head costs less than a buffer
/// for it.
pub(crate) fn put_before(start: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let end = out.len();
    write(out);
    let len = out.len() - end;
    out[start..].rotate_right(len);
}
