//! Errors as clients see them, whatever the transport: a reply's `error`, a close code, or (by `http::problem`) a response.

use std::time::Duration;

use events::{DraftError, Rejection, Seq, Unavailable};
use serde::Serialize;
use transport::{CloseCode, RequestError};

use crate::auth::Refusal;

/// The kinds of error, the same on every transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Code {
    /// The request is malformed.
    BadRequest,
    /// The token is missing or invalid.
    Unauthenticated,
    /// The grant, or the origin, does not allow it.
    Forbidden,
    /// It does not exist.
    NotFound,
    /// It exists, but not for this method.
    MethodNotAllowed,
    /// `expect` did not hold.
    Conflict,
    /// The body did not come within its time.
    RequestTimeout,
    /// Over a limit of size.
    TooLarge,
    /// `/v1/ws` without an upgrade.
    UpgradeRequired,
    /// Over a limit of rate or number.
    RateLimited,
    /// It is not possible now.
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
            Self::RequestTimeout => "request_timeout",
            Self::TooLarge => "too_large",
            Self::UpgradeRequired => "upgrade_required",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
        }
    }

    /// The close code of a WebSocket for this kind.
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

/// One error, independent of the transport.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// The kind.
    pub code: Code,
    /// The explanation for people; never holds a secret.
    pub detail: String,
    /// The wait after which another attempt may help.
    pub retry_after: Option<Duration>,
    /// Whether a token was given, and is invalid (RFC 6750, section 3.1).
    pub is_bad_token: bool,
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
        Self { code, detail: detail.into(), retry_after, is_bad_token: false, seq: None }
    }

    /// The token or the key is invalid.
    #[must_use]
    pub(crate) fn bad_token(detail: impl Into<String>) -> Self {
        Self { is_bad_token: true, ..Self::new(Code::Unauthenticated, detail) }
    }

    /// The request is malformed.
    #[must_use]
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }

    /// Sets the wait before another attempt.
    #[must_use]
    pub(crate) fn retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
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
        match refusal {
            Refusal::Missing => Self::new(Code::Unauthenticated, refusal.to_string()),
            Refusal::KeysUnread { retry_after } => {
                Self::new(Code::Unavailable, refusal.to_string()).retry_after(retry_after)
            }
            refusal => Self::bad_token(refusal.to_string()),
        }
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
