//! Times as text.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::time::OffsetDateTime;
use ::time::macros::format_description;

/// RFC 3339, UTC, milliseconds: `2026-11-20T03:30:12.123Z`. Times outside the years 1970 to 9999 become the nearest
/// that has such a text.
#[must_use]
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let since_1970 = at.duration_since(UNIX_EPOCH).unwrap_or_default().min(SINCE_1970_MAX);
    let nanos = i128::try_from(since_1970.as_nanos()).unwrap_or_default();
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&format).unwrap_or_default()
}

/// The last moment of the year 9999.
const SINCE_1970_MAX: Duration = Duration::new(253_402_300_799, 999_999_999);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_too_far() {
        assert_eq!(rfc3339(UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            rfc3339(UNIX_EPOCH + Duration::from_millis(1_763_609_412_123)),
            "2025-11-20T03:30:12.123Z"
        );
        for seconds in [253_402_300_799, 2_763_609_412_123, 9_007_199_254_740_991] {
            assert!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)).starts_with("9999-12-31T23:59:59."));
        }
    }
}
