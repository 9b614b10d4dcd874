//! The receiving half of a WebSocket: frames into messages, with every rule of RFC 6455 that a client can break.
//!
//! The frame types, masking and control frames are fastwebsockets'. Its reader is not used: it cannot be
//! cancelled between two bytes, keeps 8 KiB for every idle connection, and lets unmasked and oversized control
//! frames pass. [`Decoder`] holds nothing while no frame is under way.

use fastwebsockets::{OpCode, unmask};
use ring::digest;

use crate::close::CloseCode;
use crate::frame::{write_ws_close, write_ws_pong};

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// A whole text message, checked UTF-8.
    Text(String),
    /// A whole binary message.
    Binary(Vec<u8>),
    /// A ping, to be answered with its payload.
    Ping(Vec<u8>),
    /// A pong, asked for or not.
    Pong,
    /// The client closes; the code if it gave one.
    Close(Option<CloseCode>),
}

/// What the next message of a client came to, with everything answered that any WebSocket answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    Incomplete,
    /// A whole text message.
    Text(String),
    /// A whole binary message.
    Binary(Vec<u8>),
    /// A ping, now answered, or a pong.
    Control,
    /// The client closed, and its close frame is answered. Nothing may be sent behind the answer.
    Closed,
    /// The client broke a rule, and a close frame with this code says so. Nothing may be sent behind it.
    Violated(CloseCode),
}

/// A rule was broken; the connection closes with this code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// 1002, 1007 or 1009.
    pub code: CloseCode,
    /// For the close frame.
    pub reason: &'static str,
}

impl Violation {
    const fn protocol(reason: &'static str) -> Self {
        Self { code: CloseCode::PROTOCOL, reason }
    }
}

/// In how many frames one message may come. Empty ones cost work and never end.
const FRAGMENTS_MAX: u32 = 4096;

const NOT_UTF8: Violation = Violation { code: CloseCode::NOT_UTF8, reason: "text is not UTF-8" };

/// Puts the bytes of a client together into messages.
#[derive(Debug)]
pub struct Decoder {
    message_bytes_max: u32,
    /// Bytes that have not been looked at, or the start of a frame that is not complete enough to be.
    pending: Vec<u8>,
    /// A message that is not complete yet, boxed because it is rare.
    partial: Option<Box<Partial>>,
    /// A rule was broken; what follows has no meaning.
    is_broken: bool,
}

#[derive(Debug)]
struct Partial {
    opcode: OpCode,
    payload: Vec<u8>,
    /// How much of `payload` is known to be whole UTF-8 characters.
    checked: usize,
    /// How many frames it has had so far.
    fragments: u32,
    /// The frame whose payload is still arriving.
    frame: Option<Arriving>,
}

#[derive(Debug)]
struct Arriving {
    fin: bool,
    mask: [u8; 4],
    /// Bytes of payload to come.
    left: usize,
}

struct Head {
    fin: bool,
    opcode: OpCode,
    mask: [u8; 4],
    /// Where the payload starts.
    start: usize,
    /// Bytes of payload.
    len: usize,
}

impl Decoder {
    /// A decoder that refuses messages above `message_bytes_max`, fragments added up.
    #[must_use]
    pub fn new(message_bytes_max: usize) -> Self {
        let message_bytes_max = u32::try_from(message_bytes_max).unwrap_or(u32::MAX);
        Self { message_bytes_max, pending: Vec::new(), partial: None, is_broken: false }
    }

    /// Takes in what was read. Behind a broken rule it is dropped.
    pub fn feed(&mut self, bytes: &[u8]) {
        if !self.is_broken {
            self.pending.extend_from_slice(bytes);
        }
    }

    /// Takes the next message, and writes to `out` what every WebSocket owes for it: pongs, the answer to a close
    /// frame, and the close frame for a broken rule (RFC 6455 sections 5.5 and 7.1).
    pub fn step(&mut self, out: &mut Vec<u8>) -> Step {
        match self.message() {
            Ok(None) => Step::Incomplete,
            Ok(Some(Message::Text(text))) => Step::Text(text),
            Ok(Some(Message::Binary(bytes))) => Step::Binary(bytes),
            Ok(Some(Message::Pong)) => Step::Control,
            Ok(Some(Message::Ping(payload))) => {
                write_ws_pong(&payload, out);
                Step::Control
            }
            Ok(Some(Message::Close(code))) => {
                write_ws_close(code, "", out);
                Step::Closed
            }
            Err(Violation { code, reason }) => {
                write_ws_close(Some(code), reason, out);
                Step::Violated(code)
            }
        }
    }

    /// Whether all that was fed has been taken in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether nothing can be made of what was fed before more is. Feeding only then keeps what is held within one
    /// message and one read, however fast the client sends.
    #[must_use]
    pub fn needs_bytes(&self) -> bool {
        if let Some(Arriving { left, .. }) = self.partial.as_ref().and_then(|partial| partial.frame.as_ref())
        {
            return self.pending.len() < *left;
        }
        match self.head() {
            Ok(None) => true,
            Ok(Some(Head { start, len, .. })) => self.pending.len() < start + len,
            Err(_) => false,
        }
    }

