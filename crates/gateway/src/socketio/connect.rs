//! A client's CONNECT: parsing it, authenticating it, and the forms of its refusal.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use events::Topic;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use transport::socketio::{Greeting, Offset, Revision};
use transport::{After, Request, parse_after};

use crate::app::App;
use crate::audit::{self, Deed};
use crate::auth::{Credential, Grant, Refusal};
use crate::config::SocketIo;
use crate::dialect::{Context, Dialect};
use crate::endpoints::call::Call;
use crate::object;
use crate::problem::{Code, Problem};
use crate::session::socketio_event;

/// The client's details in the HTTP request of a connection. They apply where a CONNECT gives none.
#[derive(Clone)]
pub(super) struct Introduction {
    credential: Option<Credential>,
    /// In `gateway dev`: the user that the page selects.
    user: Option<String>,
    topics: Option<String>,
    types: Option<String>,
    /// The offset, for a client that cannot send it in a CONNECT.
    offset: Option<String>,
}

impl Introduction {
    /// Reads the details from a request.
    #[must_use]
    pub(super) fn of(call: &Call<'_>) -> Self {
        let own = |name| call.parameter(name).map(str::to_owned);
        Self {
            credential: Credential::find(&call.head.headers, &call.query),
            user: own("user"),
            topics: own("topics"),
            types: own("types"),
            offset: own("offset"),
        }
    }
}

/// The `auth` of a CONNECT. An application may add members of its own.
#[derive(Deserialize, Default)]
struct Auth<'a> {
    #[serde(default, borrow)]
    token: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(default)]
    topics: Option<Names>,
    #[serde(default)]
    types: Option<Names>,
    #[serde(default, borrow)]
    pid: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    offset: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    Text(String),
    List(Vec<String>),
}

impl From<Names> for String {
    fn from(names: Names) -> Self {
        match names {
            Names::Text(text) => text,
            Names::List(list) => list.join(","),
        }
    }
}

/// A client that may connect.
pub(super) struct Arrival {
    pub(super) grant: Arc<Grant>,
    pub(super) request: Request,
    pub(super) greeting: Greeting,
    /// Whether the request contains topics that the client did not name: those of the session that
    /// it continues.
    pub(super) has_more_topics: bool,
}

/// A client that has not sent its token yet.
#[derive(Clone)]
pub(super) struct Awaiting {
    request: Request,
}

impl Awaiting {
    /// A client that made this request.
    pub(super) fn new(request: &Request) -> Self {
        Self { request: request.clone() }
    }

    /// The request of the client.
    pub(super) fn into_request(self) -> Request {
        self.request
    }

    /// Handles the event that carries the token; `None`: the message is another event. The packets
    /// are the answer to the client.
    pub(super) async fn take(&self, app: &App, address: IpAddr, message: &str) -> Option<Authenticated> {
        let dialect = app.dialect()?;
        let now = app.log.clock().system_time();
        let (packet, token) = socketio_event::token_of(dialect, message, now)?;
        let verified = match token {
            Ok(token) => verify(app, address, &token).await,
            Err(problem) => Err(problem),
        };
        let packets = match &verified {
            Ok(grant) => socketio_event::authenticated(dialect, &packet, Ok(&grant.user), now),
            Err(problem) => socketio_event::authenticated(dialect, &packet, Err(problem), now),
        };
        let mut request = self.request.clone();
        if request.after == After::Latest {
            // After the answer the client is connected: it gets all events from now on.
            request.after = After::Cursor(app.log.tail_cursor());
        }
        Some(Authenticated { packets, client: verified.ok().map(|grant| (grant, request)) })
    }

    /// The packets that answer the CONNECT of a client without a token. Such a client is never
    /// recovered: the owner of the earlier topics is known only with the token.
    pub(super) fn greeting(&self, app: &App, revision: Revision) -> Vec<String> {
        let (sid, pid) = (app.engines.fresh_sid(), app.engines.fresh_sid());
        let mut packets = vec![match revision {
            Revision::Three => "40".to_owned(),
            Revision::Four => format!("40{{\"sid\":\"{sid}\",\"pid\":\"{pid}\"}}"),
        }];
        packets.extend(
            app.dialect()
                .into_iter()
                .flat_map(|dialect| dialect.greeting(&Context::at(app.log.clock().system_time()))),
        );
        packets
    }
}

