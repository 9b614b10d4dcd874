//! Publishing: drafts in JSON, one, many or a line each, into the store.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use events::{Appended, Cursor, Data, Draft, Key, Kind, Rejection, Seq, Topic, Topics};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::app::App;
use crate::audit::{self, Deed};
use crate::auth::Grant;
use crate::limits::rates::Use;
use crate::metrics::labels::{AppendOutcome, Source};
use crate::problem::{Code, ErrorMember, Problem};

/// The most drafts in one request.
pub(crate) const DRAFTS_MAX: usize = 1000;

/// The longest time to live: ten years.
const TTL_MS_MAX: u64 = 10 * 365 * 24 * 3600 * 1000;

/// Who publishes.
#[derive(Clone, Debug)]
pub(crate) enum Publisher {
    /// A backend with a publish key: every topic.
    Key,
    /// The bearer of a token at this address: what it lists.
    Grant(Arc<Grant>, IpAddr),
}

impl Publisher {
    fn may_publish(&self, topic: &Topic) -> bool {
        match self {
            Self::Key => true,
            Self::Grant(grant, _) => grant.may_publish(topic),
        }
    }

    /// Takes a request's draft from the user's rate. Backends have none: they hold a key, or may publish everywhere.
    fn take(&self, app: &App, draft: &Draft) -> Result<(), Problem> {
        match self {
            Self::Grant(grant, address) if !grant.may_administer() => {
                let what = if draft.ephemeral { Use::Ephemeral } else { Use::Publish };
                app.take(what, &grant.user, *address)
            }
            _ => Ok(()),
        }
    }

    /// Whether the backend endpoints beside publishing are open to it.
    #[must_use]
    pub(crate) fn may_administer(&self) -> bool {
        match self {
            Self::Key => true,
            Self::Grant(grant, _) => grant.may_administer(),
        }
    }

    /// The token of an id: backends share one namespace, each user has an own one.
    fn once(&self, id: &str) -> Box<str> {
        match self {
            Self::Key => format!("k\n{id}").into(),
            Self::Grant(grant, _) => format!("u\n{}\n{id}", grant.user).into(),
        }
    }
}

/// A draft as it is written, where it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DraftBody<'a> {
    topic: Option<Topic>,
    topics: Option<Vec<Topic>>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    key: Option<String>,
    ttl_ms: Option<u64>,
    #[serde(default)]
    ephemeral: bool,
    expect: Option<u64>,
    id: Option<String>,
}

/// A draft inside a command, whose other members are the command's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandDraft<'a> {
    #[serde(rename = "id")]
    _id: Option<IgnoredAny>,
    #[serde(rename = "op")]
    _op: IgnoredAny,
    topic: Topic,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    key: Option<String>,
    ttl_ms: Option<u64>,
    #[serde(default)]
    ephemeral: bool,
    expect: Option<u64>,
    event_id: Option<String>,
}

impl<'a> DraftBody<'a> {
    /// A draft of a request.
    ///
    /// # Errors
    /// When a member is missing, wrong or unknown.
    fn of_request(json: &'a [u8]) -> Result<Self, Problem> {
        // A parser of text need not check each string by itself; one of bytes says where the text is none.
        let parsed = str::from_utf8(json).map_or_else(|_| serde_json::from_slice(json), serde_json::from_str);
        parsed.map_err(|error| malformed(&error))
    }

    /// The draft of a `publish` command, where `id` is the command's and `event_id` the event's.
    ///
    /// # Errors
    /// When a member is missing, wrong or unknown.
    pub(crate) fn of_command(text: &'a str) -> Result<Self, Problem> {
        let command: CommandDraft<'_> = serde_json::from_str(text).map_err(|error| malformed(&error))?;
        Ok(Self {
            topic: Some(command.topic),
            topics: None,
            r#type: command.r#type,
            data: command.data,
            key: command.key,
            ttl_ms: command.ttl_ms,
            ephemeral: command.ephemeral,
            expect: command.expect,
            id: command.event_id,
        })
    }

