//! An event as the log holds it: numbered, and already the bytes that every transport sends.

use std::borrow::Cow;
use std::ops::Range;

use crate::stamp::Stamp;
use crate::{Draft, EventId, Key, Seq, Topic};

/// A draft to which the store gave its place in the total order.
#[derive(Clone, Debug)]
pub struct Sequenced {
    /// Its number; `None` for an ephemeral event, which has no place.
    pub seq: Option<Seq>,
    /// When it was accepted, milliseconds since 1970 (UTC).
    pub time_ms: u64,
    /// What was published.
    pub draft: Draft,
}

/// One event of one topic. Immutable and shared: its JSON is made once, whoever reads it.
#[derive(Debug)]
pub struct Event {
    /// The seq, or for an ephemeral event its number among the ephemeral ones.
    number: u64,
    ephemeral: bool,
    /// On the log's own clock, in microseconds.
    applied_us: u64,
    /// On the log's own clock; `u64::MAX`: never.
    expires_us: u64,
    /// Where the topic starts in `json`.
    topic_start: u32,
    /// Where the type stands in `json`, quotes excluded.
    kind: Range<u32>,
    /// Where the key ends in `json`; 0: no key.
    key_end: u32,
    json: Box<[u8]>,
}

impl Event {
    /// What an event costs beside its JSON: this struct, its reference counts and its place in a ring.
    pub(crate) const OVERHEAD_BYTES: usize = size_of::<Self>() + 2 * size_of::<usize>() + size_of::<usize>();

    /// Writes the JSON of `draft` as `topic` sees it:
    /// `{"seq":…,"topic":…,"type":…,"key":…,"id":…,"time":…,"data":…}`.
    pub(crate) fn encode(draft: &Draft, topic: &Topic, number: u64, stamp: &Stamp, applied_us: u64) -> Self {
        let mut digits = itoa::Buffer::new();
        let seq: [&[u8]; 2] =
            if draft.ephemeral { [b"{", b""] } else { [b"{\"seq\":", digits.format(number).as_bytes()] };
        let before_topic: &[u8] = if draft.ephemeral { b"\"topic\":\"" } else { b",\"topic\":\"" };
        // A topic's alphabet needs no escapes.
        let topic = topic.as_str().as_bytes();
        let before_kind = b"\",\"type\":\"";
        let kind = escaped(draft.kind.as_str());
        let (before_key, key) = label(b"\",\"key\":\"", draft.key.as_ref().map(Key::as_str));
        let (before_id, id) = label(b"\",\"id\":\"", draft.id.as_ref().map(EventId::as_str));

        let topic_start = seq[0].len() + seq[1].len() + before_topic.len();
        let kind_start = topic_start + topic.len() + before_kind.len();
        let kind_end = kind_start + kind.len();
        let key_end = if draft.key.is_some() { kind_end + before_key.len() + key.len() } else { 0 };
        let expires_us = match draft.ttl_ms {
            None => u64::MAX,
            Some(ttl_ms) => applied_us.saturating_add(ttl_ms.saturating_mul(1000)),
        };
        // All parts at once: one allocation of just the right size.
        let json = [
            seq[0],
            seq[1],
            before_topic,
            topic,
            before_kind,
            &kind,
            before_key,
            &key,
            before_id,
            &id,
            b"\",\"time\":\"",
            stamp.text(),
            b"\",\"data\":",
            draft.data.as_bytes(),
            b"}",
        ]
        .concat();
        Self {
            number,
            ephemeral: draft.ephemeral,
            applied_us,
            expires_us,
            topic_start: position(topic_start),
            kind: position(kind_start)..position(kind_end),
            key_end: position(key_end),
            json: json.into(),
        }
    }

    /// Its number in the log; `None` for an ephemeral event.
    #[must_use]
    pub fn seq(&self) -> Option<Seq> {
        if self.ephemeral { None } else { Seq::new(self.number) }
    }

