//! Which request is for what.

use http::Method;
use hyper::body::Incoming;

use super::answers::{EngineError, max_payload, open_packet, payload};
use super::{polling, websocket};
use crate::config::SocketIo;
use crate::endpoints::call::{Call, Reply};
use crate::engineio::NoEngine;
use crate::metrics::labels::{Handshake, RefuseReason};
use crate::problem::{Code, Problem};

/// Answers a request of a Socket.IO client.
pub(crate) async fn answer(call: &Call<'_>, config: &SocketIo, body: Incoming) -> Result<Reply, Problem> {
    match take(call, config, body).await {
        Err(problem) => Err(call.refused(problem).held_back(call.app).await),
        reply => reply,
    }
}

async fn take(call: &Call<'_>, config: &SocketIo, body: Incoming) -> Result<Reply, Problem> {
    if call.parameter("EIO") != Some("4") {
        return Ok(EngineError::UnsupportedVersion.reply());
    }
    call.check_origin(&call.query)?;
    let sid = call.parameter("sid").filter(|sid| !sid.is_empty());
    let engine = sid.and_then(|sid| call.app.engines.find(sid));
    if sid.is_some() && engine.is_none() {
        call.app.metrics.socketio_handshake(Handshake::UnknownSession);
        return Ok(EngineError::UnknownSession.reply());
    }
    match (call.parameter("transport"), &call.head.method, engine) {
        (Some("websocket"), &Method::GET, engine) => websocket::answer(call, config, engine),
        (Some("polling"), &Method::GET, Some(engine)) => polling::get(call, engine).await,
        (Some("polling"), &Method::POST, Some(engine)) => polling::post(call, &engine, body).await,
        (Some("polling"), &Method::GET, None) => open(call, config),
        (Some("polling" | "websocket"), _, None) => Ok(EngineError::BadHandshakeMethod.reply()),
        (Some("polling" | "websocket"), _, Some(_)) => Ok(EngineError::BadRequest.reply()),
        _ => Ok(EngineError::UnknownTransport.reply()),
    }
}

/// Opens the session of a client that polls.
fn open(call: &Call<'_>, config: &SocketIo) -> Result<Reply, Problem> {
    let app = call.app;
    // Clients come again by themselves after such an answer; a refused CONNECT is final for them.
    app.accepts_streams()?;
    let limits = app.limits();
    let opened = app.engines.open(
        call.address(),
        config.ping_interval,
        config.ping_timeout,
        limits.connections_max,
        limits.connections_per_ip_max,
    );
    let engine = opened.map_err(|NoEngine| {
        app.metrics.connection_refused(RefuseReason::Limit);
        Problem::new(Code::Unavailable, "this gateway has too many connections")
    })?;
    app.metrics.socketio_handshake(Handshake::Polling);
    Ok(payload(open_packet(config, &engine.sid, &["websocket"], max_payload(call))))
}
