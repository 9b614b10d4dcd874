//! The task behind the board: says that this node is there and what it shows, and hears the others.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use redis::{cmd, pipe};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Site;
use super::board::{ANSWERS, News, Order, Question, Shown};
use super::heard::Heard;
use super::link::{Link, LinkError, text};
use super::mine::Mine;
use super::untold::Untold;

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
const SILENCE: Duration = Duration::from_secs(6);
/// How long the server may take.
const RESPONSE: Duration = Duration::from_secs(2);

/// For how long a node that is gone leaves what it showed on the server.
const KEPT_MS: u64 = 30_000;

/// KEYS: the nodes and when each was last there, what this node shows. ARGV: this node, how long a node may be silent,
/// for how long what it shows is kept.
/// Answers whether what this node shows is there, who is there, and whether this node was not.
const BEAT_SCRIPT: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local new = redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now))
local kept = redis.call('PEXPIRE', KEYS[2], ARGV[3])
local nodes, there = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #nodes, 2 do
  if now - tonumber(nodes[i + 1]) > tonumber(ARGV[2]) then redis.call('HDEL', KEYS[1], nodes[i])
  else there[#there + 1] = nodes[i] end
end
return { kept, there, new }";

/// What keeps this node among the others, for as long as the store is open.
pub(super) struct Keeper {
    site: Arc<Site>,
    node: Arc<str>,
    mine: Arc<Mine>,
    /// The others that the listener knows of, or is to know of soon.
    peers: HashSet<Arc<str>>,
    /// Who was there lately, on this connection: what it shows is on this server too.
    there: HashSet<Arc<str>>,
    /// Of whom the listener has yet to be told how they stand, which makes up for all that it was not told of them.
    due: BTreeMap<Arc<str>, Due>,
    /// Before this moment nobody is taken to be gone who is not there: others may have to come back first.
    judges_from: Instant,
    asked: HashMap<u64, Asked>,
    number: u64,
    orders: mpsc::Receiver<Order>,
    untold: Arc<Untold>,
}

/// How a node stands.
enum Due {
    /// It is there: all that it shows has to be looked at.
    Look,
    Gone,
}

struct Asked {
    until: Instant,
    expected: usize,
    got: Vec<String>,
    answers: oneshot::Sender<Vec<String>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.untold.close();
    }
}

impl Keeper {
    pub(super) fn new(
        site: Arc<Site>,
        mine: Arc<Mine>,
        orders: mpsc::Receiver<Order>,
        untold: Arc<Untold>,
    ) -> Self {
        Self {
            site,
            node: format!("{:x}", super::nonce()).into(),
            mine,
            peers: HashSet::new(),
            there: HashSet::new(),
            due: BTreeMap::new(),
            judges_from: Instant::now(),
            asked: HashMap::new(),
            number: 0,
            orders,
            untold,
        }
    }

