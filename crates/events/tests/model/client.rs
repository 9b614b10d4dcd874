//! One client: a reader of the log, and what the model says that it must and may be sent.

use std::sync::Arc;
use std::task::{Context, Waker};

use events::{Cursor, Event, Limit, Located, Log, Reader, Reset, ResetReason, Seq, Start, Topic, TypeFilter};

use crate::Step;
use crate::history::{History, Item};
use crate::ops::{Bounds, TOPICS};

pub(crate) struct Client {
    reader: Reader,
    pub(crate) topics: Vec<usize>,
    types: Option<Vec<usize>>,
    pub(crate) cursor: Cursor,
    /// The reset that it must be given first.
    broken: Option<ResetReason>,
    /// Up to where it was told, for each topic, that events are missing.
    pub(crate) excused: [u64; TOPICS],
    /// The ephemeral events since its last complete read, and by which topics each must reach it.
    ephemerals: Vec<(Item, Vec<usize>)>,
    /// Whether it must be awake; `None`: it may be.
    awake: Option<bool>,
}

pub(crate) fn topic(topic: usize) -> Topic {
    ["a", "b", "c", "d", "e"][topic].parse().unwrap()
}

fn topics(list: &[usize]) -> Vec<Topic> {
    list.iter().map(|&t| topic(t)).collect()
}

fn index(topic: &Topic) -> usize {
    usize::from(topic.as_str().as_bytes()[0] - b'a')
}

/// An event as it was delivered.
struct Got<'a> {
    item: &'a Item,
    topic: usize,
    /// All topics by which the client sees it.
    topics: Vec<usize>,
}

impl Client {
    pub(crate) fn open(
        log: &Arc<Log>,
        list: &[usize],
        types: Option<Vec<usize>>,
        start: Start,
    ) -> Result<Self, String> {
        let filter = types.as_ref().map(|types| {
            let names: Vec<_> = types.iter().map(|kind| format!("t{kind}")).collect();
            TypeFilter::parse(&names.join(",")).unwrap()
        });
        let reader = Reader::new(log, &topics(list), filter, start);
        let cursor = reader.cursor();
        let mut excused = [0; TOPICS];
        let expected = match start {
            Start::Latest => log.tail(),
            Start::After(cursor) | Start::Broken(_, cursor) => cursor.seq,
            Start::Earliest => {
                list.iter().for_each(|&t| excused[t] = floor(log, t));
                Seq::new(list.iter().map(|&t| excused[t]).min().unwrap_or(log.tail().number())).unwrap()
            }
        };
        ensure!(cursor.seq == expected, "a reader from {start:?} starts at {cursor}, not at {expected}");
        ensure!(log.locate(cursor) == Located::Here(cursor), "a new reader is at {cursor}, nowhere");
        let broken = if let Start::Broken(reason, _) = start { Some(reason) } else { None };
        let topics = list.to_vec();
        Ok(Self {
            reader,
            topics,
            types,
            cursor,
            broken,
            excused,
            ephemerals: Vec::new(),
            awake: Some(false),
        })
    }

    pub(crate) fn subscribe(&mut self, list: &[usize]) {
        for &t in list.iter().filter(|t| !self.topics.contains(t)).collect::<Vec<_>>() {
            self.topics.push(t);
            self.excused[t] = 0;
        }
        self.reader.subscribe(&topics(list));
        self.awake = None;
    }

    pub(crate) fn unsubscribe(&mut self, list: &[usize]) {
        self.topics.retain(|t| !list.contains(t));
        self.reader.retain(|name| !list.contains(&index(name)));
        for (_, required) in &mut self.ephemerals {
            required.retain(|t| !list.contains(t));
        }
    }

    /// Something was applied in these topics.
    pub(crate) fn ring(&mut self, list: &[usize]) {
        if self.topics.iter().any(|t| list.contains(t)) {
            self.awake = Some(true);
        }
    }

    pub(crate) fn saw_ephemeral(&mut self, item: &Item) {
        let required = self.topics.iter().copied().filter(|t| item.topics.contains(t)).collect();
        self.ephemerals.push((item.clone(), required));
    }

