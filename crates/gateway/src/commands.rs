//! Commands and replies, the same on a WebSocket and on `POST /v1/send`.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use events::Topic;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;
use transport::{Change, CloseCode, Expiry, Outcome};

use crate::app::App;
use crate::auth::Grant;
use crate::metrics::labels::{AuthFailure, RateLimit, Source};
use crate::problem::{Code, ErrorMember, Problem};
use crate::publish::{self, Answer, DraftBody, Publisher};
use crate::time;

/// How many refused commands in a row are abuse.
const REFUSALS_MAX: u32 = 30;

/// Whoever sends commands: the client of a WebSocket, or of a request to `POST /v1/send`.
pub(crate) struct Sender {
    app: Arc<App>,
    user: Arc<str>,
    grant: Mutex<Arc<Grant>>,
    address: IpAddr,
    /// The topics of the session that the commands are for.
    topics: Arc<Mutex<Vec<Topic>>>,
    /// Whether the session's topics can be changed while it runs.
    is_websocket: bool,
    /// Commands refused by the rate limit since the last that was not.
    refusals: Mutex<u32>,
}

/// A command as it is written. Members that an op does not have are ignored, save in `publish`.
#[derive(Debug, Deserialize)]
struct CommandBody {
    #[serde(default)]
    id: Option<Box<RawValue>>,
    op: String,
    token: Option<String>,
    topics: Option<Vec<Topic>>,
}

#[derive(Serialize)]
struct Reply<'a, T> {
    reply: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorMember>,
}

/// What a good command is answered.
#[derive(Serialize)]
#[serde(untagged)]
enum Done {
    Auth {
        user: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<String>,
    },
    Topics {
        topics: Vec<Topic>,
    },
    Published(Answer),
    Ping {
        time: String,
    },
}

impl Sender {
    /// A sender with this grant, for the session that has these topics.
    #[must_use]
    pub(crate) fn new(
        app: &Arc<App>,
        grant: Arc<Grant>,
        address: IpAddr,
        topics: Arc<Mutex<Vec<Topic>>>,
        is_websocket: bool,
    ) -> Self {
        Self {
            app: Arc::clone(app),
            user: grant.user.as_str().into(),
            grant: Mutex::new(grant),
            address,
            topics,
            is_websocket,
            refusals: Mutex::new(0),
        }
    }

    /// Runs one command.
    pub(crate) async fn run(&self, text: &str) -> Outcome {
        let body: Result<CommandBody, _> = serde_json::from_str(text);
        let id = body.as_ref().ok().and_then(|body| body.id.clone());
        if let Err(outcome) = self.limit(id.as_deref()) {
            return outcome;
        }
        let mut changes = Vec::new();
        let done = match body {
            Ok(body) => self.execute(body, text, &mut changes).await,
            Err(error) => Err(Problem::bad_request(format!("not a command: {error}"))),
        };
        Outcome { reply: reply(id.as_deref(), done), changes }
    }

    /// Counts the command against the user's rate. Whoever goes on regardless is cut off.
    fn limit(&self, id: Option<&RawValue>) -> Result<(), Outcome> {
        let Err(wait) = self.app.commands.take(&self.user) else {
            *self.refusals.lock() = 0;
            return Ok(());
        };
        self.app.metrics.rate_limited(RateLimit::Commands);
        let problem = Problem::new(Code::RateLimited, "too many commands").retry_after(wait);
        let mut refusals = self.refusals.lock();
        *refusals += 1;
        let mut changes = Vec::new();
        if *refusals > REFUSALS_MAX {
            tracing::warn!(target: "audit", event = "abuse", user = %self.user, address = %self.address, "commands over the limit");
            changes.push(Change::Close(CloseCode::RATE_LIMITED, "too many commands"));
        }
        Err(Outcome { reply: reply(id, Err(problem)), changes })
    }

    async fn execute(
        &self,
        body: CommandBody,
        text: &str,
        changes: &mut Vec<Change>,
    ) -> Result<Done, Problem> {
        match body.op.as_str() {
            "ping" => Ok(Done::Ping { time: time::rfc3339(SystemTime::now()) }),
            "auth" => {
                let token = body.token.ok_or_else(|| Problem::bad_request("auth: a token is needed"))?;
                self.refresh(&token, changes).await
            }
            "subscribe" => self.subscribe(wanted(body.topics)?, changes),
            "unsubscribe" => self.unsubscribe(&wanted(body.topics)?, changes),
            "publish" => self.publish(text).await,
            _ => Err(Problem::bad_request("op: auth, subscribe, unsubscribe, publish or ping")),
        }
    }

    /// Takes a new token for the same user. What it no longer allows is dropped at once.
    async fn refresh(&self, token: &str, changes: &mut Vec<Change>) -> Result<Done, Problem> {
        let verified = self.app.auth.verify(token).await;
        let grant = verified.inspect_err(|refusal| self.app.metrics.auth_failed((*refusal).into()))?;
        if *grant.user != *self.user {
            self.app.metrics.auth_failed(AuthFailure::Subject);
            return Err(Problem::new(Code::Forbidden, "a session keeps its user"));
        }
        let mut topics = self.topics.lock();
        let (kept, dropped): (Vec<_>, Vec<_>) =
            topics.drain(..).partition(|topic| grant.may_subscribe(topic));
        *topics = kept;
        drop(topics);
        changes.push(Change::Unsubscribe(dropped));
        changes.push(Change::Expiry(expiry_of(&grant)));
        let expires_at = grant.expires_at.map(time::rfc3339);
        *self.grant.lock() = grant;
        Ok(Done::Auth { user: self.user.as_ref().into(), expires_at })
    }

