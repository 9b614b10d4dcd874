//! The reply of a server: a value, or a failure of one of two kinds.

use redis::{ErrorKind, ServerErrorKind, Value};

/// Why a command had no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The connection is unusable. Whether the command was executed is unknown.
    #[error("{0}")]
    Broken(String),
    /// The server refuses. A script may have executed the commands before the refused one.
    #[error("{0}")]
    Refused(String),
}

/// Texts that identify refusals. The last one tells a script that a permission is missing.
const REFUSALS: [&str; 7] =
    ["OOM", "NOPERM", "WRONGTYPE", "MISCONF", "NOREPLICAS", "NOAUTH", "The user executing the script can't"];

impl Failure {
    /// Classifies the message of a server's error.
    pub(super) fn of_message(message: &str) -> Self {
        if REFUSALS.iter().any(|refusal| message.contains(refusal)) {
            Self::Refused(message.to_owned())
        } else {
            Self::Broken(message.to_owned())
        }
    }
}

impl From<redis::RedisError> for Failure {
    fn from(error: redis::RedisError) -> Self {
        let is_refusal = error.code().is_some_and(|code| REFUSALS.contains(&code));
        let is_from_script = matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ResponseError));
        match error.to_string() {
            message if is_refusal => Self::Refused(message),
            message if is_from_script => Self::of_message(&message),
            message => Self::Broken(message),
        }
    }
}

/// The text of a value; `None`: the value has no text.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}
