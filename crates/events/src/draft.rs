//! What a publisher hands in: a [`Draft`], every part of it checked on the way in.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::separators::escape_separators;
use crate::{Seq, Topic};

/// An event that the log has not numbered yet.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Where it goes: one or more topics, each once.
    pub topics: Topics,
    /// What it is, in the application's words.
    pub kind: Kind,
    /// What it says.
    pub data: Data,
    /// Events of one topic, type and key replace one another where one batch would carry several.
    pub key: Option<Key>,
    /// The publisher's own name for this event, shown to clients.
    pub id: Option<EventId>,
    /// A second append with the same token answers the first result. Wider than `id`: it also says whose id it is.
    pub once: Option<Box<str>>,
    /// After so many milliseconds the event is no longer replayed.
    pub ttl_ms: Option<u64>,
    /// Ephemeral: only for sessions that are connected now. It has no seq and no replay.
    pub ephemeral: bool,
    /// Append only if this is the seq of the last event of the (one) topic; [`Seq::ZERO`]: it has none.
    pub expect: Option<Seq>,
}

impl Draft {
    /// An event that is logged, without a key, an id, a time to live or an expectation.
    #[must_use]
    pub fn new(topics: Topics, kind: Kind, data: Data) -> Self {
        Self {
            topics,
            kind,
            data,
            key: None,
            id: None,
            once: None,
            ttl_ms: None,
            ephemeral: false,
            expect: None,
        }
    }

    /// Whether only the latest event of its key matters, whatever the types of the others. Such an event is kept beside
    /// the topic's ring: it evicts no other event, history does not list it and `expect` does not see it. This holds
    /// for events of a reserved type with a key. It follows from the draft itself, so that no store has to keep a flag.
    #[must_use]
    pub fn is_latest_only(&self) -> bool {
        self.kind.is_reserved() && self.key.is_some() && !self.ephemeral
    }
}

/// One or more topics, each once, in the publisher's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics(Box<[Topic]>);

impl Topics {
    /// The most topics that one event can be in.
    pub const MAX: usize = 64;

    /// One topic.
    #[must_use]
    pub fn one(topic: Topic) -> Self {
        Self(Box::new([topic]))
    }

    /// The topics of `list`, without repetitions.
    ///
    /// # Errors
    /// When there is none, or more than [`Topics::MAX`].
    pub fn new(list: impl IntoIterator<Item = Topic>) -> Result<Self, DraftError> {
        let mut topics: Vec<Topic> = Vec::new();
        for topic in list {
            if !topics.contains(&topic) {
                if topics.len() == Self::MAX {
                    return Err(DraftError::Topics);
                }
                topics.push(topic);
            }
        }
        if topics.is_empty() { Err(DraftError::Topics) } else { Ok(Self(topics.into())) }
    }

    /// The topics in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Topic> {
        self.0.iter()
    }

    /// The topics as a slice; never empty.
    #[must_use]
    pub fn as_slice(&self) -> &[Topic] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Topics {
    type Item = &'a Topic;
    type IntoIter = std::slice::Iter<'a, Topic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The type of an event: 1 to [`Kind::BYTES_MAX`] bytes without control characters and commas
/// (a comma separates the types in a request's filter).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Kind(Box<str>);

impl Kind {
    /// The longest type, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is for the gateway's own events and not for publishers: it begins with `presence.`.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with("presence.")
    }
}

impl FromStr for Kind {
    type Err = DraftError;

    fn from_str(text: &str) -> Result<Self, DraftError> {
        let fits = !text.is_empty() && text.len() <= Self::BYTES_MAX;
        if fits && !text.contains(|c: char| c.is_control() || c == ',') {
            Ok(Self(text.into()))
        } else {
            Err(DraftError::Kind)
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What conflates: 1 to [`Key::BYTES_MAX`] bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    text: Box<str>,
    owner: Option<Box<str>>,
}

impl Key {
    /// The longest key, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same key as one user's own: it does not replace what others publish under it.
    #[must_use]
    pub fn owned_by(self, user: &str) -> Self {
        Self { owner: Some(user.into()), ..self }
    }

    /// The user who owns it; empty: shared by all. Never on the wire.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.owner.as_deref().unwrap_or_default()
    }
}

impl FromStr for Key {
    type Err = DraftError;

    fn from_str(text: &str) -> Result<Self, DraftError> {
        let text = label(text, Self::BYTES_MAX).ok_or(DraftError::Key)?;
        Ok(Self { text, owner: None })
    }
}

/// A publisher's own name for an event: 1 to [`EventId::BYTES_MAX`] bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventId(Box<str>);

impl EventId {
    /// The longest id, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventId {
    type Err = DraftError;

    fn from_str(text: &str) -> Result<Self, DraftError> {
        label(text, Self::BYTES_MAX).map(Self).ok_or(DraftError::Id)
    }
}

fn label(text: &str, bytes_max: usize) -> Option<Box<str>> {
    let fits = !text.is_empty() && text.len() <= bytes_max && !text.contains(char::is_control);
    fits.then(|| text.into())
}

/// Any JSON value on one line: without white space outside strings, and with the line separators of Unicode escaped, so
/// that a line of a server-sent event holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct Data(Bytes);

impl Data {
    /// How deep arrays and objects may be nested. A reader with a recursive parser must survive every event.
    pub const DEPTH_MAX: usize = 64;

    /// `null`, for an event that is all in its type.
    #[must_use]
    pub fn null() -> Self {
        Self(Bytes::from_static(b"null"))
    }

