//! A second check of every request head for faults that hyper accepts: two framings at once, and lines
//! without a CR.
//!
//! A gateway stands behind proxies. Where a proxy and the gateway could disagree on where a request
//! ends, a request can be smuggled past the proxy (RFC 9112 section 11.2), so such heads are
//! refused and the connection ends.

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// By `Content-Length`, or there is none.
    #[default]
    Plain,
    /// In chunks. Later requests on the connection are not checked, so it ends with the answer.
    Chunked,
    /// Two readers could disagree on where it ends.
    Ambiguous(&'static str),
}

/// Follows the bytes of a connection from head to head.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    state: State,
    /// The start of the current line, enough for the names that matter and a length.
    line: Vec<u8>,
    last: u8,
    /// A request line has come; empty lines before it are allowed (RFC 9112 section 2.2).
    in_head: bool,
    content_length: Option<u64>,
    chunked: bool,
    /// Of the heads since [`Guard::take`].
    found: Framing,
    /// hyper has written something and not yet come to the end of it.
    unflushed: bool,
    answer: Progress,
    /// The request under way has been handed on, and its answer has not been handed back.
    in_service: bool,
    /// Heads that were complete; wraps.
    heads: u32,
    /// Requests that were handed on; wraps.
    handed: u32,
}

/// What the client has to send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The first request, or the rest of a head. With the number of heads before it.
    Head(u32),
    /// Another request. With the number of heads before it.
    Request(u32),
}

/// How far the answer to the request under way is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    /// There is no request: whatever hyper writes now, it says by itself.
    #[default]
    None,
    /// Nothing of it is written.
    Due,
    /// Some of it.
    Begun,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Head,
    /// So many bytes of a body to come.
    Body(u64),
    /// Behind a chunked request nothing is checked.
    Opaque,
}

impl Guard {
    /// `Content-Length` or `Transfer-Encoding`, the colon, white space and 20 digits.
    const LINE_BYTES: usize = 48;

