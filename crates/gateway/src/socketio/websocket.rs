//! A client that begins on a WebSocket, or changes to it from polls.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::SEC_WEBSOCKET_PROTOCOL;
use transport::socketio::{EnginePacket, Greeting, Packet, PacketKind};
use transport::{After, Answer, CloseCode, Line, Request, SocketIoLine, Transport, write_ws_accept, ws};

use super::answers::{EngineError, max_payload, open_packet};
use super::connect::{self, Arrival, Authenticated, Awaiting, Declined, Introduction, arrive};
use crate::app::App;
use crate::auth::Grant;
use crate::config::SocketIo;
use crate::endpoints::call::{Call, Reply};
use crate::endpoints::websocket::handshake_key;
use crate::engineio::{Engine, Stage};
use crate::metrics::labels::Handshake;
use crate::problem::Problem;
use crate::session::admission::{Admitted, Beginning, Plan, StreamRequest, admit};
use crate::session::socketio_event;
use crate::session::unadmitted::Unadmitted;

/// How long a client may take from its WebSocket to its CONNECT.
const CONNECT_WITHIN: Duration = Duration::from_secs(40);
/// How long an upgrade may take, as the client itself waits for it.
const UPGRADE_WITHIN: Duration = Duration::from_secs(10);

/// A WebSocket whose client is not in yet.
struct Newcomer {
    app: Arc<App>,
    config: SocketIo,
    introduction: Introduction,
    address: IpAddr,
}

/// Accepts a WebSocket: a new session, or one that polled until now.
pub(super) fn answer(
    call: &Call<'_>,
    config: &SocketIo,
    engine: Option<Arc<Engine>>,
) -> Result<Reply, Problem> {
    let Ok(key) = handshake_key(&call.head.headers, call.head.version) else {
        return Ok(EngineError::BadRequest.reply());
    };
    if engine.is_none() {
        call.app.accepts_streams()?;
    }
    if engine.as_ref().is_some_and(|engine| engine.is_probed()) {
        return Ok(EngineError::BadRequest.reply());
    }
    let mut accept = Vec::new();
    // A subprotocol that is offered must be answered with one of those offered, or clients fail.
    let protocol = call.head.headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|offer| offer.to_str().ok());
    let protocol =
        protocol.and_then(|offer| offer.split(',').map(str::trim).find(|one| !one.starts_with("bearer.")));
    write_ws_accept(&ws::accept_key(key), protocol, "", &mut accept);
    let newcomer = Newcomer {
        app: Arc::clone(call.app),
        config: config.clone(),
        introduction: Introduction::of(call),
        address: call.address(),
    };
    let max_payload = max_payload(call);
    let within = if engine.is_some() { UPGRADE_WITHIN } else { CONNECT_WITHIN };
    Ok(Answer::Detach(Plan::Accepted {
        accept: accept.into(),
        within,
        then: Box::new(move |early| {
            Box::pin(async move {
                match engine {
                    Some(engine) => newcomer.upgrade(early, engine).await,
                    None => newcomer.begin(early, max_payload).await,
                }
            })
        }),
    }))
}

impl Newcomer {
    /// A session that begins here.
    async fn begin(self, mut early: Unadmitted, max_payload: usize) -> Option<Beginning> {
        self.app.metrics.socketio_handshake(Handshake::WebSocket);
        early
            .reply(open_packet(&self.config, &self.app.engines.fresh_sid(), &[], max_payload).as_bytes())
            .await;
        self.connect(early, None).await
    }

    /// Waits for the CONNECT, and for the token if it comes behind that, and lets the client in.
    async fn connect(self, mut early: Unadmitted, mut awaiting: Option<Awaiting>) -> Option<Beginning> {
        loop {
            let Ok(text) = early.next_text().await else { return end(early, CloseCode::NORMAL, "").await };
            let message = match EnginePacket::parse(&text) {
                Ok(EnginePacket::Message(message)) => message,
                Ok(EnginePacket::Close) => return end(early, CloseCode::NORMAL, "").await,
                Ok(_) => continue,
                Err(_) => return end(early, CloseCode::PROTOCOL, "not an Engine.IO packet").await,
            };
            let declined = match (Packet::parse(message), &awaiting) {
                (Ok(packet), _) if packet.kind == PacketKind::Connect && !packet.is_for_root() => {
                    early.reply(connect::invalid_namespace(&packet).as_bytes()).await;
                    continue;
                }
                (Ok(Packet { kind: PacketKind::Connect, data, .. }), None) => {
                    let arrival =
                        arrive(&self.app, &self.config, &self.introduction, self.address, data).await;
                    match self.let_in(arrival).await {
                        Ok((admitted, greeting)) => return self.start(early, admitted, Some(greeting)).await,
                        Err(declined) => declined,
                    }
                }
                (Ok(Packet { kind: PacketKind::Event, .. }), Some(waiting)) => {
                    let taken = waiting.take(&self.app, self.address, message).await;
                    let Some(Authenticated { packets, client }) = taken else { continue };
                    let Some((grant, request)) = client else {
                        reply_all(&mut early, &packets).await;
                        continue;
                    };
                    match self.admit(grant, request).await {
                        Ok(admitted) => {
                            reply_all(&mut early, &packets).await;
                            return self.start(early, admitted, None).await;
                        }
                        Err(declined) => declined,
                    }
                }
                (Ok(_), Some(_)) => continue,
                // Nothing may come before the CONNECT.
                (_, None) | (Err(_), Some(_)) => {
                    return end(early, CloseCode::PROTOCOL, "a CONNECT is expected").await;
                }
            };
            match declined {
                // The connection stays: a page may try again with other data.
                Declined::Refused(problem) => early.reply(connect::refusal(&problem).as_bytes()).await,
                Declined::NotNow => {
                    self.app.brake.refused(self.address, None).await;
                    return end(early, CloseCode::UNAVAILABLE, "not now").await;
                }
                Declined::Awaits(waiting) => {
                    reply_all(&mut early, &waiting.greeting(&self.app)).await;
                    early.expect_within(Unadmitted::AUTH_WITHIN);
                    awaiting = Some(waiting);
                }
            }
        }
    }

