//! Routes the requests of Socket.IO clients.

use http::Method;
use hyper::body::Incoming;
use transport::socketio::Revision;

use super::answers::{EngineError, max_payload, open_packet, payload};
use super::{polling, websocket};
use crate::config::SocketIo;
use crate::endpoints::call::{Call, Reply};
use crate::engineio::{KnownEngine, NoEngine};
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
    let revision = match call.parameter("EIO") {
        Some("4") => Revision::Four,
        Some("3") if config.eio3 => Revision::Three,
        _ => return Ok(EngineError::UnsupportedVersion.reply()),
    };
    call.check_origin(&call.query)?;
    let sid = call.parameter("sid").filter(|sid| !sid.is_empty());
    let engine = match sid.map(|sid| call.app.engines.find(sid)) {
        None => None,
        Some(KnownEngine::Engine(engine)) if engine.mailbox.revision() == revision => Some(engine),
        Some(KnownEngine::Engine(_)) => return Ok(EngineError::BadRequest.reply()),
        Some(KnownEngine::Upgraded) => return Ok(websocket::late(call)),
        Some(KnownEngine::Unknown) => {
            call.app.metrics.socketio_handshake(Handshake::UnknownSession);
            return Ok(EngineError::UnknownSession.reply());
        }
    };
    match (call.parameter("transport"), &call.head.method, engine) {
        (Some("websocket"), &Method::GET, engine) => websocket::answer(call, config, engine, revision),
        (Some("polling"), &Method::GET, Some(engine)) => polling::get(call, engine).await,
        (Some("polling"), &Method::POST, Some(engine)) => polling::post(call, &engine, body).await,
        (Some("polling"), &Method::GET, None) => open(call, config, revision).await,
        (Some("polling" | "websocket"), _, None) => Ok(EngineError::BadHandshakeMethod.reply()),
        (Some("polling" | "websocket"), _, Some(_)) => Ok(EngineError::BadRequest.reply()),
        _ => Ok(EngineError::UnknownTransport.reply()),
    }
}

/// Opens the session of a client that uses polling.
async fn open(call: &Call<'_>, config: &SocketIo, revision: Revision) -> Result<Reply, Problem> {
    let app = call.app;
    // Clients retry by themselves after such an answer. A refused CONNECT is final for them.
    app.accepts_streams()?;
    let limits = app.limits();
    let opened = app.engines.open(
        call.address(),
        (config.pings, revision),
        limits.connections_max,
        limits.connections_per_ip_max,
    );
    let engine = opened.map_err(|NoEngine| {
        app.metrics.connection_refused(RefuseReason::Limit);
        Problem::new(Code::Unavailable, "this gateway has too many connections")
    })?;
    app.metrics.socketio_handshake(Handshake::Polling);
    if revision == Revision::Three {
        // A client that has left in the meantime accepts no more packets.
        let _ = polling::take_connect(call, &engine, "").await;
    }
    let open = open_packet(config, &engine.sid, &["websocket"], max_payload(call));
    Ok(payload(revision, [&*open]))
}
