//! The requests of a client that uses polling.

use std::sync::Arc;
use std::time::Duration;

use events::Topic;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use transport::socketio::{EnginePacket, PACKETS_MAX, Packet, PacketKind, Packets, PollTurn, SEPARATOR};
use transport::{After, Answer, End, Line, Outcome, SocketIoPollLine, Transport};

use super::answers::{EngineError, payload};
use super::connect::{self, Arrival, Authenticated, Awaiting, Declined, Introduction, arrive};
use crate::config::SocketIoEcho;
use crate::endpoints::call::{Call, Reply};
use crate::endpoints::stream;
use crate::engineio::{Connected, Engine, PollTicket, Stage};
use crate::http::answer::Body;
use crate::problem::{Code, Problem};
use crate::registry::{Connection, SessionHandle};
use crate::session::admission::{Plan, StreamRequest, admit};
use crate::session::commands::Sender;
use crate::session::socketio_event;

/// How long a poll waits while a WebSocket is probed. The client completes the upgrade only after
/// its poll is answered.
const PROBED_WAIT: Duration = Duration::from_millis(100);

/// Answers a poll with waiting packets, or with events as they arrive.
pub(super) async fn get(call: &Call<'_>, engine: Arc<Engine>) -> Result<Reply, Problem> {
    let ticket = engine.poll();
    let turn = engine.mailbox.turn().await;
    let revision = engine.mailbox.revision();
    loop {
        let changed = engine.mailbox.changed();
        tokio::pin!(changed);
        // From here on no change is missed.
        changed.as_mut().enable();
        if let Some(last) = engine.mailbox.last_packet() {
            return Ok(payload(revision, [last]));
        }
        match engine.stage() {
            Stage::Connected(connected) => {
                return answer_connected(call, &engine, &connected, turn, ticket).await;
            }
            Stage::Upgraded => return Ok(EngineError::BadRequest.reply()),
            Stage::Open | Stage::Awaiting(_) => {}
        }
        let waiting = engine.mailbox.take(PACKETS_MAX);
        if !waiting.is_empty() {
            return Ok(payload(revision, waiting.iter().map(String::as_str)));
        }
        if engine.mailbox.take_ping() {
            return Ok(payload(revision, ["2"]));
        }
        if !engine.is_newest(ticket) {
            return Ok(payload(revision, ["6"]));
        }
        let wait = if engine.is_probed() { PROBED_WAIT } else { engine.mailbox.wait() };
        if tokio::time::timeout(wait, changed).await.is_err() && engine.is_probed() {
            return Ok(payload(revision, ["6"]));
        }
    }
}

/// Answers a poll of a connected client from the log.
async fn answer_connected(
    call: &Call<'_>,
    engine: &Arc<Engine>,
    connected: &Connected,
    turn: PollTurn,
    ticket: PollTicket,
) -> Result<Reply, Problem> {
    let cursor = engine.mailbox.cursor();
    let mut request = connected.request.clone();
    request.topics = connected.topics();
    request.limit = SocketIoPollLine::EVENTS_MAX;
    if let Some(cursor) = cursor {
        request.after = After::Cursor(cursor);
    }
    if let Some(session) = connected.session() {
        request.session = Some(session.to_string());
    }
    let headers = call.cors_lines();
    let asked = StreamRequest {
        transport: Transport::Poll,
        speaks_socketio: true,
        request,
        address: call.address(),
        headers: headers.clone(),
        is_browser: false,
        is_http11: true,
        keep_alive: stream::keeps_alive(call),
    };
    let keep_alive = asked.keep_alive && !call.app.is_draining();
    let admitted = match admit(call.app, asked, connected.grant()).await {
        Ok(admitted) => admitted,
        Err(problem) => return Ok(turn_away(engine, problem, cursor.is_none())),
    };
    let greeting = connected.greeting.clone().filter(|_| cursor.is_none()).map(Box::new);
    let wait = if engine.is_probed() { PROBED_WAIT } else { engine.mailbox.wait() };
    let handle = admitted.handle().clone();
    connected.waits(&admitted.session_id(), &handle);
    // Changes before the handle was registered could not reach it.
    if !engine.is_newest(ticket) || engine.mailbox.has_packets() || engine.mailbox.is_over() {
        handle.end(End::Answer);
    }
    let line = SocketIoPollLine {
        own_tag: socketio_event::hidden_tag(call.app, &admitted.session_id()),
        has_more_topics: connected.has_more_topics(),
        turn,
        settings: Arc::clone(&call.app.socketio),
        greeting,
        wait,
        keep_alive,
        headers,
        pipelined: Vec::new(),
    };
    Ok(Answer::Detach(Plan::Line(Box::new((admitted, Line::SocketIoPoll(Box::new(line)))))))
}

