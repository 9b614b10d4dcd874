//! Commands and replies, the same on a WebSocket and on `POST /v1/send`.

use std::collections::HashSet;
use std::sync::Arc;

use events::{Data, Topic};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use transport::{CloseCode, End, Outcome};

use crate::app::App;
use crate::audit::{self, Deed};
use crate::auth::Grant;
use crate::limits::rates::Use;
use crate::metrics::labels::{AuthFailure, Source};
use crate::object::{self, Object};
use crate::presence::Status;
use crate::problem::{Code, ErrorMember, Problem};
use crate::publish::{Author, DraftResult, draft_of_command};
use crate::registry::Connection;
use crate::registry::NoMember;
use crate::session_key::SessionKey;
use crate::time;

/// How many refused commands in a row are abuse.
const REFUSALS_MAX: u32 = 30;

/// The sender of commands: the client of a WebSocket, or of a request to `POST /v1/send`.
pub(crate) struct Sender<'a> {
    /// The gateway.
    pub app: &'a Arc<App>,
    /// The grant of the commands, and the session and the topics that they change.
    pub connection: &'a Arc<Connection>,
    /// Commands refused by the rate limit since the last that was not.
    pub refusals: &'a Mutex<u32>,
    /// Whether the topics can be changed while the session runs.
    pub may_change_topics: bool,
}

/// The `id` of a command, read apart: the reply repeats it whatever is wrong with the other members.
#[derive(Debug, Deserialize)]
struct Identified {
    #[serde(default)]
    id: Option<Box<RawValue>>,
}

/// What every command has beside its `id`. The members of its op are read once the op is known; others are ignored, save
/// in `publish`.
#[derive(Debug, Deserialize)]
struct CommandBody {
    op: String,
    #[serde(default)]
    ephemeral: Option<Box<RawValue>>,
}

impl CommandBody {
    /// Against which of the user's rates it counts.
    fn cost(&self) -> Use {
        match (&*self.op, &self.ephemeral) {
            ("publish", Some(ephemeral)) if ephemeral.get() == "true" => Use::Ephemeral,
            ("publish", _) => Use::Publish,
            _ => Use::Command,
        }
    }
}

#[derive(Debug, Deserialize)]
struct AuthBody {
    token: String,
}

#[derive(Debug, Deserialize)]
struct TopicsBody {
    topics: Vec<Topic>,
    presence: Option<Object<JoiningBody>>,
}

/// What `presence` has beside the members of [`JoiningBody`].
#[derive(Debug, Deserialize)]
struct PresenceBody {
    topic: Topic,
}

/// The presence that a session shows: in a `presence` command, and in the `presence` of a `subscribe`.
#[derive(Debug, Deserialize)]
struct JoiningBody {
    status: String,
    info: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Reply<'a, T> {
    reply: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorMember>,
}

/// The `ok` of a reply.
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
    Published(DraftResult),
    Ping {
        time: String,
    },
    Present {},
}

