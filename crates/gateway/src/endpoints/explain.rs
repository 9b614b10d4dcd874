//! `GET /v1/explain`: why a user did or did not get an event, as far as this gateway knows.

use std::sync::Arc;

use events::{Found, Seq, Topic};
use http::Response;
use serde::Serialize;
use transport::{CloseCode, Transport};

use super::call::Call;
use crate::app::App;
use crate::auth::{Grant, TopicPattern};
use crate::http::answer::{Body, json};
use crate::problem::Problem;
use crate::registry::{Connection, SessionSnapshot};

/// The fate of an event on its way to a session. The greatest one of a user's sessions is the user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// The log has no such event.
    Unknown,
    /// The user had no session that could have got it.
    NotConnected,
    /// The grant does not allow any of its topics.
    NotAllowed,
    /// The session has none of its topics, or had none then.
    NotSubscribed,
    /// It is too old.
    Expired,
    /// The session does not want its type.
    Filtered,
    /// It is on its way.
    Pending,
    /// A later event of the same key comes in its place.
    Conflated,
    /// It was sent.
    Delivered,
}

#[derive(Serialize)]
struct Explanation<'a> {
    user: &'a str,
    seq: u64,
    verdict: Verdict,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sessions: Vec<OfSession>,
}

/// The same of one session.
#[derive(Serialize)]
struct OfSession {
    session: String,
    transport: &'static str,
    verdict: Verdict,
    detail: String,
}

/// The most sessions that are looked at.
const SESSIONS_MAX: usize = 64;

/// `GET /v1/explain`.
pub(crate) async fn answer(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    call.operator().await?;
    let user = call.parameter("user").ok_or_else(|| Problem::bad_request("user: is needed"))?;
    let own = Topic::of_user(user).map_err(|error| Problem::bad_request(format!("user: {error}")))?;
    let seq = call.parameter("seq").ok_or_else(|| Problem::bad_request("seq: is needed"))?;
    let seq = seq.parse().ok().and_then(Seq::new).filter(|seq| *seq > Seq::ZERO);
    let seq = seq.ok_or_else(|| Problem::bad_request("seq: a number from 1 to 2^53 - 1"))?;
    // The tail is read first: an event at or below it is in the rings, or was.
    let tail = call.app.log.tail();
    let found = call.app.log.find(seq);
    let snapshots = call.app.registry.of_user(user, SESSIONS_MAX);
    let sessions: Vec<OfSession> = (snapshots.iter().filter(|_| !found.is_empty()))
        .map(|snapshot| {
            let (verdict, mut detail) = judge(call.app, &found, seq, tail, snapshot);
            detail.push_str(&closed_by_client(snapshot));
            let (session, transport) = (snapshot.id.to_string(), snapshot.shown_transport());
            OfSession { session, transport, verdict, detail }
        })
        .collect();
    let best = sessions.iter().max_by_key(|session| session.verdict);
    let (verdict, detail) = match best {
        Some(best) => (best.verdict, best.detail.clone()),
        None if seq > tail => (Verdict::Unknown, format!("the log ends at {}", tail.number())),
        None if found.is_empty() => (
            Verdict::Expired,
            "it is retained no longer: too old, too much in its topic, or replaced by later presence of the same user"
                .to_owned(),
        ),
        None => (Verdict::NotConnected, not_connected(&found, &own)),
    };
    Ok(json(&Explanation { user, seq: seq.number(), verdict, detail, sessions }))
}

fn not_connected(found: &[Found], own: &Topic) -> String {
    let is_given = found.iter().any(|found| found.topic == *own || found.topic == Topic::all());
    if is_given {
        return "the user has no session here; one that comes with an earlier cursor gets it".to_owned();
    }
    let topics = list(found.iter().map(|found| &found.topic));
    format!(
        "the user has no session here; one that comes with an earlier cursor and subscribes to {topics} gets it"
    )
}

/// How the client ended the last connection of the session, which may be why the event did not arrive.
fn closed_by_client(session: &SessionSnapshot) -> String {
    match session.connection.handle.client_close() {
        Some(CloseCode::TOO_LARGE) => {
            "; the client closed a connection with 1009, because a message was larger than it takes"
                .to_owned()
        }
        Some(_) if session.is_connected => String::new(),
        Some(CloseCode::NONE) => "; the client closed the last connection, without a code".to_owned(),
        Some(CloseCode(code)) => format!("; the client closed the last connection with {code}"),
        None => String::new(),
    }
}