/// Ends a session that is no longer admitted. With `is_new`, its CONNECT is refused.
fn turn_away(engine: &Engine, problem: Problem, is_new: bool) -> Reply {
    engine.end();
    let revision = engine.mailbox.revision();
    let packet = match Declined::from(problem) {
        Declined::Refused(problem) if is_new => connect::refusal(&problem, revision),
        _ => "1".to_owned(),
    };
    payload(revision, [&*packet])
}

/// Handles the packets of a body in order.
pub(super) async fn post(call: &Call<'_>, engine: &Arc<Engine>, body: Incoming) -> Result<Reply, Problem> {
    let body = call.collect(body).await.inspect_err(|_| engine.end())?;
    let text = str::from_utf8(&body).map_err(|_| {
        engine.end();
        Problem::bad_request("the body is not UTF-8")
    })?;
    let _one_at_a_time = engine.posting.lock().await;
    engine.mailbox.heard();
    for packet in Packets::of(text, engine.mailbox.revision()) {
        if engine.mailbox.is_over() {
            break;
        }
        let taken = match packet {
            Ok(packet) => take_packet(call, engine, packet).await,
            Err(_) => Err(PacketFailure::Bad),
        };
        if let Err(failure) = taken {
            engine.end();
            return match failure {
                PacketFailure::Bad => Ok(EngineError::BadRequest.reply()),
                PacketFailure::Refused(problem) => Err(problem),
            };
        }
    }
    let mut response = Response::new(Body::from("ok"));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(Answer::Response(response))
}

/// How a packet ended the session.
pub(super) enum PacketFailure {
    /// The packet is invalid, or not allowed now.
    Bad,
    /// The packet is refused.
    Refused(Problem),
}

/// Leaves packets for the next poll, and answers the waiting poll.
fn push(engine: &Engine, packets: impl IntoIterator<Item = String>) -> Result<(), PacketFailure> {
    for packet in packets {
        let pushed = engine.mailbox.push(packet);
        pushed.map_err(|full| PacketFailure::Refused(Problem::new(Code::RateLimited, full.to_string())))?;
    }
    engine.answer();
    Ok(())
}

/// Handles one packet.
///
/// # Errors
/// The way in which the packet ended the session.
async fn take_packet(call: &Call<'_>, engine: &Arc<Engine>, text: &str) -> Result<(), PacketFailure> {
    let packet_bytes_max = call.app.limits().command_bytes_max;
    if text.len() > packet_bytes_max {
        let detail = format!("a packet has at most {packet_bytes_max} bytes");
        return Err(PacketFailure::Refused(Problem::new(Code::TooLarge, detail)));
    }
    let parsed = EnginePacket::parse(text);
    if let (Ok(EnginePacket::Message(_) | EnginePacket::Binary), Some(SocketIoEcho::Engine)) =
        (parsed, call.app.config.socketio.as_ref().and_then(|config| config.echo))
    {
        return push(engine, [text.to_owned()]);
    }
    match parsed {
        Ok(EnginePacket::Message(message)) => {
            let packet = Packet::parse(message).map_err(|_| PacketFailure::Bad)?;
            take_message(call, engine, message, &packet).await
        }
        Ok(EnginePacket::Close) => {
            engine.leave();
            Ok(())
        }
        Ok(EnginePacket::Ping(data)) => push(engine, [format!("3{data}")]),
        Ok(EnginePacket::Pong | EnginePacket::Upgrade | EnginePacket::Noop | EnginePacket::Binary) => Ok(()),
        Err(_) => Err(PacketFailure::Bad),
    }
}