    /// Takes over a JSON text that a parser has accepted, removes its white space, and escapes its line separators.
    ///
    /// # Errors
    /// [`DraftError::Depth`] when it is nested deeper than [`Data::DEPTH_MAX`].
    pub fn from_raw(json: &serde_json::value::RawValue) -> Result<Self, DraftError> {
        let mut rest = json.get().as_bytes();
        let mut folded = Vec::with_capacity(rest.len());
        let mut depth = 0_usize;
        while let [first, others @ ..] = rest {
            match first {
                b' ' | b'\t' | b'\n' | b'\r' => {}
                b'"' => {
                    let (string, behind) = rest.split_at(string_len(rest));
                    folded.extend_from_slice(string);
                    rest = behind;
                    continue;
                }
                b'[' | b'{' => {
                    depth += 1;
                    if depth > Self::DEPTH_MAX {
                        return Err(DraftError::Depth);
                    }
                    folded.push(*first);
                }
                b']' | b'}' => {
                    depth = depth.saturating_sub(1);
                    folded.push(*first);
                }
                _ => folded.push(*first),
            }
            rest = others;
        }
        Ok(Self(escape_separators(&folded).unwrap_or(folded).into()))
    }

    /// The value of a serializable thing.
    ///
    /// # Errors
    /// [`DraftError::Data`] when it cannot be written as JSON, or is too deep.
    pub fn from_value<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, DraftError> {
        let raw = serde_json::value::to_raw_value(value).map_err(|_| DraftError::Data)?;
        Self::from_raw(&raw)
    }

    /// Takes back what [`Data::as_bytes`] gave, from a store that knows its bytes to be whole. An earlier version may
    /// have stored line separators as they are.
    pub(crate) fn from_store(json: Bytes) -> Self {
        Self(escape_separators(&json).map_or(json, Bytes::from))
    }

    /// The JSON text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes of the JSON string with which `json` begins, quotes included. Most of what is published is in strings, and is
/// passed over as a whole.
fn string_len(json: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', json.get(at..).unwrap_or_default()) {
        at += found;
        if json[at] == b'"' {
            return at + 1;
        }
        // What a backslash escapes ends nothing.
        at += 2;
    }
    json.len()
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data({} bytes)", self.0.len())
    }
}

/// Why a draft cannot become an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// No topic, or too many.
    #[error("an event has 1 to 64 topics")]
    Topics,
    /// Not an event type.
    #[error("type: 1 to 64 bytes without commas and control characters")]
    Kind,
    /// Not a key.
    #[error("key: 1 to 128 bytes without control characters")]
    Key,
    /// Not an id.
    #[error("id: 1 to 128 bytes without control characters")]
    Id,
    /// Not writable as JSON.
    #[error("data: not a JSON value")]
    Data,
    /// Nested too deep.
    #[error("data: nested deeper than 64 levels")]
    Depth,
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn data(json: &str) -> Result<String, DraftError> {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        Data::from_raw(&raw).map(|data| String::from_utf8(data.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn data_is_folded_outside_strings_only() {
        assert_eq!(data("{ \"a b\" :\r\n [1,\t2 ] }").unwrap(), r#"{"a b":[1,2]}"#);
        assert_eq!(data(r#""a \" b \\" "#).unwrap(), r#""a \" b \\""#);
        assert_eq!(data(r#"["\\", " x"]"#).unwrap(), r#"["\\"," x"]"#);
    }

    #[test]
    fn data_has_no_line_separator_wherever_it_comes_from() {
        let text = "[\"a\u{2028}\", {\"\u{2029}\": \"\u{85}\"}]";
        let line = r#"["a\u2028",{"\u2029":"\u0085"}]"#;
        assert_eq!(data(text).unwrap(), line);
        assert_eq!(data(line).unwrap(), line, "what was escaped stays");
        let stored = Data::from_store(Bytes::from_static("\"\u{2028}\"".as_bytes()));
        assert_eq!(stored.as_bytes(), br#""\u2028""#);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(data(&nested(64)).is_ok());
        assert_eq!(data(&nested(65)), Err(DraftError::Depth));
        assert_eq!(data(&nested(100_000)), Err(DraftError::Depth));
        assert!(data(&format!("\"{}\"", "[".repeat(100))).is_ok(), "brackets in a string do not nest");
    }

    #[test]
    fn topics_are_unique_and_bounded() {
        let topic = |n: usize| format!("t{n}").parse::<Topic>().unwrap();
        assert_eq!(Topics::new([]), Err(DraftError::Topics));
        assert_eq!(Topics::new([topic(1), topic(2), topic(1)]).unwrap().as_slice(), [topic(1), topic(2)]);
        assert_eq!(Topics::new((0..65).map(topic)), Err(DraftError::Topics));
        assert_eq!(Topics::new((0..64).chain(0..64).map(topic)).unwrap().as_slice().len(), 64);
    }

    #[test]
    fn labels_have_bounds() {
        assert!("queue:position".parse::<Kind>().is_ok());
        for kind in ["", "a,b", "a\nb", &"t".repeat(65)] {
            assert_eq!(kind.parse::<Kind>(), Err(DraftError::Kind), "{kind:?}");
        }
        assert!("a,b".parse::<Key>().is_ok());
        assert_eq!("a\0".parse::<Key>(), Err(DraftError::Key));
        assert_eq!("k".repeat(129).parse::<EventId>(), Err(DraftError::Id));
    }
}
