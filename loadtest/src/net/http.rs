//! The part of HTTP/1.1 that a client of one server needs: the head of a response, and where its body ends.

use memchr::memmem;

/// A response head, borrowed from the bytes that were read.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    /// The status code.
    pub status: u16,
    /// Every byte of the head, the empty line included.
    pub bytes: &'a [u8],
}

impl<'a> Head<'a> {
    /// The head at the start of `bytes`, or `None` while it is incomplete.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let end = memmem::find(bytes, b"\r\n\r\n")? + 4;
        let bytes = &bytes[..end];
        let status =
            bytes.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(0);
        Some(Self { status, bytes })
    }

    /// The value of a header, by its name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        self.bytes.split(|&byte| byte == b'\n').skip(1).find_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let found = line[..colon].eq_ignore_ascii_case(name.as_bytes());
            found.then(|| std::str::from_utf8(&line[colon + 1..]).map(str::trim).ok()).flatten()
        })
    }

    /// How the body is delimited.
    pub(crate) fn body(&self) -> Body {
        if self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Body::Chunked;
        }
        match self.header("content-length").and_then(|value| value.parse().ok()) {
            Some(length) => Body::Length(length),
            None if matches!(self.status, 204 | 304) => Body::Length(0),
            None => Body::UntilClose,
        }
    }
}

/// How a body is delimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Body {
    /// So many bytes.
    Length(usize),
    /// In chunks.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_found_only_when_it_is_complete() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nX-A:  b \r\n\r\nabcdefg";
        for end in 0..bytes.len() - 7 {
            assert!(Head::parse(&bytes[..end]).is_none(), "{end}");
        }
        let head = Head::parse(bytes).expect("complete");
        assert_eq!((head.status, head.body(), head.header("x-a")), (200, Body::Length(7), Some("b")));
        assert_eq!(head.bytes.len(), bytes.len() - 7);
    }

    #[test]
    fn a_stream_is_chunked_or_ends_with_the_connection() {
        let chunked =
            Head::parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n").expect("complete");
        assert_eq!(chunked.body(), Body::Chunked);
        let close = Head::parse(b"HTTP/1.0 200 OK\r\n\r\n").expect("complete");
        assert_eq!(close.body(), Body::UntilClose);
    }
}