    /// The event as JSON, on one line.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// When this node applied it, in microseconds on the log's own clock ([`crate::Log::now_us`]).
    #[must_use]
    pub fn applied_us(&self) -> u64 {
        self.applied_us
    }

    /// The seq, or the number among the ephemeral events.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The type, JSON-escaped.
    pub(crate) fn kind(&self) -> &[u8] {
        &self.json[self.kind.start as usize..self.kind.end as usize]
    }

    /// Topic, type and key, which stand side by side in the JSON: events in which they are equal replace one
    /// another. `None` without a key.
    pub(crate) fn identity(&self) -> Option<&[u8]> {
        (self.key_end != 0).then(|| &self.json[self.topic_start as usize..self.key_end as usize])
    }

    /// Whether its time to live is over.
    pub(crate) fn is_expired(&self, now_us: u64) -> bool {
        self.expires_us <= now_us
    }

    /// Whether it has a time to live at all.
    pub(crate) fn can_expire(&self) -> bool {
        self.expires_us != u64::MAX
    }

    /// What the log's budget is charged for it.
    pub(crate) fn cost_bytes(&self) -> usize {
        self.json.len() + Self::OVERHEAD_BYTES
    }
}

/// A place in an event's JSON, which is far shorter than 4 GiB.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// A member's beginning and its text, or nothing at all.
fn label<'a>(before: &'a [u8], text: Option<&'a str>) -> (&'a [u8], Cow<'a, [u8]>) {
    text.map_or((b"", Cow::default()), |text| (before, escaped(text)))
}

/// The inside of `text` as a JSON string, as [`Event::kind`] gives it.
pub(crate) fn escaped(text: &str) -> Cow<'_, [u8]> {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        return Cow::Borrowed(text.as_bytes());
    }
    // Writing a string into memory cannot fail; an empty one keeps the JSON whole all the same.
    let quoted = serde_json::to_vec(text).unwrap_or_else(|_| b"\"\"".to_vec());
    Cow::Owned(quoted[1..quoted.len() - 1].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Data, Topics};

    fn draft() -> Draft {
        Draft {
            topics: Topics::one("user:alice".parse().unwrap()),
            kind: "progress".parse().unwrap(),
            data: Data::from_value(&serde_json::json!({"jobId": "7"})).unwrap(),
            key: None,
            id: None,
            once: None,
            ttl_ms: None,
            ephemeral: false,
            expect: None,
        }
    }

    fn encode(draft: &Draft) -> Event {
        Event::encode(draft, &draft.topics.as_slice()[0], 1042, &Stamp::new(1_763_609_412_123), 5)
    }

    #[test]
    fn json_has_the_members_in_order() {
        let event = encode(&draft());
        assert_eq!(
            str::from_utf8(event.json()).unwrap(),
            r#"{"seq":1042,"topic":"user:alice","type":"progress","time":"2025-11-20T03:30:12.123Z","data":{"jobId":"7"}}"#
        );
        assert_eq!(event.kind(), b"progress");
        assert_eq!(event.identity(), None);
    }

    #[test]
    fn labels_are_escaped() {
        let draft = Draft {
            kind: r#"a"b"#.parse().unwrap(),
            key: Some(r"k\1".parse().unwrap()),
            id: Some("ü".parse().unwrap()),
            ..draft()
        };
        let event = encode(&draft);
        let value: serde_json::Value = serde_json::from_slice(event.json()).unwrap();
        assert_eq!(value["type"], r#"a"b"#);
        assert_eq!(value["key"], r"k\1");
        assert_eq!(value["id"], "ü");
        assert_eq!(event.kind(), &*escaped(r#"a"b"#));
        assert_eq!(event.identity(), Some(&br#"user:alice","type":"a\"b","key":"k\\1"#[..]));
    }

    #[test]
    fn an_ephemeral_event_has_no_seq() {
        let event = encode(&Draft { ephemeral: true, ..draft() });
        assert_eq!(event.seq(), None);
        assert!(event.json().starts_with(br#"{"topic":"#));
    }
}
