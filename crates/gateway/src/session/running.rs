//! A session on its socket, from the first byte that leaves HTTP to its end.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use events::{Limit, Reader};
use tokio::io::{AsyncRead, AsyncWrite};
use transport::ws::Decoder;
use transport::{
    After, CloseCode, Ended, Handle, Line, PollLine, Session, SseLine, Terms, Transport, WsLine,
};

use super::admission::{Admitted, BATCH_BYTES, Plan, RefusedClient, StreamRequest, Waiting, admit};
use super::commands;
use super::host::SessionHost;
use super::unadmitted::{NoText, Unadmitted};
use crate::app::App;
use crate::audit::{self, Deed};
use crate::auth::Refusal;
use crate::http::socket::ClientSocket;
use crate::metrics::Metrics;
use crate::metrics::labels::{CloseReason, Route};
use crate::problem::Problem;
use crate::registry::JoinedSession;

/// The most bytes of a message to a client that closed because a message was too large: the lowest
/// limit of a popular library.
const SMALL_MESSAGE_BYTES: usize = 8 << 10;

/// Begins the plan of a connection on its bare socket. `None`: the connection ended before a session.
pub(crate) async fn begin(
    app: &Arc<App>,
    socket: ClientSocket,
    received: Bytes,
    plan: Plan,
) -> Option<RunningSession> {
    let admitted = match plan {
        Plan::Session(admitted) => *admitted,
        Plan::Line(planned) => {
            let (admitted, line) = *planned;
            return Some(RunningSession::new(app, socket, line.with_received(&received), admitted));
        }
        Plan::Accepted { accept, within, then } => {
            let limits = app.limits();
            let patience = app.config.streams.write_timeout;
            let unadmitted =
                Unadmitted::new(socket, &accept, &received, limits.command_bytes_max, patience, within);
            let (socket, line, admitted) = then(unadmitted).await?;
            return Some(RunningSession::new(app, socket, line, admitted));
        }
        Plan::WebSocket { accept, then } => {
            let mut unadmitted = Unadmitted::new(
                socket,
                &accept,
                &received,
                app.limits().command_bytes_max,
                app.config.streams.write_timeout,
                Unadmitted::AUTH_WITHIN,
            );
            match *then {
                Ok(admitted) => return begin_websocket(app, unadmitted, admitted).await,
                Err(Waiting::Refused(refused)) => {
                    let problem = refused.held_back(app).await;
                    unadmitted.refuse(problem.close_code(), &problem.detail).await;
                    return None;
                }
                Err(Waiting::ForAuth(asked)) => {
                    let admitted = authenticate(app, &mut unadmitted, asked).await?;
                    return begin_websocket(app, unadmitted, admitted).await;
                }
            }
        }
    };
    Some(begin_on(app, socket, None, received.into(), admitted))
}

async fn begin_websocket(
    app: &Arc<App>,
    unadmitted: Unadmitted,
    admitted: Admitted,
) -> Option<RunningSession> {
    let (socket, decoder) = unadmitted.into_session().await?;
    Some(begin_on(app, socket, Some(decoder), Vec::new(), admitted))
}

/// Begins the session of an admitted client on any connection. With a `decoder` it is an accepted
/// WebSocket; otherwise `received` came behind the request.
pub(crate) fn begin_on<S: AsyncRead + AsyncWrite + Unpin>(
    app: &Arc<App>,
    socket: S,
    decoder: Option<Decoder>,
    received: Vec<u8>,
    admitted: Admitted,
) -> RunningSession<S> {
    let asked = &admitted.asked;
    let headers = asked.headers.clone();
    let line = match (decoder, asked.transport) {
        (Some(decoder), _) => Line::Ws(WsLine::new(decoder)),
        (None, Transport::Poll) => Line::Poll(PollLine {
            wait_ms: asked.request.wait.as_millis() as u32,
            hello: asked.request.after == After::Latest,
            keep_alive: asked.keep_alive && !app.is_draining(),
            headers,
            pipelined: received,
        }),
        (None, Transport::Sse | Transport::Ws) => {
            Line::Sse(SseLine { chunked: asked.is_http11, pad: asked.request.pad, headers })
        }
    };
    RunningSession::new(app, socket, line, admitted)
}

