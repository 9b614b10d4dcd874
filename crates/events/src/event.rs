//! An event as the log holds it: numbered, and already the bytes that every transport sends.

use std::borrow::Cow;
use std::ops::Range;

use triomphe::ThinArc;

use crate::separators::escape_separators;
use crate::timestamp::Timestamp;
use crate::{Data, Draft, Seq, Topic};

/// A draft to which the store gave its place in the total order.
#[derive(Clone, Debug)]
pub struct Sequenced {
    /// Its number; `None` for an ephemeral event, which has no place.
    pub seq: Option<Seq>,
    /// When it was accepted, in milliseconds since 1970 (UTC) by the store's wall clock. It is what clients read, and
    /// decides nothing: a wall clock may be set.
    pub time_ms: u64,
    /// How long ago it was accepted, in milliseconds by one clock, the store's. Zero for an event that was accepted just
    /// now. Its time to live and its age in a ring are counted from there.
    pub age_ms: u64,
    /// What was published.
    pub draft: Draft,
}

/// One event of one topic. Immutable and shared: its JSON is made once for all readers, and a clone
/// only increments a count.
///
/// Head and JSON are one allocation: an event of a rarely used topic is hardly ever in the cache.
#[derive(Clone, Debug)]
pub struct Event(ThinArc<Head, u8>);

/// What is known of an event's JSON.
#[derive(Clone, Debug)]
struct Head {
    /// The seq, or for an ephemeral event its number among the ephemeral ones.
    number: u64,
    ephemeral: bool,
    latest_only: bool,
    /// On the log's own clock, in microseconds.
    applied_us: u64,
    /// On the log's own clock; `u64::MAX`: never.
    expires_us: u64,
    /// Where the topic starts in the JSON.
    topic_start: u32,
    /// Where the type stands in the JSON, quotes excluded.
    kind: Range<u32>,
    /// Where the key ends in the JSON; 0: no key.
    key_end: u32,
    /// Where the data starts in the JSON; it ends before the last brace.
    data_start: u32,
    /// Where the JSON ends; behind it stands whose the key is.
    json_end: u32,
    /// What [`Event::with_topics`] adds to the JSON at most.
    topics_bytes: u16,
}

/// The member that names several topics, without its list.
const TOPICS_MEMBER: &[u8] = b",\"topics\":[]";

impl Event {
    /// What an event costs beside its JSON: its head, count and length, and its place in a ring.
    pub(crate) const OVERHEAD_BYTES: usize = size_of::<Head>() + 2 * size_of::<usize>() + size_of::<usize>();

    /// Writes the JSON of `draft` as `topic` sees it:
    /// `{"seq":…,"topic":…,"type":…,"key":…,"id":…,"time":…,"data":…}`.
    ///
    /// `json` is room to write in: kept from one event to the next, it leaves each a single allocation of the right size.
    pub(crate) fn encode(
        draft: &Draft,
        topic: &Topic,
        number: u64,
        stamp: &Timestamp,
        applied_us: u64,
        json: &mut Vec<u8>,
    ) -> Self {
        json.clear();
        if draft.ephemeral {
            json.push(b'{');
        } else {
            json.extend_from_slice(b"{\"seq\":");
            json.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            json.push(b',');
        }
        // A topic's alphabet needs no escapes.
        json.extend_from_slice(b"\"topic\":\"");
        let topic_start = position(json.len());
        json.extend_from_slice(topic.as_str().as_bytes());
        json.extend_from_slice(b"\",\"type\":");
        let kind = quoted(json, draft.kind.as_str());
        let mut key_end = 0;
        if let Some(text) = &draft.key {
            json.extend_from_slice(b",\"key\":");
            key_end = quoted(json, text.as_str()).end;
        }
        if let Some(id) = &draft.id {
            json.extend_from_slice(b",\"id\":");
            quoted(json, id.as_str());
        }
        json.extend_from_slice(b",\"time\":\"");
        json.extend_from_slice(stamp.text());
        json.extend_from_slice(b"\",\"data\":");
        let data_start = position(json.len());
        json.extend_from_slice(draft.data.as_bytes());
        json.push(b'}');
        let json_end = position(json.len());
        json.extend_from_slice(draft.key.as_ref().map_or(b"", |key| key.owner().as_bytes()));
        let expires_us = match draft.ttl_ms {
            None => u64::MAX,
            Some(ttl_ms) => applied_us.saturating_add(ttl_ms.saturating_mul(1000)),
        };
        let head = Head {
            number,
            ephemeral: draft.ephemeral,
            latest_only: draft.is_latest_only(),
            applied_us,
            expires_us,
            topic_start,
            kind,
            key_end,
            data_start,
            json_end,
            topics_bytes: topics_bytes(draft),
        };
        Self(ThinArc::from_header_and_slice(head, json))
    }

