//! What a server replies: a value, or a failure of one of two kinds.

use redis::{ErrorKind, ServerErrorKind, Value};

/// Why a command had no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The connection is unusable; whether the command was executed is unknown.
    #[error("{0}")]
    Broken(String),
    /// The server refuses. A script may have executed what comes before the refused part.
    #[error("{0}")]
    Refused(String),
}

impl From<redis::RedisError> for Failure {
    fn from(error: redis::RedisError) -> Self {
        // The last one is how a script is told that it lacks a permission.
        const REFUSALS: [&str; 7] = [
            "OOM",
            "NOPERM",
            "WRONGTYPE",
            "MISCONF",
            "NOREPLICAS",
            "NOAUTH",
            "The user executing the script can't",
        ];
        let refused = error.code().is_some_and(|code| REFUSALS.contains(&code))
            || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ResponseError))
                && REFUSALS.iter().any(|code| error.to_string().contains(code));
        if refused { Self::Refused(error.to_string()) } else { Self::Broken(error.to_string()) }
    }
}

/// The text of a value; `None`: it has none.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}
