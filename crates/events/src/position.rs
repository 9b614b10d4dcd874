//! Where in the log: [`Seq`], [`Epoch`] and the [`Cursor`] text that clients echo.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// The number of an event in the log. Rises by one with each event, is never reused within an
/// [`Epoch`], and stays below 2^53 so that every JSON reader holds it exactly.
///
/// `Seq::ZERO` stands for "before the first event".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Seq(u64);

impl Seq {
    /// The point before the first event.
    pub const ZERO: Self = Self(0);
    /// The largest number an event can have: 2^53 - 1 (RFC 8259 section 6, interoperable integers).
    pub const MAX: Self = Self((1 << 53) - 1);

    /// The seq with this number, or `None` above [`Seq::MAX`].
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// The plain number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The seq that follows this one.
    ///
    /// # Panics
    /// At [`Seq::MAX`]: at a million events a second, that is 285 years away.
    #[must_use]
    pub fn next(self) -> Self {
        assert!(self < Self::MAX, "the log has run out of sequence numbers");
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a log's life, printed in base 36. A new one whenever history may have been lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// The longest text of an epoch, in bytes: 2^64 - 1 in base 36.
    pub const TEXT_BYTES_MAX: usize = 13;

    /// The epoch with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The plain number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Gives its text to `read`. Remembered, because nearly every cursor that is written has the epoch of the one before.
    fn with_text<R>(self, read: impl FnOnce(&[u8]) -> R) -> R {
        thread_local! {
            static LAST: Cell<(Epoch, EpochText)> = const {
                Cell::new((Epoch(0), EpochText { digits: [b'0'; Epoch::TEXT_BYTES_MAX], start: Epoch::TEXT_BYTES_MAX - 1 }))
            };
        }
        let (epoch, mut text) = LAST.get();
        if epoch != self {
            text = EpochText::of(self);
            LAST.set((self, text));
        }
        read(&text.digits[text.start..])
    }
}

/// The digits of an epoch, at the end.
#[derive(Clone, Copy)]
struct EpochText {
    digits: [u8; Epoch::TEXT_BYTES_MAX],
    start: usize,
}

impl EpochText {
    fn of(Epoch(mut rest): Epoch) -> Self {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut text = Self { digits: [0; Epoch::TEXT_BYTES_MAX], start: Epoch::TEXT_BYTES_MAX };
        loop {
            text.start -= 1;
            text.digits[text.start] = DIGITS[(rest % 36) as usize];
            rest /= 36;
            if rest == 0 {
                return text;
            }
        }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(str::from_utf8(text).unwrap_or_default()))
    }
}

impl FromStr for Epoch {
    type Err = CursorError;

    /// Accepts only the text that [`Display`](fmt::Display) prints, so that equal epochs have equal texts.
    fn from_str(text: &str) -> Result<Self, CursorError> {
        let canonical = !text.is_empty()
            && text.len() <= Self::TEXT_BYTES_MAX
            && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
            && (text == "0" || !text.starts_with('0'));
        if !canonical {
            return Err(CursorError);
        }
        u64::from_str_radix(text, 36).map(Self).map_err(|_| CursorError)
    }
}

/// "Everything up to and including `seq` has been seen", as text `EPOCH.SEQ`.
///
/// Clients treat the text as opaque and compare it only for equality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The life of the log in which `seq` was given.
    pub epoch: Epoch,
    /// The last event seen.
    pub seq: Seq,
}

impl Cursor {
    /// The longest text of a cursor, in bytes.
    pub const TEXT_BYTES_MAX: usize = Epoch::TEXT_BYTES_MAX + 1 + 16;

    /// Appends the text that [`Display`](fmt::Display) prints. It stands in every batch twice, and a formatter costs more
    /// than the digits.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.epoch.with_text(|text| out.extend_from_slice(text));
        out.push(b'.');
        out.extend_from_slice(itoa::Buffer::new().format(self.seq.0).as_bytes());
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Vec::with_capacity(Self::TEXT_BYTES_MAX);
        self.write(&mut text);
        serializer.serialize_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (epoch, seq) = text.split_once('.').ok_or(CursorError)?;
        let canonical = !seq.is_empty()
            && seq.len() <= 16
            && seq.bytes().all(|b| b.is_ascii_digit())
            && (seq == "0" || !seq.starts_with('0'));
        if !canonical {
            return Err(CursorError);
        }
        let seq = seq.parse().ok().and_then(Seq::new).ok_or(CursorError)?;
        Ok(Self { epoch: epoch.parse()?, seq })
    }
}

/// The text is not a cursor that a gateway could have sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: expected EPOCH.SEQ as an earlier batch gave it")]
pub struct CursorError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_cursor_survives_its_text(epoch: u64, seq in 0..=Seq::MAX.number()) {
            let cursor = Cursor { epoch: Epoch::new(epoch), seq: Seq(seq) };
            let text = cursor.to_string();
            prop_assert!(text.len() <= Cursor::TEXT_BYTES_MAX);
            let mut written = Vec::new();
            cursor.write(&mut written);
            prop_assert_eq!(&*written, text.as_bytes());
            prop_assert_eq!(text.parse(), Ok(cursor));
        }

        #[test]
        fn whatever_parses_prints_the_same_text(text in "[0-9a-zA-Z.+ -]{0,32}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }

    #[test]
    fn refuses_what_no_gateway_sends() {
        for text in [
            "",
            ".",
            "1",
            "a.",
            ".1",
            "a.01",
            "0a.1",
            "A.1",
            "a.-1",
            "a.+1",
            "a.1.2",
            "a. 1",
            "a.9007199254740992",
            "a.99999999999999999999",
            "zzzzzzzzzzzzzz.1",
            "3w5e11264sgsg.1",
            "é.1",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text:?}");
        }
    }
}