    fn head(&self) -> &Head {
        &self.0.header.header
    }

    /// The JSON, and behind it whose the key is.
    fn bytes(&self) -> &[u8] {
        &self.0.slice
    }

    /// Its number in the log; `None` for an ephemeral event.
    #[must_use]
    pub fn seq(&self) -> Option<Seq> {
        let head = self.head();
        if head.ephemeral { None } else { Seq::new(head.number) }
    }

    /// The event as JSON, on one line.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.bytes()[..self.head().json_end as usize]
    }

    /// When this node applied it, in microseconds on the log's own clock ([`crate::Log::now_us`]).
    #[must_use]
    pub fn applied_us(&self) -> u64 {
        self.head().applied_us
    }

    /// The topic by which it is seen.
    #[must_use]
    pub fn topic(&self) -> &str {
        let start = self.head().topic_start as usize;
        str::from_utf8(&self.bytes()[start..self.topic_end()]).unwrap_or_default()
    }

    /// Where the topic ends in the JSON: a topic has no quote in it.
    fn topic_end(&self) -> usize {
        let start = self.head().topic_start as usize;
        start + self.bytes()[start..].iter().position(|byte| *byte == b'"').unwrap_or_default()
    }

    /// The data, as JSON.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        let head = self.head();
        &self.bytes()[head.data_start as usize..head.json_end as usize - 1]
    }

    /// The same event with other data, for readers that may not see all of it.
    #[must_use]
    pub fn with_data(&self, data: &Data) -> Self {
        let head = self.head();
        let (json, owner) = self.bytes().split_at(head.json_end as usize);
        let json = [&json[..head.data_start as usize], data.as_bytes(), b"}", owner].concat();
        let json_end = position(json.len() - owner.len());
        Self(ThinArc::from_header_and_slice(Head { json_end, ..head.clone() }, &json))
    }

    /// The same event for a reader that sees it by `others` too: it names all topics behind the first.
    pub(crate) fn with_topics<'t>(&self, others: impl Iterator<Item = &'t Topic>) -> Self {
        let (head, bytes) = (self.head(), self.bytes());
        let at = self.topic_end() + 1;
        let mut json = Vec::with_capacity(bytes.len() + usize::from(head.topics_bytes));
        json.extend_from_slice(&bytes[..at]);
        json.extend_from_slice(&TOPICS_MEMBER[..TOPICS_MEMBER.len() - 1]);
        json.push(b'"');
        json.extend_from_slice(self.topic().as_bytes());
        for other in others {
            json.extend_from_slice(b"\",\"");
            json.extend_from_slice(other.as_str().as_bytes());
        }
        json.extend_from_slice(b"\"]");
        let added = position(json.len() - at);
        json.extend_from_slice(&bytes[at..]);
        let head = Head {
            kind: head.kind.start + added..head.kind.end + added,
            key_end: if head.key_end == 0 { 0 } else { head.key_end + added },
            data_start: head.data_start + added,
            json_end: head.json_end + added,
            topics_bytes: 0,
            ..head.clone()
        };
        Self(ThinArc::from_header_and_slice(head, &json))
    }

    /// How many bytes the JSON has at most once a reader sees it.
    pub(crate) fn bytes_max(&self) -> usize {
        let head = self.head();
        head.json_end as usize + usize::from(head.topics_bytes)
    }

    /// The seq, or the number among the ephemeral events.
    pub(crate) fn number(&self) -> u64 {
        self.head().number
    }

    /// The type, JSON-escaped.
    #[must_use]
    pub fn kind(&self) -> &[u8] {
        let Range { start, end } = self.head().kind;
        &self.bytes()[start as usize..end as usize]
    }

    /// The id that its publisher gave it, JSON-escaped.
    #[must_use]
    pub fn id(&self) -> Option<&[u8]> {
        let head = self.head();
        let label_end = if head.key_end == 0 { head.kind.end } else { head.key_end };
        let rest =
            self.bytes()[label_end as usize..head.data_start as usize].strip_prefix(b"\",\"id\":\"")?;
        let end = rest.len().checked_sub(b"\",\"time\":\"2025-11-20T03:30:12.123Z\",\"data\":".len())?;
        Some(&rest[..end])
    }

    /// Whether only the latest event of its key matters ([`Draft::is_latest_only`]).
    pub(crate) fn is_latest_only(&self) -> bool {
        self.head().latest_only
    }

    /// The key, JSON-escaped; empty without one.
    pub(crate) fn key(&self) -> &[u8] {
        let head = self.head();
        let start = head.kind.end as usize + b"\",\"key\":\"".len();
        self.bytes().get(start..head.key_end as usize).unwrap_or_default()
    }

    /// Tells the keys of a topic's state apart: the key, and whose it is. JSON leaves no control character in a key.
    pub(crate) fn state_key(&self) -> Cow<'_, [u8]> {
        match &self.bytes()[self.head().json_end as usize..] {
            [] => self.key().into(),
            owner => [self.key(), b"\0", owner].concat().into(),
        }
    }

    /// When its time to live is over, on the log's own clock; `u64::MAX`: never.
    pub(crate) fn expires_us(&self) -> u64 {
        self.head().expires_us
    }

    /// Events in which this is equal replace one another. `None` without a key.
    pub(crate) fn identity(&self) -> Option<Identity<'_>> {
        let head = self.head();
        (head.key_end != 0).then(|| Identity {
            label: &self.bytes()[head.topic_start as usize..head.key_end as usize],
            owner: &self.bytes()[head.json_end as usize..],
        })
    }

    /// Whether states hold it: it has a key and is not latest-only.
    pub(crate) fn is_for_states(&self) -> bool {
        let head = self.head();
        head.key_end != 0 && !head.latest_only
    }

    /// Whether its time to live is over.
    pub(crate) fn is_expired(&self, now_us: u64) -> bool {
        self.head().expires_us <= now_us
    }

    /// Whether it has a time to live at all.
    pub(crate) fn can_expire(&self) -> bool {
        self.head().expires_us != u64::MAX
    }

    /// What the log's budget is charged for it.
    pub(crate) fn cost_bytes(&self) -> usize {
        self.bytes().len() + Self::OVERHEAD_BYTES
    }
}

