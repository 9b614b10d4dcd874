//! The numbers that every published event carries in its data, so that losses, duplicates and reorders are counted from what arrived
//! and not from what a server says.
//!
//! The data is a JSON string that no encoder needs to escape: `~lt:STREAM:N:TIME:xxxx`.

use std::io::Write;

use memchr::memmem::Finder;

const MARK: &[u8] = b"~lt:";

/// The numbers of one event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Numbers {
    /// Which sequence it belongs to: a room's publishing lane, or a user.
    pub stream: u32,
    /// Its place in that sequence, from 1.
    pub n: u32,
    /// When it was meant to be published, in nanoseconds since the generator started.
    pub at_ns: u64,
}

/// Appends the data of an event, at least `length` bytes long.
pub(crate) fn write(out: &mut Vec<u8>, numbers: Numbers, length: usize) {
    let start = out.len();
    // Writing to a Vec cannot fail.
    let _ = write!(out, "~lt:{}:{}:{}:", numbers.stream, numbers.n, numbers.at_ns);
    out.resize(out.len().max(start + length), b'x');
}

/// Finds the numbers in what a server sent.
pub(crate) struct Scanner(Finder<'static>);

impl Scanner {
    /// A scanner; making one costs more than using it.
    pub(crate) fn new() -> Self {
        Self(Finder::new(MARK))
    }

    /// Hands over the numbers of each event in `bytes`, in their order there.
    pub(crate) fn scan(&self, bytes: &[u8], mut found: impl FnMut(Numbers)) {
        for start in self.0.find_iter(bytes) {
            let mut rest = &bytes[start + MARK.len()..];
            let mut next = || {
                let (mut value, mut used) = (0_u64, 0);
                while let Some(digit @ b'0'..=b'9') = rest.get(used) {
                    value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
                    used += 1;
                }
                let complete = used > 0 && rest.get(used) == Some(&b':');
                rest = rest.get(used + 1..).unwrap_or_default();
                complete.then_some(value)
            };
            if let (Some(stream), Some(n), Some(at_ns)) = (next(), next(), next()) {
                found(Numbers { stream: stream as u32, n: n as u32, at_ns });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_in_its_order_and_length() {
        let mut bytes = b"[{\"data\":\"".to_vec();
        let first = Numbers { stream: 7, n: 1, at_ns: 12_345_678_901 };
        let second = Numbers { stream: 4_000_000_000, n: 2, at_ns: 0 };
        let start = bytes.len();
        write(&mut bytes, first, 64);
        assert_eq!(bytes.len() - start, 64);
        bytes.extend_from_slice(b"\"},{\"data\":\"");
        write(&mut bytes, second, 4);
        let mut found = Vec::new();
        Scanner::new().scan(&bytes, |numbers| found.push(numbers));
        assert_eq!(found, [first, second]);
    }

    #[test]
    fn a_cut_mark_is_no_event() {
        for bytes in [&b"~lt:"[..], b"~lt:1:2", b"~lt:1:2:3", b"~lt:1::3:"] {
            Scanner::new().scan(bytes, |numbers| panic!("{numbers:?}"));
        }
    }
}
