//! The endpoints for backends and operators.

use std::sync::Arc;

use bytes::Bytes;
use events::{Data, Limit, Topic};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use transport::{Batch, Request, ResetNotice, Transport, parse_after};

use crate::audit::{self, Deed};
use crate::auth::Grant;
use crate::cluster::peers::{self, Asked};
use crate::dispatch::{Body, Call, json, json_bytes, timestamp};
use crate::http::problem::{Code, Problem};
use crate::metrics as names;
use crate::presence::{self, Status};
use crate::publish::{self, Body as PublishBody, Publisher};
use crate::session::admission::{self, BATCH_BYTES};
use crate::session::pacing;

/// `POST /v1/publish`.
pub(crate) async fn publish(
    call: &Call<'_>,
    publisher: &Publisher,
    body: Bytes,
) -> Result<Response<Body>, Problem> {
    let is_ndjson = call.has_content_type("application/x-ndjson");
    let key = call.head.headers.get("idempotency-key").map(HeaderValue::to_str).transpose();
    let key = key.map_err(|_| Problem::bad_request("Idempotency-Key: not text"))?;
    match PublishBody::parse(body, is_ndjson)? {
        PublishBody::Single(draft) => Ok(json(&publish::single(call.app, publisher, &draft, key).await?)),
        // A retry would publish again what its sender believes to be protected.
        _ if key.is_some() => {
            Err(Problem::bad_request("Idempotency-Key: is for a single draft; give each of several an id"))
        }
        body => {
            #[derive(Serialize)]
            struct Results {
                results: Vec<publish::Answer>,
            }
            Ok(json(&Results { results: publish::many(call.app, publisher, body).await? }))
        }
    }
}

/// `GET /v1/history`: the retained events of one topic.
pub(crate) async fn history(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    let topic = topic_of(call)?;
    let grant = may_read(call, &topic).await?;
    let after = parse_after(call.parameter("after").filter(|after| !after.is_empty()).unwrap_or("earliest"))?;
    let limit = Request::parse(call.parameter("limit").map(|limit| ("limit", limit)))?.limit;
    let mut reader = admission::history_reader(call.app, topic, after, grant.as_deref()).await?;
    let limit = Limit { events: limit, bytes: BATCH_BYTES };
    let mut events = Vec::new();
    let mut notice = None;
    let mut at = reader.cursor();
    let span = loop {
        match reader.read(limit, &mut events) {
            Ok(span) => break span,
            Err(reset) => {
                at = reset.at;
                notice =
                    Some(ResetNotice::new(reset.reason, reset.topics, pacing::refetch_after(reset.reason)));
            }
        }
    };
    let mut body = Vec::new();
    let batch = Batch { more: span.more, reset: notice.as_ref(), ..Batch::new(at, span.cursor, &events) };
    batch.write_json(&mut body);
    Ok(json_bytes(body))
}

/// `GET /v1/presence`: who is in a topic.
pub(crate) async fn presence(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    #[derive(Serialize)]
    struct Member<'a> {
        user: &'a str,
        status: Status,
        info: &'a RawValue,
        since: String,
        last_seen: String,
        sessions: usize,
    }
    #[derive(Serialize)]
    struct Members<'a> {
        topic: &'a Topic,
        count: usize,
        members: Vec<Member<'a>>,
    }
    #[derive(Default, Deserialize)]
    struct Shown {
        #[serde(default)]
        info: Box<RawValue>,
    }
    const MEMBERS_MAX: usize = 1000;
    let topic = topic_of(call)?;
    let view = may_read(call, &topic).await?.and_then(|grant| call.app.redaction.lens(&grant));
    let listing = call.app.presence.list(&topic, MEMBERS_MAX);
    // What is hidden in the events of presence is hidden here: the pointers are theirs.
    let shown = |info: &Data| {
        let data = [b"{\"info\":", info.as_bytes(), b"}"].concat();
        let data =
            view.as_ref().map_or_else(|| data.clone(), |view| view.strip(&topic, &data).as_bytes().to_vec());
        serde_json::from_slice::<Shown>(&data).unwrap_or_default()
    };
    let infos: Vec<Shown> = listing.members.iter().map(|listed| shown(&listed.info)).collect();
    let members = listing.members.iter().zip(&infos).map(|(listed, shown)| Member {
        user: &listed.user,
        status: listed.status,
        info: &shown.info,
        since: presence::moment(listed.since_ms),
        last_seen: presence::moment(listed.last_seen_ms),
        sessions: listed.sessions,
    });
    Ok(json(&Members { topic: &topic, count: listing.count, members: members.collect() }))
}

fn topic_of(call: &Call<'_>) -> Result<Topic, Problem> {
    let topic = call.parameter("topic").ok_or_else(|| Problem::bad_request("topic: is needed"))?;
    topic.parse().map_err(|error| Problem::bad_request(format!("topic: {error}")))
}

