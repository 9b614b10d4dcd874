//! An event's time as text, worked out once a second instead of once an event.

use time::OffsetDateTime;

/// A time as RFC 3339 text in UTC with milliseconds: `2026-11-20T03:30:12.123Z`.
#[derive(Clone, Debug)]
pub(crate) struct Timestamp {
    second: u64,
    text: [u8; 24],
}

impl Timestamp {
    /// The stamp of a time in milliseconds since 1970.
    pub(crate) fn new(time_ms: u64) -> Self {
        let second = time_ms / 1000;
        let mut stamp = Self { second, text: *b"0000-00-00T00:00:00.000Z" };
        stamp.set_second(second);
        stamp.set_millisecond(time_ms);
        stamp
    }

    /// Moves to another time; cheap within the same second.
    pub(crate) fn set(&mut self, time_ms: u64) {
        let second = time_ms / 1000;
        if second != self.second {
            self.set_second(second);
        }
        self.set_millisecond(time_ms);
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    fn set_second(&mut self, second: u64) {
        self.second = second;
        let at = i64::try_from(second)
            .ok()
            .and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        digits(&mut self.text[0..4], u64::from(at.year().unsigned_abs()));
        digits(&mut self.text[5..7], u64::from(u8::from(at.month())));
        digits(&mut self.text[8..10], u64::from(at.day()));
        digits(&mut self.text[11..13], u64::from(at.hour()));
        digits(&mut self.text[14..16], u64::from(at.minute()));
        digits(&mut self.text[17..19], u64::from(at.second()));
    }

    fn set_millisecond(&mut self, time_ms: u64) {
        digits(&mut self.text[20..23], time_ms % 1000);
    }
}

fn digits(field: &mut [u8], mut number: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_moves() {
        let mut stamp = Timestamp::new(0);
        assert_eq!(stamp.text(), b"1970-01-01T00:00:00.000Z");
        stamp.set(1_763_609_412_123);
        assert_eq!(stamp.text(), b"2025-11-20T03:30:12.123Z");
        stamp.set(1_763_609_412_999);
        assert_eq!(stamp.text(), b"2025-11-20T03:30:12.999Z");
        stamp.set(951_782_400_007);
        assert_eq!(stamp.text(), b"2000-02-29T00:00:00.007Z");
    }
}
