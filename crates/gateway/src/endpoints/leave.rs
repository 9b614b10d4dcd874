//! `POST /v1/leave`: a client announces that it leaves, because many proxies do not report it.

use bytes::Bytes;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use transport::Request;

use super::call::Call;
use crate::cluster::ClusterQuestion;
use crate::http::answer::Body;
use crate::problem::Problem;

/// The most bytes of the body, which is ignored: `navigator.sendBeacon` always sends one.
const BODY_BYTES_MAX: usize = 1024;

/// Ends the connections of one of the user's own sessions, as if the client had closed them. The answer
/// is the same if there is no such session.
pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Result<Response<Body>, Problem> {
    call.check_origin(&call.query)?;
    let grant = call.grant(&call.query).await?;
    call.collect_within(body, BODY_BYTES_MAX).await?;
    let named = call.parameter("session").map(|id| Request::parse([("session", id)])).transpose()?;
    let session = named.and_then(|request| request.session);
    let session = session.ok_or_else(|| Problem::bad_request("session: is needed"))?;
    let user = grant.user.to_string();
    call.app.cluster.end(&ClusterQuestion::Leave { user, session }).await;
    let mut response = Response::new(Body::new(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    Ok(response)
}
