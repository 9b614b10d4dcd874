//! Reading header fields that are lists of words or media types.

use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Version};

/// Whether a comma-separated header has this word.
#[must_use]
pub(crate) fn has_token(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|list| list.split(',')).any(|token| token.trim().eq_ignore_ascii_case(wanted))
}

/// Whether the body is of this media type, whatever its parameters.
#[must_use]
pub(crate) fn has_content_type(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = value.and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}

/// Whether a list of media types, such as `Accept`, names this one, whatever its parameters. `*/*` names none.
#[must_use]
pub(crate) fn has_media_type(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = values.flat_map(|list| list.split(',')).filter_map(|range| range.split(';').next());
    kinds.any(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}

/// Whether the client wants to use the connection again (RFC 9112 section 9.3).
#[must_use]
pub(crate) fn is_keep_alive(headers: &HeaderMap, version: Version) -> bool {
    let has = |wanted| has_token(headers, CONNECTION, wanted);
    if version == Version::HTTP_11 { !has("close") } else { has("keep-alive") }
}
