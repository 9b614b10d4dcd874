//! Bytes that can be told from any others: every value in the file is a frame with a check of its own, so that
//! whatever happens to the file around it, a frame is either whole or recognisably not.

use ring::digest::{SHA256, digest};

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Entry = 1,
    Meta = 2,
    Last = 3,
    Token = 4,
    Value = 5,
    Floor = 6,
    Lacking = 7,
    State = 8,
}

impl Sort {
    fn of(byte: u8) -> Option<Self> {
        use Sort::{Entry, Floor, Lacking, Last, Meta, State, Token, Value};
        [Entry, Meta, Last, Token, Value, Floor, Lacking, State].into_iter().find(|sort| *sort as u8 == byte)
    }
}

const MAGIC: [u8; 4] = *b"\xd7TL1";
const CHECK_BYTES: usize = 8;

/// Magic, sort, length of the body, check of everything else.
pub(super) const HEAD_BYTES: usize = MAGIC.len() + 1 + 4 + CHECK_BYTES;

/// The longest body: far above any event, far below what a damaged length could claim.
pub(super) const BODY_BYTES_MAX: usize = 64 << 20;

/// Makes a frame of what `write` appends.
pub(super) fn seal(sort: Sort, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = vec![0; HEAD_BYTES];
    write(&mut frame);
    let length = u32::try_from(frame.len() - HEAD_BYTES).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&MAGIC);
    frame[4] = sort as u8;
    frame[5..9].copy_from_slice(&length.to_le_bytes());
    let check = check(&frame);
    frame[9..HEAD_BYTES].copy_from_slice(&check);
    frame
}

/// The body of a frame of this sort; `None` if it is not whole.
pub(super) fn unseal(sort: Sort, frame: &[u8]) -> Option<&[u8]> {
    match find(frame) {
        FrameScan::Frame { sort: found, length } if found == sort && length == frame.len() => {
            Some(&frame[HEAD_BYTES..])
        }
        _ => None,
    }
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FrameScan {
    /// A whole frame of so many bytes, head included.
    Frame { sort: Sort, length: usize },
    /// Perhaps the beginning of a frame of so many bytes.
    Cut { length: usize },
    /// No frame.
    Nothing,
}

/// Looks for a frame at the beginning of `bytes`.
pub(super) fn find(bytes: &[u8]) -> FrameScan {
    if !bytes.starts_with(&MAGIC) {
        return if MAGIC.starts_with(bytes) {
            FrameScan::Cut { length: HEAD_BYTES }
        } else {
            FrameScan::Nothing
        };
    }
    let Some(head) = bytes.get(..HEAD_BYTES) else { return FrameScan::Cut { length: HEAD_BYTES } };
    let Some(sort) = Sort::of(head[4]) else { return FrameScan::Nothing };
    let body = u32::from_le_bytes([head[5], head[6], head[7], head[8]]) as usize;
    if body > BODY_BYTES_MAX {
        return FrameScan::Nothing;
    }
    let length = HEAD_BYTES + body;
    match bytes.get(..length) {
        None => FrameScan::Cut { length },
        Some(frame) if frame[9..HEAD_BYTES] == check(frame) => FrameScan::Frame { sort, length },
        Some(_) => FrameScan::Nothing,
    }
}

/// Where the next frame could begin at or after `from`.
pub(super) fn next(bytes: &[u8], from: usize) -> Option<usize> {
    let first = MAGIC[0];
    bytes.get(from..)?.iter().position(|byte| *byte == first).map(|at| from + at)
}

/// The first bytes of a SHA-256, over everything but the check itself.
fn check(frame: &[u8]) -> [u8; CHECK_BYTES] {
    let mut check = [0; CHECK_BYTES];
    let mut context = ring::digest::Context::new(&SHA256);
    context.update(&frame[..9]);
    context.update(&frame[HEAD_BYTES..]);
    check.copy_from_slice(&context.finish().as_ref()[..CHECK_BYTES]);
    check
}

/// The first bytes of the SHA-256 of `bytes`.
pub(super) fn check_of(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest(&SHA256, bytes).as_ref()[..CHECK_BYTES]);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flipped_bit_and_no_cut_passes() {
        let frame = seal(Sort::Entry, |body| body.extend_from_slice(b"an event"));
        assert_eq!(unseal(Sort::Entry, &frame), Some(&b"an event"[..]));
        assert_eq!(unseal(Sort::Meta, &frame), None);
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(Sort::Entry, &flipped), None, "bit {bit}");
        }
        for length in 0..frame.len() {
            assert_eq!(unseal(Sort::Entry, &frame[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn a_frame_is_found_among_others() {
        let frame = seal(Sort::Last, |body| body.extend_from_slice(&[0xd7; 20]));
        let mut bytes = vec![0xd7; 9];
        bytes.extend_from_slice(&frame);
        let mut at = 0;
        let found = loop {
            at = next(&bytes, at).unwrap();
            match find(&bytes[at..]) {
                FrameScan::Frame { sort, length } => break (at, sort, length),
                _ => at += 1,
            }
        };
        assert_eq!(found, (9, Sort::Last, frame.len()));
    }
}
