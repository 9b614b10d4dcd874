//! From a request for a stream to an admitted client: its grant, its topics, its session, its first cursor.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use events::{BoxFuture, Seq, Start, Topic};
use http::HeaderMap;
use transport::{After, ExtraHeaders, Handle, Line, Refused, RefusedCode, Request, Transport};

use super::resume::start_at;
use super::unadmitted::Unadmitted;
use crate::app::{self, App};
use crate::audit::{self, Deed};
use crate::auth::{Authenticator, Credential, Grant, Refusal};
use crate::http::Query;
use crate::http::socket::ClientSocket;
use crate::limits::replays::Replay;
use crate::metrics::Metrics;
use crate::metrics::labels::{RateLimit, RefuseReason};
use crate::problem::{Code, Problem};
use crate::registry::{Connection, JoinedSession, NoPlace, Registration, WantedSession};

/// Bytes of events in one answer, beyond which the next one begins.
pub(crate) const BATCH_BYTES: usize = 256 << 10;

/// What a request for a stream says about itself.
pub(crate) struct StreamRequest {
    /// The transport it uses.
    pub transport: Transport,
    /// Whether it carries packets of Socket.IO.
    pub speaks_socketio: bool,
    /// Its wishes.
    pub request: Request,
    /// The client's address, proxies seen through.
    pub address: IpAddr,
    /// CORS headers for the response.
    pub headers: ExtraHeaders,
    /// Whether a browser says that it makes the request.
    pub is_browser: bool,
    /// Whether the connection speaks HTTP/1.1.
    pub is_http11: bool,
    /// Whether the connection can be used again after a poll.
    pub keep_alive: bool,
}

/// A client that was let in, before its socket is there.
pub(crate) struct Admitted {
    /// What it asked for.
    pub(super) asked: StreamRequest,
    /// What it may do.
    pub(super) grant: Arc<Grant>,
    /// Its place in the table of sessions.
    pub(super) registration: Registration,
    /// The session that it has joined.
    pub(super) joined: JoinedSession,
    /// Where its reader begins.
    pub(super) start: Start,
    /// Held until the client has caught up.
    pub(super) replay: Option<Replay>,
}

#[cfg(test)]
impl Admitted {
    /// The connection.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.registration.connection
    }
}

/// What becomes of a connection that leaves HTTP.
pub(crate) enum Plan {
    /// A session begins.
    Session(Box<Admitted>),
    /// A session begins on this line.
    Line(Box<(Admitted, Line)>),
    /// A WebSocket is accepted, and what follows is asked of it.
    Accepted {
        /// The answer to the handshake.
        accept: Box<[u8]>,
        /// How long its client may take until a session begins.
        within: Duration,
        /// What follows; the future may give what a session begins with.
        then: Box<dyn FnOnce(Unadmitted) -> BoxFuture<'static, Option<Beginning>> + Send>,
    },
    /// A WebSocket is accepted first.
    WebSocket {
        /// The answer to the handshake.
        accept: Box<[u8]>,
        /// Then a session begins, or the socket is closed, or a token is waited for.
        then: Box<Result<Admitted, Waiting>>,
    },
}

/// What a session begins with: its socket, its line and its admission.
pub(crate) type Beginning = (ClientSocket, Line, Admitted);

impl Admitted {
    /// The id of its session.
    pub(crate) fn session_id(&self) -> Arc<str> {
        self.registration.connection.id.clone().unwrap_or_default()
    }

    /// Reaches its connection.
    pub(crate) fn handle(&self) -> &Handle {
        &self.registration.connection.handle
    }
}

impl Plan {
    /// The status of the response, if it is written as soon as the connection has left HTTP; a poll's comes later.
    pub(crate) fn status_now(&self) -> Option<u16> {
        match self {
            Self::WebSocket { .. } | Self::Accepted { .. } => Some(101),
            Self::Session(admitted) if admitted.asked.transport == Transport::Sse => Some(200),
            Self::Session(_) | Self::Line(_) => None,
        }
    }
}

/// A WebSocket without a session, yet or for ever.
pub(crate) enum Waiting {
    /// It may still send its token.
    ForAuth(StreamRequest),
    /// It is told why not.
    Refused(RefusedClient),
}

/// A client that is not let in.
pub(crate) struct RefusedClient {
    /// Why.
    pub problem: Problem,
    /// Its address, proxies seen through.
    pub address: IpAddr,
    /// The user, where a good token has told it.
    pub user: Option<Arc<str>>,
}

impl RefusedClient {
    /// Why, once the client is to be told: some libraries come back at once after every refusal.
    pub(crate) async fn held_back(self, app: &App) -> Problem {
        app.brake.refused(self.address, self.user.as_ref()).await;
        self.problem
    }
}

/// Finds the grant behind a request.
///
/// # Errors
/// Why there is none.
pub(crate) async fn grant_of(
    auth: &Authenticator,
    metrics: &Metrics,
    headers: &HeaderMap,
    query: &Query<'_>,
) -> Result<Arc<Grant>, Refusal> {
    let result = match Credential::find(headers, query) {
        Some(credential) => auth.verify(credential.token()).await,
        None => match query.iter().rfind(|(name, _)| name == "user") {
            Some((_, user)) => auth.grant_of_user_parameter(user),
            None => Err(Refusal::Missing),
        },
    };
    result.inspect_err(|refusal| metrics.auth_failed((*refusal).into()))
}