/// What an event conflates by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity<'a> {
    /// Topic, type and key, which stand side by side in the JSON.
    label: &'a [u8],
    /// Whose the key is.
    owner: &'a [u8],
}

/// Appends `text` as a JSON string and says where it stands, without its quotes.
fn quoted(json: &mut Vec<u8>, text: &str) -> Range<u32> {
    let start = json.len() + 1;
    escape_into(json, text);
    position(start)..position(json.len() - 1)
}

/// What naming all topics of the draft takes in an event's JSON; nothing if there is one.
fn topics_bytes(draft: &Draft) -> u16 {
    let topics = draft.topics.as_slice();
    if topics.len() < 2 {
        return 0;
    }
    let names: usize = topics.iter().map(|topic| topic.as_str().len() + b"\"\",".len()).sum();
    u16::try_from(TOPICS_MEMBER.len() + names).unwrap_or(u16::MAX)
}

/// A place in an event's JSON, which is far shorter than 4 GiB.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn escape_into(json: &mut Vec<u8>, text: &str) {
    let plain = text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\' && b != 0xe2);
    if plain {
        json.push(b'"');
        json.extend_from_slice(text.as_bytes());
        json.push(b'"');
        return;
    }
    // Writing a string into memory cannot fail; an empty one keeps the JSON whole all the same.
    let quoted = serde_json::to_vec(text).unwrap_or_else(|_| b"\"\"".to_vec());
    json.extend_from_slice(&escape_separators(&quoted).unwrap_or(quoted));
}

