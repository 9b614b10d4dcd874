//! A client that starts on a WebSocket, or upgrades to it from polling.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::SEC_WEBSOCKET_PROTOCOL;
use transport::socketio::{EnginePacket, Greeting, Packet, PacketKind, Revision};
use transport::{
    After, Answer, CloseCode, Line, Request, SocketIoLine, SocketIoStart, Transport, write_ws_accept, ws,
};

use super::answers::{EngineError, max_payload, open_packet};
use super::connect::{self, Arrival, Authenticated, Awaiting, Declined, Introduction, arrive};
use super::echo;
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
/// How long an upgrade may take. The client itself waits for the same time.
const UPGRADE_WITHIN: Duration = Duration::from_secs(10);

/// A WebSocket whose client is not connected yet.
struct Newcomer {
    app: Arc<App>,
    config: SocketIo,
    introduction: Introduction,
    address: IpAddr,
    revision: Revision,
}

/// The greeting that the client's CONNECT asked for, unless it has been answered, and whether the
/// client has topics that it did not name.
type Asked = (Option<Greeting>, bool);

/// Accepts a WebSocket, for a new session or for a session that used polling until now.
pub(super) fn answer(
    call: &Call<'_>,
    config: &SocketIo,
    engine: Option<Arc<Engine>>,
    revision: Revision,
) -> Result<Reply, Problem> {
    let Some(accept) = accept(call) else { return Ok(EngineError::BadRequest.reply()) };
    if engine.is_none() {
        call.app.accepts_streams()?;
    }
    if engine.as_ref().is_some_and(|engine| engine.is_probed()) {
        return Ok(closed(accept));
    }
    let newcomer = Newcomer {
        app: Arc::clone(call.app),
        config: config.clone(),
        introduction: Introduction::of(call),
        address: call.address(),
        revision,
    };
    let max_payload = max_payload(call);
    let within = if engine.is_some() { UPGRADE_WITHIN } else { CONNECT_WITHIN };
    Ok(Answer::Detach(Plan::Accepted {
        accept,
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

/// Answers a request with the id of a session that already continues over another WebSocket.
pub(super) fn late(call: &Call<'_>) -> Reply {
    accept(call).map_or_else(|| EngineError::BadRequest.reply(), closed)
}

/// The answer to a WebSocket handshake; `None`: the request is not a handshake.
fn accept(call: &Call<'_>) -> Option<Box<[u8]>> {
    let key = handshake_key(&call.head.headers, call.head.version).ok()?;
    let mut accept = Vec::new();
    // If a client offers subprotocols, the answer must select one of them, or the client fails.
    let protocol = call.head.headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|offer| offer.to_str().ok());
    let protocol =
        protocol.and_then(|offer| offer.split(',').map(str::trim).find(|one| !one.starts_with("bearer.")));
    write_ws_accept(&ws::accept_key(key), protocol, "", &mut accept);
    Some(accept.into())
}

/// Accepts a WebSocket and closes it. The original server does the same if the session already has
/// one.
fn closed(accept: Box<[u8]>) -> Reply {
    Answer::Detach(Plan::Accepted {
        accept,
        within: UPGRADE_WITHIN,
        then: Box::new(move |mut early| {
            Box::pin(async move {
                early.refuse(CloseCode::NORMAL, "").await;
                None
            })
        }),
    })
}

impl Newcomer {
    /// Begins a new session on this WebSocket.
    async fn begin(self, mut early: Unadmitted, max_payload: usize) -> Option<Beginning> {
        self.app.metrics.socketio_handshake(Handshake::WebSocket);
        early
            .reply(open_packet(&self.config, &self.app.engines.fresh_sid(), &[], max_payload).as_bytes())
            .await;
        early.begin_heartbeat(self.config.pings, self.revision);
        self.connect(early, Progress::New).await
    }

    /// Waits for the CONNECT, and for the token if it comes after the CONNECT, and starts the
    /// session.
    async fn connect(self, mut early: Unadmitted, mut progress: Progress) -> Option<Beginning> {
        if let Some(echo) = self.config.echo {
            echo::run(&mut early, echo).await;
            return end(early, CloseCode::NORMAL, "").await;
        }
        loop {
            let next = if matches!(progress, Progress::New) && self.revision == Revision::Three {
                progress = Progress::Refused;
                self.take_connect("").await
            } else {
                self.take_next(&mut early, &progress).await
            };
            let declined = match next {
                Next::Nothing => continue,
                Next::End(code, reason) => return end(early, code, reason).await,
                Next::In(admitted, asked) => return self.start(early, *admitted, asked).await,
                Next::Declined(declined) => declined,
            };
            match declined {
                // The connection stays open: a page may try again with other data.
                Declined::Refused(problem) => {
                    early.reply(connect::refusal(&problem, self.revision).as_bytes()).await;
                }
                Declined::NotNow => {
                    self.app.brake.refused(self.address, None).await;
                    return end(early, CloseCode::UNAVAILABLE, "not now").await;
                }
                Declined::Awaits(waiting) => {
                    reply_all(&mut early, &waiting.greeting(&self.app, self.revision)).await;
                    early.expect_within(Unadmitted::AUTH_WITHIN);
                    progress = Progress::Awaiting(waiting);
                }
            }
        }
    }

    /// Handles the next message of a client that is not connected yet.
    async fn take_next(&self, early: &mut Unadmitted, progress: &Progress) -> Next {
        let Ok(text) = early.next_text().await else { return Next::End(CloseCode::NORMAL, "") };
        let message = match EnginePacket::parse(&text) {
            Ok(EnginePacket::Message(message)) => message,
            Ok(EnginePacket::Close) => return Next::End(CloseCode::NORMAL, ""),
            Ok(EnginePacket::Ping(data)) => {
                early.reply(format!("3{data}").as_bytes()).await;
                return Next::Nothing;
            }
            Ok(_) => return Next::Nothing,
            Err(_) => return Next::End(CloseCode::PROTOCOL, "not an Engine.IO packet"),
        };
        match (Packet::parse(message), progress) {
            (Ok(packet), _) if packet.kind == PacketKind::Connect && !packet.is_for_root() => {
                early.reply(packet.invalid_namespace(self.revision).as_bytes()).await;
                Next::Nothing
            }
            (Ok(Packet { kind: PacketKind::Connect, data, .. }), Progress::New | Progress::Refused) => {
                self.take_connect(data).await
            }
            (Ok(Packet { kind: PacketKind::Event, .. }), Progress::Awaiting(waiting)) => {
                self.authenticate(early, waiting, message).await
            }
            (Ok(_), Progress::Awaiting(_)) => Next::Nothing,
            // Before the CONNECT no other message is allowed.
            _ => Next::End(CloseCode::PROTOCOL, "a CONNECT is expected"),
        }
    }

    async fn take_connect(&self, data: &str) -> Next {
        let arrival = arrive(&self.app, &self.config, &self.introduction, self.address, data).await;
        match self.let_in(arrival).await {
            Ok((admitted, asked)) => Next::In(Box::new(admitted), asked),
            Err(declined) => Next::Declined(declined),
        }
    }

    /// Handles the event that carries the token.
    async fn authenticate(&self, early: &mut Unadmitted, waiting: &Awaiting, message: &str) -> Next {
        let taken = waiting.take(&self.app, self.address, message).await;
        let Some(Authenticated { packets, client }) = taken else { return Next::Nothing };
        let Some((grant, request)) = client else {
            reply_all(early, &packets).await;
            return Next::Nothing;
        };
        match self.admit(grant, request).await {
            Ok(admitted) => {
                reply_all(early, &packets).await;
                Next::In(Box::new(admitted), (None, false))
            }
            Err(declined) => Next::Declined(declined),
        }
    }

    async fn let_in(&self, arrival: Result<Arrival, Declined>) -> Result<(Admitted, Asked), Declined> {
        let Arrival { grant, request, greeting, has_more_topics } = arrival?;
        Ok((self.admit(grant, request).await?, (Some(greeting), has_more_topics)))
    }

    /// Upgrades a session from polling to this WebSocket.
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
        self.app.engines.upgraded(&engine.sid);
        engine.answer();
        if let Stage::Connected(connected) = &before {
            connected.answer();
        }
        // The last poll may carry events. Its end position is known only after it is answered.
        let turn = tokio::time::timeout(self.app.config.streams.write_timeout, engine.mailbox.turn()).await;
        if turn.is_err() || engine.mailbox.is_over() {
            return end(early, CloseCode::GOING_AWAY, "a poll was lost").await;
        }
        self.app.metrics.socketio_handshake(Handshake::Upgraded);
        reply_all(&mut early, &engine.mailbox.take(usize::MAX)).await;
        let connected = match before {
            Stage::Connected(connected) => connected,
            Stage::Awaiting(request) => {
                early.begin_heartbeat(self.config.pings, self.revision);
                return self.connect(early, Progress::Awaiting(Awaiting::new(&request))).await;
            }
            Stage::Open | Stage::Upgraded => {
                early.begin_heartbeat(self.config.pings, self.revision);
                return self.connect(early, Progress::Refused).await;
            }
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
            Ok(admitted) => self.start(early, admitted, (greeting, connected.has_more_topics())).await,
            Err(_) => end(early, CloseCode::GOING_AWAY, "not now").await,
        }
    }

    /// Answers the probe and waits for the client's decision. `true`: the client upgrades.
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
            speaks_socketio: true,
            request,
            address: self.address,
            headers: String::new().into(),
            is_browser: false,
            is_http11: true,
            keep_alive: false,
        };
        Ok(admit(&self.app, asked, grant).await?)
    }

    async fn start(self, early: Unadmitted, admitted: Admitted, asked: Asked) -> Option<Beginning> {
        let own_tag = socketio_event::hidden_tag(&self.app, &admitted.session_id());
        let (socket, decoder) = early.into_session().await?;
        let (greeting, has_more_topics) = asked;
        let start = SocketIoStart { greeting, revision: self.revision, own_tag, has_more_topics };
        let line = SocketIoLine::new(decoder, Arc::clone(&self.app.socketio), start);
        Some((socket, Line::SocketIo(Box::new(line)), admitted))
    }
}

/// The progress of a client that is not connected yet.
enum Progress {
    /// The client has just opened the WebSocket.
    New,
    /// The client has no session and may send a CONNECT.
    Refused,
    /// The client has not sent its token yet.
    Awaiting(Awaiting),
}

/// The step after a message of a client that is not connected yet.
enum Next {
    /// Read the next message.
    Nothing,
    /// End the connection.
    End(CloseCode, &'static str),
    /// Start the session.
    In(Box<Admitted>, Asked),
    /// Answer a client that may not connect now.
    Declined(Declined),
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