impl Sender<'_> {
    /// Runs one command.
    pub(crate) async fn run(&self, text: &str) -> Outcome {
        let body: Result<CommandBody, _> = object::from_str(text);
        let id = id_of(text);
        let what = body.as_ref().map_or(Use::Command, CommandBody::cost);
        if let Err(outcome) = self.limit(what, id.as_deref()) {
            return outcome;
        }
        let done = match body {
            Ok(body) => self.execute(body, text).await,
            Err(error) => Err(Problem::bad_request(format!("not a command: {error}"))),
        };
        Outcome { reply: reply(id.as_deref(), done), end: None }
    }

    /// Counts the command against the user's rate. A client that continues regardless is cut off.
    pub(super) fn limit(&self, what: Use, id: Option<&RawValue>) -> Result<(), Outcome> {
        let Err(problem) = self.app.limiters.take(what, &self.connection.user, self.connection.address)
        else {
            *self.refusals.lock() = 0;
            return Ok(());
        };
        let mut refusals = self.refusals.lock();
        *refusals += 1;
        let mut end = None;
        if *refusals == REFUSALS_MAX + 1 {
            audit::record(Deed::Abuse, &self.connection.user, self.connection.address, what.too_many());
            end = Some(End::Close(CloseCode::RATE_LIMITED, what.too_many()));
        }
        Err(Outcome { reply: reply(id, Err(problem)), end })
    }

    async fn execute(&self, body: CommandBody, text: &str) -> Result<Done, Problem> {
        match body.op.as_str() {
            "ping" => Ok(Done::Ping { time: time::rfc3339(self.app.log.clock().system_time()) }),
            "auth" => self.refresh(&members::<AuthBody>(text)?.token).await,
            "subscribe" => self.subscribe(members(text)?),
            "unsubscribe" => self.unsubscribe(members(text)?),
            "publish" => self.publish(text).await,
            "presence" => self.presence(&members::<PresenceBody>(text)?.topic, members(text)?),
            _ => Err(Problem::bad_request("op: auth, subscribe, unsubscribe, publish, presence or ping")),
        }
    }

    /// Takes a new token for the same user. What it no longer allows is dropped at once.
    async fn refresh(&self, token: &str) -> Result<Done, Problem> {
        let verified = self.app.auth.verify(token).await;
        let refused = |reason| {
            audit::record(Deed::TokenRefused, &self.connection.user, self.connection.address, reason)
        };
        let grant = verified.inspect_err(|refusal| {
            self.app.metrics.auth_failed((*refusal).into());
            if refusal.is_final() {
                refused(refusal.reason());
            }
        })?;
        if grant.user != self.connection.user {
            self.app.metrics.auth_failed(AuthFailure::Subject);
            refused("subject");
            return Err(Problem::new(Code::Forbidden, "a session keeps its user"));
        }
        let clock = self.app.log.clock();
        self.connection.renew(&grant, clock);
        if let Some(session) = &self.connection.session() {
            self.app.registry.renew(session, &grant, clock);
        }
        let expires_at = grant.expires_at.map(time::rfc3339);
        Ok(Done::Auth { user: self.connection.user.to_string(), expires_at })
    }

    fn subscribe(&self, body: TopicsBody) -> Result<Done, Problem> {
        self.needs_lasting_topics()?;
        let wanted = wanted(body.topics)?;
        if body.presence.is_some()
            && let Some(topic) = self.app.registry.forbidden_to_join(self.connection, &wanted)
        {
            return Err(self.forbidden(&format!("subscribing to {topic} is not allowed")));
        }
        // Locked until the topics are added, so that a grant that is renewed meanwhile finds and drops them.
        let mut held = self.connection.held.lock();
        if let Some(topic) = wanted.iter().find(|topic| !held.grant.may_subscribe(topic)) {
            return Err(self.forbidden(&format!("subscribing to {topic} is not allowed")));
        }
        let joining = body.presence.map(|Object(joining)| joining.check(&held.grant)).transpose()?;
        let has = held.subscriptions.topics();
        let new: Vec<Topic> = wanted.iter().filter(|topic| !has.contains(topic)).cloned().collect();
        let topics_max = self.app.limits().topics_per_session_max;
        if has.len() + new.len() > topics_max {
            let detail = format!("a session has at most {topics_max} topics");
            return Err(Problem::bad_request(detail));
        }
        if let (Some((status, info)), Some(session)) = (&joining, self.connection.session()) {
            let joins = *status != Status::Offline;
            if joins && self.app.presence.excess(&session, &wanted, topics_max) > 0 {
                return Err(too_many_memberships(topics_max));
            }
            self.charge(&session, &wanted, *status, info)?;
        }
        self.connection.subscribe(&mut held, &new);
        let all = held.subscriptions.topics().to_vec();
        drop(held);
        if let Some((status, info)) = joining {
            for topic in &wanted {
                self.join(topic, status, info.clone())?;
            }
        }
        Ok(Done::Topics { topics: all })
    }

    fn unsubscribe(&self, body: TopicsBody) -> Result<Done, Problem> {
        self.needs_lasting_topics()?;
        let unwanted = wanted(body.topics)?;
        let mut held = self.connection.held.lock();
        let is_own = |topic: &&Topic| **topic == held.grant.user_topic || topic.as_str() == "all";
        if let Some(topic) = unwanted.iter().find(is_own) {
            return Err(Problem::bad_request(format!("{topic} belongs to every session of this user")));
        }
        if let Some(session) = &self.connection.session() {
            self.charge(session, &unwanted, Status::Offline, &Data::null())?;
        }
        self.connection.unsubscribe(&mut held, &unwanted);
        if let Some(session) = &self.connection.session() {
            self.app.presence.retain(session, |topic| !unwanted.contains(topic));
        }
        Ok(Done::Topics { topics: held.subscriptions.topics().to_vec() })
    }

    fn presence(&self, topic: &Topic, joining: JoiningBody) -> Result<Done, Problem> {
        let grant = Arc::clone(&self.connection.held.lock().grant);
        if !grant.may_subscribe(topic) {
            return Err(self.forbidden(&format!("subscribing to {topic} is not allowed")));
        }
        let (status, info) = joining.check(&grant)?;
        self.join(topic, status, info)?;
        Ok(Done::Present {})
    }

    /// Charges the user for each membership that the command changes, because each is an event for all
    /// sessions of its topic. The command itself has paid for the first.
    fn charge(
        &self,
        session: &SessionKey,
        topics: &[Topic],
        status: Status,
        info: &Data,
    ) -> Result<(), Problem> {
        let changes = self.app.presence.changes(session, topics, status, info);
        let more = u32::try_from(changes).unwrap_or(u32::MAX).saturating_sub(1);
        self.app.limiters.take_more(Use::Command, &self.connection.user, self.connection.address, more)
    }

    fn join(&self, topic: &Topic, status: Status, info: Data) -> Result<(), Problem> {
        if self.connection.id.is_none() {
            return Err(Problem::bad_request("session: is needed"));
        }
        let topics_max = self.app.limits().topics_per_session_max;
        let set = self.app.registry.set_presence(self.connection, topic, status, info, topics_max);
        set.map_err(|why| match why {
            NoMember::Gone => Problem::new(Code::NotFound, "session: this user has no such session here"),
            NoMember::Forbidden => self.forbidden(&format!("subscribing to {topic} is not allowed")),
            NoMember::Full => too_many_memberships(topics_max),
        })
    }

    fn forbidden(&self, detail: &str) -> Problem {
        audit::record(Deed::TopicRefused, &self.connection.user, self.connection.address, detail);
        Problem::new(Code::Forbidden, detail)
    }

    /// Only the topics of a WebSocket, or of a Socket.IO client, can be changed while it runs.
    fn needs_lasting_topics(&self) -> Result<(), Problem> {
        if self.may_change_topics {
            return Ok(());
        }
        Err(Problem::bad_request("only on a WebSocket: reconnect with other topics, the cursor carries over"))
    }

    async fn publish(&self, text: &str) -> Result<Done, Problem> {
        let author = Author::Grant(Arc::clone(&self.connection.held.lock().grant), self.connection.address);
        let publishing = &self.app.publishing;
        let draft = publishing.check(draft_of_command(text)?, &author)?;
        let appended = publishing.append_one(Source::Command, draft).await?;
        Ok(Done::Published(DraftResult::of_command(appended)))
    }
}

