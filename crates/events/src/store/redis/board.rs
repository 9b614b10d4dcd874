//! What the nodes of one log show and ask one another beside it.
//!
//! A node shows values under names: in a hash of its own, so that who comes later sees them too, and as a message, so
//! that who is there sees them at once. A node that is gone is noticed by its silence, and what it showed goes with it.
//! Questions go to whoever is there now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::{Msg, cmd, pipe};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

use super::Keys;
use super::link::{Link, LinkError, text};
use super::mine::Mine;
use super::servers::Servers;

/// Something that a node shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Under which name.
    pub name: String,
    /// What; `None`: nothing any more.
    pub value: Option<String>,
    /// What is said with the change, to those who are there. Who comes later sees the value alone.
    pub note: String,
}

/// What comes from other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A node shows something else.
    Shows {
        /// Which node.
        node: Arc<str>,
        /// What has changed; with `is_all` everything that it shows.
        shown: Vec<Shown>,
        /// What is not among it the node does not show.
        is_all: bool,
    },
    /// A node is gone, and all that it showed.
    Gone(Arc<str>),
    /// A node asks; see [`Board::answer`].
    Asks {
        /// What to answer to.
        question: Question,
        /// What it asks.
        text: String,
    },
}

/// A question that waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    node: Arc<str>,
    number: u64,
}

/// This node's place among the others.
pub struct Board {
    mine: Arc<Mine>,
    orders: mpsc::Sender<Order>,
    news: Mutex<mpsc::Receiver<News>>,
}

enum Order {
    Ask { text: String, answers: oneshot::Sender<Vec<String>> },
    Answer { question: Question, text: String },
}

/// What goes from node to node. The first part of each is who says it.
#[derive(Serialize, Deserialize)]
enum Message {
    Shows(String, Vec<Shown>),
    Asks(String, u64, String),
    /// It was away: all that it shows has to be looked at again.
    IsBack(String),
    /// Whom it answers, and which of its questions.
    Answers(String, String, u64, String),
}

/// How often a node says that it is there.
const BEAT: Duration = Duration::from_secs(1);
/// After so long without it is gone.
const SILENCE_MS: u64 = 6000;
/// How long answers are waited for.
const ANSWERS: Duration = Duration::from_secs(1);
/// How long the server may take.
const RESPONSE: Duration = Duration::from_secs(2);