    async fn let_in(&self, arrival: Result<Arrival, Declined>) -> Result<(Admitted, Greeting), Declined> {
        let Arrival { grant, request, greeting } = arrival?;
        Ok((self.admit(grant, request).await?, greeting))
    }

    /// Changes from polls to this WebSocket.
    async fn upgrade(self, mut early: Unadmitted, engine: Arc<Engine>) -> Option<Beginning> {
        engine.probe(true);
        let is_complete = Self::probe(&mut early, &engine).await;
        if !is_complete {
            engine.probe(false);
            self.app.metrics.socketio_handshake(Handshake::UpgradeFailed);
            early.close().await;
            return None;
        }
        let before = engine.upgrade();
        self.app.engines.forget(&engine.sid);
        engine.answer();
        if let Stage::Connected(connected) = &before {
            connected.answer();
        }
        // The last poll may carry events. Only once it is answered it is known up to where.
        let turn = tokio::time::timeout(self.app.config.streams.write_timeout, engine.mailbox.turn()).await;
        if turn.is_err() || engine.mailbox.is_over() {
            return end(early, CloseCode::GOING_AWAY, "a poll was lost").await;
        }
        self.app.metrics.socketio_handshake(Handshake::Upgraded);
        reply_all(&mut early, &engine.mailbox.take(usize::MAX)).await;
        let connected = match before {
            Stage::Connected(connected) => connected,
            Stage::Awaiting(request) => return self.connect(early, Some(Awaiting::new(&request))).await,
            Stage::Open | Stage::Upgraded => return self.connect(early, None).await,
        };
        let mut request = connected.request.clone();
        request.topics = connected.topics();
        let cursor = engine.mailbox.cursor();
        let greeting = connected.greeting.clone().filter(|_| cursor.is_none());
        if let Some(cursor) = cursor {
            request.after = After::Cursor(cursor);
        }
        if let Some(session) = connected.session() {
            request.session = Some(session.to_string());
        }
        match self.admit(connected.grant(), request).await {
            Ok(admitted) => self.start(early, admitted, greeting).await,
            Err(_) => end(early, CloseCode::GOING_AWAY, "not now").await,
        }
    }

    /// Answers the probe and waits for the client's word. `true`: it changes over.
    async fn probe(early: &mut Unadmitted, engine: &Engine) -> bool {
        loop {
            let Ok(text) = early.next_text().await else { return false };
            match EnginePacket::parse(&text) {
                Ok(EnginePacket::Ping(data)) => {
                    early.reply(format!("3{data}").as_bytes()).await;
                    engine.answer();
                }
                Ok(EnginePacket::Upgrade) => return true,
                Ok(EnginePacket::Close) | Err(_) => return false,
                Ok(_) => {}
            }
        }
    }

    async fn admit(&self, grant: Arc<Grant>, request: Request) -> Result<Admitted, Declined> {
        let asked = StreamRequest {
            transport: Transport::Ws,
            request,
            address: self.address,
            headers: String::new().into(),
            is_browser: false,
            is_http11: true,
            keep_alive: false,
        };
        Ok(admit(&self.app, asked, grant).await?)
    }

    async fn start(
        self,
        early: Unadmitted,
        admitted: Admitted,
        greeting: Option<Greeting>,
    ) -> Option<Beginning> {
        let own_tag = socketio_event::tag_of(&admitted.session_id());
        let (socket, decoder) = early.into_session().await?;
        let line = SocketIoLine::new(decoder, Arc::clone(&self.app.socketio), greeting, own_tag);
        Some((socket, Line::SocketIo(Box::new(line)), admitted))
    }
}

async fn reply_all(early: &mut Unadmitted, packets: &[String]) {
    for packet in packets {
        early.reply(packet.as_bytes()).await;
    }
}

/// Ends a connection on which no session began.
async fn end(mut early: Unadmitted, code: CloseCode, reason: &str) -> Option<Beginning> {
    early.reply(b"1").await;
    early.refuse(code, reason).await;
    None
}