    pub(crate) fn scan(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.state {
                State::Opaque => return,
                State::Body(left) => {
                    let skipped = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    bytes = &bytes[skipped..];
                    let left = left - skipped as u64;
                    self.state = if left == 0 { State::Head } else { State::Body(left) };
                }
                State::Head => {
                    let end = memchr::memchr(b'\n', bytes);
                    let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
                    let room = Self::LINE_BYTES - self.line.len().min(Self::LINE_BYTES);
                    self.line.extend_from_slice(&line[..line.len().min(room)]);
                    if end.is_some() {
                        let before = line.len().checked_sub(2).map_or(self.last, |at| line[at]);
                        self.end_line(before == b'\r');
                    }
                    self.last = line.last().copied().unwrap_or(self.last);
                    bytes = rest;
                }
            }
        }
    }

    fn end_line(&mut self, has_cr: bool) {
        if !has_cr {
            self.found = Framing::Ambiguous("a line ends without a carriage return");
        }
        // Taken and put back, so that its room serves every line.
        let mut line = std::mem::take(&mut self.line);
        match line[..] {
            [b'\r', b'\n'] | [b'\n'] if self.in_head => self.end_head(),
            [b'\r', b'\n'] | [b'\n'] => {}
            _ if self.in_head => self.header(&line),
            _ => self.in_head = true,
        }
        line.clear();
        self.line = line;
    }

    fn header(&mut self, line: &[u8]) {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            self.found = Framing::Ambiguous("a header is folded over two lines");
        }
        let Some(colon) = memchr::memchr(b':', line) else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let is_whole = line.ends_with(b"\n");
            let length = str::from_utf8(value).ok().filter(|_| is_whole).and_then(|value| value.parse().ok());
            // Equal lengths are still two, and one that cannot be read here may be read elsewhere.
            if self.content_length.is_some() {
                self.found = Framing::Ambiguous("more than one Content-Length");
            } else if length.is_none() {
                self.found = Framing::Ambiguous("a Content-Length that is no plain number");
            }
            self.content_length = Some(length.unwrap_or(0));
        }
    }

    fn end_head(&mut self) {
        self.in_head = false;
        self.heads = self.heads.wrapping_add(1);
        let content_length = self.content_length.take();
        let chunked = std::mem::take(&mut self.chunked);
        if chunked && content_length.is_some() {
            self.found = Framing::Ambiguous("Content-Length together with Transfer-Encoding");
        } else if chunked && self.found == Framing::Plain {
            self.found = Framing::Chunked;
        }
        self.state = match content_length {
            _ if chunked => State::Opaque,
            Some(length) if length > 0 => State::Body(length),
            _ => State::Head,
        };
    }

    /// What was found in the heads since the last call.
    pub(crate) fn take(&mut self) -> Framing {
        self.handed = self.handed.wrapping_add(1);
        std::mem::take(&mut self.found)
    }

    /// A request was handed on: what is written next is its answer, or `100 Continue`.
    pub(crate) fn handed_on(&mut self) {
        (self.answer, self.in_service) = (Progress::Due, true);
    }

    /// The answer was handed back.
    pub(crate) fn handed_back(&mut self) {
        (self.answer, self.in_service) = (Progress::Due, false);
    }

    /// What the client has to send next; `None` while a request is being answered.
    pub(crate) fn awaited(&self) -> Option<Awaited> {
        // The time in which a body has to come is the service's own.
        if self.is_answering() || self.in_service {
            return None;
        }
        let has_begun = self.heads == 0 || self.in_head || !self.line.is_empty();
        Some(if has_begun { Awaited::Head(self.heads) } else { Awaited::Request(self.heads) })
    }

    /// Whether the body of the last request has not been received whole. Of one in chunks that is
    /// not known, and so it is taken for incomplete.
    pub(crate) fn has_body_to_come(&self) -> bool {
        !matches!(self.state, State::Head)
    }

    /// Whether the request under way is answered before its body has come. A body that has begun
    /// behind it, of the next request, does not count.
    pub(crate) fn is_answered_early(&self) -> bool {
        self.has_body_to_come() && self.heads == self.handed
    }

    /// Whether what hyper writes next answers a request that was handed on.
    pub(crate) fn is_answering(&self) -> bool {
        self.answer != Progress::None
    }

    pub(crate) fn wrote(&mut self) {
        self.unflushed = true;
        if self.answer == Progress::Due {
            self.answer = Progress::Begun;
        }
    }

    pub(crate) fn flushed(&mut self) {
        self.unflushed = false;
        if self.answer == Progress::Begun {
            self.answer = Progress::None;
        }
    }

    pub(crate) fn is_unflushed(&self) -> bool {
        self.unflushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &str) -> Framing {
        let whole = {
            let mut guard = Guard::default();
            guard.scan(bytes.as_bytes());
            guard.take()
        };
        let mut guard = Guard::default();
        bytes.as_bytes().iter().for_each(|byte| guard.scan(&[*byte]));
        assert_eq!(guard.take(), whole, "the same however it is cut");
        whole
    }

    #[test]
    fn ordinary_heads_pass() {
        assert_eq!(scan("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Framing::Plain);
        assert_eq!(
            scan("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Framing::Plain
        );
        assert_eq!(
            scan("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\na\n\nGET / HTTP/1.1\r\n\r\n"),
            Framing::Plain
        );
        assert_eq!(
            scan("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
            Framing::Chunked
        );
    }

    #[test]
    fn two_framings_are_found_in_either_order() {
        for head in [
            "Content-Length: 4\r\nTransfer-Encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 4",
            "Content-Length: 4\r\nContent-Length: 4",
            "A: b\r\n c",
        ] {
            let found = scan(&format!("POST / HTTP/1.1\r\n{head}\r\n\r\n"));
            assert!(matches!(found, Framing::Ambiguous(_)), "{head:?}");
        }
    }

    #[test]
    fn a_line_without_a_carriage_return_is_found() {
        for bytes in [
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
        ] {
            assert!(matches!(scan(bytes), Framing::Ambiguous(_)), "{bytes:?}");
        }
    }

    #[test]
    fn the_body_of_a_pipelined_request_is_not_that_of_the_one_before() {
        let mut guard = Guard::default();
        let request = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n";
        guard.scan(&[&request[..], b"{}", &request[..], b"{"].concat());
        guard.take();
        assert!(!guard.is_answered_early(), "the first has come whole");
        guard.take();
        assert!(guard.is_answered_early());
        guard.scan(b"}");
        assert!(!guard.is_answered_early());
    }

    #[test]
    fn a_second_head_in_the_same_bytes_is_looked_at() {
        let found = scan(
            "GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        assert!(matches!(found, Framing::Ambiguous(_)));
    }
}
