//! Why a connection to Redis can no longer be used.

use redis::ErrorKind;

/// Why a source in Redis is not received.
pub(super) struct Interruption {
    /// The public reason.
    pub(super) reason: &'static str,
    /// Detail for the log. It may quote the server.
    pub(super) detail: String,
    /// Whether an operator has to act first.
    pub(super) is_refusal: bool,
}

impl Interruption {
    pub(super) fn broken(detail: impl Into<String>) -> Self {
        Self { reason: "Redis cannot be reached", detail: detail.into(), is_refusal: false }
    }
}

impl From<redis::RedisError> for Interruption {
    fn from(error: redis::RedisError) -> Self {
        let detail = error.to_string();
        let reason = match (error.code(), error.kind()) {
            (Some("NOPERM"), _) => "Redis does not let its user subscribe (NOPERM)",
            (Some("NOAUTH" | "WRONGPASS"), _) | (_, ErrorKind::AuthenticationFailed) => {
                "Redis refuses the password"
            }
            _ => return Self::broken(detail),
        };
        Self { reason, detail, is_refusal: true }
    }
}
