//! `GET /v1/state`: the latest event of each key of a topic, and the cursor from which to follow.

use events::{Cursor, Limit, Located, Seq, Start, Topic};
use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderValue, Response, StatusCode};
use transport::{After, Request, StatePage, StatePart};

use super::call::Call;
use super::reading::{may_read, topic_of};
use crate::http::answer::{Body, json_bytes};
use crate::problem::{Code, Problem};
use crate::session::admission::BATCH_BYTES;
use crate::session::resume;

/// `GET /v1/state`: a part of the state of one topic.
pub(crate) async fn answer(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    let app = call.app;
    let topic = topic_of(call)?;
    let grant = may_read(call, &topic).await?;
    app.store.loaded()?;
    let limit = Request::parse(call.parameter("limit").map(|limit| ("limit", limit)))?.limit;
    let page = page_of(call).await?;
    // The tail comes first: what is applied after that is for those who follow.
    let StatePage { cursor, after } = page.unwrap_or_else(|| first(app.log.tail_cursor()));
    let mut part = StatePart { topic, cursor, partial: false, next: None, events: Vec::new() };
    let limit = Limit { events: limit, bytes: BATCH_BYTES };
    let read = app.log.state(&part.topic, after, cursor.seq, limit, &mut part.events);
    let read = read.ok_or_else(|| keeps_none(&part.topic))?;
    (part.partial, part.next) = (read.partial, read.next);
    let lens = grant.and_then(|grant| app.lens(&grant));
    // What a lens hides can change while the events stay the same.
    let is_tagged = page.is_none() && lens.is_none();
    if is_tagged
        && let Some(known) = known_cursor(call)
        && app.log.locate(known) == Located::Here(known)
        && !read.partial
        && read.changed.is_some_and(|changed| changed <= known.seq)
    {
        return Ok(tagged(not_modified(), known));
    }
    if let Some(lens) = lens {
        part.events.iter_mut().for_each(|event| *event = lens.see(event));
    }
    let mut body = Vec::new();
    part.write_json(&mut body);
    let response = json_bytes(body);
    Ok(if is_tagged { tagged(response, cursor) } else { response })
}

/// The page that is asked for; `None`: the first. A page of a history that is none any more is the first of a new state:
/// its cursor tells the client.
async fn page_of(call: &Call<'_>) -> Result<Option<StatePage>, Problem> {
    let Some(text) = call.parameter("next").filter(|next| !next.is_empty()) else { return Ok(None) };
    let page: StatePage =
        text.parse().map_err(|_| Problem::bad_request("next: as the part before gave it"))?;
    // Another gateway may have given it, and be ahead of this one.
    let start = resume::start_at(call.app, After::Cursor(page.cursor)).await?;
    Ok(matches!(start, Start::After(_)).then_some(page))
}

fn first(cursor: Cursor) -> StatePage {
    StatePage { cursor, after: Seq::ZERO }
}

fn keeps_none(topic: &Topic) -> Problem {
    let detail = format!("{topic} keeps no state: the gateway's option --state does not name it");
    Problem::new(Code::NotFound, detail)
}

/// The cursor of the state that the client has (RFC 9110, section 13.1.2).
fn known_cursor(call: &Call<'_>) -> Option<Cursor> {
    let tag = call.head.headers.get(IF_NONE_MATCH)?.to_str().ok()?.trim();
    tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"').parse().ok()
}

fn not_modified() -> Response<Body> {
    let mut response = json_bytes(Vec::new());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

/// Weak: the cursor moves while the state stays the same.
fn tagged(mut response: Response<Body>, cursor: Cursor) -> Response<Body> {
    if let Ok(tag) = HeaderValue::try_from(format!("W/\"{cursor}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
