//! `POST /v1/publish`: a draft, an array of them, or one a line; or CloudEvents.

use bytes::Bytes;
use events::{Appended, Draft, Rejection, Unavailable};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::value::RawValue;

use super::binary_event;
use super::call::Call;
use crate::http::answer::{Body, json};
use crate::http::headers::has_content_type;
use crate::metrics::labels::Source;
use crate::problem::{Code, Problem};
use crate::publish::{Author, CloudEvent, DraftBody, DraftResult, Publishing, malformed};

/// The most drafts in one request.
const DRAFTS_MAX: usize = 1000;

/// Publishes what the body holds, for the bearer of a key or a token.
pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Result<Response<Body>, Problem> {
    let author = &call.author().await?;
    let body = call.collect(body).await?;
    let publishing = &call.app.publishing;
    let key = call.head.headers.get("idempotency-key").map(HeaderValue::to_str).transpose();
    let key = key.map_err(|_| Problem::bad_request("Idempotency-Key: not text"))?;
    let PublishBody { form, drafts } = PublishBody::parse(&call.head.headers, body)?;
    match drafts {
        Drafts::Single(draft) => {
            let mut body = form.read(&draft)?;
            if body.id.is_none() {
                body.id = key.map(str::to_owned);
            }
            let draft = publishing.check(body, author)?;
            publishing.take(&draft, author)?;
            Ok(json(&DraftResult::from(publishing.append_one(Source::Http, draft).await?)))
        }
        // A retry would publish again what its sender believes to be protected.
        _ if key.is_some() => {
            Err(Problem::bad_request("Idempotency-Key: is for a single draft; give each of several an id"))
        }
        drafts => {
            #[derive(Serialize)]
            struct Results {
                results: Vec<DraftResult>,
            }
            Ok(json(&Results { results: many(publishing, author, form, drafts).await? }))
        }
    }
}

/// How each draft of a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As a draft of the protocol.
    Draft,
    /// As a CloudEvent in the JSON format.
    CloudEvent,
}

impl Form {
    /// Reads one draft.
    fn read(self, json: &[u8]) -> Result<DraftBody<'_>, Problem> {
        match self {
            Self::Draft => DraftBody::parse(json),
            Self::CloudEvent => CloudEvent::parse(json)?.into_draft(None),
        }
    }
}

/// A request's drafts, still unchecked.
#[derive(Debug)]
struct PublishBody {
    form: Form,
    drafts: Drafts,
}

/// One draft or many.
#[derive(Debug)]
enum Drafts {
    /// One draft: its fate is the response's.
    Single(Bytes),
    /// Many: each has its answer in its place.
    Many(Vec<Box<RawValue>>),
    /// Many, a line each.
    Lines(Vec<Bytes>),
}

impl PublishBody {
    /// Tells the shapes apart: by the content type, by the headers of a CloudEvent in binary mode,
    /// and by the first byte.
    ///
    /// # Errors
    /// When it is no JSON array though it should be one, there are too many drafts, or CloudEvents
    /// are in a format that is not understood.
    fn parse(headers: &HeaderMap, bytes: Bytes) -> Result<Self, Problem> {
        let is = |kind| has_content_type(headers, kind);
        let (form, drafts) = if is("application/cloudevents+json") {
            (Form::CloudEvent, Drafts::Single(bytes))
        } else if is("application/cloudevents-batch+json") {
            let events = serde_json::from_slice(&bytes).map_err(|error| {
                Problem::bad_request(format!("not a valid batch of CloudEvents: {error}"))
            })?;
            (Form::CloudEvent, Drafts::Many(events))
        } else if is_other_event_format(headers) {
            return Err(Problem::bad_request(
                "Content-Type: of CloudEvents only application/cloudevents+json, \
                 application/cloudevents-batch+json and the binary mode are understood",
            ));
        } else if binary_event::is_binary(headers) {
            (Form::CloudEvent, Drafts::Single(binary_event::structured(headers, &bytes)?))
        } else if is("application/x-ndjson") {
            (Form::Draft, Drafts::lines(&bytes))
        } else if bytes.trim_ascii_start().starts_with(b"[") {
            let drafts = serde_json::from_slice(&bytes).map_err(|error| malformed(&error))?;
            (Form::Draft, Drafts::Many(drafts))
        } else {
            (Form::Draft, Drafts::Single(bytes))
        };
        if drafts.count() > DRAFTS_MAX {
            let detail = format!("more than {DRAFTS_MAX} drafts in one request");
            return Err(Problem::new(Code::TooLarge, detail));
        }
        Ok(Self { form, drafts })
    }
}

/// Whether the body is of CloudEvents in a format other than JSON, which must not be taken for the
/// data of an event in binary mode.
fn is_other_event_format(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    const EVENTS: &[u8] = b"application/cloudevents";
    kind.get(..EVENTS.len()).is_some_and(|start| start.eq_ignore_ascii_case(EVENTS))
}

impl Drafts {
    /// The lines that are not empty, one more than are allowed at most.
    fn lines(bytes: &Bytes) -> Self {
        let ends = memchr::memchr_iter(b'\n', bytes).chain([bytes.len()]);
        // Each begins with the end of the one before.
        let lines = ends.scan(0, |start, end| Some(bytes[std::mem::replace(start, end)..end].trim_ascii()));
        let lines = lines.filter(|line| !line.is_empty()).take(DRAFTS_MAX + 1);
        Self::Lines(lines.map(|line| bytes.slice_ref(line)).collect())
    }

    fn count(&self) -> usize {
        match self {
            Self::Single(_) => 1,
            Self::Many(drafts) => drafts.len(),
            Self::Lines(lines) => lines.len(),
        }
    }
}

/// Publishes many drafts in order and answers each in its place. An error: the store takes none of them.
async fn many(
    publishing: &Publishing,
    author: &Author,
    form: Form,
    drafts: Drafts,
) -> Result<Vec<DraftResult>, Problem> {
    let check = |json: &[u8]| {
        let draft = publishing.check(form.read(json)?, author)?;
        publishing.take(&draft, author)?;
        Ok(draft)
    };
    let checked: Vec<Result<Draft, Problem>> = match drafts {
        Drafts::Single(json) => vec![check(&json)],
        Drafts::Many(drafts) => drafts.iter().map(|draft| check(draft.get().as_bytes())).collect(),
        Drafts::Lines(lines) => lines.iter().map(|line| check(line)).collect(),
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
    let appended = publishing.append(Source::Http, drafts).await;
    let unavailable = |answer: &Result<Appended, Rejection>| matches!(answer, Err(Rejection::Unavailable(_)));
    if is_any_good && appended.iter().all(unavailable) {
        return Err(Unavailable("none of the drafts was taken").into());
    }
    let mut appended = appended.into_iter();
    let answers = refused.into_iter().map(|problem| match problem {
        Some(problem) => DraftResult::Refused { error: problem.member() },
        None => match appended.next().unwrap_or(Err(Unavailable("no answer").into())) {
            Ok(appended) => appended.into(),
            Err(rejection) => DraftResult::Refused { error: Problem::from(rejection).member() },
        },
    });
    Ok(answers.collect())
}