/// Lets a client in: its topics, its place among the connections, and where its cursor stands.
///
/// # Errors
/// Why it is not let in.
pub(crate) async fn admit(
    app: &Arc<App>,
    asked: StreamRequest,
    grant: Arc<Grant>,
) -> Result<Admitted, Problem> {
    let result = try_admit(app, asked, grant).await;
    if let Err(problem) = &result {
        app.metrics.connection_refused(refusal_label(app, problem));
    }
    result
}

async fn try_admit(app: &Arc<App>, asked: StreamRequest, grant: Arc<Grant>) -> Result<Admitted, Problem> {
    app.accepts_streams()?;
    let topics_max = app.limits().topics_per_session_max;
    let Topics { topics, refused } = Topics::of(&grant, &asked.request.topics, topics_max);
    if let Some(first) = refused.iter().find(|refused| refused.code == RefusedCode::Forbidden) {
        let detail = format!("subscribing to {} is not allowed", first.topic);
        audit::record(Deed::TopicRefused, &grant.user, asked.address, &detail);
    }
    let types = asked.request.types.clone();
    let connection = Connection::new(Arc::clone(&grant), topics.clone(), types, asked.address);
    let mut connection = connection.refusing(refused);
    connection.speaks_socketio = asked.speaks_socketio;
    let (registration, joined) = register(app, &asked, connection)?;
    let start = start_at(app, asked.request.after).await?;
    let after = match start {
        Start::Latest => Seq::MAX,
        Start::Earliest => Seq::ZERO,
        Start::After(cursor) | Start::Broken(_, cursor) => cursor.seq,
    };
    let begins_with_states = asked.request.state && start == Start::Latest;
    let states = if begins_with_states { app.log.state_bytes(&topics) } else { 0 };
    let missed = app.log.bytes_after(&topics, after) + states;
    // A poll is answered with one batch.
    let missed = if asked.transport == Transport::Poll { missed.min(BATCH_BYTES) } else { missed };
    let replay = app.replays.admit(missed).await;
    let replay = replay.inspect_err(|_| app.metrics.rate_limited(RateLimit::ReplayBytes))?;
    Ok(Admitted { asked, grant, registration, joined, start, replay })
}

/// Why a client was not let in, for the metrics.
pub(crate) fn refusal_label(app: &App, problem: &Problem) -> RefuseReason {
    match problem.code {
        Code::Unauthenticated => RefuseReason::Unauthenticated,
        Code::Forbidden => RefuseReason::Forbidden,
        Code::RateLimited => RefuseReason::Limit,
        Code::Unavailable if app.is_draining() => RefuseReason::Draining,
        Code::Unavailable => RefuseReason::Unavailable,
        _ => RefuseReason::BadRequest,
    }
}

/// What a session has of the topics that were asked for.
struct Topics {
    /// The user's own topic, `all`, and what was asked for and may be had.
    topics: Vec<Topic>,
    /// What may not be had. The session goes on without it.
    refused: Vec<Refused>,
}

impl Topics {
    fn of(grant: &Grant, wanted: &[Topic], topics_max: usize) -> Self {
        let mut topics = vec![grant.user_topic.clone(), Topic::all()];
        let mut refused = Vec::new();
        for topic in wanted.iter().filter(|topic| **topic != grant.user_topic && topic.as_str() != "all") {
            let code = if !grant.may_subscribe(topic) {
                RefusedCode::Forbidden
            } else if topics.len() >= topics_max {
                RefusedCode::TooManyTopics
            } else {
                topics.push(topic.clone());
                continue;
            };
            refused.push(Refused { topic: topic.clone(), code });
        }
        Self { topics, refused }
    }
}

fn register(
    app: &App,
    asked: &StreamRequest,
    connection: Connection,
) -> Result<(Registration, JoinedSession), Problem> {
    let user = Arc::clone(&connection.user);
    let wanted = match asked.request.session.as_deref() {
        Some(id) => WantedSession::Named(id),
        // Without a hello it is never told an id, so it cannot come back with one.
        None if asked.transport == Transport::Poll && asked.request.after != After::Latest => {
            WantedSession::Unnamed
        }
        None => WantedSession::New,
    };
    let registered = app.registry.register(connection, wanted, asked.transport, app.caps());
    if registered.as_ref().is_ok_and(|(_, joined)| joined.displaces) {
        app.metrics.rate_limited(RateLimit::ConnectionsUser);
        audit::record(Deed::LimitReached, &user, asked.address, "the quietest connection of this user ended");
    }
    registered.map_err(|no_place| {
        let (kind, detail) = match no_place {
            NoPlace::Draining => return app::draining(),
            NoPlace::User => (RateLimit::ConnectionsUser, "this user has too many connections"),
            NoPlace::Address => (RateLimit::ConnectionsAddress, "this address has too many connections"),
        };
        app.metrics.rate_limited(kind);
        audit::record(Deed::LimitReached, &user, asked.address, detail);
        Problem::new(Code::RateLimited, detail)
    })
}
