//! The end of a connection whose client is still sending.
//!
//! A socket that is closed with bytes unread resets the connection, and the reset takes the
//! response along: a client that writes its whole body before it reads never learns why it was
//! refused. So the gateway closes only its own half, then reads and drops what still comes, within
//! bounds.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The longest time in all.
const TIME_MAX: Duration = Duration::from_secs(30);
/// The longest time without a byte.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// The most bytes. They are dropped as they come, so this bounds the time at the speed of a fast
/// link: most clients finish a body of 100 MB and then read the answer.
const BYTES_MAX: usize = 128 << 20;

/// Reads and drops what a client sends after the last response.
#[derive(Debug)]
pub(crate) struct Linger {
    end: Instant,
    idle: Pin<Box<Sleep>>,
    bytes_left: usize,
}

thread_local! {
    static DROPPED: RefCell<Box<[u8]>> = RefCell::new(vec![0; 64 << 10].into());
}

impl Default for Linger {
    fn default() -> Self {
        Self::for_at_most(TIME_MAX)
    }
}

impl Linger {
    fn for_at_most(time: Duration) -> Self {
        let now = Instant::now();
        Self {
            end: now + time,
            idle: Box::pin(tokio::time::sleep(time.min(IDLE_MAX))),
            bytes_left: BYTES_MAX,
        }
    }

    /// Ready when the client has closed, or when a bound is reached. Unless `expects_more`, what
    /// has arrived is dropped and nothing is waited for.
    pub(crate) fn poll<S: AsyncRead>(
        &mut self,
        mut socket: Pin<&mut S>,
        cx: &mut Context<'_>,
        expects_more: bool,
    ) -> Poll<()> {
        loop {
            let read = DROPPED.with_borrow_mut(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                let result = socket.as_mut().poll_read(cx, &mut buffer);
                result.map(|result| result.map_or(0, |()| buffer.filled().len()))
            });
            match read {
                Poll::Ready(0) => return Poll::Ready(()),
                Poll::Ready(len) => {
                    let now = Instant::now();
                    self.bytes_left = self.bytes_left.saturating_sub(len);
                    if self.bytes_left == 0 || now >= self.end {
                        return Poll::Ready(());
                    }
                    self.idle.as_mut().reset(self.end.min(now + IDLE_MAX));
                }
                Poll::Pending if !expects_more => return Poll::Ready(()),
                Poll::Pending => {
                    ready!(self.idle.as_mut().poll(cx));
                    return Poll::Ready(());
                }
            }
        }
    }
}

/// Closes a connection after its last bytes were written, so that they arrive although the client
/// may still be sending: for at most `time`, what comes is read and dropped.
pub async fn close_after_answer<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut S, time: Duration) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let mut linger = Linger::for_at_most(time);
    poll_fn(|cx| linger.poll(Pin::new(&mut *socket), cx, true)).await;
}
