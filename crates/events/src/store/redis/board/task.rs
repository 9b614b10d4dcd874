//! The task behind the board. It reports that this node is alive and which values it shows, and
//! listens to the other nodes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, cmd, pipe};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::super::backoff::{backoff, nonce};
use super::super::connection::Connection;
use super::super::pubsub::Received;
use super::super::reply::{Failure, text};
use super::super::shared::Shared;
use super::inbox::Inbox;
use super::own_values::OwnValues;
use super::values::{ANSWERS, BoardEvent, BoardValue, Order, Question};

/// A message between nodes. The first field of each variant is the sender.
#[derive(Serialize, Deserialize)]
enum PeerMessage {
    Shows(String, Vec<BoardValue>),
    Asks(String, u64, String),
    /// The sender was away: all of its values must be read again.
    IsBack(String),
    /// The second field is the recipient, and the third is the number of its question.
    Answers(String, String, u64, String),
}

/// Interval at which a node reports that it is alive.
const BEAT: Duration = Duration::from_secs(1);
/// A node that was silent for this long, by the server's clock, may be gone.
const SILENCE: Duration = Duration::from_secs(4);
/// How many consecutive beats of this node another node may miss. More than one, so that the other
/// node has had time to beat. A clock that is set makes the last beats of all nodes old at once,
/// and a node that comes back announces itself before its first beat.
const MISSES_MAX: u32 = 2;
/// How long no node is considered gone after all nodes may have lost their connection.
const RETURN: Duration = Duration::from_secs(6);
/// Timeout of the server's replies.
const RESPONSE: Duration = Duration::from_secs(2);

/// How long the values of a node that is gone stay on the server.
const KEPT_MS: u64 = 30_000;

