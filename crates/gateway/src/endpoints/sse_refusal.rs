//! The refusal of a request for server-sent events that may succeed a moment later.

use events::{Cursor, Seq};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};
use transport::{After, Bye, ByeReason, Request, SseRefusal};

use super::call::Call;
use crate::config::SseRefusals;
use crate::http::answer::Body;
use crate::http::headers::has_media_type;
use crate::problem::{Code, Problem};

/// The answer of a client that cannot be let in now, if it understands one: 200, `retry` and `bye` in one block, and the
/// end. A standard `EventSource` never comes back after any other status.
pub(super) fn answer(
    call: &Call<'_>,
    problem: &Problem,
    Request { after, pad, .. }: Request,
) -> Option<Response<Body>> {
    if call.app.config.streams.sse_refusals == SseRefusals::Status
        || !has_media_type(&call.head.headers, ACCEPT, "text/event-stream")
    {
        return None;
    }
    let reason = match problem.code {
        Code::Unavailable if call.app.is_draining() => ByeReason::Drain,
        Code::Unavailable => ByeReason::Unavailable,
        Code::RateLimited => ByeReason::RateLimited,
        _ => return None,
    };
    let tail = call.app.log.tail_cursor();
    let (cursor, has_id) = match after {
        After::Cursor(cursor) => (cursor, true),
        After::Latest => (tail, true),
        // The request itself says where to continue.
        After::Earliest => (Cursor { seq: Seq::ZERO, ..tail }, false),
    };
    let reconnect_after = problem.retry_after.unwrap_or_default() + call.app.pacing.soon();
    let bye = Bye { reason, reconnect_after };
    let mut body = Vec::new();
    SseRefusal { cursor, has_id, bye, pad }.write(&mut body);
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Some(response)
}