    pub(super) async fn run(mut self) {
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
        let mut link = Link::to_master(&self.site.servers, RESPONSE).await?;
        let messages = link.listen(&self.site.keys.nodes(), RESPONSE).await?;
        let lost = || LinkError::Broken("there is no server to listen to any more".to_owned());
        self.show_all(&mut link).await?;
        // What was said while nobody listened.
        self.look_at_all();
        self.there.clear();
        self.judges_from = Instant::now() + SILENCE;
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beats.tick() => self.beat(&mut link).await?,
                heard = messages.next() => self.hear(heard.ok_or_else(lost)?),
                () = self.mine.changed.notified() => self.show_changes(&mut link).await?,
                () = self.untold.room(), if self.next_due().is_some() => self.tell_due(&mut link).await?,
                order = self.orders.recv() => match order {
                    Some(order) => self.follow(&mut link, order).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// Shows all, and has the others look at it.
    async fn show_all(&self, link: &mut Link) -> Result<(), LinkError> {
        let mine = self.site.keys.shown_by(&self.node);
        // Put in its place at once: who looks meanwhile would take the rest for gone.
        let new = format!("{mine}:new");
        let mut pipeline = pipe();
        pipeline.cmd("DEL").arg(&new).ignore();
        let all = self.mine.all();
        for (name, value) in &all {
            pipeline.cmd("HSET").arg(&new).arg(name).arg(value).ignore();
        }
        if all.is_empty() {
            pipeline.cmd("DEL").arg(&mine).ignore();
        } else {
            pipeline.cmd("PEXPIRE").arg(&new).arg(KEPT_MS).ignore();
            pipeline.cmd("RENAME").arg(&new).arg(&mine).ignore();
        }
        link.run(&pipeline).await?;
        self.say(link, &Message::IsBack(self.node.to_string())).await
    }

    async fn show_changes(&self, link: &mut Link) -> Result<(), LinkError> {
        let Some(shown) = self.mine.changes() else { return self.show_all(link).await };
        if shown.is_empty() {
            return Ok(());
        }
        let mine = self.site.keys.shown_by(&self.node);
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
        beat.arg(BEAT_SCRIPT).arg(2).arg(self.site.keys.nodes()).arg(self.site.keys.shown_by(&self.node));
        beat.arg(&*self.node).arg(SILENCE.as_millis() as u64).arg(KEPT_MS);
        let answer = link.call(&beat).await?;
        let redis::Value::Array(parts) = &answer else { return Ok(()) };
        let [redis::Value::Int(kept), redis::Value::Array(there), redis::Value::Int(new)] = &parts[..] else {
            return Ok(());
        };
        if (*kept == 0 || *new == 1) && !self.mine.is_empty() {
            // Somebody deleted it, or may have.
            self.show_all(link).await?;
        }
        if *new == 1 {
            // Likewise when each of the others was last there.
            self.judges_from = now + SILENCE;
        }
        let others = there.iter().filter_map(text).filter(|node| **node != *self.node);
        self.there = others.map(Into::into).collect();
        if self.judges_from <= now {
            let gone: Vec<Arc<str>> = self.peers.difference(&self.there).cloned().collect();
            for node in gone {
                self.peers.remove(&node);
                self.due.insert(node, Due::Gone);
            }
        }
        let strangers: Vec<Arc<str>> = self.there.difference(&self.peers).cloned().collect();
        strangers.into_iter().for_each(|node| self.look_at(node));
        Ok(())
    }

    fn look_at(&mut self, node: Arc<str>) {
        self.peers.insert(Arc::clone(&node));
        self.due.insert(node, Due::Look);
    }

    fn look_at_all(&mut self) {
        self.due.extend(self.peers.iter().map(|node| (Arc::clone(node), Due::Look)));
    }

    /// Of whom the listener can be told now. Who has not come back yet may have nothing on this server, though it shows
    /// something.
    fn next_due(&self) -> Option<Arc<str>> {
        let can_be_told =
            |(node, due): &(&Arc<str>, &Due)| matches!(due, Due::Gone) || self.there.contains(*node);
        self.due.iter().find(can_be_told).map(|(node, _)| Arc::clone(node))
    }

    /// Tells the listener, who has room for it, how one of the nodes stands.
    async fn tell_due(&mut self, link: &mut Link) -> Result<(), LinkError> {
        let Some((node, due)) = self.next_due().and_then(|node| self.due.remove_entry(&node)) else {
            return Ok(());
        };
        let news = match due {
            Due::Gone => News::Gone(node),
            Due::Look => {
                let answer = link.call(cmd("HGETALL").arg(self.site.keys.shown_by(&node))).await?;
                let redis::Value::Array(fields) = &answer else { return Ok(()) };
                let pairs = fields.chunks_exact(2);
                let shown = pairs.filter_map(|pair| {
                    let (name, value) = (text(&pair[0])?.to_owned(), text(&pair[1])?.to_owned());
                    Some(Shown { name, value: Some(value), note: String::new() })
                });
                News::Shows { node, shown: shown.collect(), is_all: true }
            }
        };
        self.untold.add(news);
        Ok(())
    }

    fn hear(&mut self, heard: Heard) {
        let message = match heard {
            Heard::Message(message) => message,
            // It may have been anyone's.
            Heard::Missed(_) => return self.look_at_all(),
        };
        let Ok(message) = serde_json::from_slice(&message) else { return };
        match message {
            Message::Shows(node, _)
            | Message::IsBack(node)
            | Message::Asks(node, ..)
            | Message::Answers(node, ..)
                if *node == *self.node => {}
            Message::Shows(node, shown) => {
                let node: Arc<str> = node.into();
                let is_known = self.peers.contains(&node);
                if is_known && self.due.contains_key(&node) {
                    // It is looked at later than this.
                    return;
                }
                let news = News::Shows { node: Arc::clone(&node), shown, is_all: false };
                if !is_known || !self.untold.add(news) {
                    self.look_at(node);
                }
            }
            Message::IsBack(node) => {
                let node: Arc<str> = node.into();
                self.there.insert(Arc::clone(&node));
                self.look_at(node);
            }
            Message::Asks(node, number, text) => {
                let question = Question { node: node.into(), number };
                // Who asks too much is not answered by all.
                let _ = self.untold.add(News::Asks { question, text });
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
        link.call(cmd("PUBLISH").arg(self.site.keys.nodes()).arg(message)).await.map(drop)
    }
}
