//! A Socket.IO session on a WebSocket: a packet is one text message.

use std::sync::Arc;

use super::protocol::{Input, Protocol};
use crate::batch::Batch;
use crate::close::CloseCode;
use crate::request::Transport;
use crate::socketio::{
    EnginePacket, Greeting, Packet, PacketKind, SEPARATOR, Settings, WebSocketSink, write_batch,
};
use crate::ws::{Decoder, Message, Step, write_ws_close, write_ws_text};

/// A WebSocket whose client has sent its CONNECT.
#[derive(Debug)]
pub struct SocketIoLine {
    decoder: Decoder,
    settings: Arc<Settings>,
    /// Until the client's CONNECT is answered; `None` from the start after an upgrade.
    greeting: Option<Box<Greeting>>,
    begins_with_hello: bool,
    /// How the ids of the session's own drafts begin; empty: nobody looks at it.
    own_tag: Box<str>,
}

impl SocketIoLine {
    /// The line of a client that asked for the namespace, with what it sent behind that. `greeting`:
    /// what it asked for, unless that has been answered before. `own_tag`: how the ids of its drafts
    /// begin.
    #[must_use]
    pub fn new(
        decoder: Decoder,
        settings: Arc<Settings>,
        greeting: Option<Greeting>,
        own_tag: Box<str>,
    ) -> Self {
        let begins_with_hello = greeting.is_some();
        let greeting = greeting.map(Box::new);
        Self { decoder, settings, greeting, begins_with_hello, own_tag }
    }

    fn violation(out: &mut Vec<u8>) -> Input {
        write_ws_close(Some(CloseCode::PROTOCOL), "not a Socket.IO packet", out);
        Input::Violated(CloseCode::PROTOCOL)
    }

    fn closed(out: &mut Vec<u8>) -> Input {
        write_ws_close(Some(CloseCode::NORMAL), "", out);
        Input::Closed(CloseCode::NORMAL)
    }

    fn take_packet(text: String, out: &mut Vec<u8>) -> Input {
        let message = match EnginePacket::parse(&text) {
            Ok(EnginePacket::Message(message)) => message,
            Ok(EnginePacket::Close) => return Self::closed(out),
            // A client of this revision does not ping; one that does is answered all the same.
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
                    let namespace = packet.namespace;
                    let refusal = format!("44{namespace},{{\"message\":\"Invalid namespace\"}}");
                    write_ws_text(refusal.as_bytes(), out);
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

    fn has_fixed_heartbeat(&self) -> bool {
        true
    }

    fn takes_commands(&self) -> bool {
        true
    }

    /// The ping is a packet of the heartbeat, so there is no other to write.
    fn answers_pings(&self) -> bool {
        true
    }

    fn awaits_close(&self) -> bool {
        true
    }

    fn write_batch(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>) {
        let greeting = if batch.hello.is_some() { self.greeting.take() } else { None };
        write_batch(batch, &self.settings, &self.own_tag, greeting.as_deref(), &mut WebSocketSink(out));
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
            Step::Text(text) => Self::take_packet(text, out),
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