    /// What is ephemeral and lies there may be dropped.
    pub(crate) fn excuse_ephemerals(&mut self, mut which: impl FnMut(&Item) -> bool) {
        for (item, required) in &mut self.ephemerals {
            if which(item) {
                required.clear();
            }
        }
    }

    pub(crate) fn check_awake(&self) -> Step {
        let ready = self.reader.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready();
        ensure!(self.awake.is_none_or(|awake| awake == ready), "awake: {ready}, expected: {:?}", self.awake);
        Ok(())
    }

    /// Reads once; `true` when there is more.
    pub(crate) fn read(
        &mut self,
        log: &Arc<Log>,
        history: &History,
        bounds: Bounds,
        limit: Limit,
    ) -> Result<bool, String> {
        let mut out = Vec::new();
        let now_us = log.now_us();
        let read = self.reader.read(limit, &mut out);
        self.awake = Some(false);
        match read {
            Err(reset) => {
                ensure!(out.is_empty(), "a reset leaves the output alone");
                self.check_reset(log, history, bounds, &reset)?;
                self.cursor = reset.at;
                Ok(true)
            }
            Ok(span) => {
                ensure!(self.broken.is_none(), "{:?} and no reset", self.broken);
                let fate = history.locate(self.cursor);
                ensure!(fate == Located::Here(self.cursor), "{} is {fate:?}, and no reset", self.cursor);
                ensure!(span.after == self.cursor, "from {} after {}", span.after, self.cursor);
                let here = log.locate(span.cursor) == Located::Here(span.cursor);
                ensure!(here && span.cursor == self.reader.cursor(), "now at {}, nowhere", span.cursor);
                let (after, end) = (span.after.seq.number(), span.cursor.seq.number());
                let back = end < after && span.after.epoch == span.cursor.epoch;
                ensure!(!back, "from {} back to {}", span.after, span.cursor);
                ensure!(
                    span.more == (end < history.tail),
                    "more: {} at {end} of {}",
                    span.more,
                    history.tail
                );
                let durable = out.iter().take_while(|event| event.seq().is_some()).count();
                let (durable, ephemeral) = out.split_at(durable);
                self.check_events(log, history, after, end, now_us, limit, span.more, durable)?;
                self.check_ephemerals(history, now_us, span.more, ephemeral)?;
                self.cursor = span.cursor;
                Ok(span.more)
            }
        }
    }

    fn check_reset(&mut self, log: &Arc<Log>, history: &History, bounds: Bounds, reset: &Reset) -> Step {
        let named: Vec<usize> = reset.topics.iter().map(index).collect();
        let fate = history.locate(self.cursor);
        let (reason, at) = match (fate, self.broken.take()) {
            (Located::Phantom { end }, _) => (ResetReason::Epoch, end.seq.number()),
            (Located::Unknown | Located::Ahead, _) => (ResetReason::Epoch, history.tail),
            (Located::Here(at), owed) => (owed.unwrap_or(ResetReason::Expired), at.seq.number()),
        };
        ensure!(
            (reset.reason, reset.at.seq.number()) == (reason, at),
            "{reset:?}, expected {reason:?} at {at}"
        );
        ensure!(history.locate(reset.at) == Located::Here(reset.at), "goes on at {}, nowhere", reset.at);
        if reason != ResetReason::Expired {
            ensure!(named == self.topics, "{reset:?} does not name {:?}", self.topics);
            self.excused = [0; TOPICS];
            return Ok(());
        }
        ensure!(reset.at == self.cursor && !named.is_empty(), "{reset:?} at {}", self.cursor);
        for &t in &named {
            let floor = floor(log, t);
            ensure!(floor > self.excused[t], "topic {t} named again: {reset:?}");
            ensure!(floor > at, "topic {t} named with the floor {floor}: {reset:?}");
            self.check_incomplete(log, history, bounds, t, at)?;
            self.excused[t] = floor;
        }
        Ok(())
    }

