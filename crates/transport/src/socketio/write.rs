//! A batch as Socket.IO packets.

use events::{Cursor, Event};
use fastwebsockets::OpCode;

use super::greeting::{Greeting, Offset};
use super::payload::{Payload, Revision};
use super::settings::{CursorStyle, Settings};
use crate::batch::{Batch, Hello};
use crate::close::ByeReason;
use crate::ws::write_ws_head;

/// The types that no client can take as an event's name: an event of the first closes the
/// connection of the client for JavaScript, again after each reconnect.
const RESERVED: [&[u8]; 6] =
    [b"connect", b"connect_error", b"disconnect", b"disconnecting", b"newListener", b"removeListener"];

/// Where packets go, each as one message of its transport.
pub(crate) trait Sink {
    /// Writes one packet, which comes in parts.
    fn packet(&mut self, parts: &[&[u8]]);
}

/// One text message for each packet.
pub(crate) struct WebSocketSink<'a>(pub(crate) &'a mut Vec<u8>);

impl Sink for WebSocketSink<'_> {
    fn packet(&mut self, parts: &[&[u8]]) {
        write_ws_head(OpCode::Text, parts.iter().map(|part| part.len()).sum(), self.0);
        parts.iter().for_each(|part| self.0.extend_from_slice(part));
    }
}

impl Sink for Payload {
    fn packet(&mut self, parts: &[&[u8]]) {
        self.push(parts);
    }
}

/// The form in which a client gets its batches.
pub(crate) struct Form<'a> {
    /// What all sessions share.
    pub(crate) settings: &'a Settings,
    /// The revision of the protocol.
    pub(crate) revision: Revision,
    /// How the ids of the session's own drafts begin; empty: nobody looks at it.
    pub(crate) own_tag: &'a str,
    /// The session has topics that the client did not ask for in its CONNECT.
    pub(crate) has_more_topics: bool,
}

impl Form<'_> {
    /// A cursor as text for the client to send back.
    fn cursor_text(&self, cursor: Cursor) -> Vec<u8> {
        let mut text = Vec::with_capacity(Cursor::TEXT_BYTES_MAX + 1);
        cursor.write(&mut text);
        if self.has_more_topics {
            text.push(MORE_TOPICS);
        }
        text
    }
}

/// Stands behind the cursor of a client whose topics were changed by commands. A gateway that does
/// not know them must not call the client recovered.
pub(super) const MORE_TOPICS: u8 = b'+';

/// Writes a batch. A batch with `hello` needs a greeting.
pub(crate) fn write_batch(
    batch: &Batch<'_>,
    form: &Form<'_>,
    greeting: Option<&Greeting>,
    sink: &mut impl Sink,
) {
    let Form { settings, revision, own_tag, .. } = *form;
    if let (Some(hello), Some(greeting)) = (batch.hello, greeting) {
        let mut connect = Vec::new();
        greeting.write(revision, hello, batch, &mut connect);
        sink.packet(&[&connect]);
        if let Some(speech) = &settings.speech {
            speech.greet(hello.user, &mut |packet| sink.packet(&[packet]));
        }
        if batch.reset.is_none() && matches!(greeting.offset, Offset::Foreign | Offset::Partial) {
            write_unknown_offset(hello, sink);
        }
    }
    if let Some(reset) = batch.reset {
        let reset = serde_json::to_vec(reset).unwrap_or_default();
        sink.packet(&[b"42[\"throughline.reset\",", &reset, b"]"]);
    }
    for event in batch.events {
        let speech = settings.speech.as_ref();
        let emit = &mut |packet: &[u8]| sink.packet(&[packet]);
        if !speech.is_some_and(|speech| speech.translate(event, own_tag, emit)) {
            write_event(event, batch.cursor, form, sink);
        }
    }
    // A connection that is reset ends. Without a new offset its client learns that this is no
    // recovery.
    let is_lost = batch.reset.is_some() && batch.hello.is_none();
    let is_told = settings.cursor == CursorStyle::Argument && !batch.events.is_empty();
    let has_moved = batch.hello.is_some() || batch.cursor != batch.after || !batch.events.is_empty();
    // A client with more topics is to know of them at once, whatever its cursor is.
    let is_new = has_moved || form.has_more_topics;
    if is_new && !is_lost && !is_told && batch.bye.is_none() {
        let cursor = form.cursor_text(batch.cursor);
        sink.packet(&[b"42[\"throughline.cursor\",\"", &cursor, b"\"]"]);
    }
    if batch.heartbeat && revision == Revision::Four {
        sink.packet(&[b"2"]);
    }
    // All other ends are an end of the connection, after which a client comes back by itself.
    if batch.bye.is_some_and(|bye| bye.reason == ByeReason::Disconnected) {
        sink.packet(&[b"41"]);
    }
}

/// The client's offset was no cursor, or its topics are not known, so what it missed is unknown.
fn write_unknown_offset(hello: &Hello<'_>, sink: &mut impl Sink) {
    let topics = serde_json::to_vec(&hello.topics).unwrap_or_default();
    sink.packet(&[
        b"42[\"throughline.reset\",{\"reason\":\"expired\",\"topics\":",
        &topics,
        b",\"refetch_after_ms\":0}]",
    ]);
}

fn write_event(event: &Event, at: Cursor, form: &Form<'_>, sink: &mut impl Sink) {
    let settings = form.settings;
    let (kind, data) = (event.kind(), event.data());
    if RESERVED.contains(&kind) {
        settings.not_sent();
        return;
    }
    if settings.cursor == CursorStyle::Event {
        sink.packet(&[b"42[\"", kind, b"\",", data, b"]"]);
        return;
    }
    let cursor = form.cursor_text(event.seq().map_or(at, |seq| Cursor { seq, ..at }));
    sink.packet(&[b"42[\"", kind, b"\",", data, b",\"", &cursor, b"\"]"]);
}
