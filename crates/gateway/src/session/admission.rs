//! From a request to a running session: who it is, what it may see, where it goes on.

use std::borrow::Cow;
use std::future::Future as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use events::ResetReason as Reset;
use events::{Cursor, Limit, Located, Reader, Seq, Start, Topic};
use http::HeaderMap;
use tokio::net::TcpStream;
use transport::{
    After, Change, CloseCode, Ended, ExtraHeaders, Handle, Line, PollLine, Request, Session, SseLine, Terms,
    Transport, WsLine,
};

use crate::app::App;
use crate::audit::{self, Deed};
use crate::auth::{Credential, Grant, Refusal};
use crate::limits::replays::Replay;
use crate::metrics::labels::{CloseReason, RateLimit, RefuseReason, ResumeOutcome, Route};
use crate::problem::{Code, Problem};
use crate::registry::scope::Scope;
use crate::registry::{Full, Registered, Who};
use crate::session::commands;
use crate::session::host::Client;
use crate::session::unadmitted::{Early, NoText};

/// Decoded query parameters, in order.
pub(crate) type Query<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// How long a node that is behind a cursor is given to catch up.
const BEHIND_PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of events in one batch, beyond which the next one begins.
pub(crate) const BATCH_BYTES: usize = 256 << 10;

/// What a request for a stream says about itself.
pub(crate) struct Asked {
    /// The transport it uses.
    pub transport: Transport,
    /// Its wishes.
    pub request: Request,
    /// Who sends it, proxies seen through.
    pub address: IpAddr,
    /// CORS headers for the response.
    pub headers: ExtraHeaders,
    /// Whether the connection speaks HTTP/1.1.
    pub is_http11: bool,
    /// Whether the connection can be used again after a poll.
    pub keep_alive: bool,
}

/// A client that was let in, before its socket is there.
pub(crate) struct Admitted {
    asked: Asked,
    grant: Arc<Grant>,
    registered: Registered,
    start: Start,
    /// Until the client has caught up.
    replay: Option<Replay>,
}

/// What becomes of a connection that leaves HTTP.
pub(crate) enum Plan {
    /// A session begins.
    Session(Box<Admitted>),
    /// A WebSocket is accepted first.
    WebSocket {
        /// The answer to the handshake.
        accept: Box<[u8]>,
        /// Then a session begins, or the socket is closed, or a token is waited for.
        then: Box<Result<Admitted, Waiting>>,
    },
}

impl Plan {
    /// The status of the response, if it is written as soon as the connection has left HTTP; a poll's comes later.
    pub(crate) fn status_now(&self) -> Option<u16> {
        match self {
            Self::WebSocket { .. } => Some(101),
            Self::Session(admitted) if admitted.asked.transport == Transport::Sse => Some(200),
            Self::Session(_) => None,
        }
    }
}

/// A WebSocket without a session, yet or for ever.
pub(crate) enum Waiting {
    /// It may still send its token.
    ForAuth(Asked),
    /// It is told why not.
    Refused(Problem),
}

/// Finds the grant behind a request.
///
/// # Errors
/// Why there is none.
pub(crate) async fn grant_of(
    app: &App,
    headers: &HeaderMap,
    query: &Query<'_>,
) -> Result<Arc<Grant>, Refusal> {
    let result = match Credential::find(headers, query) {
        Some(credential) => app.auth.verify(credential.token()).await,
        None => match query.iter().rfind(|(name, _)| name == "user") {
            Some((_, user)) => app.auth.grant_of_user_parameter(user),
            None => Err(Refusal::Missing),
        },
    };
    result.inspect_err(|refusal| app.metrics.auth_failed((*refusal).into()))
}

/// Lets a client in: its topics, its place among the connections, and where its cursor stands.
///
/// # Errors
/// Why it is not let in.
pub(crate) async fn admit(app: &Arc<App>, asked: Asked, grant: Arc<Grant>) -> Result<Admitted, Problem> {
    let result = try_admit(app, asked, grant).await;
    if let Err(problem) = &result {
        app.metrics.connection_refused(refusal_label(app, problem));
    }
    result
}

