//! Runs one life: each step is done to the log and to the model, and then the two are compared.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use events::{
    Appended, Cursor, Data, Draft, Epoch, Fact, Limit, Located, Log, Memory, Rejection, ResetReason, Seq,
    Sequenced, Start, Store, Topics,
};

use crate::Step;
use crate::client::{Client, topic};
use crate::history::{History, Item};
use crate::ops::{Bounds, CLIENTS, Life, Op, Post, TOPICS};

/// How long an ephemeral event waits at least for those who are there.
const EPHEMERAL_SECONDS: u64 = 10;

struct World {
    log: Arc<Log>,
    /// `None`: the facts come straight from here.
    store: Option<Arc<Memory>>,
    bounds: Bounds,
    history: History,
    clients: [Place; CLIENTS],
    tokens: HashMap<usize, Appended>,
    drafts: u64,
    epochs: u64,
    /// The order of ephemeral events, and when they came in seconds of the test's clock.
    ephemeral_seconds: HashMap<u64, u64>,
    seconds: u64,
}

enum Place {
    Nobody,
    Here(Box<Client>),
    Away(Cursor),
}

/// Lives a life; the error says which step went wrong and how.
pub(crate) async fn live(life: &Life) -> Step {
    let mut world = World::new(life);
    for (at, op) in life.ops.iter().enumerate() {
        let step = world.step(op).await.and_then(|()| world.check());
        step.map_err(|wrong| format!("step {at}, {op:?}: {wrong}"))?;
    }
    world.end().await
}

impl World {
    fn new(life: &Life) -> Self {
        let log = Log::new(&life.bounds.options());
        let store = life.through_memory.then(|| Memory::open(Arc::clone(&log)));
        let mut world = Self {
            log,
            store,
            bounds: life.bounds,
            history: History::default(),
            clients: [const { Place::Nobody }; CLIENTS],
            tokens: HashMap::new(),
            drafts: 0,
            epochs: 0,
            ephemeral_seconds: HashMap::new(),
            seconds: 0,
        };
        if world.store.is_some() {
            world.history.forget(world.log.tail_cursor().epoch, 0);
        } else {
            world.forget(0);
        }
        world
    }

    async fn step(&mut self, op: &Op) -> Step {
        match op {
            Op::Publish(posts) => self.publish(posts).await?,
            &Op::Read { client, events, bytes } => self.read(client, Limit { events, bytes }).map(drop)?,
            &Op::Drain { client } => self.drain(client)?,
            Op::Open { client, topics, earliest } => {
                let start = if *earliest { Start::Earliest } else { Start::Latest };
                self.clients[*client] = Place::Nobody;
                self.open(*client, topics, None, start)?;
            }
            &Op::Cut { client } => {
                if let Place::Here(cut) = &self.clients[client] {
                    self.clients[client] = Place::Away(cut.cursor);
                }
            }
            Op::Resume { client, topics, types } => {
                let cursor = match &self.clients[*client] {
                    Place::Nobody => return Ok(()),
                    Place::Here(client) => client.cursor,
                    Place::Away(cursor) => *cursor,
                };
                self.resume(*client, topics, types.clone(), cursor)?;
            }
            Op::ResumeAhead { client, topics } => {
                let seq = Seq::new(self.history.tail + 1).unwrap();
                self.resume(*client, topics, None, Cursor { epoch: self.history.epoch(), seq })?;
            }
            Op::Subscribe { client, topics } => {
                if let Place::Here(client) = &mut self.clients[*client] {
                    client.subscribe(topics);
                }
            }
            Op::Unsubscribe { client, topics } => {
                if let Place::Here(client) = &mut self.clients[*client] {
                    client.unsubscribe(topics);
                }
            }
            &Op::Advance { seconds } => {
                self.seconds += seconds;
                tokio::time::advance(Duration::from_secs(seconds)).await;
            }
            &Op::Sweep { topics } => self.sweep(topics)?,
            &Op::Fork { back, jump } => self.fork(back, jump),
            &Op::Forget { start } => self.forget(start),
            &Op::Trimmed { through } => {
                let through = self.history.point_at(self.history.tail.saturating_add_signed(through));
                self.log.apply(Fact::Trimmed { through: Seq::new(through).unwrap() });
                self.history.void(through, (0..TOPICS).collect());
                self.ring(&(0..TOPICS).collect::<Vec<_>>());
            }
            Op::Lost { topics, above } => {
                let through = self.history.tail + above;
                let names = topics.iter().map(|&t| topic(t)).collect();
                self.log.apply(Fact::Lost { topics: names, through: Seq::new(through).unwrap() });
                self.history.void(through, topics.clone());
                self.ring(topics);
            }
        }
        Ok(())
    }