    /// Checks everything that is written against what may be, and who writes it.
    ///
    /// # Errors
    /// Names the first member that is wrong.
    pub(crate) fn check(self, publisher: &Publisher, data_bytes_max: usize) -> Result<Draft, Problem> {
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
            if let Publisher::Grant(grant, address) = publisher {
                audit::record(Deed::TopicRefused, &grant.user, *address, &detail);
            }
            return Err(Problem::new(Code::Forbidden, detail));
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
        let id = self.id.as_deref().map(str::parse::<events::EventId>).transpose()?;
        let data = Data::from_raw(self.data)?;
        if data.as_bytes().len() > data_bytes_max {
            return Err(Problem::new(Code::TooLarge, format!("data: more than {data_bytes_max} bytes")));
        }
        Ok(Draft {
            topics,
            kind,
            data,
            key: match (self.key.as_deref().map(str::parse::<Key>).transpose()?, publisher) {
                // Of what passes by, everybody's own is the latest, whatever others call theirs.
                (Some(key), Publisher::Grant(grant, _)) if self.ephemeral => Some(key.owned_by(&grant.user)),
                (key, _) => key,
            },
            once: id.as_ref().map(|id| publisher.once(id.as_str())),
            id,
            ttl_ms: self.ttl_ms,
            ephemeral: self.ephemeral,
            expect: expect.transpose()?,
        })
    }
}

/// What a publisher is told about one draft.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    /// It is in the store.
    Appended {
        /// The cursor of a client that has seen it.
        cursor: Cursor,
        /// Its seq, unless ephemeral.
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<Seq>,
        /// Whether it was there already; the reply to a command leaves it out where it was not (C13).
        #[serde(skip_serializing_if = "Option::is_none")]
        duplicate: Option<bool>,
    },
    /// It is not.
    Refused {
        /// Why.
        error: ErrorMember,
    },
}

impl From<Appended> for Answer {
    fn from(appended: Appended) -> Self {
        Self::Appended { cursor: appended.cursor, seq: appended.seq, duplicate: Some(appended.duplicate) }
    }
}

impl Answer {
    /// What the reply to a `publish` command says.
    pub(crate) fn of_command(Appended { cursor, seq, duplicate }: Appended) -> Self {
        Self::Appended { cursor, seq, duplicate: duplicate.then_some(true) }
    }
}

/// A request's drafts, still unchecked.
#[derive(Debug)]
pub(crate) enum Body {
    /// One draft: its fate is the response's.
    Single(Bytes),
    /// Many: each has its answer in its place.
    Many(Vec<Box<RawValue>>),
    /// Many, a line each.
    Lines(Vec<Bytes>),
}

impl Body {
    /// Tells the shapes apart: by the content type, and by the first byte.
    ///
    /// # Errors
    /// When it is no JSON array though it starts like one, or there are too many drafts.
    pub(crate) fn parse(bytes: Bytes, is_ndjson: bool) -> Result<Self, Problem> {
        let body = if is_ndjson {
            let ends = memchr::memchr_iter(b'\n', &bytes).chain([bytes.len()]);
            // Each begins with the end of the one before.
            let lines =
                ends.scan(0, |start, end| Some(bytes[std::mem::replace(start, end)..end].trim_ascii()));
            let lines = lines.filter(|line| !line.is_empty()).take(DRAFTS_MAX + 1);
            Self::Lines(lines.map(|line| bytes.slice_ref(line)).collect())
        } else if bytes.trim_ascii_start().starts_with(b"[") {
            Self::Many(serde_json::from_slice(&bytes).map_err(|error| malformed(&error))?)
        } else {
            Self::Single(bytes)
        };
        let drafts = match &body {
            Self::Single(_) => 1,
            Self::Many(drafts) => drafts.len(),
            Self::Lines(lines) => lines.len(),
        };
        if drafts > DRAFTS_MAX {
            return Err(Problem::new(
                Code::TooLarge,
                format!("more than {DRAFTS_MAX} drafts in one request"),
            ));
        }
        Ok(body)
    }
}

