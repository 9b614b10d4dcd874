//! What a client sends.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::state::{Phase, Session};
use crate::close::{CloseCode, Ended};
use crate::control::{End, Outcome};
use crate::line::{Input, Protocol as _};

/// The most pings, pongs and binary messages in [`CONTROLS_WINDOW_MS`].
const CONTROLS_MAX: u8 = 200;
const CONTROLS_WINDOW_MS: u32 = 10_000;

thread_local! {
    /// Where a socket is read into.
    static RECEIVED: RefCell<Box<[u8]>> = RefCell::new(vec![0; 16 << 10].into());
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Lets a command go on, or starts the next one. `true`: something is to be written.
    pub(super) fn poll_command(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(command) = &mut self.command {
            let Poll::Ready(outcome) = command.as_mut().poll(cx) else { return false };
            self.command = None;
            self.reply(outcome);
            return true;
        }
        if !self.line.has_input() {
            return false;
        }
        let line = &mut self.line;
        match self.unsent.write(|out| line.next_input(out)) {
            Input::None => return false,
            Input::Part => {}
            Input::Command(text) => self.command = Some(Arc::clone(&self.host).command(text)),
            Input::NotACommand => {
                let reply = self.host.not_a_command();
                self.write_reply(&reply);
                self.count_control();
            }
            Input::Control => self.count_control(),
            Input::Closed(code) => {
                self.host.client_closed(code);
                self.handle.client_closed(code);
                self.close(Ended::Client);
                self.deadlines.close_by(Instant::now());
            }
            Input::Violated(code) => self.close(Ended::Violation(code)),
        }
        true
    }

    /// Follows what a command changed, and replies. An end comes behind the reply.
    fn reply(&mut self, Outcome { reply, end }: Outcome) {
        self.follow();
        self.write_reply(&reply);
        if let Some(end) = end {
            self.end(end);
        }
    }

    fn count_control(&mut self) {
        let now_ms = self.started().elapsed().as_millis() as u32;
        if now_ms.wrapping_sub(self.controls_since_ms) > CONTROLS_WINDOW_MS {
            self.controls_since_ms = now_ms;
            self.controls = 0;
        }
        self.controls = self.controls.saturating_add(1);
        if self.controls > CONTROLS_MAX {
            self.end(End::Close(CloseCode::RATE_LIMITED, "too many control frames"));
        }
    }

    /// Reads what the client sent. Ready when it has gone.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            if !self.may_receive() {
                return Poll::Pending;
            }
            let received = RECEIVED.with_borrow_mut(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                let result = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer));
                let bytes = buffer.filled();
                if result.is_err() || bytes.is_empty() {
                    return Poll::Ready(Some(Ended::Client));
                }
                Poll::Ready(match self.phase {
                    Phase::Opening | Phase::Open => {
                        self.deadlines.heard();
                        self.line.receive(bytes);
                        None
                    }
                    // Bytes of a client that broke the rules are read and dropped: a socket that is
                    // closed with bytes unread takes the close frame along.
                    Phase::Closing(Ended::Violation(_)) => None,
                    Phase::Closing(ended) => self.line.receive_close(bytes).then_some(ended),
                })
            });
            if let Some(ended) = ready!(received) {
                return Poll::Ready(ended);
            }
        }
    }

    /// A client that does not read, or that has a command under way, is not listened to: its bytes
    /// stay in the kernel, and it is slowed down instead of being stored.
    pub(super) fn may_receive(&self) -> bool {
        if let Phase::Closing(ended) = self.phase {
            return ended != Ended::Answered;
        }
        let is_held_up = self.line.takes_commands() && (!self.unsent.is_empty() || self.command.is_some());
        !is_held_up && self.line.wants_bytes()
    }
}