async fn try_admit(app: &Arc<App>, asked: Asked, grant: Arc<Grant>) -> Result<Admitted, Problem> {
    if app.is_draining() {
        return Err(Problem::new(Code::Unavailable, "this gateway is shutting down"));
    }
    app.store.loaded()?;
    let topics = topics_of(&grant, &asked.request.topics, app.config.limits.topics_per_session_max);
    let topics = topics.inspect_err(|problem| {
        if problem.code == Code::Forbidden {
            audit::record(Deed::TopicRefused, &grant.user, asked.address, &problem.detail);
        }
    })?;
    let types = asked.request.types.clone();
    let scope = Scope::new(Arc::clone(&grant), topics.clone(), types, asked.address);
    let registered = register(app, &asked, scope)?;
    // A session that is continued may come with a smaller grant.
    app.presence.retain(&registered.key, |topic| grant.may_subscribe(topic));
    let start = start_at(app, asked.request.after).await?;
    let after = match start {
        Start::Latest => Seq::MAX,
        Start::Earliest => Seq::ZERO,
        Start::After(cursor) | Start::Broken(_, cursor) => cursor.seq,
    };
    let missed = app.log.bytes_after(&topics, after);
    // A poll is answered with one batch.
    let missed = if asked.transport == Transport::Poll { missed.min(BATCH_BYTES) } else { missed };
    let replay = app.replays.admit(missed).await;
    let replay = replay.inspect_err(|_| app.metrics.rate_limited(RateLimit::ReplayBytes))?;
    Ok(Admitted { asked, grant, registered, start, replay })
}

fn refusal_label(app: &App, problem: &Problem) -> RefuseReason {
    match problem.code {
        Code::Unauthenticated => RefuseReason::Unauthenticated,
        Code::Forbidden => RefuseReason::Forbidden,
        Code::RateLimited => RefuseReason::Limit,
        Code::Unavailable if app.is_draining() => RefuseReason::Draining,
        Code::Unavailable => RefuseReason::Unavailable,
        _ => RefuseReason::BadRequest,
    }
}

/// The user's own topic, `all`, and what was asked for.
fn topics_of(grant: &Grant, wanted: &[Topic], topics_max: usize) -> Result<Vec<Topic>, Problem> {
    let mut topics = vec![grant.user_topic.clone(), Topic::all()];
    for topic in wanted {
        if !grant.may_subscribe(topic) {
            return Err(Problem::new(Code::Forbidden, format!("subscribing to {topic} is not allowed")));
        }
        if !topics.contains(topic) {
            topics.push(topic.clone());
        }
    }
    if topics.len() > topics_max {
        return Err(transport::RequestError::Topics(topics_max).into());
    }
    Ok(topics)
}

fn register(app: &App, asked: &Asked, scope: Scope) -> Result<Registered, Problem> {
    let user = Arc::clone(&scope.user);
    let who = match asked.request.session.as_deref() {
        Some(id) => Who::Session(id),
        // Without a hello it is never told an id, so it cannot come back with one.
        None if asked.transport == Transport::Poll && asked.request.after != After::Latest => Who::Unnamed,
        None => Who::New,
    };
    let registered = app.sessions.register(scope, who, asked.transport, app.caps());
    registered.map_err(|full| {
        let (kind, detail) = match full {
            Full::User => (RateLimit::ConnectionsUser, "this user has too many connections"),
            Full::Address => (RateLimit::ConnectionsAddress, "this address has too many connections"),
        };
        app.metrics.rate_limited(kind);
        audit::record(Deed::LimitReached, &user, asked.address, detail);
        Problem::new(Code::RateLimited, detail)
    })
}

/// Where a session begins. A node that is behind the cursor waits; only the store itself can say that it is behind.
///
/// # Errors
/// When neither can be told.
pub(crate) async fn start_at(app: &App, after: After) -> Result<Start, Problem> {
    let cursor = match after {
        After::Latest => return Ok(Start::Latest),
        After::Earliest => return Ok(Start::Earliest),
        After::Cursor(cursor) => cursor,
    };
    let mut outcome = ResumeOutcome::Complete;
    let start = match app.log.locate(cursor) {
        Located::Here(cursor) => Start::After(cursor),
        Located::Phantom { end } => Start::Broken(Reset::Epoch, end),
        Located::Ahead | Located::Unknown => {
            outcome = ResumeOutcome::Waited;
            let tail = app.store.tail().await.inspect_err(|_| app.metrics.resumed(ResumeOutcome::Refused))?;
            wait_for(app, cursor, tail).await?
        }
    };
    match start {
        Start::Broken(Reset::Ahead, _) => outcome = ResumeOutcome::Ahead,
        Start::Broken(..) => outcome = ResumeOutcome::Epoch,
        _ => {}
    }
    app.metrics.resumed(outcome);
    Ok(start)
}

