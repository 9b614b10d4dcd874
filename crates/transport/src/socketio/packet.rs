//! What a client may send: Engine.IO packets, and the Socket.IO packets in them.

use super::payload::{PacketError, Revision};

/// The most packets of one answer to a poll. The client for Python drops an answer with more.
pub const PACKETS_MAX: usize = 16;

/// The longest name of a namespace, and the most digits of an ack id. Longer ones are no packets.
const NAMESPACE_BYTES_MAX: usize = 128;
const ACK_DIGITS_MAX: usize = 15;

/// An Engine.IO packet of a client (Engine.IO protocol, "Packet encoding").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnginePacket<'a> {
    /// `1`: the client closes.
    Close,
    /// `2`, with what the packet carries: a probe during an upgrade.
    Ping(&'a str),
    /// `3`: the answer to a ping.
    Pong,
    /// `4`: a Socket.IO packet.
    Message(&'a str),
    /// `5`: the upgrade is complete.
    Upgrade,
    /// `6`: nothing.
    Noop,
    /// `b`: binary data in base64, in the body of a poll.
    Binary,
}

/// A Socket.IO packet of a client (Socket.IO protocol, "Packet encoding").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its type.
    pub kind: PacketKind,
    /// How many binary attachments follow.
    pub attachments: u32,
    /// The namespace, without its query; `/` if the packet names none.
    pub namespace: &'a str,
    /// The id of the acknowledgement that the client waits for: decimal digits.
    pub ack: Option<&'a str>,
    /// The rest: JSON that has not been parsed, or nothing.
    pub data: &'a str,
}

/// The type of a Socket.IO packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// `0`: the client asks for a namespace.
    Connect,
    /// `1`: the client leaves a namespace.
    Disconnect,
    /// `2` and `5`: an event, the latter with attachments.
    Event,
    /// `3` and `6`: an acknowledgement, the latter with attachments.
    Ack,
}

impl<'a> EnginePacket<'a> {
    /// Reads one packet.
    ///
    /// # Errors
    /// When its first character is no type of a client's packet.
    pub fn parse(text: &'a str) -> Result<Self, PacketError> {
        let mut rest = text.chars();
        match rest.next() {
            Some('1') => Ok(Self::Close),
            Some('2') => Ok(Self::Ping(rest.as_str())),
            Some('3') => Ok(Self::Pong),
            Some('4') => Ok(Self::Message(rest.as_str())),
            Some('5') => Ok(Self::Upgrade),
            Some('6') => Ok(Self::Noop),
            Some('b') => Ok(Self::Binary),
            _ => Err(PacketError),
        }
    }
}

impl<'a> Packet<'a> {
    /// Reads what an [`EnginePacket::Message`] carries.
    ///
    /// # Errors
    /// When it is no packet that a client may send.
    pub fn parse(text: &'a str) -> Result<Self, PacketError> {
        let mut rest = text.chars();
        let (kind, is_binary) = match rest.next() {
            Some('0') => (PacketKind::Connect, false),
            Some('1') => (PacketKind::Disconnect, false),
            Some('2') => (PacketKind::Event, false),
            Some('3') => (PacketKind::Ack, false),
            Some('5') => (PacketKind::Event, true),
            Some('6') => (PacketKind::Ack, true),
            _ => return Err(PacketError),
        };
        let mut rest = rest.as_str();
        let mut attachments = 0;
        if is_binary {
            let (count, after) = rest.split_once('-').ok_or(PacketError)?;
            attachments = count.parse().map_err(|_| PacketError)?;
            rest = after;
        }
        let mut namespace = "/";
        if rest.starts_with('/') {
            // A CONNECT without data may end behind its namespace.
            let (name, after) = rest.split_once(',').unwrap_or((rest, ""));
            namespace = name.split_once('?').map_or(name, |(name, _query)| name);
            rest = after;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if namespace.len() > NAMESPACE_BYTES_MAX || digits > ACK_DIGITS_MAX {
            return Err(PacketError);
        }
        let (ack, data) = rest.split_at(digits);
        Ok(Self { kind, attachments, namespace, ack: (digits > 0).then_some(ack), data })
    }

    /// The packet that refuses its namespace, which the gateway does not have.
    #[must_use]
    pub fn invalid_namespace(&self, revision: Revision) -> String {
        let Self { namespace, .. } = self;
        match revision {
            Revision::Three => format!("44{namespace},\"Invalid namespace\""),
            Revision::Four => format!("44{namespace},{{\"message\":\"Invalid namespace\"}}"),
        }
    }

    /// Whether it concerns the one namespace that the gateway has.
    #[must_use]
    pub fn is_for_root(&self) -> bool {
        self.namespace == "/"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_packets_are_told_by_their_first_character() {
        for (text, packet) in [
            ("1", EnginePacket::Close),
            ("2probe", EnginePacket::Ping("probe")),
            ("3", EnginePacket::Pong),
            ("40", EnginePacket::Message("0")),
            ("5", EnginePacket::Upgrade),
            ("6", EnginePacket::Noop),
            ("bAQID", EnginePacket::Binary),
        ] {
            assert_eq!(EnginePacket::parse(text), Ok(packet), "{text}");
        }
        for text in ["", "0{}", "7", "x", " 4", "é"] {
            assert_eq!(EnginePacket::parse(text), Err(PacketError), "{text}");
        }
    }

    #[test]
    fn packets_have_a_namespace_an_ack_and_data() {
        let of = |text| {
            let Packet { kind, attachments, namespace, ack, data } = Packet::parse(text).unwrap();
            (kind, attachments, namespace, ack, data)
        };
        assert_eq!(of("0"), (PacketKind::Connect, 0, "/", None, ""));
        assert_eq!(of(r#"0{"token":"t"}"#), (PacketKind::Connect, 0, "/", None, r#"{"token":"t"}"#));
        assert_eq!(of("0/room?x=1,"), (PacketKind::Connect, 0, "/room", None, ""));
        assert_eq!(of("0/room"), (PacketKind::Connect, 0, "/room", None, ""));
        assert_eq!(of("1/room,"), (PacketKind::Disconnect, 0, "/room", None, ""));
        assert_eq!(of(r#"2["a",1]"#), (PacketKind::Event, 0, "/", None, r#"["a",1]"#));
        assert_eq!(of(r#"217["a"]"#), (PacketKind::Event, 0, "/", Some("17"), r#"["a"]"#));
        assert_eq!(of(r#"2/room,3["a"]"#), (PacketKind::Event, 0, "/room", Some("3"), r#"["a"]"#));
        assert_eq!(of("30[]"), (PacketKind::Ack, 0, "/", Some("0"), "[]"));
        let attached = r#"["e",{"_placeholder":true,"num":0}]"#;
        let (event, ack) = (format!("51-{attached}"), format!("61-0{attached}"));
        assert_eq!(of(&event), (PacketKind::Event, 1, "/", None, attached));
        assert_eq!(of(&ack), (PacketKind::Ack, 1, "/", Some("0"), attached));
        for text in ["", "4{}", "9", "5[]", "5x-[]", "21234567890123456[]"] {
            assert_eq!(Packet::parse(text), Err(PacketError), "{text}");
        }
        assert_eq!(Packet::parse(&format!("0/{}", "n".repeat(200))), Err(PacketError));
    }
}
