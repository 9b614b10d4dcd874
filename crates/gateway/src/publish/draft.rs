//! A draft in JSON, of any origin: parsed, and checked for its author.

use std::borrow::Cow;

use events::{Data, Draft, EventId, Key, Kind, Seq, Topic, Topics};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::author::Author;
use crate::audit::{self, Deed};
use crate::object;
use crate::problem::{Code, Problem};

/// The longest time to live: ten years.
const TTL_MS_MAX: u64 = 10 * 365 * 24 * 3600 * 1000;

/// The members of a draft, borrowed from the text in which they are written: the one definition for
/// every origin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DraftBody<'a> {
    topic: Option<Topic>,
    /// Several topics in the place of `topic`.
    pub(super) topics: Option<Vec<Topic>>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    /// The key.
    pub(crate) key: Option<String>,
    /// Time to live, in milliseconds.
    pub(crate) ttl_ms: Option<u64>,
    /// Whether the event is ephemeral.
    #[serde(default)]
    pub(crate) ephemeral: bool,
    expect: Option<u64>,
    /// Its idempotency token, and what clients see as its id. In commands it is called `event_id`.
    #[serde(alias = "event_id")]
    pub(crate) id: Option<String>,
    /// An idempotency token that clients do not see. It comes before `id`.
    #[serde(skip)]
    pub(crate) once: Option<String>,
}

impl<'a> DraftBody<'a> {
    /// A draft that a rule has made: these topics, this type and this data, and nothing else.
    #[must_use]
    pub(crate) fn made(topics: Vec<Topic>, kind: Cow<'a, str>, data: &'a RawValue) -> Self {
        Self {
            topic: None,
            topics: Some(topics),
            r#type: kind,
            data,
            key: None,
            ttl_ms: None,
            ephemeral: false,
            expect: None,
            id: None,
            once: None,
        }
    }

    /// A draft by itself, as in the body of a request.
    ///
    /// # Errors
    /// When a member is missing, wrong or unknown.
    pub(crate) fn parse(json: &'a [u8]) -> Result<Self, Problem> {
        object::from_slice(json).map_err(|error| malformed(&error))
    }

    /// Checks all members, and the topics against the author.
    ///
    /// # Errors
    /// Names the first member that is wrong.
    pub(crate) fn check(self, publisher: &Author, data_bytes_max: usize) -> Result<Draft, Problem> {
        let topics = match (self.topic, self.topics) {
            (Some(topic), None) => Topics::one(topic),
            (None, Some(topics)) => Topics::new(topics)?,
            _ => return Err(Problem::bad_request("a draft has either topic or topics")),
        };
        let kind: Kind = self.r#type.parse()?;
        if kind.is_reserved() {
            return Err(Problem::bad_request("type: presence.* is what the gateway itself says"));
        }
        if let Some(topic) = topics.iter().find(|topic| !publisher.may_publish(topic)) {
            let detail = format!("publishing to {topic} is not allowed");
            if let Author::Grant(grant, address) = publisher {
                audit::record(Deed::TopicRefused, &grant.user, *address, &detail);
            }
            return Err(Problem::new(Code::Forbidden, detail));
        }
        if self.expect.is_some() && matches!(publisher, Author::Source(_)) {
            return Err(Problem::bad_request("expect: a source cannot be told of a conflict"));
        }
        let expect = self.expect.map(|expect| {
            let seq = Seq::new(expect).ok_or_else(|| Problem::bad_request("expect: not a seq"))?;
            if topics.as_slice().len() > 1 || self.ephemeral {
                return Err(Problem::bad_request(
                    "expect: needs one topic and an event that is not ephemeral",
                ));
            }
            Ok(seq)
        });
        if self.ttl_ms.is_some_and(|ttl_ms| ttl_ms == 0 || ttl_ms > TTL_MS_MAX) {
            return Err(Problem::bad_request("ttl_ms: 1 to 315360000000"));
        }
        let id = self.id.as_deref().map(str::parse::<EventId>).transpose()?;
        let data = Data::from_raw(self.data)?;
        if data.as_bytes().len() > data_bytes_max {
            return Err(Problem::new(Code::TooLarge, format!("data: more than {data_bytes_max} bytes")));
        }
        Ok(Draft {
            topics,
            kind,
            data,
            key: match (self.key.as_deref().map(str::parse::<Key>).transpose()?, publisher) {
                // A user's event replaces none of another publisher, whatever keys they choose.
                (Some(key), Author::Grant(grant, _)) => Some(key.owned_by(&grant.user)),
                (key, _) => key,
            },
            once: match (self.once, &id) {
                (Some(once), _) => Some(publisher.once(&once)),
                (None, id) => id.as_ref().map(|id| publisher.once(id.as_str())),
            },
            id,
            ttl_ms: self.ttl_ms,
            ephemeral: self.ephemeral,
            expect: expect.transpose()?,
        })
    }
}

/// The error of a JSON parser, for the publisher.
#[must_use]
pub(crate) fn malformed(error: &serde_json::Error) -> Problem {
    Problem::bad_request(format!("not a valid draft: {error}"))
}