    /// A topic is named only if the log no longer has everything after `after`.
    fn check_incomplete(
        &self,
        log: &Arc<Log>,
        history: &History,
        bounds: Bounds,
        t: usize,
        after: u64,
    ) -> Step {
        let void = history.voids.iter().any(|(seq, topics)| *seq > after && topics.contains(&t));
        if void || history.blurred > after {
            return Ok(());
        }
        let held = retained(log, t);
        let newest = history.of_topic(t, after).rev();
        let missing = newest.enumerate().find(|(_, item)| !held.contains(&item.id));
        let Some((newer, _)) = missing else {
            return Err(format!("topic {t} is complete after {after} and was named"));
        };
        if bounds.is_count_only() && !history.forked {
            let kept = bounds.events_max.unwrap_or(usize::MAX);
            let has_ttl = history.of_topic(t, after).any(|item| item.expires_us != u64::MAX);
            ensure!(
                has_ttl || newer >= kept,
                "topic {t} lacks an event with only {newer} of {kept} above it"
            );
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the whole of one read")]
    fn check_events(
        &self,
        log: &Arc<Log>,
        history: &History,
        after: u64,
        end: u64,
        now_us: u64,
        limit: Limit,
        more: bool,
        events: &[Event],
    ) -> Step {
        let within = |item: &&Item| item.seq > after && item.seq <= end;
        let wanted = |item: &&Item| self.wants(item) && item.expires_us > now_us;
        let owed: Vec<&Item> = history.items.iter().filter(within).filter(wanted).collect();
        let got = self.parse(events, &owed)?;
        ensure!(got.is_sorted_by(|a, b| a.item.seq < b.item.seq), "out of order or twice");
        ensure!(got.len() <= limit.events, "{} events with a limit of {}", got.len(), limit.events);
        ensure!(!more || !got.is_empty(), "more, and yet nothing");
        let is_full = owed.len() >= limit.events || limit.bytes < 1 << 20;
        // What lies behind a batch may be missing, which is for the next read to say.
        let is_cut = || self.topics.iter().any(|&t| floor(log, t) > end.max(self.excused[t]));
        ensure!(!more || is_full || is_cut(), "more, with {} of {}", owed.len(), limit.events);

        for item in &owed {
            let vouching = self.vouched(item).next();
            let delivered = got.iter().find(|got| got.item.id == item.id);
            let Some(delivered) = delivered else {
                let conflated = item.key.is_some()
                    && got.iter().any(|got| {
                        got.item.seq > item.seq
                            && (got.item.kind, got.item.key) == (item.kind, item.key)
                            && self.vouched(item).all(|t| got.topics.contains(&t))
                    });
                ensure!(conflated || vouching.is_none(), "lost {item:?} for {:?}", self.topics);
                continue;
            };
            let rank = |t: usize| self.topics.iter().position(|&has| has == t);
            let first = vouching.is_none_or(|t| rank(delivered.topic) <= rank(t));
            ensure!(first, "{item:?} came by topic {} to {:?}", delivered.topic, self.topics);
            let named = self.vouched(item).all(|t| delivered.topics.contains(&t));
            ensure!(named, "{item:?} came by {:?} to {:?}", delivered.topics, self.topics);
        }
        for (at, a) in got.iter().enumerate().filter(|(_, got)| got.item.key.is_some()) {
            let same =
                |b: &Got<'_>| (&a.topics, a.item.kind, a.item.key) == (&b.topics, b.item.kind, b.item.key);
            ensure!(!got[at + 1..].iter().any(same), "not conflated: {:?}", a.item);
        }
        for (seq, topics) in history.voids.iter().filter(|(seq, _)| *seq > after && *seq <= end) {
            let told = self.topics.iter().filter(|t| topics.contains(t)).all(|&t| self.excused[t] >= *seq);
            ensure!(told, "passed the hole at {seq} in {topics:?} without a reset");
        }
        Ok(())
    }

    fn check_ephemerals(&mut self, history: &History, now_us: u64, more: bool, events: &[Event]) -> Step {
        if more {
            ensure!(events.is_empty(), "an ephemeral event before the tail");
            return Ok(());
        }
        let ephemerals = std::mem::take(&mut self.ephemerals);
        let owed: Vec<&Item> = ephemerals
            .iter()
            .map(|(item, _)| item)
            .filter(|item| self.wants(item) && item.expires_us > now_us)
            .collect();
        let got = self.parse(events, &owed)?;
        ensure!(got.is_sorted_by(|a, b| a.item.seq < b.item.seq), "ephemeral out of order or twice");
        ensure!(history.ephemerals.len() >= got.len(), "more ephemeral events than there are");
        for (at, (item, required)) in ephemerals.iter().enumerate() {
            let replaced = item.key.is_some()
                && ephemerals[at + 1..]
                    .iter()
                    .any(|(later, _)| (later.kind, later.key) == (item.kind, item.key));
            let owed = !required.is_empty() && owed.iter().any(|owed| owed.id == item.id) && !replaced;
            ensure!(!owed || got.iter().any(|got| got.item.id == item.id), "lost ephemeral {item:?}");
        }
        Ok(())
    }

    /// The topics by which the client must see an event: those of which it was not told that they lack it.
    fn vouched(&self, item: &Item) -> impl Iterator<Item = usize> {
        self.topics.iter().copied().filter(|&t| item.topics.contains(&t) && item.seq > self.excused[t])
    }

    fn wants(&self, item: &Item) -> bool {
        self.types.as_ref().is_none_or(|types| types.contains(&item.kind))
            && self.topics.iter().any(|t| item.topics.contains(t))
    }

    /// Reads what was delivered and finds each in what may be.
    fn parse<'a>(&self, events: &[Event], owed: &[&'a Item]) -> Result<Vec<Got<'a>>, String> {
        let mut got = Vec::new();
        for event in events {
            let json: serde_json::Value = serde_json::from_slice(event.json()).map_err(|e| e.to_string())?;
            let id = json["data"]["n"].as_u64();
            let Some(&item) = owed.iter().find(|item| Some(item.id) == id) else {
                return Err(format!("not owed: {json}"));
            };
            let topic = index(&json["topic"].as_str().unwrap_or_default().parse().unwrap());
            let seq = event.seq().map(Seq::number);
            ensure!(self.topics.contains(&topic) && item.topics.contains(&topic), "not its topic: {json}");
            ensure!(
                json["seq"].as_u64() == seq && seq.is_none_or(|seq| seq == item.seq),
                "not its seq: {json}"
            );
            ensure!(json["type"] == format!("t{}", item.kind), "not its type: {json}");
            let key = item.key.map(|key| format!("k{key}"));
            ensure!(json["key"].as_str() == key.as_deref(), "not its key: {json}");
            let topics = match &json["topics"] {
                serde_json::Value::Array(names) => names
                    .iter()
                    .map(|name| index(&name.as_str().unwrap_or_default().parse().unwrap()))
                    .collect(),
                _ => vec![topic],
            };
            let seen: Vec<usize> = self.topics.iter().copied().filter(|t| topics.contains(t)).collect();
            ensure!(seen == topics && topics[0] == topic, "not its topics in their order: {json}");
            ensure!(topics.iter().all(|t| item.topics.contains(t)), "not its topics: {json}");
            ensure!(json["topics"].is_null() || topics.len() > 1, "one topic, named twice: {json}");
            got.push(Got { item, topic, topics });
        }
        Ok(got)
    }
}

/// What the log says of a topic when it is asked for everything.
fn floor(log: &Arc<Log>, t: usize) -> u64 {
    Reader::new(log, &[topic(t)], None, Start::Earliest).cursor().seq.number()
}

/// The events that the log holds of a topic, each by itself so that none is conflated.
fn retained(log: &Arc<Log>, t: usize) -> Vec<u64> {
    let mut reader = Reader::new(log, &[topic(t)], None, Start::Earliest);
    let mut out = Vec::new();
    while reader.read(Limit { events: 1, bytes: 1 }, &mut out).is_ok_and(|span| span.more) {}
    let id = |event: &Event| {
        let json: serde_json::Value = serde_json::from_slice(event.json()).ok()?;
        json["data"]["n"].as_u64()
    };
    out.iter().filter_map(id).collect()
}