/// Waits for the `auth` of a WebSocket that came without a token.
async fn authenticate(app: &Arc<App>, unadmitted: &mut Unadmitted, asked: StreamRequest) -> Option<Admitted> {
    let grant = loop {
        let text = match unadmitted.next_text().await {
            Ok(text) => text,
            Err(NoText::None) => {
                app.metrics.auth_failed(Refusal::Missing.into());
                unadmitted.refuse(CloseCode::UNAUTHENTICATED, "a token is needed").await;
                return None;
            }
            Err(NoText::Closed) => {
                unadmitted.close().await;
                return None;
            }
        };
        let verified = match commands::token_of(&text) {
            Some(token) => app.auth.verify(&token).await,
            None => Err(Refusal::Missing),
        };
        match verified {
            Ok(grant) => {
                unadmitted.reply(&commands::auth_reply(&text, Ok(&grant))).await;
                break grant;
            }
            Err(refusal) if !refusal.is_final() => {
                app.metrics.auth_failed(refusal.into());
                let problem = Problem::from(refusal);
                unadmitted.reply(&commands::auth_reply(&text, Err(problem.clone()))).await;
                let problem =
                    RefusedClient { problem, address: asked.address, user: None }.held_back(app).await;
                unadmitted.refuse(problem.close_code(), &problem.detail).await;
                return None;
            }
            Err(refusal) => {
                app.metrics.auth_failed(refusal.into());
                audit::record(Deed::TokenRefused, "", asked.address, refusal.reason());
                unadmitted.reply(&commands::auth_reply(&text, Err(refusal.into()))).await;
            }
        }
    };
    let (address, user) = (asked.address, Arc::clone(&grant.user));
    match admit(app, asked, grant).await {
        Ok(admitted) => Some(admitted),
        Err(problem) => {
            let problem = RefusedClient { problem, address, user: Some(user) }.held_back(app).await;
            unadmitted.refuse(problem.close_code(), &problem.detail).await;
            None
        }
    }
}

/// The most bytes of a batch for this client, which `asked` for a number of bytes in a message.
fn batch_bytes(transport: Transport, asked: usize, handle: &Handle) -> usize {
    match transport {
        Transport::Poll => BATCH_BYTES,
        _ if handle.client_close() == Some(CloseCode::TOO_LARGE) => asked.min(SMALL_MESSAGE_BYTES),
        Transport::Ws | Transport::Sse => asked,
    }
}

/// A session with its metrics. It is a future of its own, because an `async` function around the
/// session would keep its own state in memory for as long as the session lives.
pub(crate) struct RunningSession<S = ClientSocket> {
    /// Until it ends.
    session: Option<Session<S>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> RunningSession<S> {
    fn new(app: &Arc<App>, socket: S, line: Line, admitted: Admitted) -> Self {
        let Admitted { asked, grant, registration, joined, start, replay } = admitted;
        let JoinedSession { older, before, .. } = joined;
        let connection = Arc::clone(&registration.connection);
        let transport = asked.transport;
        let request = asked.request;
        let streams = &app.config.streams;
        connection.expire_as(before.as_deref(), app.log.clock());
        let terms = Terms {
            heartbeat: request.heartbeat_on(transport, asked.is_browser),
            interval: request.interval,
            limit: Limit {
                events: request.limit,
                bytes: batch_bytes(
                    transport,
                    request.batch.unwrap_or(streams.message_bytes_max),
                    &connection.handle,
                ),
            },
            resumed: request.after != After::Latest,
            states: request.state && !line.speaks_socketio(),
            expiry: grant.ends_at_instant(app.log.clock()),
            expiring_before: connection.expiring_before(),
            age_max: match transport {
                Transport::Ws => streams.websocket_age_max,
                Transport::Sse => streams.sse_age_max,
                Transport::Poll => None,
            },
            write_timeout: streams.write_timeout,
        };
        let mut held = connection.held.lock();
        let mut reader = Reader::new(&app.log, held.subscriptions.topics(), request.types, start);
        held.subscriptions.share_names(reader.topics().cloned());
        drop(held);
        reader.look_through(app.lens(&grant));
        connection.begin(reader.cursor().seq, terms.resumed, before.as_deref());
        let begun_on = registration.begins(older);
        let switched_from = begun_on.filter(|before| *before != transport);
        let handle: Handle = connection.handle.clone();
        let metrics = &app.metrics;
        if let Some(from) = switched_from {
            metrics.switched(from, transport);
        }
        if switched_from == Some(Transport::Poll) {
            metrics.session_closed(Transport::Poll, CloseReason::Replaced);
        }
        // A poller's session outlives its polls: it begins with the first and ends when no other comes.
        let is_stream = transport != Transport::Poll;
        if is_stream || begun_on != Some(Transport::Poll) {
            metrics.session_opened(transport);
        }
        let host = SessionHost::new(app, transport, registration, line.speaks_socketio());
        metrics.connection_opened(transport);
        let session = Session::new(socket, line, reader, host, handle, terms);
        let mut session = session.space_ephemeral(app.ephemeral_spacing());
        if let Some(replay) = replay {
            session = session.hold_until_caught_up(Box::new(replay));
        }
        Self { session: Some(session) }
    }

    /// Ready once, when the session has ended; gives the socket back if HTTP can go on with it.
    pub(crate) fn poll_end(&mut self, metrics: &Metrics, cx: &mut Context<'_>) -> Poll<Option<(S, Bytes)>> {
        let Some(session) = &mut self.session else { return Poll::Pending };
        let ended = ready!(Pin::new(&mut *session).poll(cx));
        let (transport, started) = (session.transport(), session.started());
        // Its place in the table is free before the connection goes on.
        let reuse = self.session.take().and_then(|session| session.reuse(ended));
        if transport != Transport::Poll {
            metrics.session_closed(transport, ended.into());
        }
        metrics.connection_closed(transport);
        if transport == Transport::Poll && ended != Ended::Client {
            metrics.request(Route::Poll, 200, started.elapsed().as_secs_f64());
        }
        Poll::Ready(reuse.map(|(socket, received)| (socket, received.into())))
    }
}
