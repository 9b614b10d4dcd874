//! `GET /v1/sse` and `/v1/poll`: the connection leaves HTTP here.

use std::sync::Arc;

use events::Topic;
use http::{HeaderValue, Version};
use hyper::body::Incoming;
use transport::{Answer, Framing, Request, RequestError, Transport};

use super::call::{Call, Reply};
use super::sse_refusal;
use crate::http::{Query, headers};
use crate::metrics::labels::RefuseReason;
use crate::problem::Problem;
use crate::session::admission::{self, Admitted, Plan, RefusedClient, StreamRequest};

/// The most bytes of a posted poll beside its topics: as many as a head may have.
const FORM_BYTES_MAX: usize = 16 << 10;
/// The most bytes of one topic in it, with its comma.
const TOPIC_BYTES_MAX: usize = Topic::BYTES_MAX + 1;

/// A stream or a poll: the connection leaves hyper here.
pub(crate) async fn answer(
    call: &Call<'_>,
    transport: Transport,
    query: &Query<'_>,
) -> Result<Reply, Problem> {
    match admit(call, transport, query).await {
        Ok(admitted) => Ok(Answer::Detach(Plan::Session(Box::new(admitted)))),
        Err(refused) => Err(refused.held_back(call.app).await),
    }
}

async fn admit(call: &Call<'_>, transport: Transport, query: &Query<'_>) -> Result<Admitted, RefusedClient> {
    let asked = asked(call, transport, query).map_err(|problem| call.refused(problem))?;
    call.check_origin(query).map_err(|problem| call.refused(problem))?;
    admit_with_token(call, asked, query).await
}

/// Admits a client that has sent its credentials.
pub(super) async fn admit_with_token(
    call: &Call<'_>,
    asked: StreamRequest,
    query: &Query<'_>,
) -> Result<Admitted, RefusedClient> {
    let grant = call.grant(query).await.map_err(|problem| {
        call.app.metrics.connection_refused(admission::refusal_label(call.app, &problem));
        call.refused(problem)
    })?;
    let user = Arc::clone(&grant.user);
    let admitted = admission::admit(call.app, asked, grant).await;
    admitted.map_err(|problem| RefusedClient { user: Some(user), ..call.refused(problem) })
}

/// A stream of server-sent events, or the `bye` of one that cannot begin now.
pub(crate) async fn answer_sse(call: &Call<'_>) -> Result<Reply, Problem> {
    let reply = answer(call, Transport::Sse, &call.query).await;
    let Err(problem) = reply else { return reply };
    let Ok(asked) = asked(call, Transport::Sse, &call.query) else { return Err(problem) };
    sse_refusal::answer(call, &problem, asked.request).map(Answer::Response).ok_or(problem)
}

/// A poll whose parameters may be in the body, for clients that keep them out of URLs.
pub(crate) async fn answer_posted_poll(call: &Call<'_>, body: Incoming) -> Result<Reply, Problem> {
    let is_form = headers::has_content_type(&call.head.headers, "application/x-www-form-urlencoded");
    // The client is not authenticated yet, so the body may have no more bytes than a session's parameters.
    let topics_max = call.app.limits().topics_per_session_max;
    let body = call.collect_within(body, FORM_BYTES_MAX + topics_max * TOPIC_BYTES_MAX).await;
    let body = match body {
        Ok(body) if is_form || body.is_empty() => body,
        Ok(_) => {
            let problem = Problem::bad_request("the body of a poll is application/x-www-form-urlencoded");
            return Err(call.refused(problem).held_back(call.app).await);
        }
        Err(problem) => return Err(call.refused(problem).held_back(call.app).await),
    };
    let mut query: Query<'_> = call.query.clone();
    query.extend(form_urlencoded::parse(&body));
    answer(call, Transport::Poll, &query).await
}

/// The wishes in a request for a stream.
pub(crate) fn asked(
    call: &Call<'_>,
    transport: Transport,
    query: &Query<'_>,
) -> Result<StreamRequest, Problem> {
    let parameters = query.iter().map(|(name, value)| (&**name, &**value));
    let parsed = Request::parse(parameters).and_then(|mut request| {
        if transport == Transport::Sse
            && let Some(id) = last_event_id(call, query)?
        {
            request.resume_from(id)?;
        }
        Ok(request)
    });
    let request = parsed.inspect_err(|_| call.app.metrics.connection_refused(RefuseReason::BadRequest))?;
    Ok(StreamRequest {
        transport,
        speaks_socketio: false,
        request,
        address: call.address(),
        headers: call.cors_lines(),
        is_browser: call.head.headers.contains_key("sec-fetch-mode"),
        is_http11: call.head.version == Version::HTTP_11,
        keep_alive: keeps_alive(call),
    })
}

/// Whether the connection can be used again behind the answer.
pub(crate) fn keeps_alive(call: &Call<'_>) -> bool {
    headers::is_keep_alive(&call.head.headers, call.head.version) && call.framing == Framing::Plain
}

/// The id of the last message that an EventSource got: from the header, or from the query of a library that cannot set
/// headers.
///
/// # Errors
/// When the header is no text.
fn last_event_id<'a>(call: &'a Call<'_>, query: &'a Query<'_>) -> Result<Option<&'a str>, RequestError> {
    let header = call.head.headers.get("last-event-id").map(HeaderValue::to_str).transpose();
    let header = header.map_err(|_| RequestError::After)?;
    let is_name = |name: &str| name == "lastEventId" || name == "Last-Event-ID";
    let in_query = || query.iter().rev().find(|(name, id)| is_name(name) && !id.is_empty());
    Ok(header.filter(|id| !id.is_empty()).or_else(|| in_query().map(|(_, id)| &**id)))
}
