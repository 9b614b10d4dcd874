//! A Socket.IO session on a WebSocket: a packet is one text message.

use std::sync::Arc;
use std::time::Duration;

use super::protocol::{Input, Protocol};
use crate::batch::Batch;
use crate::close::CloseCode;
use crate::request::Transport;
use crate::socketio::{
    EnginePacket, Form, Greeting, Packet, PacketKind, Revision, SEPARATOR, Settings, WebSocketSink,
    write_batch,
};
use crate::ws::{Decoder, Message, Step, write_ws_close, write_ws_text};

/// A WebSocket whose client has sent its CONNECT.
#[derive(Debug)]
pub struct SocketIoLine {
    decoder: Decoder,
    settings: Arc<Settings>,
    rare: Option<Box<Rare>>,
    begins_with_hello: bool,
    /// The session has topics that the client did not ask for in its CONNECT.
    has_more_topics: bool,
    revision: Revision,
}

/// What an idle line seldom has, and so does not pay for.
#[derive(Debug)]
struct Rare {
    /// Until the client's CONNECT is answered; `None` from the start after an upgrade.
    greeting: Option<Greeting>,
    /// How the ids of the session's own drafts begin; empty: nobody looks at it.
    own_tag: Box<str>,
}

impl Rare {
    fn boxed(self) -> Option<Box<Self>> {
        (self.greeting.is_some() || !self.own_tag.is_empty()).then(|| Box::new(self))
    }
}

/// How a WebSocket of a Socket.IO client begins.
#[derive(Debug)]
pub struct SocketIoStart {
    /// What the client asked for in its CONNECT, unless that has been answered before.
    pub greeting: Option<Greeting>,
    /// The revision that it speaks.
    pub revision: Revision,
    /// How the ids of its own drafts begin; empty: nobody looks at it.
    pub own_tag: Box<str>,
    /// The session has topics that the client did not ask for in its CONNECT.
    pub has_more_topics: bool,
}

impl SocketIoLine {
    /// The line of a client that asked for the namespace; `decoder` holds what came behind that.
    #[must_use]
    pub fn new(decoder: Decoder, settings: Arc<Settings>, start: SocketIoStart) -> Self {
        let SocketIoStart { greeting, revision, own_tag, has_more_topics } = start;
        let begins_with_hello = greeting.is_some();
        let rare = Rare { greeting, own_tag }.boxed();
        Self { decoder, settings, rare, begins_with_hello, has_more_topics, revision }
    }

    fn violation(out: &mut Vec<u8>) -> Input {
        write_ws_close(Some(CloseCode::PROTOCOL), "not a Socket.IO packet", out);
        Input::Violated(CloseCode::PROTOCOL)
    }

    fn closed(out: &mut Vec<u8>) -> Input {
        write_ws_close(Some(CloseCode::NORMAL), "", out);
        Input::Closed(CloseCode::NORMAL)
    }

    fn take_packet(&self, text: &str, out: &mut Vec<u8>) -> Input {
        let message = match EnginePacket::parse(text) {
            Ok(EnginePacket::Message(message)) => message,
            Ok(EnginePacket::Close) => return Self::closed(out),
            // A client of revision 4 does not ping; one that does is answered all the same.
            Ok(EnginePacket::Ping(data)) => {
                write_ws_text(format!("3{data}").as_bytes(), out);
                return Input::Control;
            }
            Ok(EnginePacket::Pong | EnginePacket::Upgrade | EnginePacket::Noop | EnginePacket::Binary) => {
                return Input::Control;
            }
            Err(_) => return Self::violation(out),
        };
        match Packet::parse(message) {
            Ok(packet) if !packet.is_for_root() => {
                if packet.kind == PacketKind::Connect {
                    write_ws_text(packet.invalid_namespace(self.revision).as_bytes(), out);
                }
                Input::Control
            }
            Ok(Packet { kind: PacketKind::Event, .. }) => Input::Command(message.to_owned()),
            Ok(Packet { kind: PacketKind::Disconnect, .. }) => Self::closed(out),
            // No acknowledgement is ever asked for, and the namespace is connected already.
            Ok(Packet { kind: PacketKind::Ack | PacketKind::Connect, .. }) => Input::Control,
            Err(_) => Self::violation(out),
        }
    }
}

impl Protocol for SocketIoLine {
    fn transport(&self) -> Transport {
        Transport::Ws
    }

    fn begins_with_hello(&self) -> bool {
        self.begins_with_hello
    }

    fn resets_in_place(&self) -> bool {
        false
    }

    /// A client of revision 3 pings by itself, once in each interval.
    fn pong_timeout(&self) -> Option<Duration> {
        let pings = self.settings.pings;
        Some(match self.revision {
            Revision::Three => pings.interval + pings.timeout,
            Revision::Four => pings.timeout,
        })
    }

    fn takes_commands(&self) -> bool {
        true
    }

    fn awaits_close(&self) -> bool {
        true
    }

    fn write_batch(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>) {
        let rare = self.rare.as_deref_mut();
        let greeting = rare.filter(|_| batch.hello.is_some()).and_then(|rare| rare.greeting.take());
        let form = Form {
            settings: &self.settings,
            revision: self.revision,
            own_tag: self.rare.as_ref().map_or("", |rare| &rare.own_tag),
            has_more_topics: self.has_more_topics,
        };
        write_batch(batch, &form, greeting.as_ref(), &mut WebSocketSink(out));
        if greeting.is_some() {
            self.rare = self.rare.take().and_then(|rare| rare.boxed());
        }
    }

    /// From here on the cursor says that there are more topics, so that no gateway calls the client
    /// recovered without them.
    fn topics_added(&mut self) -> bool {
        self.has_more_topics = true;
        true
    }

    fn write_reply(&self, reply: &[u8], out: &mut Vec<u8>) {
        // An event that waits for no acknowledgement has no reply unless it fails.
        for packet in reply.split(|byte| *byte == SEPARATOR as u8).filter(|packet| !packet.is_empty()) {
            write_ws_text(packet, out);
        }
    }

    fn write_end(&self, code: CloseCode, reason: &str, out: &mut Vec<u8>) {
        if code == CloseCode::RATE_LIMITED {
            write_ws_text(b"41", out);
        }
        write_ws_text(b"1", out);
        write_ws_close(Some(code), reason, out);
    }

    fn wants_bytes(&self) -> bool {
        self.decoder.needs_bytes()
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.decoder.feed(bytes);
    }

    fn has_input(&self) -> bool {
        !self.decoder.is_empty()
    }

    fn next_input(&mut self, out: &mut Vec<u8>) -> Input {
        let had_a_frame = !self.decoder.needs_bytes();
        match self.decoder.step(out) {
            Step::Incomplete if had_a_frame => Input::Part,
            Step::Incomplete => Input::None,
            Step::Text(text) => self.take_packet(&text, out),
            // An attachment; the event that it belongs to has been refused.
            Step::Binary(_) | Step::Control => Input::Control,
            Step::Closed(code) => Input::Closed(code.unwrap_or(CloseCode::NONE)),
            Step::Violated(code) => Input::Violated(code),
        }
    }

    fn receive_close(&mut self, bytes: &[u8]) -> bool {
        self.decoder.feed(bytes);
        while let Ok(Some(message)) = self.decoder.message() {
            if let Message::Close(_) = message {
                return true;
            }
        }
        false
    }
}
