//! The bounded replay buffer of one topic: pure, synchronous, and honest about what it no longer has.

use std::collections::VecDeque;

use crate::latest_by_key::LatestByKey;
use crate::state_map::StateMap;
use crate::{Event, Seq};

/// What a ring may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) events_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) age_us_max: u64,
}

/// Why events left a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evicted {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) age: u64,
    /// Keys that left the topic's state because there was too much of it.
    pub(crate) state: u64,
}

/// The last events of one topic, oldest first, and the ephemeral ones that readers may not have met yet.
///
/// Its floor is the oldest seq after which it can vouch for every event.
#[derive(Debug)]
pub(crate) struct Ring {
    events: VecDeque<Event>,
    /// Rare, so that a topic without ephemeral events pays one pointer.
    #[expect(clippy::box_collection, reason = "a quarter of a VecDeque in every ring")]
    ephemeral: Option<Box<VecDeque<Event>>>,
    /// What is kept beside the events. Rare as well.
    beside: Option<Box<Beside>>,
    floor: Seq,
    /// The last event ever pushed; outlives its eviction, for `expect`.
    last: Seq,
    cost_bytes: usize,
    /// When the oldest event was applied, or one before it: while that is not too long ago the event itself, which a
    /// push rarely finds in the cache, need not be looked at.
    oldest_us: u64,
}

/// What a topic keeps beside the events of its ring.
#[derive(Debug, Default)]
struct Beside {
    /// Events of which only the latest of each key matters ([`crate::Draft::is_latest_only`]), so that none of them
    /// evicts one of the others.
    latest: LatestByKey,
    /// The latest event of each key, if the topic keeps its state.
    state: Option<StateMap>,
}

impl Ring {
    /// How many ephemeral events wait at most for readers that are slow to look.
    const EPHEMERAL_MAX: usize = 64;

    /// A ring that knows nothing at or below `floor`, of a topic that keeps this state.
    pub(crate) fn new(floor: Seq, mut state: Option<StateMap>) -> Self {
        state.iter_mut().for_each(|state| state.pass(floor));
        Self {
            events: VecDeque::new(),
            ephemeral: None,
            beside: state.map(|state| Box::new(Beside { state: Some(state), ..Beside::default() })),
            floor,
            last: Seq::ZERO,
            cost_bytes: 0,
            oldest_us: 0,
        }
    }

    pub(crate) fn floor(&self) -> Seq {
        self.floor
    }

    /// The floor of the latest-only events. Below the ring's own it says nothing.
    pub(crate) fn latest_floor(&self) -> Seq {
        self.beside.as_ref().map_or(Seq::ZERO, |beside| beside.latest.floor())
    }

    /// The seq of the last event, latest-only events left out.
    pub(crate) fn last(&self) -> Seq {
        self.last
    }

    /// Nothing above this is here or missing.
    pub(crate) fn reach(&self) -> Seq {
        let reach_of = |latest: &LatestByKey| latest.floor().max(latest.last());
        let latest = self.beside.as_ref().map_or(Seq::ZERO, |beside| reach_of(&beside.latest));
        self.floor.max(self.last).max(latest)
    }

    pub(crate) fn cost_bytes(&self) -> usize {
        let beside = |beside: &Beside| {
            beside.latest.cost_bytes() + beside.state.as_ref().map_or(0, StateMap::cost_bytes)
        };
        self.cost_bytes + self.beside.as_deref().map_or(0, beside)
    }

    /// The events that readers may still get.
    pub(crate) fn len(&self) -> usize {
        self.events.len() + self.beside.as_ref().map_or(0, |beside| beside.latest.len())
    }

    /// The keys of the topic's state.
    pub(crate) fn keys(&self) -> usize {
        self.state().map_or(0, StateMap::len)
    }

    /// The state of the topic, if it keeps one.
    pub(crate) fn state(&self) -> Option<&StateMap> {
        self.beside.as_ref()?.state.as_ref()
    }

    /// Whether states hold every event of the topic above `after`, or the event that replaced it.
    pub(crate) fn state_covers(&self, after: Seq) -> bool {
        let Some(Beside { latest, state: Some(state) }) = self.beside.as_deref() else { return false };
        state.passed().max(latest.floor()).max(latest.last()) <= after
    }

    pub(crate) fn state_mut(&mut self) -> Option<&mut StateMap> {
        self.beside.as_mut()?.state.as_mut()
    }