/// The result for a client that sent its token in an event.
pub(super) struct Authenticated {
    /// The answer to the client.
    pub(super) packets: Vec<String>,
    /// The client's grant and request, if the token is valid.
    pub(super) client: Option<(Arc<Grant>, Request)>,
}

/// Why a client may not connect, or not yet.
pub(super) enum Declined {
    /// The client has no token. It may send one in an event of the application's dialect.
    Awaits(Awaiting),
    /// The client is told of the refusal and treats it as final.
    Refused(Problem),
    /// The connection ends, and the client reconnects by itself.
    NotNow,
}

impl From<Problem> for Declined {
    fn from(problem: Problem) -> Self {
        match problem.code {
            Code::Unavailable | Code::RateLimited => Self::NotNow,
            _ => Self::Refused(problem),
        }
    }
}

/// Parses and authenticates a CONNECT.
///
/// # Errors
/// Why the client may not connect, or not yet.
pub(super) async fn arrive(
    app: &App,
    config: &SocketIo,
    introduction: &Introduction,
    address: IpAddr,
    data: &str,
) -> Result<Arrival, Declined> {
    let auth: Auth<'_> = match data.trim() {
        "" | "null" => Auth::default(),
        data => object::from_str(data)
            .map_err(|error| Problem::bad_request(format!("auth cannot be read: {error}")))?,
    };
    let Auth { token, user, topics, types, pid, offset } = auth;
    let text = offset.map(offset_text).or_else(|| introduction.offset.clone().map(Some));
    let (after, offset) = offset_of(text);
    let topics = topics.map(String::from).or_else(|| introduction.topics.clone());
    let types = types.map(String::from).or_else(|| introduction.types.clone());
    let session = pid.as_deref().map(Greeting::session_of).filter(|id| is_session_id(id));
    let wanted = [("topics", topics.as_deref()), ("types", types.as_deref()), ("session", session)];
    let wanted = wanted.iter().filter_map(|(name, value)| value.map(|value| (*name, value)));
    let mut request = Request::parse(wanted).map_err(Problem::from)?;
    request.after = after;
    request.heartbeat = Some(config.pings.interval);
    let carried = introduction.credential.as_ref().map(Credential::token);
    let token = token.as_deref().filter(|token| !token.is_empty()).or(carried);
    let user = user.as_deref().or(introduction.user.as_deref());
    let grant = match (token, user) {
        (Some(token), _) => verify(app, address, token).await?,
        (None, Some(user)) => app.auth.grant_of_user_parameter(user).map_err(Problem::from)?,
        (None, None) if app.dialect().is_some_and(Dialect::has_auth) => {
            return Err(Declined::Awaits(Awaiting { request }));
        }
        (None, None) => {
            app.metrics.auth_failed(Refusal::Missing.into());
            return Err(Problem::from(Refusal::Missing).into());
        }
    };
    let before = session.and_then(|session| app.registry.topics_of(&grant.user, session));
    let (offset, has_more_topics) = take_over(&mut request, offset, before);
    let pid = pid.filter(|pid| pid.len() <= PID_BYTES_MAX).map(|pid| pid.into_owned().into());
    Ok(Arrival { grant, request, greeting: Greeting { pid, offset }, has_more_topics })
}

/// Gives a resuming client the topics that its session had `before`, as the original server
/// restores a client's rooms. `true`: some of them were not named by the client.
fn take_over(request: &mut Request, offset: Offset, before: Option<Vec<Topic>>) -> (Offset, bool) {
    match (offset, before) {
        (Offset::Cursor | Offset::Partial, Some(before)) => {
            let named = request.topics.len();
            let missing: Vec<Topic> =
                before.into_iter().filter(|topic| !request.topics.contains(topic)).collect();
            request.topics.extend(missing);
            (Offset::Cursor, request.topics.len() > named)
        }
        (offset, _) => (offset, false),
    }
}

/// Longest `pid` that is returned to the client, in bytes.
const PID_BYTES_MAX: usize = 72;