/// KEYS: the nodes and when each was last there, what this node shows. ARGV: this node, how long a node may be silent.
/// Answers whether what this node shows is there, and who is there.
const BEAT_SCRIPT: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now))
local kept = redis.call('PEXPIRE', KEYS[2], ARGV[2] * 5)
local nodes, there = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #nodes, 2 do
  if now - tonumber(nodes[i + 1]) > tonumber(ARGV[2]) then redis.call('HDEL', KEYS[1], nodes[i])
  else there[#there + 1] = nodes[i] end
end
return { kept, there }";

impl Board {
    const ORDERS_MAX: usize = 256;
    const NEWS_MAX: usize = 256;

    pub(super) fn open(servers: Arc<Servers>, keys: Arc<Keys>) -> (Arc<Self>, impl Future<Output = ()>) {
        let (orders, ordered) = mpsc::channel(Self::ORDERS_MAX);
        let (news, told) = mpsc::channel(Self::NEWS_MAX);
        let mine = Arc::new(Mine::default());
        let keeper = Keeper {
            mine: Arc::clone(&mine),
            servers,
            keys,
            node: format!("{:x}", super::nonce()).into(),
            peers: HashSet::new(),
            asked: HashMap::new(),
            number: 0,
            orders: ordered,
            news,
        };
        (Arc::new(Self { mine, orders, news: Mutex::new(told) }), keeper.run())
    }

    /// Shows values, or takes them away. Without a server it is done once there is one again, and of several values
    /// under one name only the newest.
    pub fn show(&self, shown: Vec<Shown>) {
        self.mine.show(shown);
    }

    /// Asks every other node. The answers of those that gave one within a second or so.
    pub async fn ask(&self, text: String) -> Vec<String> {
        let (answers, answered) = oneshot::channel();
        let asking = self.orders.send_timeout(Order::Ask { text, answers }, ANSWERS).await;
        if asking.is_err() {
            return Vec::new();
        }
        // While there is no connection nobody answers.
        tokio::time::timeout(ANSWERS * 2, answered).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Answers a question.
    pub async fn answer(&self, question: Question, text: String) {
        let _ = self.orders.send(Order::Answer { question, text }).await;
    }

    /// What comes next from the others; `None`: the store is closed. For one who listens.
    pub async fn next(&self) -> Option<News> {
        self.news.lock().await.recv().await
    }
}

struct Keeper {
    servers: Arc<Servers>,
    keys: Arc<Keys>,
    node: Arc<str>,
    mine: Arc<Mine>,
    /// The others, as far as all that they show is known.
    peers: HashSet<Arc<str>>,
    asked: HashMap<u64, Asked>,
    number: u64,
    orders: mpsc::Receiver<Order>,
    news: mpsc::Sender<News>,
}

struct Asked {
    until: Instant,
    expected: usize,
    got: Vec<String>,
    answers: oneshot::Sender<Vec<String>>,
}

impl Keeper {
    async fn run(mut self) {
        let mut failures = 0;
        loop {
            let started = Instant::now();
            // Whatever went wrong, who follows the log tells of it.
            if self.serve().await.is_ok() {
                return;
            }
            failures = if started.elapsed() > BEAT { 1 } else { failures + 1 };
            tokio::time::sleep(super::backoff(failures)).await;
        }
    }

    /// Until the connection is lost. `Ok`: the store is closed.
    async fn serve(&mut self) -> Result<(), LinkError> {
        let mut link = Link::to_master(&self.servers, RESPONSE).await?;
        let mut messages = link.listen(&self.keys.nodes(), RESPONSE).await?;
        let lost = || LinkError::Broken("there is no server to listen to any more".to_owned());
        self.show_all(&mut link).await?;
        // What was said while nobody listened is made up for by all that each shows.
        self.peers.clear();
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beats.tick() => self.beat(&mut link).await?,
                message = messages.next() => self.hear(&mut link, &message.ok_or_else(lost)?).await?,
                () = self.mine.changed.notified() => self.show_changes(&mut link).await?,
                order = self.orders.recv() => match order {
                    Some(order) => self.follow(&mut link, order).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// Shows all, and has the others look at it.
    async fn show_all(&self, link: &mut Link) -> Result<(), LinkError> {
        let mine = self.keys.shown_by(&self.node);
        let mut pipeline = pipe();
        pipeline.cmd("DEL").arg(&mine).ignore();
        for (name, value) in self.mine.all() {
            pipeline.cmd("HSET").arg(&mine).arg(name).arg(value).ignore();
        }
        link.run(&pipeline).await?;
        self.say(link, &Message::IsBack(self.node.to_string())).await
    }

    async fn show_changes(&self, link: &mut Link) -> Result<(), LinkError> {
        let Some(shown) = self.mine.changes() else { return self.show_all(link).await };
        if shown.is_empty() {
            return Ok(());
        }
        let mine = self.keys.shown_by(&self.node);
        let mut pipeline = pipe();
        for Shown { name, value, .. } in &shown {
            match value {
                Some(value) => pipeline.cmd("HSET").arg(&mine).arg(name).arg(value).ignore(),
                None => pipeline.cmd("HDEL").arg(&mine).arg(name).ignore(),
            };
        }
        link.run(&pipeline).await?;
        self.say(link, &Message::Shows(self.node.to_string(), shown)).await
    }

    async fn beat(&mut self, link: &mut Link) -> Result<(), LinkError> {
        let now = Instant::now();
        let over: Vec<u64> =
            self.asked.iter().filter(|(_, asked)| asked.until <= now).map(|(number, _)| *number).collect();
        over.into_iter().for_each(|number| self.settle(number));
        let mut beat = cmd("EVAL");
        beat.arg(BEAT_SCRIPT).arg(2).arg(self.keys.nodes()).arg(self.keys.shown_by(&self.node));
        beat.arg(&*self.node).arg(SILENCE_MS);
        let answer = link.call(&beat).await?;
        let redis::Value::Array(parts) = &answer else { return Ok(()) };
        let [redis::Value::Int(kept), redis::Value::Array(there)] = &parts[..] else { return Ok(()) };
        if *kept == 0 && !self.mine.is_empty() {
            // Somebody deleted it.
            self.show_all(link).await?;
        }
        let there: HashSet<Arc<str>> =
            there.iter().filter_map(text).filter(|node| **node != *self.node).map(Into::into).collect();
        let gone: Vec<Arc<str>> = self.peers.difference(&there).cloned().collect();
        for node in gone {
            self.peers.remove(&node);
            let _ = self.news.send(News::Gone(node)).await;
        }
        let new: Vec<Arc<str>> = there.difference(&self.peers).cloned().collect();
        for node in new {
            self.meet(link, node).await?;
        }
        Ok(())
    }

    /// Looks at all that a node shows.
    async fn meet(&mut self, link: &mut Link, node: Arc<str>) -> Result<(), LinkError> {
        let answer = link.call(cmd("HGETALL").arg(self.keys.shown_by(&node))).await?;
        let redis::Value::Array(fields) = &answer else { return Ok(()) };
        let pairs = fields.chunks_exact(2);
        let shown = pairs.filter_map(|pair| {
            let (name, value) = (text(&pair[0])?.to_owned(), text(&pair[1])?.to_owned());
            Some(Shown { name, value: Some(value), note: String::new() })
        });
        let shown = shown.collect();
        self.peers.insert(Arc::clone(&node));
        let _ = self.news.send(News::Shows { node, shown, is_all: true }).await;
        Ok(())
    }

    async fn hear(&mut self, link: &mut Link, message: &Msg) -> Result<(), LinkError> {
        let Ok(message) = serde_json::from_slice(message.get_payload_bytes()) else { return Ok(()) };
        match message {
            Message::Shows(node, _)
            | Message::IsBack(node)
            | Message::Asks(node, ..)
            | Message::Answers(node, ..)
                if *node == *self.node => {}
            Message::Shows(node, shown) => {
                let node: Arc<str> = node.into();
                if self.peers.contains(&node) {
                    let _ = self.news.send(News::Shows { node, shown, is_all: false }).await;
                } else {
                    self.meet(link, node).await?;
                }
            }
            Message::IsBack(node) => self.meet(link, node.into()).await?,
            Message::Asks(node, number, text) => {
                let question = Question { node: node.into(), number };
                let _ = self.news.send(News::Asks { question, text }).await;
            }
            Message::Answers(_, whom, number, text) if *whom == *self.node => {
                if let Some(asked) = self.asked.get_mut(&number) {
                    asked.got.push(text);
                    if asked.got.len() >= asked.expected {
                        self.settle(number);
                    }
                }
            }
            Message::Answers(..) => {}
        }
        Ok(())
    }

    fn settle(&mut self, number: u64) {
        if let Some(Asked { got, answers, .. }) = self.asked.remove(&number) {
            let _ = answers.send(got);
        }
    }

    async fn follow(&mut self, link: &mut Link, order: Order) -> Result<(), LinkError> {
        let node = self.node.to_string();
        let message = match order {
            Order::Ask { text, answers } => {
                self.number += 1;
                let (until, expected) = (Instant::now() + ANSWERS, self.peers.len());
                if expected == 0 {
                    let _ = answers.send(Vec::new());
                    return Ok(());
                }
                self.asked.insert(self.number, Asked { until, expected, got: Vec::new(), answers });
                Message::Asks(node, self.number, text)
            }
            Order::Answer { question, text } => {
                Message::Answers(node, question.node.to_string(), question.number, text)
            }
        };
        self.say(link, &message).await
    }

    async fn say(&self, link: &mut Link, message: &Message) -> Result<(), LinkError> {
        let Ok(message) = serde_json::to_vec(message) else { return Ok(()) };
        link.call(cmd("PUBLISH").arg(self.keys.nodes()).arg(message)).await.map(drop)
    }
}
