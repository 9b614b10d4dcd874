//! The task behind the board: says that this node is there and what it shows, and hears the others.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, cmd, pipe};
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
/// After so long without, by the server's clock, its word counts no more.
const SILENCE: Duration = Duration::from_secs(4);
/// At how many beats of this node in succession another may be missing. More than one, so that the other has had the time
/// to beat: a clock that is set makes everyone's word old at once, and who comes back says so before its first beat.
const MISSES_MAX: u32 = 2;
/// For how long nobody is taken to be gone once all may have to come back.
const RETURN: Duration = Duration::from_secs(6);
/// How long the server may take.
const RESPONSE: Duration = Duration::from_secs(2);

/// For how long a node that is gone leaves what it showed on the server.
const KEPT_MS: u64 = 30_000;

/// KEYS: the nodes and when each was last there, what this node shows. ARGV: this node, how long a node may be silent,
/// for how long what it shows is kept.
/// Answers whether what this node shows is there, who is there, and whether this node was not. Who was last there long
/// after now is gone as who was long before: the clock was set back, or is another server's.
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

/// What keeps this node among the others, for as long as the store is open.
pub(super) struct Keeper {
    site: Arc<Site>,
    node: Arc<str>,
    mine: Arc<Mine>,
    /// The others that the listener knows of, or is to know of soon, and at how many beats in succession each is missing.
    peers: HashMap<Arc<str>, u32>,
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
            peers: HashMap::new(),
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
        self.judges_from = Instant::now() + RETURN;
        let mut next_beat = Instant::now();
        loop {
            // Before all that may be waiting too, each of which takes its time.
            if next_beat <= Instant::now() {
                next_beat = Instant::now() + BEAT;
                self.beat(&mut link).await?;
            }
            tokio::select! {
                () = tokio::time::sleep_until(next_beat) => {}
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
        if all.is_empty() {
            pipeline.cmd("DEL").arg(&mine).ignore();
        } else {
            set(&mut pipeline, &new, all.iter().map(|(name, value)| (&**name, &**value)));
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
        set(&mut pipeline, &mine, shown.iter().filter_map(|one| Some((&*one.name, one.value.as_deref()?))));
        for Shown { name, .. } in shown.iter().filter(|one| one.value.is_none()) {
            pipeline.cmd("HDEL").arg(&mine).arg(name).ignore();
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
        self.due.insert(node, Due::Look);
    }

    fn look_at_all(&mut self) {
        self.due.extend(self.peers.keys().map(|node| (Arc::clone(node), Due::Look)));
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
                let is_known = self.peers.contains_key(&node);
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
            // It was asked while there was no connection, and is not wanted any more.
            Order::Ask { answers, .. } if answers.is_closed() => return Ok(()),
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

/// Has a hash hold these values, and from the first of them on never without an end: this node may die at any moment.
fn set<'a>(pipeline: &mut Pipeline, key: &str, values: impl Iterator<Item = (&'a str, &'a str)>) {
    for (at, (name, value)) in values.enumerate() {
        pipeline.cmd("HSET").arg(key).arg(name).arg(value).ignore();
        if at == 0 {
            pipeline.cmd("PEXPIRE").arg(key).arg(KEPT_MS).ignore();
        }
    }
}