/// The inside of `text` as a JSON string, as [`Event::kind`] gives it.
pub(crate) fn escaped(text: &str) -> Box<[u8]> {
    let mut json = Vec::with_capacity(text.len() + 2);
    escape_into(&mut json, text);
    json[1..json.len() - 1].into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Topics;

    fn draft() -> Draft {
        Draft::new(
            Topics::one("user:alice".parse().unwrap()),
            "progress".parse().unwrap(),
            Data::from_value(&serde_json::json!({"jobId": "7"})).unwrap(),
        )
    }

    fn encode(draft: &Draft) -> Event {
        Event::encode(
            draft,
            &draft.topics.as_slice()[0],
            1042,
            &Timestamp::new(1_763_609_412_123),
            5,
            &mut Vec::new(),
        )
    }

    #[test]
    fn json_has_the_members_in_order() {
        let event = encode(&draft());
        assert_eq!(
            str::from_utf8(event.json()).unwrap(),
            r#"{"seq":1042,"topic":"user:alice","type":"progress","time":"2025-11-20T03:30:12.123Z","data":{"jobId":"7"}}"#
        );
        assert_eq!(event.kind(), b"progress");
        assert_eq!((event.identity(), event.key()), (None, &b""[..]));
        assert_eq!((event.topic(), event.data()), ("user:alice", &br#"{"jobId":"7"}"#[..]));
        let other = event.with_data(&Data::null());
        assert!(other.json().ends_with(br#","data":null}"#) && other.seq() == event.seq());
        assert_eq!(other.with_data(&draft().data).json(), event.json());
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
        assert_eq!(event.key(), br"k\\1");
        assert_eq!(event.id(), Some("ü".as_bytes()));
        assert_eq!(encode(&Draft { key: None, ..draft.clone() }).id(), Some("ü".as_bytes()));
        assert_eq!(encode(&Draft { id: None, ..draft.clone() }).id(), None);
        let identity = |event: &Event| {
            let Identity { label, owner } = event.identity().unwrap();
            (label.to_vec(), owner.to_vec())
        };
        let label = br#"user:alice","type":"a\"b","key":"k\\1"#.to_vec();
        assert_eq!(identity(&event), (label.clone(), Vec::new()));
        let key = draft.key.clone().unwrap().owned_by("bob");
        let owned = encode(&Draft { key: Some(key), ..draft });
        assert_eq!((owned.json(), identity(&owned)), (event.json(), (label, b"bob".to_vec())));
    }

    #[test]
    fn the_topics_of_a_reader_stand_behind_the_first() {
        let names = ["user:alice", "room:1", "all"];
        let topics: Vec<Topic> = names.map(|name| name.parse().unwrap()).into();
        let key = Some("k".parse::<crate::Key>().unwrap().owned_by("bob"));
        for draft in [draft(), Draft { key, id: Some("x".parse().unwrap()), ..draft() }] {
            let draft = Draft { topics: Topics::new(topics.clone()).unwrap(), ..draft };
            let event = encode(&draft);
            let seen = event.with_topics(topics[1..].iter());
            let text = str::from_utf8(seen.json()).unwrap();
            let member = r#""topic":"user:alice","topics":["user:alice","room:1","all"],"type":"progress""#;
            assert!(text.contains(member), "{text}");
            assert_eq!(
                text.replace(r#""topics":["user:alice","room:1","all"],"#, "").as_bytes(),
                event.json()
            );
            assert!(seen.json().len() <= event.bytes_max(), "the bytes are counted before");
            assert_eq!((seen.topic(), seen.kind()), (event.topic(), event.kind()));
            assert_eq!((seen.key(), seen.id(), seen.data()), (event.key(), event.id(), event.data()));
            assert_eq!(seen.identity().map(|id| id.owner), event.identity().map(|id| id.owner));
        }
        assert_eq!(encode(&draft()).bytes_max(), encode(&draft()).json().len());
    }

    #[test]
    fn no_label_ends_a_line_to_any_reader() {
        let label = "a\u{2028}\u{2029}b";
        let draft = Draft {
            kind: label.parse().unwrap(),
            key: Some(label.parse().unwrap()),
            id: Some(label.parse().unwrap()),
            ..draft()
        };
        let event = encode(&draft);
        assert!(!str::from_utf8(event.json()).unwrap().contains(['\u{2028}', '\u{2029}']));
        assert_eq!((event.kind(), event.key()), (&*escaped(label), &*escaped(label)));
        let value: serde_json::Value = serde_json::from_slice(event.json()).unwrap();
        assert_eq!((&value["type"], &value["id"]), (&label.into(), &label.into()));
    }

    #[test]
    fn an_ephemeral_event_has_no_seq() {
        let event = encode(&Draft { ephemeral: true, ..draft() });
        assert_eq!(event.seq(), None);
        assert!(event.json().starts_with(br#"{"topic":"#));
    }
}