    /// The next whole message, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the client broke a rule. Nothing more can be read then, and every later call gives `None`.
    pub fn message(&mut self) -> Result<Option<Message>, Violation> {
        if self.is_broken {
            return Ok(None);
        }
        let result = self.next();
        if result.is_err() {
            *self = Self { is_broken: true, ..Self::new(self.message_bytes_max as usize) };
        } else if self.pending.is_empty() {
            self.pending = Vec::new();
        }
        result
    }

    fn next(&mut self) -> Result<Option<Message>, Violation> {
        loop {
            if let Some(partial) = &mut self.partial
                && let Some(Arriving { fin, .. }) = partial.frame
            {
                if !partial.take_in(&mut self.pending)? {
                    return Ok(None);
                }
                if fin {
                    return self.partial.take().map(|partial| partial.into_message()).transpose();
                }
            }
            let Some(Head { fin, opcode, mask, start, len }) = self.head()? else { return Ok(None) };
            if !is_control(opcode) {
                // Its payload is taken in as it arrives, so that text which is none is refused at once.
                self.pending.drain(..start);
                let partial = self.partial.get_or_insert_with(|| {
                    Box::new(Partial { opcode, payload: Vec::new(), checked: 0, fragments: 0, frame: None })
                });
                partial.fragments += 1;
                if partial.fragments > FRAGMENTS_MAX {
                    return Err(Violation { code: CloseCode::TOO_LARGE, reason: "too many fragments" });
                }
                partial.frame = Some(Arriving { fin, mask, left: len });
                continue;
            }
            if self.pending.len() < start + len {
                return Ok(None);
            }
            let mut payload: Vec<u8> = self.pending.drain(..start + len).skip(start).collect();
            unmask(&mut payload, mask);
            return match opcode {
                OpCode::Ping => Ok(Some(Message::Ping(payload))),
                OpCode::Close => close(&payload).map(Some),
                _ => Ok(Some(Message::Pong)),
            };
        }
    }

    /// Reads the head of the next frame (RFC 6455 section 5.2) and checks it before its payload is waited for.
    fn head(&self) -> Result<Option<Head>, Violation> {
        let bytes = &self.pending;
        let [first, second, ..] = bytes[..] else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Violation::protocol("a reserved bit is set"));
        }
        let fin = first & 0x80 != 0;
        let opcode = OpCode::try_from(first & 0x0f).map_err(|_| Violation::protocol("unknown opcode"))?;
        if second & 0x80 == 0 {
            return Err(Violation::protocol("a client's frames are masked"));
        }
        let (len, at) = match second & 0x7f {
            126 => match bytes.get(2..4) {
                Some(len) => (u64::from(u16::from_be_bytes([len[0], len[1]])), 4),
                None => return Ok(None),
            },
            127 => match bytes.get(2..10).and_then(|len| <[u8; 8]>::try_from(len).ok()) {
                Some(len) => (u64::from_be_bytes(len), 10),
                None => return Ok(None),
            },
            len => (u64::from(len), 2),
        };
        if is_control(opcode) && (!fin || len > 125) {
            return Err(Violation::protocol("control frames are whole and have at most 125 bytes"));
        }
        let before = self.partial.as_ref().map_or(0, |partial| partial.payload.len());
        match (opcode, &self.partial) {
            (OpCode::Continuation, None) => return Err(Violation::protocol("nothing to continue")),
            (OpCode::Text | OpCode::Binary, Some(_)) => {
                return Err(Violation::protocol("the last message is not complete"));
            }
            _ => {}
        }
        if !is_control(opcode) && len > u64::from(self.message_bytes_max).saturating_sub(before as u64) {
            return Err(Violation { code: CloseCode::TOO_LARGE, reason: "the message is over the limit" });
        }
        let Some(mask) = bytes.get(at..at + 4).and_then(|mask| <[u8; 4]>::try_from(mask).ok()) else {
            return Ok(None);
        };
        Ok(Some(Head { fin, opcode, mask, start: at + 4, len: len as usize }))
    }
}

impl Partial {
    /// Moves what has arrived of the frame from `pending` to the payload. Says whether the frame is complete.
    fn take_in(&mut self, pending: &mut Vec<u8>) -> Result<bool, Violation> {
        let Some(frame) = &mut self.frame else { return Ok(true) };
        let len = frame.left.min(pending.len());
        let start = self.payload.len();
        self.payload.extend(pending.drain(..len));
        unmask(&mut self.payload[start..], frame.mask);
        frame.mask.rotate_left(len % 4);
        frame.left -= len;
        if frame.left == 0 {
            self.frame = None;
        }
        if self.opcode == OpCode::Text {
            self.check_utf8()?;
        }
        Ok(self.frame.is_none())
    }

    fn into_message(self) -> Result<Message, Violation> {
        match self.opcode {
            OpCode::Text => String::from_utf8(self.payload).map(Message::Text).map_err(|_| NOT_UTF8),
            _ => Ok(Message::Binary(self.payload)),
        }
    }

