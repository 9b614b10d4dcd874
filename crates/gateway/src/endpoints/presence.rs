//! `GET /v1/presence`: the members of a topic.

use events::{Data, Topic};
use http::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::call::Call;
use super::reading::{may_read, topic_of};
use crate::http::answer::{Body, json};
use crate::presence::{self, Status};
use crate::problem::Problem;

/// `GET /v1/presence`: the members of a topic.
pub(crate) async fn answer(call: &Call<'_>) -> Result<Response<Body>, Problem> {
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
    let view = may_read(call, &topic).await?.and_then(|grant| call.app.redaction().lens(&grant));
    let listing = call.app.presence.list(&topic, MEMBERS_MAX);
    // Members of `data` that are hidden in presence events are hidden here too, by the same pointers.
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
