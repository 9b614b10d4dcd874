//! `GET /v1/stats`: the connections of all gateways of the log; the log's own figures are this one's.

use events::Topic;
use http::Response;
use serde::Serialize;

use super::call::Call;
use crate::http::answer::{Body, json};
use crate::problem::Problem;
use crate::registry::ShownTransport;

/// The most users that are named.
const USERS_MAX: usize = 1000;
/// The most topics that are named.
const TOPICS_MAX: usize = 1000;

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
    sio_ws: usize,
    sio_poll: usize,
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

/// `GET /v1/stats`: of all gateways of the log; the log's own figures are this one's.
pub(crate) async fn answer(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    call.operator().await?;
    let counts = call.app.cluster.counts().await;
    let of = |transport: ShownTransport| counts.by_transport[transport as usize];
    let by_transport = ByTransport {
        ws: of(ShownTransport::Ws),
        sse: of(ShownTransport::Sse),
        poll: of(ShownTransport::Poll),
        sio_ws: of(ShownTransport::SocketIoWs),
        sio_poll: of(ShownTransport::SocketIoPoll),
    };
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
