//! A client that changes transports, topics, grants and presence, is cut off, and comes back.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use events::Cursor;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};
use transport::ws::Decoder;
use transport::{Outcome, Request, Transport};

use super::messages::take_text;
use super::network::{Socket, connect};
use super::view::View;
use super::world::{ROOMS, World};
use crate::app::App;
use crate::auth::Grant;
use crate::auth::testing::{Signer, header, token};
use crate::registry::{Connection, SessionHandle};
use crate::session::admission::{StreamRequest, admit};
use crate::session::commands::Sender;
use crate::session::running;

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// A ping of the gateway, as it stands between two messages.
const PING: [u8; 2] = [0x89, 0];

/// How long the last connection stays, so that members whose sessions are gone are gone too.
const LAST_STAY: Duration = Duration::from_secs(66);

/// The user, the rooms that it is in, what it knows of all rooms, and its connection.
pub(super) type Known = (String, Vec<String>, BTreeSet<(String, String)>, Socket);

pub(super) struct Client {
    world: Arc<World>,
    user: String,
    session: Option<String>,
    view: View,
    /// How many of the rooms its grant has, from the first on.
    granted: usize,
    /// The rooms that it is a member of, as far as it knows.
    joined: BTreeSet<String>,
    /// The command that has no reply yet.
    asked: Option<Value>,
}

impl Client {
    pub(super) fn new(world: &Arc<World>, number: usize) -> Self {
        Self {
            world: Arc::clone(world),
            user: format!("u{number}"),
            session: None,
            view: View::default(),
            granted: ROOMS.len(),
            joined: BTreeSet::new(),
            asked: None,
        }
    }

    fn below(&self, end: usize) -> usize {
        self.world.chance.below(end as u64) as usize
    }

    /// Connects again and again until `until`, and then once more.
    pub(super) async fn live(mut self, until: Instant) -> Known {
        while Instant::now() < until {
            let stay = Duration::from_millis(self.below(8_000) as u64);
            self.granted = 1 + self.below(ROOMS.len());
            let transport = Transport::ALL[self.below(3)];
            if let Some((mut socket, app, connection)) = self.connect(transport, "2").await {
                let scissors = socket.scissors();
                let _ = timeout(stay, self.use_connection(&mut socket, &app, &connection)).await;
                scissors.cut();
            }
            // Now and then for longer than the session is remembered.
            let away = if self.below(6) == 0 { 20_000 } else { 900 };
            tokio::time::sleep(Duration::from_millis(self.below(away) as u64)).await;
        }
        self.end().await
    }

    async fn end(mut self) -> Known {
        self.granted = ROOMS.len();
        self.view.wanted = ROOMS.map(str::to_owned).into();
        // It answers no ping while it waits for the other clients.
        let (mut socket, app, connection) =
            self.connect(Transport::Ws, "30").await.expect("nothing is in the way");
        let end = Instant::now() + LAST_STAY;
        let mut rooms = ROOMS.iter();
        loop {
            if self.asked.is_none()
                && let Some(room) = rooms.next()
            {
                let status = ["online", "offline"][self.below(2)];
                self.ask(&mut socket, json!({"op": "presence", "topic": room, "status": status})).await;
            }
            assert!(self.receive(&mut socket, &app, &connection).await, "the last connection stays");
            let is_done = self.view.cursor() == Some(app.log.tail_cursor());
            if Instant::now() >= end && is_done {
                return (self.user, self.joined.into_iter().collect(), self.view.known, socket);
            }
        }
    }

    fn token(&self) -> String {
        let rooms = &ROOMS[..self.granted];
        let claims = json!({"sub": self.user, "subscribe": rooms, "publish": []});
        token(&header("HS256"), &claims, Signer::Secret(b"dev-secret"))
    }

    async fn grant(&self, app: &App) -> Arc<Grant> {
        app.auth.verify(&self.token()).await.unwrap()
    }

