//! The receiving half of a WebSocket: frames into messages, with every rule of RFC 6455 that a
//! client can break.
//!
//! The frame types and the unmasking are from fastwebsockets. Its reader is not used: it cannot be
//! cancelled between two bytes, keeps 8 KiB for every idle connection, and lets unmasked and
//! oversized control frames pass.

use std::num::NonZeroU32;

use fastwebsockets::{OpCode, unmask};

use super::frames::{write_ws_close, write_ws_pong};
use crate::close::CloseCode;

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

/// What [`Decoder::step`] found, after it wrote the answer that RFC 6455 asks for.
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
    /// The code if it gave one.
    Closed(Option<CloseCode>),
    /// The client broke a rule, and a close frame with this code says so. Nothing may be sent
    /// behind it.
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

/// The most frames of one message, unless it may be so long that this many fragments of
/// [`FRAGMENT_BYTES`] do not hold it. Without a limit, empty frames would cost work without end.
const FRAGMENTS_MAX: u32 = 4096;
/// The shortest fragments into which the longest message may be cut.
const FRAGMENT_BYTES: u32 = 64;

const NOT_UTF8: Violation = Violation { code: CloseCode::NOT_UTF8, reason: "text is not UTF-8" };

/// Turns the bytes of a client into messages.
///
/// Bytes are copied once, from what was fed to the payload of their message; no byte is moved to
/// the front for the message before it. While no frame is under way, no memory is held.
#[derive(Debug)]
pub struct Decoder {
    /// Bytes that were fed. Those before `taken` have been decoded.
    pending: Vec<u8>,
    /// A message that is not complete yet, boxed because it is rare.
    partial: Option<Box<Partial>>,
    /// The longest message; `None` once a rule was broken, behind which no byte has a meaning.
    message_bytes_max: Option<NonZeroU32>,
    taken: u32,
}

#[derive(Debug)]
struct Partial {
    opcode: OpCode,
    payload: Vec<u8>,
    /// The bytes of `payload` that are known to be whole UTF-8 characters.
    checked: usize,
    /// Frames so far.
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

/// The head of a frame.
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
    /// A decoder that refuses messages above `message_bytes_max`, fragments added up. A limit of
    /// zero counts as one.
    #[must_use]
    pub fn new(message_bytes_max: usize) -> Self {
        let message_bytes_max = u32::try_from(message_bytes_max).unwrap_or(u32::MAX);
        let message_bytes_max = Some(NonZeroU32::new(message_bytes_max).unwrap_or(NonZeroU32::MIN));
        Self { pending: Vec::new(), partial: None, message_bytes_max, taken: 0 }
    }

