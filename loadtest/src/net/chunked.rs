//! Chunked transfer coding, read piece by piece (RFC 9112 section 7.1).

/// Where in the coding the next byte belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Size(usize),
    Extension(usize),
    Data(usize),
    DataEnd,
    Trailer { line_is_empty: bool },
    Done,
}

/// A decoder that keeps nothing but its place: the data is handed on in slices of the input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunked(At);

impl Chunked {
    /// Before the first chunk.
    pub(crate) fn new() -> Self {
        Self(At::Size(0))
    }

    /// Whether the last chunk and its trailer have been read.
    pub(crate) fn is_done(&self) -> bool {
        self.0 == At::Done
    }

    /// Reads from `input`, hands data to `sink`, and answers how many bytes belonged to the body; `None` when they are no chunks.
    pub(crate) fn read(&mut self, input: &[u8], mut sink: impl FnMut(&[u8])) -> Option<usize> {
        let mut used = 0;
        while used < input.len() && self.0 != At::Done {
            let byte = input[used];
            match self.0 {
                At::Data(left) => {
                    let take = left.min(input.len() - used);
                    sink(&input[used..used + take]);
                    used += take;
                    self.0 = if take == left { At::DataEnd } else { At::Data(left - take) };
                    continue;
                }
                At::Size(size) => match (byte as char).to_digit(16) {
                    Some(digit) if size < 1 << 40 => self.0 = At::Size(size << 4 | digit as usize),
                    Some(_) => return None,
                    None if byte == b'\n' => self.0 = after_size(size),
                    None if byte == b';' || byte == b'\r' => self.0 = At::Extension(size),
                    None => return None,
                },
                At::Extension(size) if byte == b'\n' => self.0 = after_size(size),
                At::Extension(_) => {}
                At::DataEnd => match byte {
                    b'\r' => {}
                    b'\n' => self.0 = At::Size(0),
                    _ => return None,
                },
                At::Trailer { line_is_empty } => match byte {
                    b'\r' => {}
                    b'\n' if line_is_empty => self.0 = At::Done,
                    b'\n' => self.0 = At::Trailer { line_is_empty: true },
                    _ => self.0 = At::Trailer { line_is_empty: false },
                },
                At::Done => {}
            }
            used += 1;
        }
        Some(used)
    }
}

fn after_size(size: usize) -> At {
    if size == 0 { At::Trailer { line_is_empty: true } } else { At::Data(size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_body_however_the_bytes_are_cut() {
        let wire = b"5\r\nhello\r\n1;name=value\r\n,\r\nA\r\n 0123 4567\r\n0\r\nTrailer: x\r\n\r\nnext";
        for first in 0..wire.len() {
            for second in first..wire.len() {
                let mut body = Vec::new();
                let mut decoder = Chunked::new();
                let mut used = 0;
                for piece in [&wire[..first], &wire[first..second], &wire[second..]] {
                    used += decoder.read(piece, |data| body.extend_from_slice(data)).expect("chunks");
                }
                assert_eq!((body.as_slice(), used), (&b"hello, 0123 4567"[..], wire.len() - 4));
                assert!(decoder.is_done());
            }
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        assert!(Chunked::new().read(b"zz\r\n", |_| ()).is_none());
        assert!(Chunked::new().read(b"1\r\nab", |_| ()).is_none());
    }
}