    async fn connect(
        &mut self,
        transport: Transport,
        heartbeat: &str,
    ) -> Option<(Socket, Arc<App>, Arc<Connection>)> {
        let app = self.world.app();
        let cursor = self.view.cursor().map(|cursor| cursor.to_string());
        let topics = self.view.wanted.iter().cloned().collect::<Vec<_>>().join(",");
        let mut parameters = vec![("topics", &*topics), ("heartbeat", heartbeat), ("wait", "2")];
        parameters.extend(cursor.as_deref().map(|cursor| ("after", cursor)));
        parameters.extend(self.session.as_deref().map(|session| ("session", session)));
        let request = Request::parse(parameters).unwrap();
        let headers = "".into();
        let asked = StreamRequest {
            transport,
            speaks_socketio: false,
            request,
            address: ADDRESS,
            headers,
            is_browser: false,
            is_http11: false,
            keep_alive: true,
        };
        let grant = self.grant(&app).await;
        let allowed = |room: &str| grant.may_subscribe(&room.parse().unwrap());
        self.joined.retain(|room| allowed(room));
        let admitted = admit(&app, asked, Arc::clone(&grant)).await.ok()?;
        let connection = Arc::clone(admitted.connection());
        let (near, far) = connect(&self.world.chance);
        let decoder = (transport == Transport::Ws).then(|| Decoder::new(4096));
        let mut session = running::begin_on(&app, near, decoder, Vec::new(), admitted);
        self.asked = None;
        self.view.connect(&app, &connection);
        let metrics = Arc::clone(&app.metrics);
        self.world.spawn(&app, async move {
            poll_fn(|cx| session.poll_end(&metrics, cx)).await;
        });
        Some((far, app, connection))
    }

    async fn use_connection(&mut self, socket: &mut Socket, app: &Arc<App>, connection: &Arc<Connection>) {
        loop {
            if self.below(3) == 0 {
                self.act(socket, app, connection).await;
            }
            if !self.receive(socket, app, connection).await {
                return;
            }
        }
    }

    /// Does one of the things that clients do.
    async fn act(&mut self, socket: &mut Socket, app: &Arc<App>, connection: &Arc<Connection>) {
        if self.asked.is_some() {
            return;
        }
        let granted = self.granted;
        let room = ROOMS[self.below(ROOMS.len())];
        let status = ["online", "away", "offline"][self.below(3)];
        let command = match self.below(5) {
            0 => json!({"op": "subscribe", "topics": [room]}),
            1 => json!({"op": "subscribe", "topics": [room], "presence": {"status": status}}),
            2 => json!({"op": "unsubscribe", "topics": [room]}),
            3 => json!({"op": "presence", "topic": room, "status": status}),
            _ => {
                self.granted = 1 + self.below(ROOMS.len());
                json!({"op": "auth", "token": self.token()})
            }
        };
        if connection.transport == Some(Transport::Ws) && self.below(2) == 0 {
            self.ask(socket, command).await;
        } else if matches!(command["op"].as_str(), Some("auth" | "presence")) {
            let is_done = self.send(app, command).await;
            if !is_done {
                // A later request would otherwise come with more than its session has.
                self.granted = granted;
            }
        }
    }

    /// Sends a command over the WebSocket. It may not arrive.
    async fn ask(&mut self, socket: &mut Socket, command: Value) {
        let _ = socket.write_all(&text_frame(&command.to_string())).await;
        self.asked = Some(command);
    }

