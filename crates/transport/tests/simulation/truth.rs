//! What was published, against what a client was sent.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use events::{Cursor, Draft};
use serde::Deserialize;
use tokio::time::Instant;

/// Events that a ring keeps: so few that a client that was away falls below the floor.
pub(crate) const RING_EVENTS: usize = 12;
/// How long a ring keeps them.
pub(crate) const RING_AGE: Duration = Duration::from_secs(20);

/// An event that was acknowledged.
struct Published {
    topics: Vec<String>,
    key: Option<String>,
    /// When it has expired.
    expires: Option<Instant>,
    at: Instant,
    data: u64,
}

/// Every event that was acknowledged, by seq.
#[derive(Default)]
pub(crate) struct Truth(BTreeMap<u64, Published>);

/// A batch as it comes on the wire.
#[derive(Debug, Deserialize)]
pub(crate) struct Batch {
    after: String,
    cursor: String,
    hello: Option<serde_json::Value>,
    reset: Option<Reset>,
    #[serde(default)]
    pub(crate) more: bool,
    events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
struct Reset {
    reason: String,
    topics: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Event {
    seq: u64,
    topic: String,
    data: u64,
}

/// What a client has and what it is owed.
pub(crate) struct View {
    /// The topics, each with the seq above which its events are owed.
    topics: BTreeMap<String, u64>,
    cursor: Option<Cursor>,
    /// Events of a topic up to this seq may be missing: a reset said so.
    excused: HashMap<String, u64>,
    pub(crate) received: usize,
    pub(crate) resets: usize,
}

impl Truth {
    pub(crate) fn add(&mut self, seq: u64, draft: &Draft, data: u64) {
        let at = Instant::now();
        let published = Published {
            topics: draft.topics.iter().map(ToString::to_string).collect(),
            key: draft.key.as_ref().map(|key| key.as_str().to_owned()),
            expires: draft.ttl_ms.map(|ttl_ms| at + Duration::from_millis(ttl_ms)),
            at,
            data,
        };
        assert!(self.0.insert(seq, published).is_none(), "{seq} was given twice");
    }

    fn last(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    /// Whether the ring of a topic may have lost an event above `after`.
    fn may_be_missing(&self, topic: &str, after: u64) -> bool {
        let of_topic =
            || self.0.range(after + 1..).filter(|(_, event)| event.topics.iter().any(|t| t == topic));
        of_topic().count() > RING_EVENTS
            || of_topic().next().is_some_and(|(_, event)| event.at.elapsed() >= RING_AGE)
    }
}

impl View {
    pub(crate) fn of<'a>(topics: impl Iterator<Item = &'a str>) -> Self {
        let topics = topics.map(|topic| (topic.to_owned(), 0)).collect();
        Self { topics, cursor: None, excused: HashMap::new(), received: 0, resets: 0 }
    }

    pub(crate) fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(String::as_str)
    }

    /// A session begins with the client's cursor: all that lies above it is owed in every topic.
    pub(crate) fn resume(&mut self) {
        let from = self.cursor.map_or(0, |cursor| cursor.seq.number());
        self.topics.values_mut().for_each(|owed_above| *owed_above = from);
    }

    /// The session has this topic too, from `at` on.
    pub(crate) fn subscribed(&mut self, topic: &str, at: Cursor) {
        self.topics.entry(topic.to_owned()).or_insert(at.seq.number());
    }

    /// Checks a batch and takes it in.
    pub(crate) fn take(&mut self, batch: &Batch, truth: &Truth) {
        let after: Cursor = batch.after.parse().unwrap();
        let cursor: Cursor = batch.cursor.parse().unwrap();
        match self.cursor {
            None => assert!(batch.hello.is_some(), "the first batch says hello: {batch:?}"),
            Some(own) => assert_eq!(after, own, "a gap between batches: {batch:?}"),
        }
        assert!(after.epoch == cursor.epoch && after.seq <= cursor.seq, "back in time: {batch:?}");
        if let Some(reset) = &batch.reset {
            self.resets += 1;
            assert_eq!(reset.reason, "expired", "the log lived all the time");
            for topic in &reset.topics {
                assert!(self.topics.contains_key(topic), "a reset of {topic}, which is not subscribed");
                assert!(truth.may_be_missing(topic, after.seq.number()), "{topic} is complete: {batch:?}");
                self.excused.insert(topic.clone(), truth.last());
            }
        }
        if self.cursor.is_some() {
            self.check_events(batch, after.seq.number(), cursor.seq.number(), truth);
        }
        self.received += batch.events.len();
        self.cursor = Some(cursor);
    }

    /// In (`after`, `upto`] every event that is owed came once and in order, and no other.
    fn check_events(&self, batch: &Batch, after: u64, upto: u64, truth: &Truth) {
        assert!(batch.events.is_sorted_by(|a, b| a.seq < b.seq), "twice or out of order: {batch:?}");
        for event in &batch.events {
            let published =
                truth.0.get(&event.seq).unwrap_or_else(|| panic!("{event:?} was never published"));
            assert!(event.seq > after && event.seq <= upto, "{event:?} lies outside its batch: {batch:?}");
            assert_eq!(event.data, published.data, "{event:?}");
            let is_seen_by =
                published.topics.contains(&event.topic) && self.topics.contains_key(&event.topic);
            assert!(is_seen_by, "{event:?} is of no topic of the session");
        }
        for (seq, event) in truth.0.range(after..=upto).filter(|(seq, _)| **seq > after) {
            let owed: Vec<&String> = event
                .topics
                .iter()
                .filter(|topic| self.topics.get(*topic).is_some_and(|above| seq > above))
                .collect();
            let is_excused =
                owed.iter().any(|topic| self.excused.get(*topic).is_some_and(|excused| seq <= excused));
            let is_expired = event.expires.is_some_and(|expires| expires <= Instant::now());
            let is_replaced = event.key.is_some()
                && batch.events.iter().any(|later| later.seq > *seq && truth.0[&later.seq].key == event.key);
            if !owed.is_empty() && !is_excused && !is_expired && !is_replaced {
                let came = batch.events.iter().any(|sent| sent.seq == *seq);
                assert!(came, "{seq} of {:?} is lost: {batch:?}", event.topics);
            }
        }
    }
}
