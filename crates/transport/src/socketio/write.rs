//! A batch as Socket.IO packets.

use events::{Cursor, Event};
use fastwebsockets::OpCode;

use super::greeting::{Greeting, Offset};
use super::packet::SEPARATOR;
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

/// The packets of one HTTP body.
#[derive(Default)]
pub(crate) struct PayloadSink {
    pub(crate) body: Vec<u8>,
    pub(crate) packets: usize,
}

impl Sink for PayloadSink {
    fn packet(&mut self, parts: &[&[u8]]) {
        if self.packets > 0 {
            self.body.push(SEPARATOR as u8);
        }
        self.packets += 1;
        parts.iter().for_each(|part| self.body.extend_from_slice(part));
    }
}

impl PayloadSink {
    /// Writes one packet.
    pub(crate) fn push(&mut self, packet: &[u8]) {
        self.packet(&[packet]);
    }
}

/// Writes a batch. A batch with `hello` needs a greeting. `own_tag`: how the ids of the session's
/// own drafts begin.
pub(crate) fn write_batch(
    batch: &Batch<'_>,
    settings: &Settings,
    own_tag: &str,
    greeting: Option<&Greeting>,
    sink: &mut impl Sink,
) {
    if let (Some(hello), Some(greeting)) = (batch.hello, greeting) {
        let mut connect = Vec::new();
        greeting.write(hello, batch, &mut connect);
        sink.packet(&[&connect]);
        if let Some(speech) = &settings.speech {
            speech.greet(hello.user, &mut |packet| sink.packet(&[packet]));
        }
        if batch.reset.is_none() && greeting.offset == Offset::Foreign {
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
            write_event(event, batch.cursor, settings, sink);
        }
    }
    // A connection that is reset ends. Without a new offset its client learns that this is no
    // recovery.
    let is_lost = batch.reset.is_some() && batch.hello.is_none();
    let is_told = settings.cursor == CursorStyle::Argument && !batch.events.is_empty();
    let has_moved = batch.hello.is_some() || batch.cursor != batch.after || !batch.events.is_empty();
    if has_moved && !is_lost && !is_told && batch.bye.is_none() {
        let mut cursor = Vec::with_capacity(Cursor::TEXT_BYTES_MAX);
        batch.cursor.write(&mut cursor);
        sink.packet(&[b"42[\"throughline.cursor\",\"", &cursor, b"\"]"]);
    }
    if batch.heartbeat {
        sink.packet(&[b"2"]);
    }
    // All other ends are an end of the connection, after which a client comes back by itself.
    if batch.bye.is_some_and(|bye| bye.reason == ByeReason::Disconnected) {
        sink.packet(&[b"41"]);
    }
}

/// The client's offset was no cursor, so what it missed is unknown.
fn write_unknown_offset(hello: &Hello<'_>, sink: &mut impl Sink) {
    let topics = serde_json::to_vec(&hello.topics).unwrap_or_default();
    sink.packet(&[
        b"42[\"throughline.reset\",{\"reason\":\"expired\",\"topics\":",
        &topics,
        b",\"refetch_after_ms\":0}]",
    ]);
}

fn write_event(event: &Event, at: Cursor, settings: &Settings, sink: &mut impl Sink) {
    let (kind, data) = (event.kind(), event.data());
    if RESERVED.contains(&kind) {
        settings.not_sent();
        return;
    }
    if settings.cursor == CursorStyle::Event {
        sink.packet(&[b"42[\"", kind, b"\",", data, b"]"]);
        return;
    }
    let mut cursor = Vec::with_capacity(Cursor::TEXT_BYTES_MAX);
    event.seq().map_or(at, |seq| Cursor { seq, ..at }).write(&mut cursor);
    sink.packet(&[b"42[\"", kind, b"\",", data, b",\"", &cursor, b"\"]"]);
}
