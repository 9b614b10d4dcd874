//! A client that changes transports, is cut off, stalls, and comes back with its cursor.

use std::sync::Arc;
use std::time::Duration;

use events::{Chance, Limit, Located, Log, Reader, Start, Topic};
use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use transport::{Handle, Host, Line, PollLine, Session, SseLine, Terms, UnsentBytes};

use super::messages::take_text;
use super::network::{Socket, connect};
use super::quiet_host::{QuietHost, poll_line, terms, ws};
use super::truth::{Batch, Truth, View};

/// Topics that a client may have.
pub(crate) const TOPICS: [&str; 5] = ["all", "room:1", "room:2", "room:3", "user:alice"];

pub(crate) struct Client {
    pub(crate) log: Arc<Log>,
    pub(crate) chance: Chance,
    pub(crate) truth: Arc<Mutex<Truth>>,
    pub(crate) view: Arc<Mutex<View>>,
    pub(crate) unsent: Arc<UnsentBytes>,
}

impl Client {
    fn ms(&self, most: u64) -> Duration {
        Duration::from_millis(self.chance.below(most))
    }

    /// Lives until `until`, connection after connection, then catches up on one that nobody cuts.
    pub(crate) async fn live(self, until: tokio::time::Instant) {
        while tokio::time::Instant::now() < until {
            let stay = self.ms(6_000);
            self.connect(Some(stay)).await;
            // Now and then for so long that rings forget.
            let away = if self.chance.below(4) == 0 { 30_000 } else { 800 };
            tokio::time::sleep(self.ms(away)).await;
        }
        while self.view.lock().cursor() != Some(self.log.tail_cursor()) {
            self.connect(None).await;
        }
    }

    /// One connection. `cut_after`: nothing more comes of it then.
    async fn connect(&self, cut_after: Option<Duration>) {
        let (near, far) = connect(&self.chance);
        let (cursor, topics) = {
            let mut view = self.view.lock();
            view.resume();
            (view.cursor(), view.topics().map(|topic| topic.parse().unwrap()).collect::<Vec<Topic>>())
        };
        let start = match cursor.map(|cursor| self.log.locate(cursor)) {
            None => Start::Latest,
            Some(Located::Here(cursor)) => Start::After(cursor),
            Some(other) => panic!("{cursor:?} is {other:?}"),
        };
        let reader = Reader::new(&self.log, &topics, None, start);
        let view = Arc::clone(&self.view);
        let application = Arc::new(QuietHost::new(
            topics,
            Arc::clone(&self.unsent),
            Box::new(move |topics, at| {
                topics.iter().for_each(|topic| view.lock().subscribed(topic.as_str(), at));
            }),
        ));
        let host: Arc<dyn Host> = application.clone();
        let handle = Handle::default();
        let line = self.line(cursor.is_none());
        let is_poll = matches!(line, Line::Poll(_));
        let session = Session::new(near, line, reader, host, handle.clone(), self.terms(cursor.is_some()));
        let running = tokio::spawn(session);
        let scissors = far.scissors();
        let receiving = self.receive(far, is_poll, &application, &handle, cut_after.is_none());
        match cut_after {
            Some(stay) => {
                let _ = timeout(stay, receiving).await;
                scissors.cut();
            }
            None => receiving.await,
        }
        scissors.cut();
        running.await.unwrap();
    }

    fn terms(&self, resumed: bool) -> Terms {
        Terms {
            heartbeat: Duration::from_millis(2_000 + self.chance.below(2_000)),
            interval: [Duration::ZERO, Duration::from_millis(300)][self.chance.below(2) as usize],
            limit: Limit { events: 1 + self.chance.below(30) as usize, bytes: 2 << 10 },
            resumed,
            write_timeout: Duration::from_secs(5),
            ..terms()
        }
    }

    fn line(&self, hello: bool) -> Line {
        match self.chance.below(3) {
            0 => ws(),
            1 => Line::Sse(SseLine { chunked: false, pad: 0, headers: "".into() }),
            _ => Line::Poll(PollLine { hello, ..poll_line(self.chance.below(2_000)) }),
        }
    }

    /// Takes in every batch that comes whole, until the connection ends or, with `catch_up`, the client has everything.
    async fn receive(
        &self,
        mut socket: Socket,
        is_poll: bool,
        application: &QuietHost,
        handle: &Handle,
        catch_up: bool,
    ) {
        let mut received = Vec::new();
        let mut is_open = true;
        while is_open {
            if self.chance.below(20) == 0 {
                // It does not read for a while: the connection fills up.
                tokio::time::sleep(self.ms(1_500)).await;
            }
            if !is_poll && self.chance.below(30) == 0 {
                let topic = TOPICS[self.chance.below(TOPICS.len() as u64) as usize];
                application.subscribe(topic.parse().unwrap());
                handle.revise();
            }
            is_open = socket.read_buf(&mut received).await.unwrap_or(0) > 0;
            while let Some(text) = take_text(&mut received) {
                let batch: Batch = serde_json::from_slice(&text).unwrap();
                self.view.lock().take(&batch, &self.truth.lock());
                let is_done = self.view.lock().cursor() == Some(self.log.tail_cursor());
                if (is_poll && !batch.more) || (catch_up && is_done) {
                    return;
                }
            }
        }
    }
}
