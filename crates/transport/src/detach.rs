//! HTTP/1.1 by hyper until a request turns out to be a stream. Then the session gets the bare socket,
//! without hyper's buffers.
//!
//! hyper reads the request's head. For a stream the service returns a plan for the connection and
//! never answers. The connection is taken apart before a byte of a response was written. So a
//! connection that waits in a poll or a stream has neither hyper's read buffer nor its head buffer.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::guard::{Framing, Guard};
use crate::limits::HttpLimits;
use crate::wire::Wire;

/// The answer to a request.
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
        /// The service's plan for the connection.
        plan: D,
    },
}

/// Serves HTTP/1.1 on `socket`, on which `received` has been read already, until it closes or a
/// request detaches it. Once `shutdown` is ready, the request that is being served is answered and
/// the connection closes.
///
/// Bytes that are not a request never reach the `service`. For them `refuse` makes the whole
/// response from hyper's status, and the connection closes. A client that asks for HTTP/2 or sends
/// its head too late gets no response.
///
/// The service's responses must come in one piece: one that pauses could be taken for hyper's own.
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
        let framing = {
            let mut guard = guard.lock();
            guard.handed_on();
            guard.take()
        };
        // Boxed: hyper moves what it is given several times, and has room for it between two
        // requests.
        let answering = Box::pin(service(request, framing));
        answer(answering, Arc::clone(&slot), Arc::clone(&guard))
    });
    let wire = Wire::new(socket, received, Arc::clone(&guard), limits, refuse);
    let mut connection = http1::Builder::new()
        // The wire has timeouts of its own: hyper's does not tell an idle connection from a slow
        // head.
        .header_read_timeout(None)
        .max_header_size(limits.head_bytes_max)
        .max_headers(limits.headers_max)
        .half_close(false)
        .serve_connection(wire, service);
    let plan = plan(&mut connection, http1::Connection::graceful_shutdown, pin!(shutdown), &slot).await;
    let Some(plan) = plan else { return Served::Closed };
    if !has_flushed(&mut connection, &guard).await {
        return Served::Closed;
    }
    let parts = connection.into_parts();
    let (socket, received) = parts.io.into_parts();
    // Copied, because hyper read it into 8 KiB that an idle stream need not hold.
    let received = [parts.read_buf, received].concat().into();
    Served::Detached { socket, received, plan }
}

/// The response for hyper. For a request that detaches the connection there is none: its plan goes
/// into the slot, and this future is never ready.
fn answer<B, D>(
    answering: Pin<Box<impl Future<Output = Answer<B, D>>>>,
    slot: Arc<Mutex<Option<D>>>,
    guard: Arc<Mutex<Guard>>,
) -> impl Future<Output = Result<Response<B>, Infallible>> {
    let mut answering = Some(answering);
    poll_fn(move |cx| {
        let Some(running) = &mut answering else { return Poll::Pending };
        match ready!(running.as_mut().poll(cx)) {
            Answer::Response(mut response) => {
                let mut guard = guard.lock();
                guard.handed_back();
                if guard.is_answered_early() {
                    // hyper does not read the rest of a body that nobody asked for, so this
                    // connection ends.
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
                Poll::Ready(Ok(response))
            }
            Answer::Detach(plan) => {
                answering = None;
                *slot.lock() = Some(plan);
                Poll::Pending
            }
        }
    })
}

/// Runs the connection until a request leaves its plan in the slot; `None`: until it closes. Drains
/// it once `shutdown` is ready.
fn plan<C: Future + Unpin, D>(
    connection: &mut C,
    drain: fn(Pin<&mut C>),
    mut shutdown: Pin<&mut impl Future<Output = ()>>,
    slot: &Mutex<Option<D>>,
) -> impl Future<Output = Option<D>> {
    let mut draining = false;
    poll_fn(move |cx| {
        if !draining && shutdown.as_mut().poll(cx).is_ready() {
            draining = true;
            drain(Pin::new(connection));
        }
        match Pin::new(&mut *connection).poll(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => slot.lock().take().map_or(Poll::Pending, |plan| Poll::Ready(Some(plan))),
        }
    })
}

/// Runs the connection until hyper has written an earlier answer that may still be on its way;
/// `false`: until it closes.
fn has_flushed(connection: &mut (impl Future + Unpin), guard: &Mutex<Guard>) -> impl Future<Output = bool> {
    poll_fn(move |cx| match Pin::new(&mut *connection).poll(cx) {
        Poll::Pending if guard.lock().is_unflushed() => Poll::Pending,
        polled => Poll::Ready(polled.is_pending()),
    })
}