    /// Runs a command as `POST /v1/send` does, beside the connection. Says whether it was done.
    async fn send(&mut self, app: &Arc<App>, command: Value) -> bool {
        let Some(id) = &self.session else { return false };
        let Some(SessionHandle { id, handle }) = app.registry.session_handle(&self.user, id) else {
            return false;
        };
        let mut connection = Connection::new(self.grant(app).await, Vec::new(), None, ADDRESS);
        (connection.id, connection.handle) = (Some(id), handle);
        let refusals = Mutex::default();
        let sender =
            Sender { app, connection: &Arc::new(connection), refusals: &refusals, may_change_topics: false };
        let Outcome { reply, .. } = sender.run(&command.to_string()).await;
        let tail = app.log.tail();
        app.registry.assert_granted();
        let reply: Value = serde_json::from_slice(&reply).unwrap();
        if reply["ok"].is_null() {
            return false;
        }
        self.world.outcome.lock().commands += 1;
        if command["op"] == "auth" {
            self.shrink(app, |view, topic| view.leave_at(topic, tail));
        } else {
            self.show(&command["topic"], &command["status"]);
        }
        true
    }

    fn show(&mut self, room: &Value, status: &Value) {
        let room = room.as_str().unwrap().to_owned();
        if status == "offline" {
            self.joined.remove(&room)
        } else {
            self.joined.insert(room)
        };
    }

    /// The grant is another one: topics beyond it are left.
    fn shrink(&mut self, app: &App, leave: impl Fn(&mut View, &str)) {
        for room in &ROOMS[self.granted..] {
            if self.view.has(room) {
                self.world.outcome.lock().shrunk += 1;
                leave(&mut self.view, room);
            }
            self.joined.remove(*room);
        }
        app.registry.assert_granted();
    }

    /// Takes in what comes next. `false`: the connection has ended.
    async fn receive(&mut self, socket: &mut Socket, app: &Arc<App>, connection: &Arc<Connection>) -> bool {
        let is_poll = connection.transport == Some(Transport::Poll);
        if socket.read_buf(&mut self.view.received).await.unwrap_or(0) == 0 {
            return false;
        }
        loop {
            if self.view.received.starts_with(&PING) {
                self.view.received.drain(..PING.len());
                let _ = socket.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await;
                continue;
            }
            let Some(text) = take_text(&mut self.view.received) else { break };
            let message: Value = serde_json::from_slice(&text).unwrap();
            if message.get("events").is_none() {
                self.take_reply(&message, app, connection);
                continue;
            }
            if let Some(session) = message["hello"]["session"].as_str() {
                self.session = Some(session.to_owned());
            }
            let mut outcome = self.world.outcome.lock();
            outcome.events += message["events"].as_array().unwrap().len();
            outcome.resets += usize::from(!message["reset"].is_null());
            drop(outcome);
            let cursor: Cursor = message["cursor"].as_str().unwrap().parse().unwrap();
            let after: Cursor = message["after"].as_str().unwrap().parse().unwrap();
            self.view.take(&message, after, cursor, &self.world.published(after, cursor), app);
            if is_poll || !message["bye"].is_null() {
                return false;
            }
        }
        true
    }

    fn take_reply(&mut self, reply: &Value, app: &Arc<App>, connection: &Connection) {
        let Some(command) = self.asked.take() else { panic!("a reply to nothing: {reply}") };
        if reply["ok"].is_null() {
            return;
        }
        self.world.outcome.lock().commands += 1;
        let topics: Vec<String> = serde_json::from_value(command["topics"].clone()).unwrap_or_default();
        match command["op"].as_str().unwrap() {
            "auth" => self.shrink(app, |view, topic| view.leave(topic)),
            "presence" => self.show(&command["topic"], &command["status"]),
            "subscribe" => {
                for topic in topics {
                    self.view.join(&topic, app, connection);
                    let status = &command["presence"]["status"];
                    if !status.is_null() {
                        self.show(&topic.as_str().into(), status);
                    }
                }
            }
            _ => {
                for topic in topics {
                    self.view.leave(&topic);
                    self.joined.remove(&topic);
                }
            }
        }
    }
}

/// A masked text frame, shorter than 64 KiB.
fn text_frame(text: &str) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![0x81, 0x80 | 126];
    match u8::try_from(text.len()) {
        Ok(short @ 0..=125) => frame[1] = 0x80 | short,
        _ => frame.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes()),
    }
    frame.extend_from_slice(&mask);
    frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
