//! The endpoint for the protocols' own test suites, which sends a client's messages back to it.
//!
//! The endpoint uses no session and no log. Handshakes, polls, pings, upgrades and packets are
//! handled like those of all other clients.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::value::RawValue;
use transport::socketio::{EnginePacket, Packet, PacketKind, Revision};

use crate::config::SocketIoEcho;
use crate::session::unadmitted::{EarlyMessage, Unadmitted};

/// Most attachments of one packet.
const ATTACHMENTS_MAX: usize = 16;
/// Pause between two messages. Socket.IO's test suite starts to listen for a message only after it
/// has received the previous one.
const APART: Duration = Duration::from_millis(200);
/// The namespaces that exist.
const NAMESPACES: [&str; 2] = ["/", "/custom"];

/// Answers a WebSocket until the client disconnects, closes or sends an invalid packet.
pub(super) async fn run(early: &mut Unadmitted, echo: SocketIoEcho) {
    let mut socket = Socket::default();
    while let Ok(message) = early.next_message().await {
        early.expect_within(Unadmitted::AUTH_WITHIN);
        let is_taken = match (message, echo) {
            (EarlyMessage::Binary(data), SocketIoEcho::Engine) => {
                early.reply_binary(&data).await;
                true
            }
            (EarlyMessage::Binary(data), SocketIoEcho::Socket) => socket.attach(data, early).await,
            (EarlyMessage::Text(text), echo) => match EnginePacket::parse(&text) {
                Ok(EnginePacket::Message(_)) if echo == SocketIoEcho::Engine => {
                    early.reply(text.as_bytes()).await;
                    true
                }
                Ok(EnginePacket::Message(message)) => socket.take(message, early).await.is_some(),
                Ok(EnginePacket::Close) | Err(_) => false,
                Ok(_) => true,
            },
        };
        if !is_taken {
            return;
        }
    }
}

/// The state of a client in the namespaces.
#[derive(Default)]
struct Socket {
    connected: HashSet<String>,
    /// The reply to a packet with missing attachments, and the number of its attachments.
    pending: Option<(String, usize)>,
    attachments: Vec<Vec<u8>>,
}

impl Socket {
    /// Handles a packet. `None`: the packet is not allowed.
    async fn take(&mut self, message: &str, early: &mut Unadmitted) -> Option<()> {
        let packet = Packet::parse(message).ok()?;
        let namespace = packet.namespace;
        let prefix = if namespace == "/" { String::new() } else { format!("{namespace},") };
        match packet.kind {
            PacketKind::Connect if !NAMESPACES.contains(&namespace) => {
                early.reply(packet.invalid_namespace(Revision::Four).as_bytes()).await;
            }
            PacketKind::Connect => {
                self.connected.insert(namespace.to_owned());
                let auth = if packet.data.is_empty() { "{}" } else { packet.data };
                early.reply(format!("40{prefix}{{\"sid\":\"echo\"}}").as_bytes()).await;
                tokio::time::sleep(APART).await;
                early.reply(format!("42{prefix}[\"auth\",{auth}]").as_bytes()).await;
            }
            PacketKind::Disconnect => {
                self.connected.remove(namespace);
            }
            PacketKind::Ack => {}
            PacketKind::Event => {
                let reply = self.reply(&packet, &prefix)?;
                match packet.attachments as usize {
                    0 => early.reply(reply.as_bytes()).await,
                    count if count > ATTACHMENTS_MAX => return None,
                    count => self.pending = Some((reply, count)),
                }
            }
        }
        Some(())
    }

    /// The reply to an event.
    fn reply(&self, packet: &Packet<'_>, prefix: &str) -> Option<String> {
        if !self.connected.contains(packet.namespace) {
            return None;
        }
        let arguments: Vec<&RawValue> = serde_json::from_str(packet.data).ok()?;
        let (name, arguments) = arguments.split_first()?;
        let mut list: Vec<&str> = arguments.iter().map(|argument| argument.get()).collect();
        let (event, ack) = match packet.attachments {
            0 => ("42".to_owned(), "43".to_owned()),
            count => (format!("45{count}-"), format!("46{count}-")),
        };
        match (name.get(), packet.ack) {
            ("\"message\"", _) => {
                list.insert(0, "\"message-back\"");
                Some(format!("{event}{prefix}[{}]", list.join(",")))
            }
            ("\"message-with-ack\"", Some(id)) => Some(format!("{ack}{prefix}{id}[{}]", list.join(","))),
            _ => Some("6".to_owned()),
        }
    }

    /// Handles an attachment. `false`: no attachment is expected.
    async fn attach(&mut self, data: Vec<u8>, early: &mut Unadmitted) -> bool {
        let Some((reply, count)) = &self.pending else { return false };
        self.attachments.push(data);
        if self.attachments.len() == *count {
            early.reply(reply.as_bytes()).await;
            for data in self.attachments.drain(..) {
                early.reply_binary(&data).await;
            }
            self.pending = None;
        }
        true
    }
}