    /// Appends an event; its seq is above every other.
    pub(crate) fn push(&mut self, event: Event, bounds: &Bounds) -> Evicted {
        let now_us = event.applied_us();
        if event.is_latest_only() {
            let count = self.beside.get_or_insert_default().latest.push(event, bounds.bytes_max);
            return Evicted { count, ..self.evict_aged(now_us, bounds) };
        }
        let keys_evicted = self.state_mut().map_or(0, |state| {
            if event.is_for_states() {
                return state.push(&event, now_us);
            }
            state.pass(event.seq().unwrap_or_default());
            0
        });
        self.last = event.seq().unwrap_or(self.last);
        self.cost_bytes += event.cost_bytes();
        self.oldest_us = if self.events.is_empty() { now_us } else { self.oldest_us.min(now_us) };
        self.events.push_back(event);
        let mut evicted = Evicted { state: keys_evicted, ..self.evict_aged(now_us, bounds) };
        while self.events.len() > bounds.events_max {
            self.evict_oldest(now_us);
            evicted.count += 1;
        }
        while self.cost_bytes > bounds.bytes_max && self.events.len() > 1 {
            self.evict_oldest(now_us);
            evicted.bytes += 1;
        }
        evicted
    }

    /// Drops what is older than the bounds allow.
    pub(crate) fn evict_aged(&mut self, now_us: u64, bounds: &Bounds) -> Evicted {
        let mut evicted = Evicted::default();
        let since_us = now_us.saturating_sub(bounds.age_us_max);
        if let Some(beside) = &mut self.beside {
            evicted.age += beside.latest.evict_aged(since_us);
            let has_latest = beside.latest.len() > 0 || beside.latest.floor() > self.floor;
            match &mut beside.state {
                Some(state) => state.evict_aged(now_us),
                None if !has_latest => self.beside = None,
                None => {}
            }
        }
        if self.oldest_us >= since_us {
            return evicted;
        }
        while self.events.front().is_some_and(|event| event.applied_us() < since_us) {
            self.evict_oldest(now_us);
            evicted.age += 1;
        }
        self.oldest_us = self.events.front().map_or(0, |event| event.applied_us());
        evicted
    }

    /// Drops one event because memory is short: a latest-only event before one that no reader may lose, and a key of
    /// the state last, which those who come late have nothing else for.
    pub(crate) fn give_way(&mut self, now_us: u64) -> bool {
        self.beside.as_mut().is_some_and(|beside| beside.latest.evict_oldest())
            || self.evict_oldest(now_us)
            || self.state_mut().is_some_and(StateMap::give_way)
    }

    /// Drops the oldest event. The floor rises to it, unless no reader needed it any more.
    pub(crate) fn evict_oldest(&mut self, now_us: u64) -> bool {
        let Some(event) = self.events.pop_front() else { return false };
        self.cost_bytes -= event.cost_bytes();
        if !event.is_expired(now_us) {
            self.floor = self.floor.max(event.seq().unwrap_or_default());
        }
        if self.events.is_empty() {
            self.events = VecDeque::new();
        } else if self.events.capacity() > 16 && self.events.len() * 4 <= self.events.capacity() {
            self.events.shrink_to(self.events.len() * 2);
        }
        true
    }

    /// What lies at or below `floor` can no longer be vouched for.
    pub(crate) fn raise_floor(&mut self, floor: Seq) {
        while self.events.front().is_some_and(|event| event.seq() <= Some(floor)) {
            self.evict_oldest(0);
        }
        self.floor = self.floor.max(floor);
        if let Some(beside) = &mut self.beside {
            beside.latest.raise_floor(floor);
        }
    }

    /// Starts over: nothing at or below `floor` is known, and the numbers before it mean nothing any more.
    pub(crate) fn restart(&mut self, floor: Seq) {
        let mut state = self.beside.take().and_then(|beside| beside.state);
        state.iter_mut().for_each(StateMap::clear);
        *self = Self::new(floor, state);
    }

    /// Drops every event above `to`: it never became history.
    pub(crate) fn truncate(&mut self, to: Seq, now_us: u64) {
        while let Some(event) = self.events.back().filter(|event| event.seq() > Some(to)) {
            self.cost_bytes -= event.cost_bytes();
            self.events.pop_back();
        }
        self.floor = self.floor.min(to);
        self.last = self.events.back().and_then(|event| event.seq()).unwrap_or(self.last.min(to));
        if let Some(Beside { latest, state }) = self.beside.as_deref_mut() {
            latest.truncate(to);
            state.iter_mut().for_each(|state| state.truncate(to, now_us));
        }
    }