    /// What holds after every step.
    fn check(&self) -> Step {
        let tail = self.log.tail_cursor();
        ensure!(tail.seq.number() == self.history.tail, "the tail is {tail}, not {}", self.history.tail);
        ensure!(self.history.locate(tail) == Located::Here(tail), "the tail {tail} is nowhere");
        for place in &self.clients {
            match place {
                Place::Nobody => {}
                Place::Here(client) => client.check_awake()?,
                Place::Away(cursor) => self.located(*cursor).map(drop)?,
            }
        }
        Ok(())
    }

    /// Once everyone has caught up, gone and been forgotten, nothing is left and nothing is charged.
    async fn end(mut self) -> Step {
        for client in 0..CLIENTS {
            self.drain(client).map_err(|wrong| format!("at the end: {wrong}"))?;
        }
        self.clients = [const { Place::Nobody }; CLIENTS];
        tokio::time::advance(Duration::from_secs(1 << 41)).await;
        // Once around to visit all, and once more for where the first began.
        (0..2 * TOPICS + 8).for_each(|_| self.log.sweep(4));
        let left = self.log.stats();
        let nothing = (left.topics, left.events, left.bytes) == (0, 0, 0);
        ensure!(nothing, "left behind: {left:?}");
        Ok(())
    }

    async fn publish(&mut self, posts: &[Post]) -> Step {
        let drafts: Vec<Draft> = posts.iter().map(|post| self.draft(post)).collect();
        let expected: Vec<Option<Seq>> = drafts.iter().map(|draft| draft.expect).collect();
        let answers =
            if let Some(store) = &self.store { store.append(drafts).await } else { self.append_here(drafts) };
        let first = self.drafts - posts.len() as u64 + 1;
        let applied = answers.iter().any(|answer| answer.is_ok_and(|appended| !appended.duplicate));
        for (((post, expected), answer), id) in posts.iter().zip(expected).zip(answers).zip(first..) {
            self.published(post, expected, answer, id)?;
        }
        if applied { self.check_budget() } else { Ok(()) }
    }

    /// Topics that are being read cost something whether or not there is room; nothing else does.
    fn check_budget(&self) -> Step {
        let stats = self.log.stats();
        let budget = self.bounds.log_bytes_max.unwrap_or(usize::MAX);
        ensure!(stats.bytes <= budget || stats.events == 0, "over the budget: {stats:?}");
        Ok(())
    }