/// The store is at `tail`; waits for this node to see as much, and decides then.
async fn wait_for(app: &App, cursor: Cursor, tail: Cursor) -> Result<Start, Problem> {
    let deadline = tokio::time::Instant::now() + BEHIND_PATIENCE;
    loop {
        match app.log.locate(cursor) {
            Located::Here(cursor) => return Ok(Start::After(cursor)),
            Located::Phantom { end } => return Ok(Start::Broken(Reset::Epoch, end)),
            Located::Ahead if tail.epoch == cursor.epoch && tail.seq < cursor.seq => {
                return Ok(Start::Broken(Reset::Ahead, app.log.tail_cursor()));
            }
            Located::Unknown if app.log.locate(tail) == Located::Here(tail) => {
                return Ok(Start::Broken(Reset::Epoch, app.log.tail_cursor()));
            }
            Located::Ahead | Located::Unknown => {}
        }
        if tokio::time::Instant::now() >= deadline {
            app.metrics.resumed(ResumeOutcome::Refused);
            return Err(Problem::new(Code::Unavailable, "this gateway is behind the cursor"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Begins what was planned for a connection, on its bare socket. `None`: the connection ended before a session.
pub(crate) async fn begin(app: &Arc<App>, socket: TcpStream, received: Bytes, plan: Plan) -> Option<Running> {
    let admitted = match plan {
        Plan::Session(admitted) => *admitted,
        Plan::WebSocket { accept, then } => {
            let mut early = Early::new(
                socket,
                &accept,
                &received,
                app.config.limits.command_bytes_max,
                app.config.streams.write_timeout,
            );
            match *then {
                Ok(admitted) => return begin_websocket(app, early, admitted).await,
                Err(Waiting::Refused(problem)) => {
                    early.refuse(problem.close_code(), &problem.detail).await;
                    return None;
                }
                Err(Waiting::ForAuth(asked)) => {
                    let admitted = authenticate(app, &mut early, asked).await?;
                    return begin_websocket(app, early, admitted).await;
                }
            }
        }
    };
    let asked = &admitted.asked;
    let headers = asked.headers.clone();
    let line = match asked.transport {
        Transport::Poll => Line::Poll(PollLine {
            wait_ms: asked.request.wait.as_millis() as u32,
            hello: asked.request.after == After::Latest,
            keep_alive: asked.keep_alive && !app.is_draining(),
            headers,
            pipelined: received.into(),
        }),
        Transport::Sse | Transport::Ws => {
            Line::Sse(SseLine { chunked: asked.is_http11, pad: asked.request.pad, headers })
        }
    };
    Some(Running::new(app, socket, line, admitted))
}

async fn begin_websocket(app: &Arc<App>, early: Early, admitted: Admitted) -> Option<Running> {
    let (socket, decoder) = early.into_session().await?;
    Some(Running::new(app, socket, Line::Ws(WsLine::new(decoder)), admitted))
}

/// Waits for the `auth` of a WebSocket that came without a token.
async fn authenticate(app: &Arc<App>, early: &mut Early, asked: Asked) -> Option<Admitted> {
    let grant = loop {
        let text = match early.next_text().await {
            Ok(text) => text,
            Err(NoText::None) => {
                app.metrics.auth_failed(Refusal::Missing.into());
                early.refuse(CloseCode::UNAUTHENTICATED, "a token is needed").await;
                return None;
            }
            Err(NoText::Closed) => {
                early.close().await;
                return None;
            }
        };
        let verified = match commands::token_of(&text) {
            Some(token) => app.auth.verify(&token).await,
            None => Err(Refusal::Missing),
        };
        match verified {
            Ok(grant) => {
                early.reply(&commands::early_reply(&text, Ok(&grant))).await;
                break grant;
            }
            Err(refusal) => {
                app.metrics.auth_failed(refusal.into());
                audit::record(Deed::TokenRefused, "", asked.address, refusal.reason());
                early.reply(&commands::early_reply(&text, Err(refusal.into()))).await;
            }
        }
    };
    match admit(app, asked, grant).await {
        Ok(admitted) => Some(admitted),
        Err(problem) => {
            early.refuse(problem.close_code(), &problem.detail).await;
            None
        }
    }
}

/// A session with what the gateway counts about it. A future of its own: an `async` function around the session would
/// keep everything that led to it for as long as the session lives.
pub(crate) struct Running {
    /// Until it ends.
    session: Option<Session<TcpStream>>,
}

impl Running {
    fn new(app: &Arc<App>, socket: TcpStream, line: Line, admitted: Admitted) -> Self {
        let Admitted { asked, grant, registered, start, replay } = admitted;
        let Registered { registration, is_new, switched_from, older, before, .. } = registered;
        let scope = Arc::clone(&registration.scope);
        let transport = asked.transport;
        let request = asked.request;
        let streams = &app.config.streams;
        let terms = Terms {
            heartbeat: request.heartbeat,
            interval: request.interval,
            limit: Limit { events: request.limit, bytes: BATCH_BYTES },
            resumed: request.after != After::Latest,
            expiry: grant.ends_at_instant(),
            age_max: match transport {
                Transport::Ws => streams.websocket_age_max,
                Transport::Sse => streams.sse_age_max,
                Transport::Poll => None,
            },
            write_timeout: streams.write_timeout,
        };
        let mut held = scope.held.lock();
        let mut reader = Reader::new(&app.log, &held.topics, request.types, start);
        // The log's own names, so that a name is there once.
        held.topics = reader.topics().cloned().collect();
        drop(held);
        reader.look_through(app.lens(&grant));
        scope.begin(reader.cursor().seq, terms.resumed, before.as_deref());
        registration.begins(older);
        let handle: Handle = scope.handle.clone();
        if app.is_draining() {
            // The drain may have begun after this client was let in and before it could be told.
            handle.change(Change::Bye(transport::Bye {
                reason: transport::ByeReason::Drain,
                reconnect_after: crate::limits::pacing::soon(),
            }));
        }
        let metrics = &app.metrics;
        if let Some(from) = switched_from {
            metrics.switched(from, transport);
        }
        if switched_from == Some(Transport::Poll) {
            metrics.session_closed(Transport::Poll, CloseReason::Replaced);
        }
        // A poller's session outlives its polls: it begins with the first and ends when no other comes.
        let is_stream = transport != Transport::Poll;
        if is_stream || is_new || switched_from.is_some() {
            metrics.session_opened(transport);
        }
        let client = Client::new(app, transport, registration);
        metrics.connection_opened(transport);
        let session = Session::new(socket, line, reader, client, handle, terms);
        let mut session = session.space_ephemeral(app.ephemeral_spacing());
        if let Some(replay) = replay {
            session = session.hold_until_caught_up(Box::new(replay));
        }
        Self { session: Some(session) }
    }

    /// Ready once, when the session has ended; gives the socket back if HTTP can go on with it.
    pub(crate) fn poll_end(&mut self, app: &App, cx: &mut Context<'_>) -> Poll<Option<(TcpStream, Bytes)>> {
        let Some(session) = &mut self.session else { return Poll::Pending };
        let ended = ready!(Pin::new(&mut *session).poll(cx));
        let (transport, started) = (session.transport(), session.started());
        // Its place in the table is free before the connection goes on.
        let reuse = self.session.take().and_then(|session| session.reuse(ended));
        let metrics = &app.metrics;
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

/// A reader of one topic, for its history as the bearer of a grant may see it; without one: whole.
///
/// # Errors
/// When the cursor cannot be judged now.
pub(crate) async fn history_reader(
    app: &App,
    topic: Topic,
    after: After,
    grant: Option<&Grant>,
) -> Result<Reader, Problem> {
    app.store.loaded()?;
    let start = start_at(app, after).await?;
    let mut reader = Reader::of_rings(&app.log, &[topic], start);
    reader.look_through(grant.and_then(|grant| app.lens(grant)));
    Ok(reader)
}