    /// Whether a reader may be owed this event or has missed it. `false`: it was replaced, or its time to live is over.
    pub(crate) fn owes(&self, seq: Seq, now_us: u64) -> bool {
        let is_missing = seq <= self.floor.max(self.latest_floor());
        is_missing || self.at(seq).is_some_and(|event| !event.is_expired(now_us))
    }

    /// The events with a seq in (`after`, `up_to`], oldest first.
    pub(crate) fn range(&self, after: Seq, up_to: Seq) -> impl Iterator<Item = &Event> {
        self.from(self.index_after(after)).take_while(move |event| event.seq() <= Some(up_to))
    }

    /// Where the event `next` stands, the first above `after`. `hint`: where it stood a moment ago. Without that event,
    /// where the first above `after` stands.
    pub(crate) fn index_of(&self, next: Seq, hint: usize, after: Seq) -> usize {
        if self.events.get(hint).is_some_and(|event| event.seq() == Some(next)) {
            return hint;
        }
        self.index_after(after)
    }

    /// Where the first event above `after` stands.
    pub(crate) fn index_after(&self, after: Seq) -> usize {
        // Most reads want the newest one or two events: look from the back before searching.
        let newest = self.events.iter().rev().take(4).take_while(|event| event.seq() > Some(after)).count();
        if newest < 4 {
            self.events.len() - newest
        } else {
            self.events.partition_point(|event| event.seq() <= Some(after))
        }
    }

    /// The events from a place on, oldest first.
    pub(crate) fn from(&self, index: usize) -> impl Iterator<Item = &Event> {
        self.events.range(index..)
    }

    /// Bytes of JSON above `after`, of both kinds.
    pub(crate) fn bytes_after(&self, after: Seq) -> usize {
        let events = self.range(after, Seq::MAX).chain(self.latest_only(after, Seq::MAX));
        events.map(|event| event.json().len()).sum()
    }

    /// The latest-only events with a seq in (`after`, `up_to`], oldest first.
    pub(crate) fn latest_only(&self, after: Seq, up_to: Seq) -> impl Iterator<Item = &Event> {
        self.beside.iter().flat_map(move |beside| beside.latest.range(after, up_to))
    }

    /// The event with this seq, and the seq of the first behind it with the same key, if any.
    pub(crate) fn find(&self, seq: Seq) -> Option<(&Event, Option<Seq>)> {
        let event = self.at(seq)?;
        let mut behind = self.range(seq, Seq::MAX);
        let replaces = |later: &&Event| event.identity().is_some() && later.identity() == event.identity();
        Some((event, behind.find(replaces).and_then(|later| later.seq())))
    }

    fn at(&self, seq: Seq) -> Option<&Event> {
        let before = Seq::new(seq.number().checked_sub(1)?)?;
        self.range(before, seq).next().or_else(|| self.latest_only(before, seq).next())
    }

    /// Keeps an ephemeral event for readers that are attached. The latest of a type and key replaces the one before it.
    pub(crate) fn push_ephemeral(&mut self, event: Event) {
        let waiting = self.ephemeral.get_or_insert_default();
        if event.identity().is_some()
            && let Some(at) = waiting.iter().position(|old| old.identity() == event.identity())
            && let Some(old) = waiting.remove(at)
        {
            self.cost_bytes -= old.cost_bytes();
        }
        self.cost_bytes += event.cost_bytes();
        waiting.push_back(event);
        if waiting.len() > Self::EPHEMERAL_MAX {
            self.drop_oldest_ephemeral();
        }
    }

    /// Drops the ephemeral event that waited longest. `false` if there is none.
    pub(crate) fn drop_oldest_ephemeral(&mut self) -> bool {
        let Some(waiting) = &mut self.ephemeral else { return false };
        if let Some(old) = waiting.pop_front() {
            self.cost_bytes -= old.cost_bytes();
        }
        if waiting.is_empty() {
            self.ephemeral = None;
        }
        true
    }

    /// The ephemeral events with a number in (`after`, `up_to`], oldest first.
    pub(crate) fn ephemeral(&self, after: u64, up_to: u64) -> impl Iterator<Item = &Event> {
        let wanted = move |event: &&Event| event.number() > after && event.number() <= up_to;
        self.ephemeral.iter().flat_map(|waiting| waiting.iter()).filter(wanted)
    }

    /// Drops the ephemeral events applied before `oldest_us`: all readers of that time have seen them.
    pub(crate) fn drop_ephemeral(&mut self, oldest_us: u64) {
        let is_old =
            |waiting: &VecDeque<Event>| waiting.front().is_some_and(|event| event.applied_us() < oldest_us);
        while self.ephemeral.as_deref().is_some_and(is_old) {
            self.drop_oldest_ephemeral();
        }
    }
}
