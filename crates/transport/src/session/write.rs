//! The way of unsent bytes to the socket.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::state::{Phase, Session};
use crate::close::Ended;
use crate::line::Protocol as _;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Writes what is waiting.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, self.unsent.rest()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    if !self.unsent.advance(written) {
                        continue;
                    }
                    self.deadlines.wrote(None);
                    if self.phase == Phase::Closing(Ended::Answered) {
                        // An answer may take its time as long as it moves.
                        self.deadlines.close_by(Instant::now() + self.deadlines.write_timeout());
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.deadlines.wrote(Some(Instant::now()));
                    self.unsent.block(self.host.unsent());
                    return Poll::Pending;
                }
            }
        }
        let shuts_down = self.shuts_down();
        let socket = Pin::new(&mut self.socket);
        if shuts_down { socket.poll_shutdown(cx) } else { socket.poll_flush(cx) }
    }

    /// Whether the sending half closes once everything is written, so that the client sees the end
    /// at once. A client that answers the end is waited for first, unless it cannot be understood
    /// any more.
    fn shuts_down(&self) -> bool {
        match self.phase {
            Phase::Closing(Ended::Answered) | Phase::Opening | Phase::Open => false,
            Phase::Closing(Ended::Violation(_)) => true,
            Phase::Closing(_) => !self.line.awaits_close(),
        }
    }
}
