//! Sockets: accepting, serving and draining them.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use transport::Served;

use crate::app::App;
use crate::dispatch;
use crate::http::door::Door;
use crate::http::socket::ClientSocket;
use crate::metrics::labels::{RateLimit, RefuseReason};
use crate::problem::{Code, Problem};
use crate::registry::SessionlessPlace;
use crate::session::admission::Plan;
use crate::session::running::{self, RunningSession};

/// The connections that the kernel may queue. With a shorter queue, a reconnect storm loses SYNs for a
/// second.
const BACKLOG: i32 = 4096;

/// The most connections above the cap that are kept until their client has stopped sending. Further ones are closed as
/// soon as the answer is written, and may be reset before the client has read it.
const TURNED_AWAY_MAX: usize = 256;
/// The longest time that such a connection is waited for, then written to, and then read from.
const TURNED_AWAY_TIME: Duration = Duration::from_secs(5);

/// Raises the process's limit of open files as far as it may, and says so when that is too little for the connections
/// that are allowed.
pub(crate) fn allow_files(connections_max: usize) {
    /// Listeners, the store, log files, key sets, and connections that are turned away.
    const OTHERS: u64 = 64 + TURNED_AWAY_MAX as u64;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If that is refused, the old limit stays and is checked.
    let _ = setrlimit(Resource::Nofile, limit);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if files < connections_max as u64 + OTHERS {
        tracing::warn!(
            files,
            connections_max,
            "the limit of open files is below --max-connections: raise `ulimit -n`"
        );
    }
}

/// Binds a listener.
///
/// # Errors
/// When the address cannot be bound.
pub(crate) fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts connections until dropped.
pub(crate) async fn accept(app: Arc<App>, listener: TcpListener, door: Door) {
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Usually there are no file descriptors left. Clients wait in the kernel's queue meanwhile.
                tracing::warn!(%error, "cannot accept a connection; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Without the option a socket is slower, not wrong.
        let _ = socket.set_nodelay(true);
        // The kernel gives a vanished peer up soon after an acknowledgement is due, instead of after a
        // quarter of an hour. A reader that is only slow is ended by its session, with a `bye`.
        let vanished_after = app.config.streams.write_timeout + Duration::from_secs(5);
        let _ = SockRef::from(&socket).set_tcp_user_timeout(Some(vanished_after));
        if door != Door::Backends && app.open.count() >= app.limits().connections_max {
            app.metrics.rate_limited(RateLimit::ConnectionsTotal);
            let problem = Problem::new(Code::Unavailable, "this gateway has too many connections");
            turn_away(&app, socket, problem, &turned_away);
            continue;
        }
        let is_counted_elsewhere = door == Door::Backends || app.config.trusted_proxies.contains(peer.ip());
        let Ok(place) = app.sessionless.admit(peer.ip(), is_counted_elsewhere) else {
            app.metrics.rate_limited(RateLimit::ConnectionsAddress);
            let problem =
                Problem::new(Code::RateLimited, "this address has too many connections without a session");
            turn_away(&app, socket, problem, &turned_away);
            continue;
        };
        let connection = OpenConnection::enter(&app);
        let patience = app.http_limits().head_timeout;
        match app.tls() {
            None => {
                let socket = ClientSocket::Plain(socket);
                tokio::spawn(await_request(connection, place, door, socket, patience));
            }
            Some(tls) => {
                tokio::spawn(await_handshake(connection, place, door, socket, tls, patience));
            }
        }
    }
}

/// Does the TLS handshake, which is part of the time that the first request may take.
async fn await_handshake(
    connection: OpenConnection,
    place: SessionlessPlace,
    door: Door,
    socket: TcpStream,
    tls: Arc<ServerConfig>,
    patience: Duration,
) {
    let deadline = Instant::now() + patience;
    let shaken = tokio::select! {
        shaken = timeout_at(deadline, ClientSocket::handshake(socket, tls)) => shaken,
        () = drains(&connection.0) => return,
    };
    match shaken {
        Ok(Ok(socket)) => {
            let patience = deadline.saturating_duration_since(Instant::now());
            tokio::spawn(await_request(connection, place, door, socket, patience));
        }
        Ok(Err(error)) => {
            connection.0.metrics.connection_refused(RefuseReason::Tls);
            tracing::debug!(%error, "a TLS handshake failed");
        }
        Err(_) => connection.0.metrics.connection_refused(RefuseReason::Tls),
    }
}

/// One of the open connections.
struct OpenConnection(Arc<App>);

impl OpenConnection {
    fn enter(app: &Arc<App>) -> Self {
        app.open.enter();
        app.metrics.tcp_opened();
        Self(Arc::clone(app))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.leave();
        self.0.metrics.tcp_closed();
    }
}

/// Ready when the drain begins. A connection that comes during the drain is still answered.
fn drains(app: &App) -> impl Future<Output = ()> {
    let came_late = app.is_draining();
    async move {
        if came_late {
            std::future::pending::<()>().await;
        }
        app.drained().await;
    }
}