    /// Refuses text as soon as it cannot become UTF-8 any more; the last character may still be cut.
    fn check_utf8(&mut self) -> Result<(), Violation> {
        match str::from_utf8(&self.payload[self.checked..]) {
            Ok(_) => self.checked = self.payload.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(NOT_UTF8),
        }
        Ok(())
    }
}

fn is_control(opcode: OpCode) -> bool {
    matches!(opcode, OpCode::Close | OpCode::Ping | OpCode::Pong)
}

fn close(payload: &[u8]) -> Result<Message, Violation> {
    match payload {
        [] => Ok(Message::Close(None)),
        [_] => Err(Violation::protocol("half a close code")),
        [high, low, reason @ ..] => {
            let code = CloseCode(u16::from_be_bytes([*high, *low]));
            if !code.may_be_sent() {
                return Err(Violation::protocol("a close code that is never sent"));
            }
            str::from_utf8(reason).map_err(|_| NOT_UTF8)?;
            Ok(Message::Close(Some(code)))
        }
    }
}

/// The `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 section 4.2.2).
#[must_use]
pub fn accept_key(key: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    data_encoding::BASE64.encode(context.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            len @ 0..=125 => bytes.push(0x80 | len as u8),
            len => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&(len as u16).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[1, 2, 3, 4]);
        bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ [1, 2, 3, 4][at % 4]));
        bytes
    }

    fn decode(frames: &[Vec<u8>]) -> Result<Vec<Message>, Violation> {
        let mut decoder = Decoder::new(1000);
        let mut messages = Vec::new();
        for byte in frames.concat() {
            decoder.feed(&[byte]);
            while let Some(message) = decoder.message()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    fn code(frames: &[Vec<u8>]) -> u16 {
        decode(frames).unwrap_err().code.0
    }

    #[test]
    fn messages_come_whole_whatever_the_cuts() {
        let frames = [
            frame(0x01, b"he"),
            frame(0x89, b"?"),
            frame(0x80, b"llo"),
            frame(0x82, b"\xff"),
            frame(0x88, b"\x03\xe8"),
        ];
        let messages = decode(&frames).unwrap();
        assert_eq!(
            messages,
            [
                Message::Ping(b"?".to_vec()),
                Message::Text("hello".to_owned()),
                Message::Binary(b"\xff".to_vec()),
                Message::Close(Some(CloseCode(1000))),
            ]
        );
    }

    #[test]
    fn broken_rules_close_with_their_code() {
        assert_eq!(code(&[frame(0xc1, b"")]), 1002, "reserved bit");
        assert_eq!(code(&[frame(0x83, b"")]), 1002, "opcode 3");
        assert_eq!(code(&[frame(0x09, b"")]), 1002, "fragmented ping");
        assert_eq!(code(&[frame(0x89, &[0; 126])]), 1002, "long ping");
        assert_eq!(code(&[frame(0x80, b"x")]), 1002, "continuation of nothing");
        assert_eq!(code(&[frame(0x01, b"x"), frame(0x81, b"y")]), 1002, "a message inside a message");
        assert_eq!(code(&[frame(0x88, b"\x03")]), 1002, "half a close code");
        assert_eq!(code(&[frame(0x88, b"\x03\xed")]), 1002, "1005 is never sent");
        assert_eq!(code(&[vec![0x81, 0x01, b'x']]), 1002, "unmasked");
        assert_eq!(code(&[frame(0x81, b"\xff")]), 1007);
        assert_eq!(code(&[frame(0x81, b"\xc3")]), 1007, "ends inside a character");
        assert_eq!(code(&[frame(0x01, b"\xc3"), frame(0x80, b"\x28")]), 1007, "across fragments");
        assert_eq!(code(&[frame(0x88, b"\x03\xe8\xff")]), 1007, "close reason");
        assert_eq!(code(&[frame(0x81, &[b'x'; 1001])]), 1009);
        assert_eq!(code(&[frame(0x01, &[b'x'; 600]), frame(0x00, &[b'x'; 401])]), 1009, "fragments add up");
        assert!(decode(&[frame(0x81, &[b'x'; 1000])]).is_ok(), "exactly the limit");
        assert!(
            decode(&[frame(0x01, b"\xc3"), frame(0x80, b"\xa4")]).is_ok(),
            "a character across fragments"
        );
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_it_is_sent() {
        let mut decoder = Decoder::new(1000);
        decoder.feed(&[0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(decoder.message().unwrap_err().code, CloseCode::TOO_LARGE);
        decoder = Decoder::new(1000);
        decoder.feed(&[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(decoder.message().unwrap_err().code, CloseCode::TOO_LARGE);
    }

    #[test]
    fn a_decoder_with_a_message_or_a_violation_in_it_needs_no_bytes() {
        let mut decoder = Decoder::new(1000);
        assert!(decoder.needs_bytes());
        for byte in frame(0x81, b"hello") {
            assert!(decoder.needs_bytes());
            decoder.feed(&[byte]);
        }
        assert!(!decoder.needs_bytes());
        decoder.message().unwrap();
        assert!(decoder.needs_bytes());
        decoder.feed(&[0xc1, 0x80]);
        assert!(!decoder.needs_bytes());
    }

    #[test]
    fn the_key_of_the_rfc() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
