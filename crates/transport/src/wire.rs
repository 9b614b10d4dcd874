//! What lies between hyper and the socket.

use std::cell::RefCell;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::StatusCode;
use hyper::rt::{Read, ReadBufCursor, Write};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::guard::{Awaited, Guard};
use crate::limits::HttpLimits;
use crate::linger::Linger;

/// The socket as hyper sees it. What was read before comes first, every head is checked, and the
/// timeouts and the end of the connection are the gateway's own.
pub(crate) struct Wire<S> {
    socket: S,
    received: Bytes,
    guard: Arc<Mutex<Guard>>,
    limits: HttpLimits,
    /// Runs while the client is waited for to send a request.
    waiting: Option<Waiting>,
    /// Runs while the client does not take what is written.
    stalled: Option<Stalled>,
    refuse: fn(StatusCode) -> Bytes,
    /// The rest of a response that replaces one of hyper's own.
    refusal: Option<Bytes>,
    /// The response is written, and the client may still be sending.
    linger: Option<Linger>,
}

struct Stalled {
    sleep: Pin<Box<Sleep>>,
    /// Bytes that the socket has yet to take until its time begins anew.
    owed: usize,
}

/// What a blocked socket has to take within the write timeout, or all of fewer bytes.
const OWED_BYTES: usize = 4 << 10;

struct Waiting {
    /// What is waited for. The time begins anew for something else.
    awaited: Awaited,
    sleep: Pin<Box<Sleep>>,
}

impl<S> Wire<S> {
    pub(crate) fn new(
        socket: S,
        received: Bytes,
        guard: Arc<Mutex<Guard>>,
        limits: &HttpLimits,
        refuse: fn(StatusCode) -> Bytes,
    ) -> Self {
        Self {
            socket,
            received,
            guard,
            limits: *limits,
            waiting: None,
            stalled: None,
            refuse,
            refusal: None,
            linger: None,
        }
    }

    /// The socket, and what hyper has not taken of the bytes that were read before.
    pub(crate) fn into_parts(self) -> (S, Bytes) {
        (self.socket, self.received)
    }

    /// Ready with an error when the client has been waited for too long. The time of a service that
    /// reads a body or makes its answer is its own.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let Some(awaited) = self.guard.lock().awaited() else {
            self.waiting = None;
            return Poll::Pending;
        };
        let waiting = match self.waiting.take() {
            Some(waiting) if waiting.awaited == awaited => waiting,
            _ => {
                let patience = match awaited {
                    Awaited::Head(_) => self.limits.head_timeout,
                    Awaited::Request(_) => self.limits.keep_alive,
                };
                Waiting { awaited, sleep: Box::pin(tokio::time::sleep(patience)) }
            }
        };
        let waiting = self.waiting.insert(waiting);
        waiting.sleep.as_mut().poll(cx).map(|()| Err(std::io::ErrorKind::TimedOut.into()))
    }
}

/// The status in the first line of a response that refuses.
fn refused_with(response: &[u8]) -> Option<StatusCode> {
    let status = response.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    StatusCode::from_bytes(status).ok().filter(StatusCode::is_client_error)
}

impl<S: AsyncRead + Unpin> Read for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.received.is_empty() {
            let len = self.received.len().min(cursor.remaining());
            cursor.put_slice(&self.received[..len]);
            self.received.advance(len);
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        let result = READ.with_borrow_mut(|scratch| {
            let len = scratch.len().min(cursor.remaining());
            let mut buffer = ReadBuf::new(&mut scratch[..len]);
            let result = Pin::new(&mut this.socket).poll_read(cx, &mut buffer);
            this.guard.lock().scan(buffer.filled());
            cursor.put_slice(buffer.filled());
            result
        });
        if result.is_pending() { this.poll_patience(cx) } else { result }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Write for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let this = &mut *self;
        let is_answer = {
            let mut guard = this.guard.lock();
            guard.wrote();
            guard.is_answering()
        };
        if !is_answer && this.refusal.is_none() {
            this.refusal = refused_with(bytes).map(this.refuse);
        }
        let written = match &mut this.refusal {
            Some(refusal) => write_all(Pin::new(&mut this.socket), cx, refusal).map_ok(|()| bytes.len()),
            None => Pin::new(&mut this.socket).poll_write(cx, bytes),
        };
        if let Poll::Ready(result) = written {
            if let (Some(stalled), Ok(count)) = (&mut this.stalled, &result) {
                stalled.owed = stalled.owed.saturating_sub(*count);
            }
            this.stalled.take_if(|stalled| stalled.owed == 0);
            return Poll::Ready(result);
        }
        let write_timeout = this.limits.write_timeout;
        let stalled = this.stalled.get_or_insert_with(|| Stalled {
            sleep: Box::pin(tokio::time::sleep(write_timeout)),
            owed: bytes.len().min(OWED_BYTES),
        });
        stalled.sleep.as_mut().poll(cx).map(|()| Err(std::io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        // hyper asks for this only once its own buffer is empty.
        self.guard.lock().flushed();
        let this = &mut *self;
        ready!(Pin::new(&mut this.socket).poll_flush(cx))?;
        // hyper may have looked for the next request before this answer was out, and looks again
        // only once it is woken. The patience that ends there begins here.
        let _ = this.poll_patience(cx);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
        // hyper refuses a head without having read the rest of it.
        let expects_more = this.refusal.is_some() || this.guard.lock().has_body_to_come();
        let linger = this.linger.get_or_insert_with(Linger::default);
        linger.poll(Pin::new(&mut this.socket), cx, expects_more).map(Ok)
    }
}

fn write_all<S: AsyncWrite>(
    mut socket: Pin<&mut S>,
    cx: &mut Context<'_>,
    bytes: &mut Bytes,
) -> Poll<std::io::Result<()>> {
    while !bytes.is_empty() {
        match ready!(socket.as_mut().poll_write(cx, bytes))? {
            0 => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
            written => bytes.advance(written),
        }
    }
    Poll::Ready(Ok(()))
}

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; 16 << 10].into());
}