    /// Takes in what was read. After a broken rule it is dropped.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.message_bytes_max.is_none() {
            return;
        }
        // Less is moved than was decoded since the last time, so that a byte costs the same however
        // bytes are fed.
        if self.taken as usize > self.pending.len() / 2 {
            self.drop_taken();
        }
        self.pending.extend_from_slice(bytes);
    }

    /// Takes the next message, and writes to `out` what every WebSocket owes for it: pongs, the
    /// answer to a close frame, and the close frame for a broken rule (RFC 6455 sections 5.5 and
    /// 7.1).
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
                Step::Closed(code)
            }
            Err(Violation { code, reason }) => {
                write_ws_close(Some(code), reason, out);
                Step::Violated(code)
            }
        }
    }

    /// Whether all that was fed has been decoded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unread().is_empty()
    }

    /// Whether nothing can be decoded before more bytes are fed. A caller that feeds only then
    /// holds at most one message and one read, however fast the client sends.
    #[must_use]
    pub fn needs_bytes(&self) -> bool {
        if let Some(Arriving { left, .. }) = self.partial.as_ref().and_then(|partial| partial.frame.as_ref())
        {
            return self.unread().len() < *left;
        }
        match self.head() {
            Ok(None) => true,
            Ok(Some(Head { start, len, .. })) => self.unread().len() < start + len,
            Err(_) => false,
        }
    }

    /// The next whole message, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the client broke a rule. Nothing more can be read then, and every later call gives
    /// `None`.
    pub fn message(&mut self) -> Result<Option<Message>, Violation> {
        let result = self.next();
        if result.is_err() {
            *self = Self { pending: Vec::new(), partial: None, message_bytes_max: None, taken: 0 };
        } else if self.is_empty() {
            self.pending = Vec::new();
            self.taken = 0;
        }
        result
    }

    fn next(&mut self) -> Result<Option<Message>, Violation> {
        loop {
            if let Some(partial) = &mut self.partial
                && let Some(Arriving { fin, .. }) = partial.frame
            {
                let taken = partial.take_in(&self.pending[self.taken as usize..])?;
                let is_whole = partial.frame.is_none();
                self.skip(taken);
                if !is_whole {
                    return Ok(None);
                }
                if fin {
                    return self.partial.take().map(|partial| partial.into_message()).transpose();
                }
            }
            let Some(head) = self.head()? else { return Ok(None) };
            let Head { opcode, mask, start, len, .. } = head;
            if !is_control(opcode) {
                self.begin_frame(&head)?;
                continue;
            }
            let Some(payload) = self.unread().get(start..start + len) else { return Ok(None) };
            let mut payload = payload.to_vec();
            self.skip(start + len);
            unmask(&mut payload, mask);
            return match opcode {
                OpCode::Ping => Ok(Some(Message::Ping(payload))),
                OpCode::Close => close(&payload).map(Some),
                _ => Ok(Some(Message::Pong)),
            };
        }
    }

    /// Begins a frame of a message. Its payload is taken in as it arrives, so that text that cannot
    /// become UTF-8 is refused at once.
    fn begin_frame(&mut self, head: &Head) -> Result<(), Violation> {
        let Head { fin, opcode, mask, start, len } = *head;
        self.skip(start);
        let message_bytes_max = self.message_bytes_max.map_or(0, NonZeroU32::get);
        let fragments_max = FRAGMENTS_MAX.max(message_bytes_max / FRAGMENT_BYTES);
        let partial = self.partial.get_or_insert_with(|| {
            Box::new(Partial { opcode, payload: Vec::new(), checked: 0, fragments: 0, frame: None })
        });
        partial.fragments += 1;
        if partial.fragments > fragments_max {
            return Err(Violation { code: CloseCode::TOO_LARGE, reason: "too many fragments" });
        }
        partial.frame = Some(Arriving { fin, mask, left: len });
        Ok(())
    }

    /// Reads the head of the next frame (RFC 6455 section 5.2) and checks it before its payload is
    /// waited for.
    fn head(&self) -> Result<Option<Head>, Violation> {
        let (bytes, Some(message_bytes_max)) = (self.unread(), self.message_bytes_max) else {
            return Ok(None);
        };
        let [first, second, ..] = *bytes else { return Ok(None) };
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
        match (opcode, &self.partial) {
            (OpCode::Continuation, None) => return Err(Violation::protocol("nothing to continue")),
            (OpCode::Text | OpCode::Binary, Some(_)) => {
                return Err(Violation::protocol("the last message is not complete"));
            }
            _ => {}
        }
        let before = self.partial.as_ref().map_or(0, |partial| partial.payload.len());
        if !is_control(opcode) && len > u64::from(message_bytes_max.get()).saturating_sub(before as u64) {
            return Err(Violation { code: CloseCode::TOO_LARGE, reason: "the message is over the limit" });
        }
        let Some(mask) = bytes.get(at..at + 4).and_then(|mask| <[u8; 4]>::try_from(mask).ok()) else {
            return Ok(None);
        };
        Ok(Some(Head { fin, opcode, mask, start: at + 4, len: len as usize }))
    }

    /// What was fed and has not been decoded.
    fn unread(&self) -> &[u8] {
        &self.pending[self.taken as usize..]
    }

    /// The next `len` bytes have been decoded.
    fn skip(&mut self, len: usize) {
        let taken = self.taken as usize + len;
        match u32::try_from(taken) {
            Ok(taken) => self.taken = taken,
            Err(_) => {
                self.drop_taken();
                self.pending.drain(..len);
            }
        }
    }

    fn drop_taken(&mut self) {
        self.pending.drain(..self.taken as usize);
        self.taken = 0;
    }
}

impl Partial {
    /// Copies what has arrived of the frame to the payload. Returns how many bytes that were.
    fn take_in(&mut self, unread: &[u8]) -> Result<usize, Violation> {
        let Some(frame) = &mut self.frame else { return Ok(0) };
        let arrived = &unread[..frame.left.min(unread.len())];
        let start = self.payload.len();
        self.payload.extend_from_slice(arrived);
        unmask(&mut self.payload[start..], frame.mask);
        frame.mask.rotate_left(arrived.len() % 4);
        frame.left -= arrived.len();
        if frame.left == 0 {
            self.frame = None;
        }
        if self.opcode == OpCode::Text {
            self.check_utf8()?;
        }
        Ok(arrived.len())
    }

    fn into_message(self) -> Result<Message, Violation> {
        match self.opcode {
            OpCode::Text => String::from_utf8(self.payload).map(Message::Text).map_err(|_| NOT_UTF8),
            _ => Ok(Message::Binary(self.payload)),
        }
    }

    /// Refuses text as soon as it cannot become UTF-8 any more; the last character may still be
    /// cut.
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