/// The fate of an event for one session, and the reason.
fn judge(app: &App, found: &[Found], seq: Seq, tail: Seq, session: &SessionSnapshot) -> (Verdict, String) {
    let connection = &session.connection;
    let (grant, topics) = {
        let held = connection.held.lock();
        (Arc::clone(&held.grant), held.subscriptions.topics().to_vec())
    };
    // The session attributes an event to the first of its topics.
    let Some(seen) = topics.iter().find_map(|topic| found.iter().find(|found| found.topic == *topic)) else {
        return without_topic(found, seq, connection, &grant);
    };
    let began = connection.began();
    if seq <= began && connection.has_resumed() {
        let detail = format!("the client came with a cursor at {}: it has it", began.number());
        return (Verdict::Delivered, detail);
    }
    if seq <= began {
        return (Verdict::NotConnected, format!("the session began later, at {}", began.number()));
    }
    let mine = found.iter().filter(|found| topics.contains(&found.topic));
    let since = mine.map(|found| connection.has_since(&found.topic)).min().unwrap_or(Seq::ZERO);
    if seq <= since {
        let detail = format!("the session subscribed to {} later, at {}", seen.topic, since.number());
        return (Verdict::NotSubscribed, detail);
    }
    if connection.types.as_ref().is_some_and(|types| !types.wants(&seen.event)) {
        return (Verdict::Filtered, "its type is none of the session's types".to_owned());
    }
    let (verdict, detail) = progress(seen, seq, tail, session);
    // An event that was never sent hides nothing.
    let hidden =
        if verdict == Verdict::Expired { Vec::new() } else { app.redaction().hidden(&grant, &seen.topic) };
    if hidden.is_empty() {
        (verdict, detail)
    } else {
        (verdict, format!("{detail}, without {}", hidden.join(", ")))
    }
}

/// A session that has none of the event's topics.
fn without_topic(found: &[Found], seq: Seq, connection: &Connection, grant: &Grant) -> (Verdict, String) {
    let all = list(found.iter().map(|found| &found.topic));
    // The client may have unsubscribed, and the grant may have shrunk, after the event was sent.
    let before = if connection.began() < seq && seq <= connection.sent() {
        "; whether it did when the event was sent is not known"
    } else {
        ""
    };
    if found.iter().any(|found| grant.may_subscribe(&found.topic)) {
        return (Verdict::NotSubscribed, format!("the session does not subscribe to {all}{before}"));
    }
    let detail = format!("{all} is beyond the grant, which {}{before}", granted(grant));
    (Verdict::NotAllowed, detail)
}

/// The progress of an event that the session is to get.
fn progress(seen: &Found, seq: Seq, tail: Seq, session: &SessionSnapshot) -> (Verdict, String) {
    let sent = session.connection.sent();
    let replaced_by = seen.replaced_by.map(Seq::number);
    if seq <= sent {
        let detail = match replaced_by.filter(|later| *later <= sent.number()) {
            Some(later) => format!("it was sent, or only {later} of the same key where one batch had both"),
            None if seen.is_expired => "it was sent, unless its ttl_ms was over by then".to_owned(),
            None => format!("it was sent over {}", session.shown_transport()),
        };
        return (Verdict::Delivered, detail);
    }
    if seen.is_expired {
        return (Verdict::Expired, "its ttl_ms was over before it could be sent".to_owned());
    }
    if !session.is_connected && session.transport != Transport::Poll {
        let detail = "the session has lost its connection, and gets it when it comes back";
        return (Verdict::NotConnected, detail.to_owned());
    }
    if let Some(later) = replaced_by {
        let detail = format!("{later}, of the same topic, type and key, comes in its place");
        return (Verdict::Conflated, detail);
    }
    if !session.is_connected {
        return (Verdict::Pending, "the answer to the next poll has it".to_owned());
    }
    let behind = tail.number().saturating_sub(sent.number());
    let detail = format!("the session was sent what lies up to {}, {behind} behind the log", sent.number());
    (Verdict::Pending, detail)
}

/// Names, as many as fit into a sentence.
fn list<'a, T: ToString + 'a>(names: impl Iterator<Item = &'a T>) -> String {
    const NAMED_MAX: usize = 8;
    let mut names: Vec<String> = names.map(ToString::to_string).collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    names.truncate(NAMED_MAX);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

fn granted(grant: &Grant) -> String {
    let patterns: &[TopicPattern] = &grant.lists.subscribe;
    if patterns.is_empty() {
        return "lists no topics to subscribe to".to_owned();
    }
    format!("lists {}", list(patterns.iter()))
}