    /// Enters the answer to one draft into the model.
    fn published(
        &mut self,
        post: &Post,
        expected: Option<Seq>,
        answer: Result<Appended, Rejection>,
        id: u64,
    ) -> Step {
        let known = post.token.and_then(|token| self.tokens.get(&token)).copied();
        if let Some(known) = known {
            let repeat = Ok(Appended { duplicate: true, ..known });
            ensure!(answer == repeat, "repeated, and answered {answer:?} instead of {repeat:?}");
            return Ok(());
        }
        let last = self.history.last(post.topics[0]);
        if let Err(Rejection::Conflict { last: says }) = answer {
            // A topic that was collected is remembered no more.
            let forgotten = says == Seq::ZERO && self.log.stats().evictions.topics > 0;
            ensure!(says.number() == last || forgotten, "conflict with {says}, the last is {last}");
            ensure!(expected.is_some_and(|expected| expected != says), "no conflict: {expected:?}, {says}");
            return Ok(());
        }
        let appended = answer.map_err(|rejection| rejection.to_string())?;
        let holds = expected.is_none_or(|expected| {
            expected.number() == last || (expected == Seq::ZERO && self.log.stats().evictions.topics > 0)
        });
        ensure!(holds && !appended.duplicate, "{post:?} appended after {last}: {appended:?}");
        if let Some(token) = post.token.filter(|_| self.store.is_some()) {
            self.tokens.insert(token, appended);
        }
        self.history.tail += u64::from(!post.ephemeral);
        let here = Cursor { epoch: self.history.epoch(), seq: Seq::new(self.history.tail).unwrap() };
        ensure!(appended.cursor == here, "appended at {}, not at {here}", appended.cursor);
        ensure!(appended.seq == (!post.ephemeral).then_some(here.seq), "appended as {:?}", appended.seq);
        self.append_item(post, id);
        Ok(())
    }

    fn append_item(&mut self, post: &Post, id: u64) {
        let ttl_us = post.ttl_seconds.map(|seconds| seconds * 1_000_000 + 500_000);
        let mut item = Item {
            id,
            seq: self.history.tail,
            topics: post.topics.clone(),
            kind: post.kind,
            key: post.key,
            expires_us: ttl_us.map_or(u64::MAX, |ttl_us| self.log.now_us() + ttl_us),
        };
        if post.ephemeral {
            item.seq = self.history.ephemerals.len() as u64;
            self.ephemeral_seconds.insert(id, self.seconds);
            for place in &mut self.clients {
                if let Place::Here(client) = place {
                    client.saw_ephemeral(&item);
                }
            }
            self.history.ephemerals.push(item);
            if self.bounds.log_bytes_max.is_some() {
                self.excuse_ephemerals(|_| true);
            }
        } else {
            self.history.items.push(item);
        }
        self.ring(&post.topics);
    }

    /// Plays the store: gives each draft its seq and reports it.
    fn append_here(&self, drafts: Vec<Draft>) -> Vec<Result<Appended, Rejection>> {
        let mut seq = self.log.tail();
        let epoch = self.history.epoch();
        let mut answers = Vec::new();
        let mut events = Vec::new();
        for draft in drafts {
            let given = (!draft.ephemeral).then(|| seq.next());
            seq = given.unwrap_or(seq);
            answers.push(Ok(Appended { cursor: Cursor { epoch, seq }, seq: given, duplicate: false }));
            events.push(Sequenced { seq: given, time_ms: 0, age_ms: 0, draft });
        }
        self.log.apply(Fact::Events(events));
        answers
    }

    fn draft(&mut self, post: &Post) -> Draft {
        self.drafts += 1;
        let data = serde_json::json!({"n": self.drafts, "pad": "x".repeat(post.padding)});
        Draft {
            topics: Topics::new(post.topics.iter().map(|&t| topic(t))).unwrap(),
            kind: format!("t{}", post.kind).parse().unwrap(),
            data: Data::from_value(&data).unwrap(),
            key: post.key.map(|key| format!("k{key}").parse().unwrap()),
            id: None,
            once: post.token.map(|token| format!("token {token}").into()),
            ttl_ms: post.ttl_seconds.map(|seconds| seconds * 1000 + 500),
            ephemeral: post.ephemeral,
            expect: self.expected(post),
        }
    }

    /// What a post expects, by what is there before its batch.
    fn expected(&self, post: &Post) -> Option<Seq> {
        let expect = post.expect.filter(|_| self.store.is_some())?;
        Seq::new(self.history.last(post.topics[0]) + expect)
    }

