//! The state of topics against a plain list of what was published: snapshots in parts, and what follows them, while
//! keys change, go, expire and are dropped, and while the log forks or its process starts again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use events::{
    Cursor, Data, Disk, DiskOptions, Draft, Epoch, Event, Fact, Fsync, Limit, Log, Memory, Options, Reader,
    Seq, Sequenced, Start, StateOptions, Store, Topic, Topics,
};

use crate::Step;
use crate::state_ops::{AGE_SECONDS, KEYS, Life, Op, Post, TOPICS};

/// What was published, as the model has it.
struct Item {
    seq: u64,
    topic: usize,
    /// `None`: it is in no state, so that only the stream has it.
    key: Option<usize>,
    id: Option<u64>,
    /// Until when it counts, on the log's clock.
    until_us: u64,
}

/// A client that mirrors the states.
struct Client {
    reader: Reader,
    /// The cursor that it was told last.
    cursor: Cursor,
    /// The point of the snapshot of each topic, and after which seq its next part comes; `None`: it has all.
    pending: [Option<(Seq, Seq)>; TOPICS],
    /// Its cursor is of use only from there on, with no part pending.
    point: Seq,
    partial: [bool; TOPICS],
    mirror: BTreeMap<(usize, usize), u64>,
    /// The seqs that it has been given of each topic.
    seen: BTreeSet<(usize, u64)>,
    /// Events of each topic up to here are before its time, or it knows that they may be missing.
    owed_after: [Seq; TOPICS],
}

enum Kept {
    Facts,
    Memory(Arc<Memory>),
    Disk(Option<Arc<Disk>>, PathBuf),
}

pub(crate) struct World {
    life: Life,
    log: Arc<Log>,
    store: Kept,
    items: Vec<Item>,
    published: u64,
    epochs: u64,
    /// Keys may be missing for a reason.
    may_lack: bool,
    client: Client,
}

fn topic(at: usize) -> Topic {
    ["job:a", "job:b"][at].parse().unwrap()
}

fn topics() -> Vec<Topic> {
    (0..TOPICS).map(topic).collect()
}

fn options(life: &Life) -> Options {
    Options {
        ring_events_max: life.ring_events_max,
        log_bytes_max: life.log_bytes_max,
        state: Some(StateOptions {
            topics: vec!["job:*".parse().unwrap()],
            keys_max: life.keys_max,
            bytes_max: life.bytes_max,
            // Half a second more, so that no key ages at the very moment of a check.
            age_max: Duration::from_millis(AGE_SECONDS * 1000 + 500),
        }),
        ..Options::default()
    }
}

impl Client {
    fn begin(log: &Arc<Log>) -> Self {
        Self::begin_with(Reader::new(log, &topics(), None, Start::Latest))
    }