/// Publishes one draft.
///
/// # Errors
/// When it is malformed, not allowed, or the store does not take it.
pub(crate) async fn single(
    app: &App,
    publisher: &Publisher,
    json: &[u8],
    once: Option<&str>,
) -> Result<Answer, Problem> {
    let mut body = DraftBody::of_request(json)?;
    if body.id.is_none() {
        body.id = once.map(str::to_owned);
    }
    let draft = body.check(publisher, app.config.limits.data_bytes_max)?;
    publisher.take(app, &draft)?;
    let answers = append(app, Source::Http, vec![draft]).await;
    let answer = answers.into_iter().next().unwrap_or(Err(events::Unavailable("no answer").into()));
    Ok(answer?.into())
}

/// Publishes many drafts in order and answers each in its place.
///
/// # Errors
/// When the store takes none of them.
pub(crate) async fn many(app: &App, publisher: &Publisher, body: Body) -> Result<Vec<Answer>, Problem> {
    let data_bytes_max = app.config.limits.data_bytes_max;
    let check = |json: &[u8]| {
        let draft = DraftBody::of_request(json)?.check(publisher, data_bytes_max)?;
        publisher.take(app, &draft)?;
        Ok(draft)
    };
    let checked: Vec<Result<Draft, Problem>> = match body {
        Body::Single(json) => vec![check(&json)],
        Body::Many(drafts) => drafts.iter().map(|draft| check(draft.get().as_bytes())).collect(),
        Body::Lines(lines) => lines.iter().map(|line| check(line)).collect(),
    };
    let mut drafts = Vec::with_capacity(checked.len());
    let refused: Vec<Option<Problem>> = checked
        .into_iter()
        .map(|draft| match draft {
            Ok(draft) => {
                drafts.push(draft);
                None
            }
            Err(problem) => Some(problem),
        })
        .collect();
    let is_any_good = !drafts.is_empty();
    let appended = append(app, Source::Http, drafts).await;
    let unavailable = |answer: &Result<Appended, Rejection>| matches!(answer, Err(Rejection::Unavailable(_)));
    if is_any_good && appended.iter().all(unavailable) {
        return Err(events::Unavailable("none of the drafts was taken").into());
    }
    let mut appended = appended.into_iter();
    let answers = refused.into_iter().map(|problem| match problem {
        Some(problem) => Answer::Refused { error: problem.member() },
        None => match appended.next().unwrap_or(Err(events::Unavailable("no answer").into())) {
            Ok(appended) => appended.into(),
            Err(rejection) => Answer::Refused { error: Problem::from(rejection).member() },
        },
    });
    Ok(answers.collect())
}

/// Appends to the store, and counts.
pub(crate) async fn append(
    app: &App,
    source: Source,
    drafts: Vec<Draft>,
) -> Vec<Result<Appended, Rejection>> {
    let started = app.log.clock().now();
    let answers = app.store.append(drafts).await;
    app.metrics.append_took(started.elapsed().as_secs_f64());
    for answer in &answers {
        let outcome = match answer {
            Ok(Appended { duplicate: true, .. }) => AppendOutcome::Duplicate,
            Ok(_) => AppendOutcome::Ok,
            Err(Rejection::Conflict { .. }) => AppendOutcome::Conflict,
            Err(Rejection::Unavailable(_)) => AppendOutcome::Unavailable,
        };
        app.metrics.appended(outcome, 1);
        match outcome {
            AppendOutcome::Ok => app.metrics.published(source, 1),
            AppendOutcome::Duplicate => app.metrics.publish_duplicate(),
            AppendOutcome::Conflict | AppendOutcome::Unavailable => {}
        }
    }
    answers
}

/// What a JSON parser says, for the publisher.
#[must_use]
pub(crate) fn malformed(error: &serde_json::Error) -> Problem {
    Problem::bad_request(format!("not a valid draft: {error}"))
}