async fn take_message(
    call: &Call<'_>,
    engine: &Arc<Engine>,
    message: &str,
    packet: &Packet<'_>,
) -> Result<(), PacketFailure> {
    match (packet.kind, packet.is_for_root()) {
        (PacketKind::Connect, false) => push(engine, [packet.invalid_namespace(engine.mailbox.revision())]),
        (_, false) | (PacketKind::Ack, true) => Ok(()),
        (PacketKind::Connect, true) => take_connect(call, engine, packet.data).await,
        (PacketKind::Disconnect, true) => {
            engine.leave();
            Ok(())
        }
        (PacketKind::Event, true) => match engine.stage() {
            Stage::Connected(connected) => {
                let reply = run(call, engine, &connected, message).await;
                push(engine, reply.iter().flat_map(|reply| reply.split(SEPARATOR)).map(str::to_owned))
            }
            Stage::Awaiting(request) => {
                let awaiting = Awaiting::new(&request);
                let taken = awaiting.take(call.app, call.address(), message).await;
                let Some(Authenticated { packets, client }) = taken else { return Ok(()) };
                push(engine, packets)?;
                if let Some((grant, request)) = client {
                    engine.connected(Connected::new(grant, request, None, false));
                }
                Ok(())
            }
            Stage::Open | Stage::Upgraded => Err(PacketFailure::Bad),
        },
    }
}

/// Handles a CONNECT. A client of revision 3 need not send one.
///
/// # Errors
/// When the answer cannot be left for the next poll.
pub(super) async fn take_connect(
    call: &Call<'_>,
    engine: &Arc<Engine>,
    data: &str,
) -> Result<(), PacketFailure> {
    let revision = engine.mailbox.revision();
    match connect(call, engine, data).await {
        Ok(()) => Ok(()),
        Err(Declined::Refused(problem)) => push(engine, [connect::refusal(&problem, revision)]),
        Err(Declined::NotNow) => {
            engine.end();
            Ok(())
        }
        Err(Declined::Awaits(awaiting)) => {
            let greeting = awaiting.greeting(call.app, revision);
            engine.await_token(awaiting.into_request());
            push(engine, greeting)
        }
    }
}

async fn connect(call: &Call<'_>, engine: &Arc<Engine>, data: &str) -> Result<(), Declined> {
    if matches!(engine.stage(), Stage::Connected(_) | Stage::Awaiting(_)) {
        return Ok(());
    }
    let Some(config) = &call.app.config.socketio else { return Err(Declined::NotNow) };
    let introduction = Introduction::of(call);
    let Arrival { grant, request, greeting, has_more_topics } =
        arrive(call.app, config, &introduction, call.address(), data).await?;
    engine.connected(Connected::new(grant, request, Some(greeting), has_more_topics));
    Ok(())
}

/// Runs a client's event. `Some`: the packet that replies to it.
async fn run(call: &Call<'_>, engine: &Engine, connected: &Connected, message: &str) -> Option<String> {
    let grant = connected.grant();
    let mut topics = vec![grant.user_topic.clone(), Topic::all()];
    topics.extend(connected.topics());
    let mut connection = Connection::new(Arc::clone(&grant), topics, None, call.address());
    let session = connected.session();
    if let Some(SessionHandle { id, handle }) =
        session.and_then(|session| call.app.registry.session_handle(&grant.user, &session))
    {
        (connection.id, connection.handle) = (Some(id), handle);
    }
    let connection = Arc::new(connection);
    let refusals = Mutex::new(connected.refusals());
    let sender =
        Sender { app: call.app, connection: &connection, refusals: &refusals, may_change_topics: true };
    let Outcome { reply, end } = socketio_event::run(&sender, message).await;
    let held = connection.held.lock();
    let wanted = held.subscriptions.topics().get(2..).unwrap_or_default();
    connected.changed(&held.grant, wanted, *refusals.lock());
    drop(held);
    // The waiting poll has the previous topics. The next poll has the current ones.
    engine.answer();
    if end.is_some() {
        engine.end();
    }
    (!reply.is_empty()).then(|| String::from_utf8_lossy(&reply).into_owned())
}
