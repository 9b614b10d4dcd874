//! Errors as clients see them: `application/problem+json` (RFC 9457), a reply's `error`, or a close code.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use events::{DraftError, Rejection, Seq, Unavailable};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode, response};
use http_body_util::Full;
use serde::Serialize;
use transport::{CloseCode, RequestError};

use crate::auth::Refusal;
use crate::http::origin::ForeignOrigin;

/// The kinds of error, the same on every transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Code {
    /// Malformed.
    BadRequest,
    /// No token, or not a good one.
    Unauthenticated,
    /// The grant, or the origin, does not allow it.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// There is, but not for this method.
    MethodNotAllowed,
    /// `expect` did not hold.
    Conflict,
    /// Over a limit of size.
    TooLarge,
    /// `/v1/ws` without an upgrade.
    UpgradeRequired,
    /// Over a limit of rate or number.
    RateLimited,
    /// Not now.
    Unavailable,
}

impl Code {
    /// The word on the wire.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::UpgradeRequired => "upgrade_required",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
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
            Self::TooLarge => "The request is too large",
            Self::UpgradeRequired => "This endpoint speaks WebSocket",
            Self::RateLimited => "Too many requests",
            Self::Unavailable => "Not available now",
        }
    }

    /// How a WebSocket is closed for this.
    const fn close_code(self) -> CloseCode {
        match self {
            Self::Unauthenticated => CloseCode::UNAUTHENTICATED,
            Self::Forbidden => CloseCode::FORBIDDEN,
            Self::RateLimited => CloseCode::RATE_LIMITED,
            Self::Unavailable => CloseCode::UNAVAILABLE,
            _ => CloseCode::BAD_REQUEST,
        }
    }
}

/// One error, before it takes the form of a transport.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// Which kind.
    pub code: Code,
    /// For the person who reads it; never holds a secret.
    pub detail: String,
    /// When trying again may help.
    pub retry_after: Option<Duration>,
    /// The seq of the topic's last event, for a conflict.
    pub seq: Option<Seq>,
}

/// A problem in the shape of a reply's or a result's `error`.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorMember {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
}

impl Problem {
    /// A problem of this kind.
    #[must_use]
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after = match code {
            Code::Unavailable => Some(Duration::from_secs(1)),
            Code::RateLimited => Some(Duration::from_secs(5)),
            _ => None,
        };
        Self { code, detail: detail.into(), retry_after, seq: None }
    }

    /// Something is malformed.
    #[must_use]
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }

    /// Says when to try again.
    #[must_use]
    pub(crate) fn retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

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
        let date = httpdate::fmt_http_date(SystemTime::now());
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
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        (response.into_parts().0, body.into())
    }

    /// The close code of a WebSocket that is refused for this.
    #[must_use]
    pub(crate) fn close_code(&self) -> CloseCode {
        self.code.close_code()
    }

    /// The `error` of a reply or a result.
    #[must_use]
    pub(crate) fn member(&self) -> ErrorMember {
        ErrorMember {
            code: self.code.as_str(),
            message: self.detail.clone(),
            retry_after_ms: self.retry_after.map(|after| after.as_millis() as u64),
            seq: self.seq,
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(Code::Unauthenticated, refusal.to_string())
    }
}

impl From<ForeignOrigin> for Problem {
    fn from(foreign: ForeignOrigin) -> Self {
        Self::new(Code::Forbidden, foreign.to_string())
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<DraftError> for Problem {
    fn from(error: DraftError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        Self::new(Code::Unavailable, error.to_string())
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Conflict { last } => {
                Self { seq: Some(last), ..Self::new(Code::Conflict, rejection.to_string()) }
            }
            Rejection::Unavailable(unavailable) => unavailable.into(),
        }
    }
}
