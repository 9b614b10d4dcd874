//! Why a token is refused.

use std::time::Duration;

/// Bytes of the longest token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none.
    #[error("a token is needed")]
    Missing,
    /// It has more than [`TOKEN_BYTES_MAX`] bytes.
    #[error("the token has more than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// It is not a JWT, or asks for an extension (`crit`) that is not known.
    #[error("the token is malformed")]
    Malformed,
    /// No key made this signature.
    #[error("the token's signature is wrong")]
    Signature,
    /// Its `exp` is over.
    #[error("the token has expired")]
    Expired,
    /// Its `nbf` is still to come.
    #[error("the token is not valid yet")]
    NotYet,
    /// Its `iss` is missing or another.
    #[error("the token has the wrong issuer")]
    Issuer,
    /// Its `aud` is missing or another.
    #[error("the token is for another audience")]
    Audience,
    /// Its algorithm is not accepted, or not by the key it names.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// It names a key that is not known.
    #[error("the token's key is not known")]
    KeyUnknown,
    /// Its key may be in the key set, which could not be read since the token came. No refusal for good.
    #[error("the key set that may verify the token cannot be read now")]
    KeysUnread {
        /// When the set may be asked for again.
        retry_after: Duration,
    },
    /// A claim has the wrong type, or is too large.
    #[error("a claim of the token is not valid")]
    Claims,
    /// Its `sub` is missing or gives no topic `user:SUB`.
    #[error("the token's subject is not valid")]
    Subject,
}

impl Refusal {
    /// Every reason, for the metrics.
    pub const ALL: [Self; 13] = [
        Self::Missing,
        Self::TooLong,
        Self::Malformed,
        Self::Signature,
        Self::Expired,
        Self::NotYet,
        Self::Issuer,
        Self::Audience,
        Self::Algorithm,
        Self::KeyUnknown,
        Self::KeysUnread { retry_after: Duration::ZERO },
        Self::Claims,
        Self::Subject,
    ];

    /// Whether the same token is refused again later. Otherwise the gateway cannot tell now.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::KeysUnread { .. })
    }

    /// The reason in one word, for metrics and the audit log.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYet => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Algorithm => "algorithm",
            Self::KeyUnknown => "unknown_key",
            Self::KeysUnread { .. } => "keys_unread",
            Self::Claims => "claims",
            Self::Subject => "subject",
        }
    }
}