    fn subscribe(&self, wanted: Vec<Topic>, changes: &mut Vec<Change>) -> Result<Done, Problem> {
        self.needs_websocket()?;
        let grant = Arc::clone(&self.grant.lock());
        if let Some(topic) = wanted.iter().find(|topic| !grant.may_subscribe(topic)) {
            return Err(Problem::new(Code::Forbidden, format!("subscribing to {topic} is not allowed")));
        }
        let mut topics = self.topics.lock();
        let mut new: Vec<Topic> = Vec::new();
        for topic in wanted {
            if !topics.contains(&topic) && !new.contains(&topic) {
                new.push(topic);
            }
        }
        let topics_max = self.app.config.limits.topics_per_session_max;
        if topics.len() + new.len() > topics_max {
            let detail = format!("a session has at most {topics_max} topics");
            return Err(Problem::bad_request(detail));
        }
        topics.extend(new.iter().cloned());
        changes.push(Change::Subscribe(new));
        Ok(Done::Topics { topics: topics.clone() })
    }

    fn unsubscribe(&self, unwanted: &[Topic], changes: &mut Vec<Change>) -> Result<Done, Problem> {
        self.needs_websocket()?;
        let own = &self.grant.lock().user_topic;
        if let Some(topic) = unwanted.iter().find(|topic| *topic == own || topic.as_str() == "all") {
            return Err(Problem::bad_request(format!("{topic} belongs to every session of this user")));
        }
        let mut topics = self.topics.lock();
        topics.retain(|topic| !unwanted.contains(topic));
        changes.push(Change::Unsubscribe(unwanted.to_vec()));
        Ok(Done::Topics { topics: topics.clone() })
    }

    fn needs_websocket(&self) -> Result<(), Problem> {
        if self.is_websocket {
            return Ok(());
        }
        Err(Problem::bad_request("only on a WebSocket: reconnect with other topics, the cursor carries over"))
    }

    async fn publish(&self, text: &str) -> Result<Done, Problem> {
        let publisher = Publisher::Grant(Arc::clone(&self.grant.lock()));
        let draft = DraftBody::of_command(text)?.check(&publisher, self.app.config.limits.data_bytes_max)?;
        let answers = publish::append(&self.app, Source::Command, vec![draft]).await;
        let answer = answers.into_iter().next().unwrap_or(Err(events::Unavailable("no answer").into()));
        Ok(Done::Published(Answer::of_command(answer?)))
    }
}

/// When a grant ends, on the session's clock.
#[must_use]
pub(crate) fn expiry_of(grant: &Grant) -> Option<Expiry> {
    let (ends_at, expires_at) = (grant.ends_at()?, grant.expires_at?);
    let left = ends_at.duration_since(SystemTime::now()).unwrap_or_default();
    // Tokens that outlive a century need no timer.
    let left = left.min(Duration::from_secs(100 * 365 * 24 * 3600));
    Some(Expiry { at: Instant::now() + left, text: time::rfc3339(expires_at).into() })
}

/// The topics of a command, each once.
fn wanted(topics: Option<Vec<Topic>>) -> Result<Vec<Topic>, Problem> {
    let mut topics = topics.unwrap_or_default();
    let mut seen = HashSet::new();
    topics.retain(|topic| seen.insert(topic.clone()));
    if topics.is_empty() { Err(Problem::bad_request("topics: at least one is needed")) } else { Ok(topics) }
}

fn reply(id: Option<&RawValue>, done: Result<Done, Problem>) -> Vec<u8> {
    let (ok, error) = match done {
        Ok(done) => (Some(done), None),
        Err(problem) => (None, Some(problem.member())),
    };
    serde_json::to_vec(&Reply { reply: id, ok, error }).unwrap_or_default()
}

/// The reply to a message that is no text.
#[must_use]
pub(crate) fn not_a_command() -> Vec<u8> {
    reply(None, Err(Problem::bad_request("a command is a text message")))
}

/// The reply to an `auth` that came before the client was admitted.
#[must_use]
pub(crate) fn early_reply(text: &str, result: Result<&Grant, Problem>) -> Vec<u8> {
    let done = result.map(|grant| Done::Auth {
        user: grant.user.clone(),
        expires_at: grant.expires_at.map(time::rfc3339),
    });
    reply(id_of(text).as_deref(), done)
}

/// The reply to a command that is not run.
#[must_use]
pub(crate) fn refusal(text: &str, problem: Problem) -> Vec<u8> {
    reply(id_of(text).as_deref(), Err(problem))
}

fn id_of(text: &str) -> Option<Box<RawValue>> {
    serde_json::from_str::<CommandBody>(text).ok()?.id
}

/// The token of an `auth` command; `None` if it is another, or none at all.
#[must_use]
pub(crate) fn token_of(text: &str) -> Option<String> {
    let body: CommandBody = serde_json::from_str(text).ok()?;
    if body.op == "auth" { body.token } else { None }
}
