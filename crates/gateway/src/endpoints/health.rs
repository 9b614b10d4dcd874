//! `GET /health` and `GET /ready`: for load balancers and process managers.

use std::collections::BTreeMap;

use http::Response;
use serde::Serialize;

use super::call::Call;
use crate::http::answer::{Body, json};
use crate::problem::{Code, Problem};
use crate::time;

/// `GET /health`: the process runs.
pub(crate) fn answer(call: &Call<'_>) -> Response<Body> {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
        timestamp: String,
        websocket: &'static str,
        connections: usize,
    }
    let connections = call.app.registry.connections();
    let timestamp = time::rfc3339(call.app.log.clock().system_time());
    json(&Health { status: "ok", timestamp, websocket: "enabled", connections })
}

/// `GET /ready`: the gateway accepts new clients.
pub(crate) fn answer_ready(call: &Call<'_>) -> Result<Response<Body>, Problem> {
    #[derive(Serialize)]
    struct Ready {
        status: &'static str,
        /// The sources that are down, and why. Clients are not refused for that.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        sources: BTreeMap<&'static str, &'static str>,
    }
    if call.app.is_draining() {
        return Err(Problem::new(Code::Unavailable, "draining"));
    }
    call.app.store.ready()?;
    if !call.app.auth.has_keys() {
        return Err(Problem::new(Code::Unavailable, "the key set of --jwks was never read"));
    }
    Ok(json(&Ready { status: "ready", sources: call.app.sources.reasons() }))
}