/// Whether an id can name a session of this gateway. Other ids come from other servers.
fn is_session_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 64
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The offset of a CONNECT as text; `None`: it is not a string.
fn offset_text(offset: &RawValue) -> Option<String> {
    match offset.get() {
        "null" => Some(String::new()),
        json => serde_json::from_str(json).ok(),
    }
}

/// The position from which the client wants to continue. The client sends the last string argument
/// of any event, so the offset may be text of the application. The outer `None`: the client sent no
/// offset; the inner `None`: the offset is not a string.
fn offset_of(offset: Option<Option<String>>) -> (After, Offset) {
    let Some(offset) = offset else { return (After::Latest, Offset::None) };
    let Some(text) = offset else { return (After::Latest, Offset::Foreign) };
    let cursor = text.strip_suffix('+');
    match (parse_after(cursor.unwrap_or(&text)), cursor) {
        (Ok(after @ After::Cursor(_)), None) => (after, Offset::Cursor),
        (Ok(after @ After::Cursor(_)), Some(_)) => (after, Offset::Partial),
        (Ok(after @ (After::Latest | After::Earliest)), None) => (after, Offset::None),
        (Err(_), _) | (Ok(_), Some(_)) => (After::Latest, Offset::Foreign),
    }
}

async fn verify(app: &App, address: IpAddr, token: &str) -> Result<Arc<Grant>, Problem> {
    app.auth.verify(token).await.map_err(|refusal| {
        app.metrics.auth_failed(refusal.into());
        if refusal.is_final() {
            audit::record(Deed::TokenRefused, "", address, refusal.reason());
        }
        refusal.into()
    })
}

#[derive(Serialize)]
struct ConnectError<'a> {
    message: &'a str,
    data: ConnectErrorData,
}

#[derive(Serialize)]
struct ConnectErrorData {
    code: &'static str,
}

/// The packet that refuses a CONNECT as final. In revision 3 it carries only a text.
#[must_use]
pub(super) fn refusal(problem: &Problem, revision: Revision) -> String {
    if revision == Revision::Three {
        return format!("44{}", serde_json::Value::from(&*problem.detail));
    }
    let data = ConnectErrorData { code: problem.code.as_str() };
    let error = ConnectError { message: &problem.detail, data };
    format!("44{}", serde_json::to_string(&error).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_that_is_no_cursor_is_told_from_none() {
        let of = |json: &str| {
            let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
            offset_of(Some(offset_text(&raw)))
        };
        assert_eq!(offset_of(None), (After::Latest, Offset::None));
        assert_eq!(of("null"), (After::Latest, Offset::None));
        assert_eq!(of(r#""earliest""#), (After::Earliest, Offset::None));
        assert_eq!(of(r#""k3f9.7""#), (After::Cursor("k3f9.7".parse().unwrap()), Offset::Cursor));
        assert_eq!(of(r#""k3f9.7+""#), (After::Cursor("k3f9.7".parse().unwrap()), Offset::Partial));
        for text in [r#""hello""#, r#""+""#, r#""earliest+""#, "7", "{}", r#""\ud800""#] {
            assert_eq!(of(text), (After::Latest, Offset::Foreign), "{text}");
        }
    }

    #[test]
    fn a_refusal_names_its_code() {
        let problem = Problem::new(Code::Unauthenticated, "a token is needed");
        assert_eq!(
            refusal(&problem, Revision::Four),
            r#"44{"message":"a token is needed","data":{"code":"unauthenticated"}}"#
        );
        assert_eq!(refusal(&problem, Revision::Three), r#"44"a token is needed""#);
    }

    #[test]
    fn a_client_is_recovered_only_with_the_topics_that_it_had() {
        let topic = |name: &str| name.parse::<Topic>().unwrap();
        let mut request = Request::parse([("topics", "room:1")]).unwrap();
        let before = Some(vec![topic("room:1"), topic("room:2")]);
        assert_eq!(take_over(&mut request.clone(), Offset::Partial, None), (Offset::Partial, false));
        assert_eq!(take_over(&mut request.clone(), Offset::None, before.clone()), (Offset::None, false));
        assert_eq!(take_over(&mut request, Offset::Partial, before), (Offset::Cursor, true));
        assert_eq!(request.topics, [topic("room:1"), topic("room:2")]);
    }
}