/// A publish key reads every topic; a token what it may subscribe to. Gives the grant of the token.
async fn may_read(call: &Call<'_>, topic: &Topic) -> Result<Option<Arc<Grant>>, Problem> {
    if call.bearer().is_some_and(|bearer| call.app.auth.publish_key(bearer.token())) {
        return Ok(None);
    }
    call.check_origin(&call.query)?;
    let grant = call.grant(&call.query).await?;
    if grant.may_subscribe(topic) || grant.may_administer() {
        return Ok(Some(grant));
    }
    let detail = format!("reading {topic} is not allowed");
    audit::record(Deed::TopicRefused, &grant.user, call.address(), &detail);
    Err(Problem::new(Code::Forbidden, detail))
}

/// `POST /v1/disconnect`: ends the sessions of a user, or one session, whichever gateway of the log has them.
pub(crate) async fn disconnect(call: &Call<'_>, body: &[u8]) -> Result<Response<Body>, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        user: Option<String>,
        session: Option<String>,
    }
    #[derive(Serialize)]
    struct Ended {
        sessions: usize,
    }
    let wanted: Wanted = serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format!("not a valid request: {error}")))?;
    let (ended, asked) = match (wanted.user, wanted.session) {
        (Some(user), None) => (user.clone(), Asked::EndUser(user)),
        (None, Some(session)) => (String::new(), Asked::EndSession(session)),
        _ => return Err(Problem::bad_request("either user or session is needed")),
    };
    let sessions = peers::end(call.app, &asked).await;
    audit::record(Deed::Disconnected, &ended, call.address(), &format!("{sessions} sessions"));
    Ok(json(&Ended { sessions }))
}

/// `GET /v1/stats`: of all gateways of the log; the log's own figures are this one's.
pub(crate) async fn stats(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct User<'a> {
        user_id: &'a str,
        connections: usize,
    }
    #[derive(Serialize)]
    struct ByTransport {
        ws: usize,
        sse: usize,
        poll: usize,
    }
    #[derive(Serialize)]
    struct InTopic {
        topic: Topic,
        connections: usize,
        members: usize,
    }
    #[derive(Serialize)]
    struct LogStats {
        cursor: events::Cursor,
        events: usize,
        topics: usize,
        bytes: usize,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Stats<'a> {
        total_users: usize,
        total_clients: usize,
        clients_by_user: Vec<User<'a>>,
        by_transport: ByTransport,
        by_topic: Vec<InTopic>,
        log: LogStats,
        deployment: &'a str,
        draining: bool,
    }
    const USERS_MAX: usize = 1000;
    const TOPICS_MAX: usize = 1000;
    let counts = peers::counts(call.app).await;
    let of = |transport: Transport| counts.by_transport[transport as usize];
    let by_transport =
        ByTransport { ws: of(Transport::Ws), sse: of(Transport::Sse), poll: of(Transport::Poll) };
    let log = call.app.log.stats();
    let users = counts.by_user.iter().take(USERS_MAX);
    let users = users.map(|(user_id, connections)| User { user_id, connections: *connections });
    let by_topic = counts.topics(TOPICS_MAX).into_iter().map(|(topic, connections)| InTopic {
        members: call.app.presence.present(&topic),
        topic,
        connections,
    });
    Ok(json(&Stats {
        total_users: counts.by_user.len() + counts.others,
        total_clients: counts.clients,
        clients_by_user: users.collect(),
        by_transport,
        by_topic: by_topic.collect(),
        log: LogStats {
            cursor: call.app.log.tail_cursor(),
            events: log.events,
            topics: log.topics,
            bytes: log.bytes,
        },
        deployment: &call.app.deployment,
        draining: call.app.is_draining(),
    }))
}

/// `GET /health`: the process lives.
pub(crate) fn health(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
        timestamp: String,
        websocket: &'static str,
        connections: usize,
    }
    let connections = call.app.sessions.connections();
    Ok(json(&Health { status: "ok", timestamp: timestamp(), websocket: "enabled", connections }))
}

/// `GET /ready`: new clients are welcome.
pub(crate) fn ready(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    #[derive(Serialize)]
    struct Ready {
        status: &'static str,
    }
    if call.app.is_draining() {
        return Err(Problem::new(Code::Unavailable, "draining"));
    }
    call.app.store.ready()?;
    Ok(json(&Ready { status: "ready" }))
}

/// `GET /metrics`, in Prometheus' text format.
pub(crate) fn metrics(call: &Call<'_>) -> Response<Body> {
    let mut response = Response::new(Body::from(call.app.render_metrics()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(names::CONTENT_TYPE));
    response
}
