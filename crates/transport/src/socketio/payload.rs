//! Several packets in the body of one HTTP request or response (Engine.IO protocol, "Payload
//! encoding" of revisions 3 and 4).

/// Between the packets of one HTTP body in revision 4.
pub const SEPARATOR: char = '\u{1e}';

/// The most digits of a packet's length in revision 3.
const LENGTH_DIGITS_MAX: usize = 9;

/// Why text is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a packet of the Engine.IO or Socket.IO protocols")]
pub struct PacketError;

/// A revision of the Engine.IO protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Revision {
    /// The client pings, and each packet of a body has its length in front of it. Carries Socket.IO
    /// 4, in which the server connects the client to the namespace `/` unasked.
    Three,
    /// The server pings, and a separator stands between packets. Carries Socket.IO 5.
    #[default]
    Four,
}

/// The packets of a body, in their order. After an error there are no more.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: Option<&'a str>,
    revision: Revision,
}

impl<'a> Packets<'a> {
    /// The packets of this body.
    #[must_use]
    pub fn of(body: &'a str, revision: Revision) -> Self {
        Self { rest: Some(body), revision }
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<&'a str, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        if self.revision == Revision::Four {
            let (packet, after) = match rest.split_once(SEPARATOR) {
                Some((packet, after)) => (packet, Some(after)),
                None => (rest, None),
            };
            self.rest = after;
            return Some(Ok(packet));
        }
        let Some((packet, after)) = split_counted(rest) else { return Some(Err(PacketError)) };
        self.rest = Some(after).filter(|after| !after.is_empty());
        Some(Ok(packet))
    }
}

/// The first packet of revision 3, `LENGTH:PACKET`, and what comes behind it. The length counts
/// UTF-16 code units, as the length of a text does in JavaScript.
fn split_counted(text: &str) -> Option<(&str, &str)> {
    let (length, rest) = text.split_once(':')?;
    if length.len() > LENGTH_DIGITS_MAX || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut left: usize = length.parse().ok()?;
    let mut chars = rest.chars();
    while left > 0 {
        left = left.checked_sub(chars.next()?.len_utf16())?;
    }
    let after = chars.as_str();
    Some((&rest[..rest.len() - after.len()], after))
}

/// The UTF-16 code units of UTF-8 text.
fn utf16_units(text: &[u8]) -> usize {
    let units = |byte: &u8| match byte {
        0x80..=0xbf => 0,
        0xf0..=0xff => 2,
        _ => 1,
    };
    text.iter().map(units).sum()
}

/// The packets of one HTTP body.
#[derive(Debug, Default)]
pub struct Payload {
    /// What has been written.
    pub body: Vec<u8>,
    /// How many packets that is.
    pub packets: usize,
    revision: Revision,
}

impl Payload {
    /// No packets yet.
    #[must_use]
    pub fn new(revision: Revision) -> Self {
        Self { revision, ..Self::default() }
    }

    /// These packets.
    #[must_use]
    pub fn with<'a>(revision: Revision, packets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut payload = Self::new(revision);
        packets.into_iter().for_each(|packet| payload.push(&[packet.as_bytes()]));
        payload
    }

    /// Writes one packet, which comes in parts of UTF-8 text.
    pub fn push(&mut self, parts: &[&[u8]]) {
        match self.revision {
            Revision::Three => {
                let units: usize = parts.iter().map(|part| utf16_units(part)).sum();
                self.body.extend_from_slice(format!("{units}:").as_bytes());
            }
            Revision::Four if self.packets > 0 => self.body.push(SEPARATOR as u8),
            Revision::Four => {}
        }
        self.packets += 1;
        parts.iter().for_each(|part| self.body.extend_from_slice(part));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str, revision: Revision) -> Vec<Result<&str, PacketError>> {
        Packets::of(body, revision).collect()
    }

    #[test]
    fn revision_4_has_a_separator_between_packets() {
        assert_eq!(of("2\u{1e}42[]", Revision::Four), [Ok("2"), Ok("42[]")]);
        assert_eq!(of("", Revision::Four), [Ok("")]);
        assert_eq!(Payload::with(Revision::Four, ["2", "6"]).body, b"2\x1e6");
    }

    #[test]
    fn revision_3_counts_the_units_that_javascript_counts() {
        let packets = ["4é€😀", "2", "4"];
        let payload = Payload::with(Revision::Three, packets);
        assert_eq!(payload.body, "5:4é€😀1:21:4".as_bytes());
        let body = String::from_utf8(payload.body).unwrap();
        assert_eq!(of(&body, Revision::Three), packets.map(Ok));
        // Half of a character, more than there is, and no length at all.
        for wrong in ["", "2:4😀", "9:4", "x:4", ":4", "-1:4", "1234567890:4", "4"] {
            assert_eq!(of(wrong, Revision::Three), [Err(PacketError)], "{wrong}");
        }
        assert_eq!(of("1:2junk", Revision::Three), [Ok("2"), Err(PacketError)]);
    }
}