impl JoiningBody {
    /// The status and the `info`; without one, the token's `info`.
    fn check(self, grant: &Grant) -> Result<(Status, Data), Problem> {
        let status = Status::named(&self.status)
            .ok_or_else(|| Problem::bad_request("status: online, away or offline"))?;
        let info = self.info.as_ref().or(grant.info.as_ref());
        let info = info.map_or(Ok(Data::null()), |info| Data::from_raw(info))?;
        if info.as_bytes().len() > Grant::INFO_BYTES_MAX {
            let detail = format!("info: more than {} bytes", Grant::INFO_BYTES_MAX);
            return Err(Problem::new(Code::TooLarge, detail));
        }
        Ok((status, info))
    }
}

/// The members of a command's op. Others are ignored (C1).
fn members<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    object::from_str(text).map_err(|error| Problem::bad_request(format!("not a valid command: {error}")))
}

fn too_many_memberships(topics_max: usize) -> Problem {
    Problem::bad_request(format!("a session is a member of at most {topics_max} topics"))
}

/// The topics of a command, each once.
fn wanted(mut topics: Vec<Topic>) -> Result<Vec<Topic>, Problem> {
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
pub(crate) fn auth_reply(text: &str, result: Result<&Grant, Problem>) -> Vec<u8> {
    let done = result.map(|grant| Done::Auth {
        user: grant.user.to_string(),
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
    object::from_str::<Identified>(text).ok()?.id
}

/// The token of an `auth` command; `None` if it is another, or none at all.
#[must_use]
pub(crate) fn token_of(text: &str) -> Option<String> {
    let body: CommandBody = object::from_str(text).ok()?;
    if body.op == "auth" { object::from_str(text).ok().map(|AuthBody { token }| token) } else { None }
}