/// KEYS: the nodes with the time of each one's last beat; the values of this node. ARGV: this node;
/// how long a node may be silent; how long the values of this node are kept. Answers whether the
/// values of this node exist, which nodes are present, and whether this node was absent. A node is
/// gone if its last beat is long ago or far in the future: in the second case the clock was set
/// back, or is another server's.
const BEAT_SCRIPT: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local new = redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now))
local kept = redis.call('PEXPIRE', KEYS[2], ARGV[3])
local nodes, there = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #nodes, 2 do
  if math.abs(now - tonumber(nodes[i + 1])) > tonumber(ARGV[2]) then redis.call('HDEL', KEYS[1], nodes[i])
  else there[#there + 1] = nodes[i] end
end
return { kept, there, new }";

/// Keeps this node registered with the others for as long as the store is open.
pub(super) struct BoardTask {
    shared: Arc<Shared>,
    node: Arc<str>,
    mine: Arc<OwnValues>,
    /// The other nodes that the listener knows, or is about to know, and the number of consecutive
    /// beats at which each was absent.
    peers: HashMap<Arc<str>, u32>,
    /// The nodes that were recently present on this connection: their values are on this server
    /// too.
    there: HashSet<Arc<str>>,
    /// The nodes whose standing must be reported to the listener. The report replaces all events
    /// about them that the listener did not get.
    due: BTreeMap<Arc<str>, Due>,
    /// Before this time no absent node is considered gone: other nodes may have to come back first.
    judges_from: Instant,
    asked: HashMap<u64, PendingQuestion>,
    number: u64,
    orders: mpsc::Receiver<Order>,
    inbox: Arc<Inbox>,
}

/// The standing of a node.
enum Due {
    /// The node is present: all of its values must be read.
    LogState,
    Gone,
}

struct PendingQuestion {
    until: Instant,
    expected: usize,
    got: Vec<String>,
    answers: oneshot::Sender<Vec<String>>,
}

impl Drop for BoardTask {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

impl BoardTask {
    pub(super) fn new(
        shared: Arc<Shared>,
        mine: Arc<OwnValues>,
        orders: mpsc::Receiver<Order>,
        inbox: Arc<Inbox>,
    ) -> Self {
        Self {
            shared,
            node: format!("{:x}", nonce()).into(),
            mine,
            peers: HashMap::new(),
            there: HashSet::new(),
            due: BTreeMap::new(),
            judges_from: Instant::now(),
            asked: HashMap::new(),
            number: 0,
            orders,
            inbox,
        }
    }

    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let started = Instant::now();
            // Any failure is reported by the task that follows the log.
            if self.serve().await.is_ok() {
                return;
            }
            failures = if started.elapsed() > BEAT { 1 } else { failures + 1 };
            tokio::time::sleep(backoff(failures)).await;
        }
    }

    /// Serves until the connection is lost. `Ok`: the store is closed.
    async fn serve(&mut self) -> Result<(), Failure> {
        let mut connection = Connection::to_master(&self.shared.servers, RESPONSE).await?;
        let messages = connection.listen(&self.shared.keys.nodes(), RESPONSE).await?;
        let lost = || Failure::Broken("there is no server to listen to any more".to_owned());
        self.show_all(&mut connection).await?;
        // Messages may have been missed while this node was not listening.
        self.look_at_all();
        self.there.clear();
        self.judges_from = Instant::now() + RETURN;
        let mut next_beat = Instant::now();
        loop {
            // The beat comes before all waiting work, because each piece of work takes time.
            if next_beat <= Instant::now() {
                next_beat = Instant::now() + BEAT;
                self.beat(&mut connection).await?;
            }
            tokio::select! {
                () = tokio::time::sleep_until(next_beat) => {}
                heard = messages.next() => self.hear(heard.ok_or_else(lost)?),
                () = self.mine.changed.notified() => self.show_changes(&mut connection).await?,
                () = self.inbox.room(), if self.next_due().is_some() => self.tell_due(&mut connection).await?,
                order = self.orders.recv() => match order {
                    Some(order) => self.follow(&mut connection, order).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// Sends all values, and makes the other nodes read them.
    async fn show_all(&self, connection: &mut Connection) -> Result<(), Failure> {
        let mine = self.shared.keys.shown_by(&self.node);
        // The hash is replaced atomically: a node that reads a partial hash would consider the
        // other values removed.
        let new = format!("{mine}:new");
        let mut pipeline = pipe();
        pipeline.cmd("DEL").arg(&new).ignore();
        let all = self.mine.all();
        if all.is_empty() {
            pipeline.cmd("DEL").arg(&mine).ignore();
        } else {
            set(&mut pipeline, &new, all.iter().map(|(name, value)| (&**name, &**value)));
            pipeline.cmd("RENAME").arg(&new).arg(&mine).ignore();
        }
        connection.run(&pipeline).await?;
        self.say(connection, &PeerMessage::IsBack(self.node.to_string())).await
    }

    async fn show_changes(&self, connection: &mut Connection) -> Result<(), Failure> {
        let Some(shown) = self.mine.changes() else { return self.show_all(connection).await };
        if shown.is_empty() {
            return Ok(());
        }
        let mine = self.shared.keys.shown_by(&self.node);
        let mut pipeline = pipe();
        set(&mut pipeline, &mine, shown.iter().filter_map(|one| Some((&*one.name, one.value.as_deref()?))));
        for BoardValue { name, .. } in shown.iter().filter(|one| one.value.is_none()) {
            pipeline.cmd("HDEL").arg(&mine).arg(name).ignore();
        }
        connection.run(&pipeline).await?;
        self.say(connection, &PeerMessage::Shows(self.node.to_string(), shown)).await
    }

    async fn beat(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let now = Instant::now();
        let over: Vec<u64> =
            self.asked.iter().filter(|(_, asked)| asked.until <= now).map(|(number, _)| *number).collect();
        over.into_iter().for_each(|number| self.settle(number));
        let mut beat = cmd("EVAL");
        beat.arg(BEAT_SCRIPT).arg(2).arg(self.shared.keys.nodes()).arg(self.shared.keys.shown_by(&self.node));
        beat.arg(&*self.node).arg(SILENCE.as_millis() as u64).arg(KEPT_MS);
        let answer = connection.call(&beat).await?;
        let redis::Value::Array(parts) = &answer else { return Ok(()) };
        let [redis::Value::Int(kept), redis::Value::Array(there), redis::Value::Int(new)] = &parts[..] else {
            return Ok(());
        };
        if (*kept == 0 || *new == 1) && !self.mine.is_empty() {
            // The hash was deleted, or may have been.
            self.show_all(connection).await?;
        }
        if *new == 1 {
            // The times of the other nodes' beats may have been deleted too.
            self.judges_from = now + RETURN;
        }
        let others = there.iter().filter_map(text).filter(|node| **node != *self.node);
        self.there = others.map(Into::into).collect();
        for (node, misses) in &mut self.peers {
            *misses = if self.there.contains(node) { 0 } else { *misses + 1 };
        }
        if self.judges_from <= now {
            let gone = self.peers.extract_if(|_, misses| *misses > MISSES_MAX);
            self.due.extend(gone.map(|(node, _)| (node, Due::Gone)));
        }
        let is_stranger = |node: &&Arc<str>| !self.peers.contains_key(*node);
        let strangers: Vec<Arc<str>> = self.there.iter().filter(is_stranger).cloned().collect();
        strangers.into_iter().for_each(|node| self.look_at(node));
        Ok(())
    }

    fn look_at(&mut self, node: Arc<str>) {
        self.peers.insert(Arc::clone(&node), 0);
        self.due.insert(node, Due::LogState);
    }

    fn look_at_all(&mut self) {
        self.due.extend(self.peers.keys().map(|node| (Arc::clone(node), Due::LogState)));
    }

    /// The next node that can be reported to the listener now. A node that has not come back yet
    /// may have no values on this server, although it shows some.
    fn next_due(&self) -> Option<Arc<str>> {
        let can_be_told =
            |(node, due): &(&Arc<str>, &Due)| matches!(due, Due::Gone) || self.there.contains(*node);
        self.due.iter().find(can_be_told).map(|(node, _)| Arc::clone(node))
    }

    /// Reports the standing of one node to the listener, whose inbox has room.
    async fn tell_due(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let Some((node, due)) = self.next_due().and_then(|node| self.due.remove_entry(&node)) else {
            return Ok(());
        };
        let news = match due {
            Due::Gone => BoardEvent::Gone(node),
            Due::LogState => {
                let answer = connection.call(cmd("HGETALL").arg(self.shared.keys.shown_by(&node))).await?;
                let redis::Value::Array(fields) = &answer else { return Ok(()) };
                let pairs = fields.chunks_exact(2);
                let shown = pairs.filter_map(|pair| {
                    let (name, value) = (text(&pair[0])?.to_owned(), text(&pair[1])?.to_owned());
                    Some(BoardValue { name, value: Some(value), note: String::new() })
                });
                BoardEvent::Shows { node, shown: shown.collect(), is_all: true }
            }
        };
        self.inbox.add(news);
        Ok(())
    }

    fn hear(&mut self, heard: Received) {
        let message = match heard {
            Received::Message(message) => message,
            // The missed messages may have been from any node.
            Received::Missed(_) => return self.look_at_all(),
        };
        let Ok(message) = serde_json::from_slice(&message) else { return };
        match message {
            PeerMessage::Shows(node, _)
            | PeerMessage::IsBack(node)
            | PeerMessage::Asks(node, ..)
            | PeerMessage::Answers(node, ..)
                if *node == *self.node => {}
            PeerMessage::Shows(node, shown) => {
                let node: Arc<str> = node.into();
                let is_known = self.peers.contains_key(&node);
                if is_known && self.due.contains_key(&node) {
                    // The values of the node will be read after this message.
                    return;
                }
                let news = BoardEvent::Shows { node: Arc::clone(&node), shown, is_all: false };
                if !is_known || !self.inbox.add(news) {
                    self.look_at(node);
                }
            }
            PeerMessage::IsBack(node) => {
                let node: Arc<str> = node.into();
                self.there.insert(Arc::clone(&node));
                self.look_at(node);
            }
            PeerMessage::Asks(node, number, text) => {
                let question = Question { node: node.into(), number };
                // A node that asks too much does not get all answers.
                let _ = self.inbox.add(BoardEvent::Asks { question, text });
            }
            PeerMessage::Answers(_, whom, number, text) if *whom == *self.node => {
                if let Some(asked) = self.asked.get_mut(&number) {
                    asked.got.push(text);
                    if asked.got.len() >= asked.expected {
                        self.settle(number);
                    }
                }
            }
            PeerMessage::Answers(..) => {}
        }
    }

    fn settle(&mut self, number: u64) {
        if let Some(PendingQuestion { got, answers, .. }) = self.asked.remove(&number) {
            let _ = answers.send(got);
        }
    }

    async fn follow(&mut self, connection: &mut Connection, order: Order) -> Result<(), Failure> {
        let node = self.node.to_string();
        let message = match order {
            // The question was asked while there was no connection, and its caller has stopped
            // waiting.
            Order::Ask { answers, .. } if answers.is_closed() => return Ok(()),
            Order::Ask { text, answers } => {
                self.number += 1;
                let (until, expected) = (Instant::now() + ANSWERS, self.peers.len());
                if expected == 0 {
                    let _ = answers.send(Vec::new());
                    return Ok(());
                }
                self.asked.insert(self.number, PendingQuestion { until, expected, got: Vec::new(), answers });
                PeerMessage::Asks(node, self.number, text)
            }
            Order::Answer { question, text } => {
                PeerMessage::Answers(node, question.node.to_string(), question.number, text)
            }
        };
        self.say(connection, &message).await
    }

    async fn say(&self, connection: &mut Connection, message: &PeerMessage) -> Result<(), Failure> {
        let Ok(message) = serde_json::to_vec(message) else { return Ok(()) };
        connection.call(cmd("PUBLISH").arg(self.shared.keys.nodes()).arg(message)).await.map(drop)
    }
}

/// Sets values in a hash. The hash has a time to live from its first value on, because this node
/// may die at any moment.
fn set<'a>(pipeline: &mut Pipeline, key: &str, values: impl Iterator<Item = (&'a str, &'a str)>) {
    for (at, (name, value)) in values.enumerate() {
        pipeline.cmd("HSET").arg(key).arg(name).arg(value).ignore();
        if at == 0 {
            pipeline.cmd("PEXPIRE").arg(key).arg(KEPT_MS).ignore();
        }
    }
}