    fn begin_with(mut reader: Reader) -> Self {
        let cursor = reader.cursor();
        let point = reader.begin_state(&topics()).seq;
        Self {
            reader,
            point,
            cursor,
            owed_after: [cursor.seq; TOPICS],
            pending: [Some((point, Seq::ZERO)); TOPICS],
            partial: [false; TOPICS],
            mirror: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }

    fn take(&mut self, events: &[Event]) -> Step {
        for event in events {
            let json: serde_json::Value = serde_json::from_slice(event.json()).map_err(|e| e.to_string())?;
            let at = topics().iter().position(|topic| json["topic"] == topic.as_str()).unwrap();
            let seq = json["seq"].as_u64().unwrap();
            ensure!(self.seen.insert((at, seq)), "{json} came twice");
            let Some(key) = json["key"].as_str().map(|key| key[1..].parse::<usize>().unwrap()) else {
                continue;
            };
            match json["data"]["n"].as_u64() {
                Some(id) => self.mirror.insert((at, key), id),
                None => self.mirror.remove(&(at, key)),
            };
        }
        Ok(())
    }

    /// Takes a part; `false`: it has all.
    fn part(&mut self, events: usize) -> Result<bool, String> {
        let Some(at) = self.pending.iter().position(Option::is_some) else { return Ok(false) };
        let (point, after) = self.pending[at].unwrap();
        let mut out = Vec::new();
        let limit = Limit { events, bytes: 1 << 20 };
        let part = self.reader.state(&topic(at), after, point, limit, &mut out);
        let part = part.ok_or("the topic keeps its state")?;
        ensure!(out.len() <= events, "{} events in a part of {events}", out.len());
        ensure!(
            out.iter().all(|event| event.seq() > Some(after) && event.seq() <= Some(point)),
            "not of this part"
        );
        ensure!(out.iter().all(|event| event.data() != b"null"), "a tombstone in the state");
        self.partial[at] |= part.partial;
        self.pending[at] = part.next.map(|next| (point, next));
        self.take(&out)?;
        Ok(true)
    }

    /// Reads once; `false`: there is no more.
    fn follow(&mut self, events: usize) -> Result<bool, String> {
        let mut out = Vec::new();
        match self.reader.read(Limit { events, bytes: 1 << 20 }, &mut out) {
            Ok(span) => {
                self.cursor = span.cursor;
                self.take(&out)?;
                Ok(span.more)
            }
            Err(reset) => {
                self.cursor = reset.at;
                self.point = self.reader.begin_state(&reset.topics).seq;
                for at in (0..TOPICS).filter(|at| reset.topics.contains(&topic(*at))) {
                    self.pending[at] = Some((self.point, Seq::ZERO));
                    self.owed_after[at] = self.point;
                    self.partial[at] = false;
                    self.mirror.retain(|(of, _), _| *of != at);
                    self.seen.retain(|(of, _)| *of != at);
                }
                Ok(true)
            }
        }
    }

    fn catch_up(&mut self) -> Step {
        for _ in 0..10_000 {
            let has_parts = self.part(3)?;
            if !self.follow(3)? && !has_parts {
                return Ok(());
            }
        }
        Err("there is no end to it".to_owned())
    }
}

impl World {
    pub(crate) fn on_memory(life: &Life, through_memory: bool) -> Self {
        let log = Log::new(&options(life));
        let store = if through_memory { Kept::Memory(Memory::open(Arc::clone(&log))) } else { Kept::Facts };
        if !through_memory {
            log.apply(Fact::Epoch { epoch: Epoch::new(1), end: None, start: Seq::ZERO });
        }
        Self::new(life, log, store)
    }

    pub(crate) fn on_disk(life: &Life) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("events-state-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let log = Log::new(&options(life));
        let disk = open_disk(&log, &dir);
        Self::new(life, log, Kept::Disk(Some(disk), dir))
    }

    fn new(life: &Life, log: Arc<Log>, store: Kept) -> Self {
        let client = Client::begin(&log);
        let life = life.clone();
        Self { life, log, store, items: Vec::new(), published: 0, epochs: 1, may_lack: false, client }
    }

    pub(crate) async fn live(mut self) -> Step {
        for (at, op) in self.life.ops.clone().iter().enumerate() {
            let mut step = self.step(op).await;
            if matches!(op, Op::Publish(_) | Op::Fill(_) | Op::Sweep) {
                step = step.and_then(|()| self.check_bounds());
            }
            step.map_err(|wrong| format!("step {at}, {op:?}: {wrong}"))?;
        }
        self.catch_up().map_err(|wrong| format!("at the end: {wrong}"))?;
        self.client = Client::begin(&self.log);
        self.catch_up().map_err(|wrong| format!("to a new client at the end: {wrong}"))
    }

    async fn step(&mut self, op: &Op) -> Step {
        match op {
            Op::Publish(posts) => self.publish(posts).await,
            Op::Fill(count) => self.fill(*count).await,
            Op::Begin { meanwhile } => {
                let reader = Reader::new(&self.log, &topics(), None, Start::Latest);
                if !meanwhile.is_empty() {
                    self.publish(meanwhile).await?;
                }
                self.client = Client::begin_with(reader);
                Ok(())
            }
            Op::Part { events } => self.client.part(*events).map(drop),
            Op::Follow { events } => self.client.follow(*events).map(drop),
            Op::CatchUp => self.catch_up(),
            Op::Resume => {
                self.resume();
                Ok(())
            }
            Op::Advance { seconds } => {
                tokio::time::advance(Duration::from_secs(*seconds)).await;
                Ok(())
            }
            Op::Sweep => {
                self.log.sweep(100);
                Ok(())
            }
            Op::Fork { back } => {
                self.fork(*back);
                Ok(())
            }
            Op::Restart => {
                self.restart();
                Ok(())
            }
        }
    }

