//! Times as text.

use std::time::SystemTime;

use ::time::OffsetDateTime;
use ::time::macros::format_description;

/// RFC 3339, UTC, milliseconds: `2026-11-20T03:30:12.123Z`.
#[must_use]
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from(at).format(&format).unwrap_or_default()
}
