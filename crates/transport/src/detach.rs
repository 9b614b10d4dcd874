//! HTTP/1.1 by hyper until a request turns out to be a stream; then the bare socket, without
//! hyper's buffers.
//!
//! hyper reads the request's head. For a stream the service hands back what is to become of the
//! connection and never answers; the connection is taken apart, and not a byte of a response has
//! been written. A connection that waits in a poll or a stream costs neither hyper's read buffer
//! nor its head buffer.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::guard::{Framing, Guard};

/// What a connection may do while it speaks HTTP.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// A request head must be there within this time, counted from the moment the connection is
    /// ready for it.
    pub head_timeout: Duration,
    /// The longest request head, in bytes.
    pub head_bytes_max: usize,
    /// The most header lines.
    pub headers_max: usize,
    /// How long writing may be blocked before the connection is given up.
    pub write_timeout: Duration,
}

/// What becomes of a request.
pub enum Answer<B, D> {
    /// An ordinary response.
    Response(Response<B>),
    /// The connection leaves HTTP.
    Detach(D),
}

/// How serving a connection ended.
pub enum Served<S, D> {
    /// The connection is closed.
    Closed,
    /// A request asked for the connection itself.
    Detached {
        /// The socket, with nothing of a response written.
        socket: S,
        /// What the client sent behind the request.
        received: Bytes,
        /// What the service made of the request.
        plan: D,
    },
}

/// Serves HTTP/1.1 on `socket`, on which `received` has been read already, until it closes or a
/// request detaches it. When `shutdown` is ready, the request under way is answered and the
/// connection closes. What is no request at all never reaches the `service`: `refuse` makes the
/// whole response from hyper's status for it, and the connection closes. Who asks for HTTP/2, or is
/// late with the head, is answered with nothing but that.
///
/// The service's responses come in one piece: one that pauses could be taken for hyper's own.
pub async fn serve<S, B, D, F, A>(
    socket: S,
    received: Bytes,
    limits: &HttpLimits,
    shutdown: impl Future<Output = ()>,
    refuse: fn(StatusCode) -> Bytes,
    service: F,
) -> Served<S, D>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body<Error = Infallible> + 'static,
    B::Data: Send,
    F: Fn(Request<Incoming>, Framing) -> A,
    A: Future<Output = Answer<B, D>>,
{
    let slot: Arc<Mutex<Option<D>>> = Arc::default();
    let guard: Arc<Mutex<Guard>> = Arc::default();
    guard.lock().scan(&received);
    let service = service_fn(|request| {
        let (slot, guard) = (Arc::clone(&slot), Arc::clone(&guard));
        let framing = {
            let mut guard = guard.lock();
            guard.answer_is_due();
            guard.take()
        };
        // Boxed: hyper moves what it is given several times, and has room for it between two
        // requests.
        let mut answer = Some(Box::pin(service(request, framing)));
        poll_fn(move |cx| {
            let Some(answering) = &mut answer else { return Poll::Pending };
            match ready!(answering.as_mut().poll(cx)) {
                Answer::Response(response) => {
                    guard.lock().answer_is_due();
                    Poll::Ready(Ok::<_, Infallible>(response))
                }
                Answer::Detach(plan) => {
                    answer = None;
                    *slot.lock() = Some(plan);
                    Poll::Pending
                }
            }
        })
    });
    let wire = Wire {
        socket,
        received,
        guard: Arc::clone(&guard),
        write_timeout: limits.write_timeout,
        stalled: None,
        refuse,
        refusal: None,
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_header_size(limits.head_bytes_max)
        .max_headers(limits.headers_max)
        .half_close(false)
        .serve_connection(wire, service);
    let mut shutdown = pin!(shutdown);
    let mut draining = false;
    let plan = poll_fn(|cx| {
        if !draining && shutdown.as_mut().poll(cx).is_ready() {
            draining = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => slot.lock().take().map_or(Poll::Pending, |plan| Poll::Ready(Some(plan))),
        }
    })
    .await;
    let Some(plan) = plan else { return Served::Closed };
    // An earlier answer on this connection may still be on its way; hyper finishes it first.
    let failed = poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Pending if guard.lock().is_unflushed() => Poll::Pending,
        polled => Poll::Ready(polled.is_ready()),
    })
    .await;
    if failed {
        return Served::Closed;
    }
    let parts = connection.into_parts();
    let Wire { socket, received, .. } = parts.io;
    // Copied, because what hyper read it into is 8 KiB that an idle stream need not hold.
    let received = [parts.read_buf, received].concat().into();
    Served::Detached { socket, received, plan }
}

/// The socket as hyper sees it: with what was read before put in front, and every head looked at.
struct Wire<S> {
    socket: S,
    received: Bytes,
    guard: Arc<Mutex<Guard>>,
    write_timeout: Duration,
    /// Runs while the client does not take what is written.
    stalled: Option<Pin<Box<Sleep>>>,
    refuse: fn(StatusCode) -> Bytes,
    /// What is left to write in the place of what hyper says by itself.
    refusal: Option<Bytes>,
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
        READ.with_borrow_mut(|scratch| {
            let len = scratch.len().min(cursor.remaining());
            let mut buffer = ReadBuf::new(&mut scratch[..len]);
            let result = Pin::new(&mut self.socket).poll_read(cx, &mut buffer);
            self.guard.lock().scan(buffer.filled());
            cursor.put_slice(buffer.filled());
            result
        })
    }
}

impl<S: AsyncWrite + Unpin> Write for Wire<S> {
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
            this.stalled = None;
            return Poll::Ready(result);
        }
        let write_timeout = this.write_timeout;
        let stalled = this.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(write_timeout)));
        stalled.as_mut().poll(cx).map(|()| Err(std::io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        // hyper asks for this only once its own buffer is empty.
        self.guard.lock().flushed();
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
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