    fn resume(&mut self) {
        let cursor = self.client.cursor;
        if self.client.pending.iter().any(Option::is_some) || cursor.seq < self.client.point {
            self.client = Client::begin(&self.log);
            return;
        }
        self.client.reader = Reader::new(&self.log, &topics(), None, Start::After(cursor));
    }

    fn fork(&mut self, back: u64) {
        if !matches!(self.store, Kept::Facts) {
            return;
        }
        self.epochs += 1;
        let end = Seq::new(self.log.tail().number().saturating_sub(back)).unwrap();
        self.items.retain(|item| item.seq <= end.number());
        self.may_lack |= back > 0;
        self.log.apply(Fact::Epoch { epoch: Epoch::new(self.epochs), end: Some(end), start: end });
    }

    fn restart(&mut self) {
        let Kept::Disk(disk, dir) = &mut self.store else { return };
        self.may_lack |= self.log.stats().evictions.state > 0;
        *disk = None;
        self.log = Log::new(&options(&self.life));
        *disk = Some(open_disk(&self.log, dir));
        self.resume();
    }

    async fn publish(&mut self, posts: &[Post]) -> Step {
        let mut drafts = Vec::new();
        for post in posts {
            self.published += 1;
            let data = serde_json::json!({"n": self.published, "pad": "x".repeat(post.padding)});
            let data = if post.is_tombstone { Data::null() } else { Data::from_value(&data).unwrap() };
            let kind = format!("t{}", post.kind).parse().unwrap();
            drafts.push(Draft {
                key: post.key.map(|key| format!("k{key}").parse().unwrap()),
                ttl_ms: post.ttl_seconds.map(|seconds| seconds * 1000 + 500),
                ..Draft::new(Topics::one(topic(post.topic)), kind, data)
            });
        }
        let now_us = self.log.now_us();
        let seqs = self.append(drafts).await?;
        let first = self.published - posts.len() as u64 + 1;
        for ((post, seq), id) in posts.iter().zip(seqs).zip(first..) {
            let kept_us = AGE_SECONDS * 1_000_000 + 500_000;
            let ttl_us = post.ttl_seconds.map_or(kept_us, |seconds| seconds * 1_000_000 + 500_000);
            let until_us = now_us + ttl_us.min(kept_us);
            let id = (!post.is_tombstone).then_some(id);
            self.items.push(Item { seq, topic: post.topic, key: post.key, id, until_us });
        }
        Ok(())
    }

    async fn fill(&mut self, count: usize) -> Step {
        let draft = Draft::new(
            Topics::one("elsewhere".parse().unwrap()),
            "t".parse().unwrap(),
            Data::from_value(&1).unwrap(),
        );
        self.append(vec![draft; count]).await.map(drop)
    }

    async fn append(&mut self, drafts: Vec<Draft>) -> Result<Vec<u64>, String> {
        let store: &dyn Store = match &self.store {
            Kept::Memory(memory) => &**memory,
            Kept::Disk(disk, _) => &**disk.as_ref().unwrap(),
            Kept::Facts => {
                let mut seq = self.log.tail();
                let events = drafts.into_iter().map(|draft| {
                    seq = seq.next();
                    Sequenced { seq: Some(seq), time_ms: 0, age_ms: 0, draft }
                });
                let events: Vec<_> = events.collect();
                let seqs = events.iter().filter_map(|event| event.seq).map(Seq::number).collect();
                self.log.apply(Fact::Events(events));
                return Ok(seqs);
            }
        };
        let answers = store.append(drafts).await.into_iter();
        answers
            .map(|answer| Ok(answer.map_err(|e| e.to_string())?.seq.unwrap_or_default().number()))
            .collect()
    }

    fn check_bounds(&self) -> Step {
        let stats = self.log.stats();
        ensure!(stats.keys <= TOPICS * self.life.keys_max, "too many keys: {stats:?}");
        // What is left above the budget are topics that are read.
        let is_within = stats.bytes <= self.life.log_bytes_max || (stats.events, stats.keys) == (0, 0);
        ensure!(is_within, "over the budget: {stats:?}");
        Ok(())
    }