    fn open(&mut self, client: usize, topics: &[usize], types: Option<Vec<usize>>, start: Start) -> Step {
        self.clients[client] = Place::Here(Box::new(Client::open(&self.log, topics, types, start)?));
        Ok(())
    }

    /// Comes back as a transport does: asks the log where the cursor is, and starts from there.
    fn resume(&mut self, client: usize, topics: &[usize], types: Option<Vec<usize>>, cursor: Cursor) -> Step {
        let located = self.located(cursor)?;
        let tail = self.log.tail_cursor();
        let start = match located {
            Located::Here(cursor) => Start::After(cursor),
            Located::Phantom { end } => Start::Broken(ResetReason::Epoch, end),
            Located::Unknown => Start::Broken(ResetReason::Epoch, tail),
            Located::Ahead => Start::Broken(ResetReason::Ahead, tail),
        };
        self.clients[client] = Place::Nobody;
        self.open(client, topics, types, start)
    }

    /// Where the log says that a cursor is, which must be where it is.
    fn located(&self, cursor: Cursor) -> Result<Located, String> {
        let (says, expected) = (self.log.locate(cursor), self.history.locate(cursor));
        let agree = match (says, expected) {
            // The same point may have a cursor in either of two epochs.
            (Located::Phantom { end: says }, Located::Phantom { end }) => says.seq == end.seq,
            (says, expected) => says == expected,
        };
        ensure!(agree, "{cursor} is {says:?}, expected {expected:?}");
        Ok(says)
    }

    fn read(&mut self, client: usize, limit: Limit) -> Result<bool, String> {
        let Place::Here(client) = &mut self.clients[client] else { return Ok(false) };
        client.read(&self.log, &self.history, self.bounds, limit)
    }

    fn drain(&mut self, client: usize) -> Step {
        while self.read(client, Limit { events: 2, bytes: 1 << 20 })? {}
        Ok(())
    }

    fn sweep(&mut self, topics: usize) -> Step {
        self.log.sweep(topics);
        let seconds = self.seconds;
        let came = std::mem::take(&mut self.ephemeral_seconds);
        self.excuse_ephemerals(|item| came.get(&item.id).is_none_or(|at| seconds - at >= EPHEMERAL_SECONDS));
        self.ephemeral_seconds = came;
        self.check_budget()
    }

    fn fork(&mut self, back: u64, jump: u64) {
        let end = self.history.point_at(self.history.tail.saturating_sub(back));
        let (epoch, start) = (self.next_epoch(), end + jump);
        let seq = |number| Seq::new(number).unwrap();
        self.log.apply(Fact::Epoch { epoch, end: Some(seq(end)), start: seq(start) });
        self.history.fork(epoch, end, start);
        for place in &mut self.clients {
            if let Place::Here(client) = place {
                client.excused.iter_mut().for_each(|excused| *excused = end.min(*excused));
            }
        }
        self.ring(&(0..TOPICS).collect::<Vec<_>>());
    }

    fn forget(&mut self, start: u64) {
        let epoch = self.next_epoch();
        self.log.apply(Fact::Epoch { epoch, end: None, start: Seq::new(start).unwrap() });
        self.history.forget(epoch, start);
        self.excuse_ephemerals(|_| true);
        self.ring(&(0..TOPICS).collect::<Vec<_>>());
    }

    fn next_epoch(&mut self) -> Epoch {
        self.epochs += 1;
        Epoch::new(self.epochs)
    }

    fn ring(&mut self, topics: &[usize]) {
        for place in &mut self.clients {
            if let Place::Here(client) = place {
                client.ring(topics);
            }
        }
    }

    fn excuse_ephemerals(&mut self, mut which: impl FnMut(&Item) -> bool) {
        for place in &mut self.clients {
            if let Place::Here(client) = place {
                client.excuse_ephemerals(&mut which);
            }
        }
    }
}
