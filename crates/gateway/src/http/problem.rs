//! A problem as an HTTP response: `application/problem+json` (RFC 9457).

use std::time::Duration;

use bytes::Bytes;
use events::{Clock, Seq};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode, response};
use http_body_util::Full;
use serde::Serialize;

use crate::problem::{Code, Problem};

impl Code {
    const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request is malformed",
            Self::Unauthenticated => "A valid token is needed",
            Self::Forbidden => "This is not allowed",
            Self::NotFound => "There is nothing here",
            Self::MethodNotAllowed => "Not with this method",
            Self::Conflict => "The expectation does not hold",
            Self::RequestTimeout => "The request came too slowly",
            Self::TooLarge => "The request is too large",
            Self::UpgradeRequired => "This endpoint speaks WebSocket",
            Self::RateLimited => "Too many requests",
            Self::Unavailable => "Not available now",
        }
    }
}

impl Problem {
    /// The HTTP response.
    #[must_use]
    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        let (head, body) = self.parts();
        Response::from_parts(head, Full::new(body))
    }

    /// The HTTP response as it is written to a connection that hyper does not answer, the last there.
    #[must_use]
    pub(crate) fn last_response(&self) -> Vec<u8> {
        let (head, body) = self.parts();
        #[expect(clippy::disallowed_methods, reason = "a Date header, which nothing here decides by")]
        let date = httpdate::fmt_http_date(Clock::system().system_time());
        let mut bytes = format!("HTTP/1.1 {}\r\ndate: {date}\r\n", head.status).into_bytes();
        for (name, value) in &head.headers {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
        bytes.extend(&body);
        bytes
    }

    fn parts(&self) -> (response::Parts, Bytes) {
        #[derive(Serialize)]
        struct Body<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            code: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            seq: Option<Seq>,
        }
        let status = self.code.status();
        let body = Body {
            r#type: format!("urn:throughline:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: status.as_u16(),
            detail: &self.detail,
            code: self.code.as_str(),
            seq: self.seq,
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        if self.code == Code::Unauthenticated {
            let challenge = if self.is_bad_token {
                r#"Bearer realm="throughline", error="invalid_token""#
            } else {
                r#"Bearer realm="throughline""#
            };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        (response.into_parts().0, body.into())
    }
}

/// The seconds of `Retry-After`: rounded up, so that a client that keeps to it does not come too early.
fn whole_seconds(after: Duration) -> u64 {
    u64::try_from(after.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1)
}