    fn catch_up(&mut self) -> Step {
        self.client.catch_up()?;
        let Client { mirror, partial, seen, owed_after, .. } = &self.client;
        let now_us = self.log.now_us();
        for &Item { seq, topic, until_us, .. } in self.items.iter().filter(|item| item.key.is_none()) {
            let is_owed = seq > owed_after[topic].number() && until_us > now_us;
            ensure!(!is_owed || seen.contains(&(topic, seq)), "event {seq} of topic {topic} is in no state");
        }
        self.may_lack |= self.log.stats().evictions.state > 0 || self.life.log_bytes_max < 1 << 30;
        ensure!(self.may_lack || *partial == [false; TOPICS], "partial, and there is no reason");
        for (topic, key) in (0..TOPICS).flat_map(|topic| (0..KEYS).map(move |key| (topic, key))) {
            let of_key = |item: &&Item| (item.topic, item.key) == (topic, Some(key));
            let Some(truth) = self.items.iter().rfind(of_key) else {
                ensure!(!mirror.contains_key(&(topic, key)), "a key that never was: {topic} {key}");
                continue;
            };
            let is_over = truth.until_us <= now_us;
            match (mirror.get(&(topic, key)), truth.id) {
                (None, None) => {}
                (Some(has), Some(id)) if *has == id => {}
                // What outlived its time is not replayed, and those who were away keep what was before.
                _ if is_over => {}
                (None, Some(id)) => ensure!(partial[topic], "key {key} of topic {topic} is lacking: {id}"),
                (Some(has), id) => ensure!(false, "key {key} of topic {topic} is {has}, not {id:?}"),
            }
        }
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Kept::Disk(disk, dir) = &mut self.store {
            *disk = None;
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

fn open_disk(log: &Arc<Log>, dir: &std::path::Path) -> Arc<Disk> {
    let options = DiskOptions {
        dir: dir.to_owned(),
        fsync: Fsync::Never,
        events_max: 600,
        bytes_max: 1 << 30,
        age_max: Duration::from_secs(AGE_SECONDS),
        topic_idle_max: Duration::from_secs(3600),
        token_bytes_max: events::TOKEN_BYTES_MAX,
    };
    let (disk, recovered) = Disk::open(Arc::clone(log), options).unwrap();
    assert_eq!(recovered.damage, None);
    disk
}

/// Found by the model: the last part knew that a key had gone, and that never became history.
#[tokio::test(start_paused = true)]
async fn a_state_that_knew_of_what_never_became_history_begins_anew() {
    let post =
        |key, is_tombstone| Post { topic: 0, kind: 0, key, is_tombstone, ttl_seconds: None, padding: 0 };
    let life = Life {
        keys_max: 1000,
        bytes_max: 1 << 20,
        ring_events_max: 1000,
        log_bytes_max: 1 << 30,
        ops: vec![
            Op::Publish(vec![post(Some(0), false)]),
            Op::Begin { meanwhile: Vec::new() },
            Op::Publish(vec![post(None, true), post(Some(0), true), post(None, true)]),
            Op::Part { events: 1 },
            Op::Fork { back: 2 },
        ],
    };
    assert_eq!(World::on_memory(&life, false).live().await, Ok(()));
}

/// Only the stream has them: a part of a state never does.
#[tokio::test(start_paused = true)]
async fn events_without_a_key_before_the_point_of_a_state_are_not_lost() {
    let post = |key| Post { topic: 0, kind: 0, key, is_tombstone: false, ttl_seconds: None, padding: 0 };
    for ring_events_max in [1000, 1] {
        let meanwhile = vec![post(Some(0)), post(None), post(Some(1)), post(Some(2))];
        let life = Life {
            keys_max: 1000,
            bytes_max: 1 << 20,
            ring_events_max,
            log_bytes_max: 1 << 30,
            ops: vec![Op::Begin { meanwhile }],
        };
        assert_eq!(World::on_memory(&life, false).live().await, Ok(()), "in a ring of {ring_events_max}");
    }
}
