//! What an endpoint answers with.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::Full;
use serde::Serialize;

/// The body of every ordinary response.
pub(crate) type Body = Full<Bytes>;

/// A JSON answer that no cache keeps.
pub(crate) fn json(value: &impl Serialize) -> Response<Body> {
    json_bytes(serde_json::to_vec(value).unwrap_or_default())
}

/// The same for JSON that is text already.
pub(crate) fn json_bytes(bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
