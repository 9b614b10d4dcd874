//! `POST /v1/publish`: a draft, an array of them, or one a line.

use bytes::Bytes;
use events::{Appended, Draft, Rejection, Unavailable};
use http::{HeaderValue, Response};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::value::RawValue;

use super::call::Call;
use crate::http::answer::{Body, json};
use crate::http::headers::has_content_type;
use crate::metrics::labels::Source;
use crate::problem::{Code, Problem};
use crate::publish::{Author, DraftBody, DraftResult, Publishing, malformed};

/// The most drafts in one request.
const DRAFTS_MAX: usize = 1000;

/// Publishes what the body holds, for the bearer of a key or a token.
pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Result<Response<Body>, Problem> {
    let author = &call.author().await?;
    let body = call.collect(body).await?;
    let publishing = &call.app.publishing;
    let is_ndjson = has_content_type(&call.head.headers, "application/x-ndjson");
    let key = call.head.headers.get("idempotency-key").map(HeaderValue::to_str).transpose();
    let key = key.map_err(|_| Problem::bad_request("Idempotency-Key: not text"))?;
    match PublishBody::parse(body, is_ndjson)? {
        PublishBody::Single(draft) => Ok(json(&single(publishing, author, &draft, key).await?)),
        // A retry would publish again what its sender believes to be protected.
        _ if key.is_some() => {
            Err(Problem::bad_request("Idempotency-Key: is for a single draft; give each of several an id"))
        }
        body => {
            #[derive(Serialize)]
            struct Results {
                results: Vec<DraftResult>,
            }
            Ok(json(&Results { results: many(publishing, author, body).await? }))
        }
    }
}

/// A request's drafts, still unchecked.
#[derive(Debug)]
enum PublishBody {
    /// One draft: its fate is the response's.
    Single(Bytes),
    /// Many: each has its answer in its place.
    Many(Vec<Box<RawValue>>),
    /// Many, a line each.
    Lines(Vec<Bytes>),
}

impl PublishBody {
    /// Tells the shapes apart: by the content type, and by the first byte.
    ///
    /// # Errors
    /// When it is no JSON array though it starts like one, or there are too many drafts.
    fn parse(bytes: Bytes, is_ndjson: bool) -> Result<Self, Problem> {
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

/// Publishes one draft. `once` stands in for its `id`.
async fn single(
    publishing: &Publishing,
    author: &Author,
    json: &[u8],
    once: Option<&str>,
) -> Result<DraftResult, Problem> {
    let mut body = DraftBody::parse(json)?;
    if body.id.is_none() {
        body.id = once.map(str::to_owned);
    }
    let draft = publishing.check(body, author)?;
    publishing.take(&draft, author)?;
    Ok(publishing.append_one(Source::Http, draft).await?.into())
}

/// Publishes many drafts in order and answers each in its place. An error: the store takes none of them.
async fn many(
    publishing: &Publishing,
    author: &Author,
    body: PublishBody,
) -> Result<Vec<DraftResult>, Problem> {
    let check = |json: &[u8]| {
        let draft = publishing.check(DraftBody::parse(json)?, author)?;
        publishing.take(&draft, author)?;
        Ok(draft)
    };
    let checked: Vec<Result<Draft, Problem>> = match body {
        PublishBody::Single(json) => vec![check(&json)],
        PublishBody::Many(drafts) => drafts.iter().map(|draft| check(draft.get().as_bytes())).collect(),
        PublishBody::Lines(lines) => lines.iter().map(|line| check(line)).collect(),
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
