//! A client's CONNECT: what it asks for, what allows it, and who is refused how.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use transport::socketio::{Greeting, Offset, Packet};
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

/// What the HTTP request of a connection says about its client, for a CONNECT that says nothing.
#[derive(Clone)]
pub(super) struct Introduction {
    credential: Option<Credential>,
    /// In `gateway dev`: the user that the page names.
    user: Option<String>,
    topics: Option<String>,
    types: Option<String>,
}

impl Introduction {
    /// Of a request.
    #[must_use]
    pub(super) fn of(call: &Call<'_>) -> Self {
        let own = |name| call.parameter(name).map(str::to_owned);
        Self {
            credential: Credential::find(&call.head.headers, &call.query),
            user: own("user"),
            topics: own("topics"),
            types: own("types"),
        }
    }
}

/// The `auth` of a CONNECT. An application may put more into it.
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

/// A client that may come in.
pub(super) struct Arrival {
    pub(super) grant: Arc<Grant>,
    pub(super) request: Request,
    pub(super) greeting: Greeting,
}

/// A client that has yet to send its token.
#[derive(Clone)]
pub(super) struct Awaiting {
    request: Request,
}

impl Awaiting {
    /// Of a client that asked for this.
    pub(super) fn new(request: &Request) -> Self {
        Self { request: request.clone() }
    }

    /// What it asked for.
    pub(super) fn into_request(self) -> Request {
        self.request
    }

    /// Takes the token in an event; `None`: this is another event. The packets answer it.
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
            // With the answer the client is in: what comes from now on is its own.
            request.after = After::Cursor(app.log.tail_cursor());
        }
        Some(Authenticated { packets, client: verified.ok().map(|grant| (grant, request)) })
    }

    /// The packets that answer the CONNECT of such a client.
    pub(super) fn greeting(&self, app: &App) -> Vec<String> {
        let (sid, pid) = (app.engines.fresh_sid(), app.engines.fresh_sid());
        let mut packets = vec![format!("40{{\"sid\":\"{sid}\",\"pid\":\"{pid}\"}}")];
        packets.extend(
            app.dialect()
                .into_iter()
                .flat_map(|dialect| dialect.greeting(&Context::at(app.log.clock().system_time()))),
        );
        packets
    }
}

/// What a client is told that sent its token in an event.
pub(super) struct Authenticated {
    /// The answer.
    pub(super) packets: Vec<String>,
    /// What it may do and asked for, if the token is good.
    pub(super) client: Option<(Arc<Grant>, Request)>,
}

/// Why a client does not come in.
pub(super) enum Declined {
    /// It has no token, and may send one in an event of the application's dialect.
    Awaits(Awaiting),
    /// The client is told, and takes it for final.
    Refused(Problem),
    /// The connection ends, and the client comes again by itself.
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

/// Reads a CONNECT and finds out what allows it.
///
/// # Errors
/// Why the client does not come in.
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
    let (after, offset) = offset_of(offset);
    let topics = topics.map(String::from).or_else(|| introduction.topics.clone());
    let types = types.map(String::from).or_else(|| introduction.types.clone());
    let session = pid.as_deref().map(Greeting::session_of).filter(|id| is_session_id(id));
    let wanted = [("topics", topics.as_deref()), ("types", types.as_deref()), ("session", session)];
    let wanted = wanted.iter().filter_map(|(name, value)| value.map(|value| (*name, value)));
    let mut request = Request::parse(wanted).map_err(Problem::from)?;
    request.after = after;
    request.heartbeat = Some(config.ping_interval);
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
    let pid = pid.filter(|pid| pid.len() <= PID_BYTES_MAX).map(|pid| pid.into_owned().into());
    Ok(Arrival { grant, request, greeting: Greeting { pid, offset } })
}

/// The longest `pid` that is given back.
const PID_BYTES_MAX: usize = 72;

/// Other ids come from other servers, and name no session here.
fn is_session_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 64
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Where the client wants to go on. It sends the last text argument of any event, so this may be text
/// of the application.
fn offset_of(offset: Option<&RawValue>) -> (After, Offset) {
    let Some(offset) = offset.filter(|offset| offset.get() != "null") else {
        return (After::Latest, Offset::None);
    };
    match serde_json::from_str::<Cow<'_, str>>(offset.get()).map(|text| parse_after(&text)) {
        Ok(Ok(After::Latest)) => (After::Latest, Offset::None),
        Ok(Ok(after @ After::Earliest)) => (after, Offset::None),
        Ok(Ok(after @ After::Cursor(_))) => (after, Offset::Cursor),
        Ok(Err(_)) | Err(_) => (After::Latest, Offset::Foreign),
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

/// The packet that refuses a namespace other than the one that there is.
#[must_use]
pub(super) fn invalid_namespace(packet: &Packet<'_>) -> String {
    format!("44{},{{\"message\":\"Invalid namespace\"}}", packet.namespace)
}

/// The packet that refuses a CONNECT for good.
#[must_use]
pub(super) fn refusal(problem: &Problem) -> String {
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
            offset_of(Some(&raw))
        };
        assert_eq!(offset_of(None), (After::Latest, Offset::None));
        assert_eq!(of("null"), (After::Latest, Offset::None));
        assert_eq!(of(r#""earliest""#), (After::Earliest, Offset::None));
        assert_eq!(of(r#""k3f9.7""#), (After::Cursor("k3f9.7".parse().unwrap()), Offset::Cursor));
        for text in [r#""hello""#, "7", "{}", r#""\ud800""#] {
            assert_eq!(of(text), (After::Latest, Offset::Foreign), "{text}");
        }
    }

    #[test]
    fn a_refusal_names_its_code() {
        let problem = Problem::new(Code::Unauthenticated, "a token is needed");
        assert_eq!(
            refusal(&problem),
            r#"44{"message":"a token is needed","data":{"code":"unauthenticated"}}"#
        );
    }
}
