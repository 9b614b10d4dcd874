//! `GET /metrics`, in Prometheus' text format.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};

use super::call::Call;
use crate::http::answer::Body;
use crate::metrics;

/// `GET /metrics`, in Prometheus' text format.
pub(crate) fn answer(call: &Call<'_>) -> Response<Body> {
    let mut response = Response::new(Body::from(call.app.render_metrics()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    response
}