/// Waits for the first byte of a request, at most for `patience`. Until it comes, the connection has none
/// of HTTP's buffers: thousands of clients may be between two polls.
async fn await_request(
    connection: OpenConnection,
    place: SessionlessPlace,
    door: Door,
    mut socket: ClientSocket,
    patience: Duration,
) {
    let first = timeout(patience, socket.first_bytes());
    let come = tokio::select! {
        first = first => first.ok().flatten(),
        () = drains(&connection.0) => None,
    };
    if let Some(received) = come {
        tokio::spawn(serve(connection, place, door, socket, received));
    }
}

/// Serves HTTP until the connection becomes a stream, and goes on with HTTP after a poll. The stream runs in a task of
/// its own, so that it does not carry HTTP's memory along.
fn serve(
    connection: OpenConnection,
    place: SessionlessPlace,
    door: Door,
    socket: ClientSocket,
    received: Bytes,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        // Asked for each time, so that a stream need not keep it. Without one the client has gone already.
        let Ok(peer) = socket.peer_addr() else { return };
        let app = &connection.0;
        let limits = app.http_limits();
        // A connection that comes during the drain still gets one answer: `/ready` says no, and a stream is refused with a reason.
        let drained = drains(app);
        let answer = |request, framing| dispatch::answer(Arc::clone(app), door, peer, request, framing);
        let served = transport::serve(socket, received, &limits, drained, refuse, answer).await;
        if let Served::Detached { socket, received, plan } = served {
            tokio::spawn(stream(connection, place, door, socket, received, plan));
        }
    })
}

async fn stream(
    connection: OpenConnection,
    place: SessionlessPlace,
    door: Door,
    socket: ClientSocket,
    received: Bytes,
    plan: Plan,
) {
    if let Some(running) = running::begin(&connection.0, socket, received, plan).await {
        // From here on the caps of sessions apply.
        drop(place);
        tokio::spawn(Stream { running, door, connection: Some(connection) });
    }
}

/// The task of a running session, with the parts that a return to HTTP needs.
struct Stream {
    running: RunningSession,
    door: Door,
    /// Until the session ends.
    connection: Option<OpenConnection>,
}

impl Future for Stream {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { running, door, connection } = self.get_mut();
        let reuse = match connection {
            Some(OpenConnection(app)) => ready!(running.poll_end(&app.metrics, cx)),
            None => None,
        };
        if let (Some((socket, received)), Some(connection)) = (reuse, connection.take())
            && let Ok(peer) = socket.peer_addr()
        {
            let app = &connection.0;
            if received.is_empty() && app.is_draining() {
                // The gateway does not wait: the next request goes to another gateway.
                return Poll::Ready(());
            }
            let is_proxy = app.config.trusted_proxies.contains(peer.ip());
            let place = app.sessionless.readmit(peer.ip(), is_proxy);
            if received.is_empty() {
                let patience = app.http_limits().keep_alive;
                tokio::spawn(await_request(connection, place, *door, socket, patience));
            } else {
                tokio::spawn(serve(connection, place, *door, socket, received));
            }
        }
        Poll::Ready(())
    }
}

/// Answers a connection above the cap without reading its request, as far as there are seats for that.
/// Where it would speak TLS first, it is only closed: a handshake costs more than the answer.
fn turn_away(app: &App, socket: TcpStream, problem: Problem, seats: &Arc<Semaphore>) {
    if app.tls().is_none() {
        tokio::spawn(answer_above_cap(socket, problem, Arc::clone(seats).try_acquire_owned().ok()));
    }
}

/// Answers a connection above the cap without reading its request. With a `seat`, the answer arrives
/// although the client is still sending, and not before the client has begun: Go's client takes an
/// answer without a request for a broken connection.
async fn answer_above_cap(mut socket: TcpStream, problem: Problem, seat: Option<OwnedSemaphorePermit>) {
    let response = problem.last_response();
    if seat.is_some() {
        let _ = timeout(TURNED_AWAY_TIME, socket.peek(&mut [0])).await;
    }
    let written = timeout(TURNED_AWAY_TIME, socket.write_all(&response)).await;
    if seat.is_some() && matches!(written, Ok(Ok(()))) {
        transport::close_after_answer(&mut socket, TURNED_AWAY_TIME).await;
    }
}

/// The answer to bytes that are no request.
fn refuse(status: StatusCode) -> Bytes {
    let problem = match status {
        StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            Problem::new(Code::TooLarge, "the head of the request is too large")
        }
        _ => Problem::bad_request("this is no HTTP/1.1 request"),
    };
    problem.last_response().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every idle connection has this size. Raise it only with a reason.
    #[test]
    fn the_task_of_a_session_is_small() {
        let bytes = size_of::<Stream>();
        assert!(bytes <= 408, "{bytes} bytes");
    }
}
