//! What Socket.IO clients send: bodies of packets, and the packets in them.

use transport::socketio::{EnginePacket, Packet, PacketKind, Packets, Payload, Revision};

/// The first byte chooses the revision; the rest is a body. Its packets are parts of it, and written
/// as a body again they are the same packets. A packet that is understood is understood again from
/// its members.
///
/// # Panics
/// When that does not hold.
pub fn packets(input: &[u8]) {
    let Some((first, body)) = input.split_first() else { return };
    let revision = if first % 2 == 0 { Revision::Four } else { Revision::Three };
    let Ok(body) = str::from_utf8(body) else { return };
    let read: Vec<_> = Packets::of(body, revision).collect();
    assert!(read.iter().rev().skip(1).all(Result::is_ok), "nothing comes behind an error");
    let packets: Vec<&str> = read.iter().filter_map(|packet| packet.as_ref().ok().copied()).collect();
    assert!(packets.iter().map(|packet| packet.len()).sum::<usize>() <= body.len());
    if packets.len() == read.len() {
        let again = Payload::with(revision, packets.iter().copied()).body;
        let Ok(again) = String::from_utf8(again) else { panic!("no text any more") };
        assert!(revision == Revision::Three || again == body, "{body:?}");
        let again: Vec<_> = Packets::of(&again, revision).collect();
        assert_eq!(again, read);
    }
    packets.into_iter().for_each(packet);
}

fn packet(text: &str) {
    let Ok(EnginePacket::Message(message)) = EnginePacket::parse(text) else { return };
    let Ok(parsed) = Packet::parse(message) else { return };
    let Packet { kind, attachments, namespace, ack, data } = parsed;
    assert!(namespace.starts_with('/') && message.ends_with(data));
    assert!(ack.is_none_or(|ack| ack.bytes().all(|byte| byte.is_ascii_digit())));
    let kind = match (kind, &message[..1]) {
        (PacketKind::Connect, "0") => "0".to_owned(),
        (PacketKind::Disconnect, "1") => "1".to_owned(),
        (PacketKind::Event, "2") => "2".to_owned(),
        (PacketKind::Ack, "3") => "3".to_owned(),
        (PacketKind::Event, "5") => format!("5{attachments}-"),
        (PacketKind::Ack, "6") => format!("6{attachments}-"),
        other => panic!("{other:?}"),
    };
    let again = format!("{kind}{namespace},{}{data}", ack.unwrap_or_default());
    assert_eq!(Packet::parse(&again), Ok(parsed), "{message:?}");
}
