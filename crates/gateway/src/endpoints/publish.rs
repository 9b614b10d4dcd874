//! `POST /v1/publish`: a draft, an array of them, or one a line.

use http::{HeaderValue, Response};
use hyper::body::Incoming;
use serde::Serialize;

use super::call::Call;
use crate::http::answer::{Body, json};
use crate::http::headers::has_content_type;
use crate::problem::Problem;
use crate::publish::{self, Body as PublishBody};

/// `POST /v1/publish`.
pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Result<Response<Body>, Problem> {
    let publisher = &call.publisher().await?;
    let body = call.collect(body).await?;
    let is_ndjson = has_content_type(&call.head.headers, "application/x-ndjson");
    let key = call.head.headers.get("idempotency-key").map(HeaderValue::to_str).transpose();
    let key = key.map_err(|_| Problem::bad_request("Idempotency-Key: not text"))?;
    match PublishBody::parse(body, is_ndjson)? {
        PublishBody::Single(draft) => Ok(json(&publish::single(call.app, publisher, &draft, key).await?)),
        // A retry would publish again what its sender believes to be protected.
        _ if key.is_some() => {
            Err(Problem::bad_request("Idempotency-Key: is for a single draft; give each of several an id"))
        }
        body => {
            #[derive(Serialize)]
            struct Results {
                results: Vec<publish::Answer>,
            }
            Ok(json(&Results { results: publish::many(call.app, publisher, body).await? }))
        }
    }
}
