//! All topics of the log, the cost of each, and the floor that a collected topic leaves behind.

use std::hash::BuildHasher as _;
use std::hint::black_box;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;

use crate::budget::{Budget, Rank, SlotId};
use crate::ring::{Bounds, Evicted, Ring};
use crate::state_map::{StateMap, StateRead, StateRules};
use crate::topic::TopicState;
use crate::topic_floors::{FloorSeed, TopicFloors};
use crate::{Event, Seq, Topic};

/// Number of events that left their rings, by cause, and of collected topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evictions {
    /// Too many events in the topic.
    pub count: u64,
    /// Too many bytes in the topic.
    pub bytes: u64,
    /// Event too old.
    pub age: u64,
    /// Too many bytes in the log.
    pub budget: u64,
    /// Keys that were evicted from the state of their topic, because it had too many keys or bytes.
    pub state: u64,
    /// Topics collected.
    pub topics: u64,
}

/// The topics by name and by slot. Only the log holds the directory, under its sequencer.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Slots by the hash of the topic's name. The name itself is in the slot.
    by_name: HashTable<SlotId>,
    /// Seeded separately for each log, so that a client cannot choose names that collide.
    hasher: DefaultHashBuilder,
    slots: Slab<Slot>,
    budget: Budget,
    /// The floors of topics that are not in the directory. A topic that is created again starts
    /// with its floor, so it never claims to have events that were dropped.
    floors: TopicFloors,
    /// The topics that keep their state; `None`: no topic does.
    state_rules: Option<StateRules>,
    /// Until this time, a topic that is created again may lack keys of its state.
    state_partial_until_us: u64,
    events: usize,
    /// Number of keys of all states.
    keys: usize,
    evictions: Evictions,
    /// The first slot of the next sweep.
    sweep_from: SlotId,
}

#[derive(Debug)]
struct Slot {
    topic: Arc<TopicState>,
    /// A copy of the topic's name: a lookup can compare it without waiting for the topic.
    name: Topic,
    /// The cost of the ring as charged to the budget.
    cost: usize,
    rank: Rank,
    /// Time of the last event, on the log's clock.
    active_us: u64,
}

impl Directory {
    /// Cost of a topic before its first event: its state, its slot, its name and its entries in the
    /// maps.
    const TOPIC_BYTES: usize = size_of::<TopicState>() + size_of::<Slot>() + 96;

    /// How many empty topics are tried, in search of one without readers, before an event is
    /// evicted.
    const EMPTY_TRIES: usize = 4;

    pub(crate) fn new(bytes_max: usize, seed: FloorSeed, state_rules: Option<StateRules>) -> Self {
        Self {
            by_name: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            slots: Slab::new(),
            budget: Budget::new(bytes_max),
            floors: TopicFloors::new(seed),
            state_rules,
            state_partial_until_us: 0,
            events: 0,
            keys: 0,
            evictions: Evictions::default(),
            sweep_from: 0,
        }
    }

    pub(crate) fn topics(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn events(&self) -> usize {
        self.events
    }

    pub(crate) fn keys(&self) -> usize {
        self.keys
    }

    pub(crate) fn bytes(&self) -> usize {
        self.budget.bytes()
    }

    pub(crate) fn evictions(&self) -> Evictions {
        self.evictions
    }

    pub(crate) fn find(&self, name: &Topic) -> Option<&Arc<TopicState>> {
        self.find_slot(name, self.hash(name)).map(|id| self.topic(id))
    }

    fn hash(&self, name: &Topic) -> u64 {
        self.hasher.hash_one(name.as_str())
    }

    fn find_slot(&self, name: &Topic, hash: u64) -> Option<SlotId> {
        self.by_name.find(hash, |&id| self.slots[id as usize].name == *name).copied()
    }

    /// The topic with this name. The topic is created if it does not exist.
    pub(crate) fn enter(&mut self, name: &Topic, now_us: u64) -> SlotId {
        let hash = self.hash(name);
        if let Some(id) = self.find_slot(name, hash) {
            return id;
        }
        let topic = Arc::new(TopicState::new(name.clone(), self.floors.of(name), self.empty_state(name)));
        let entry = self.slots.vacant_entry();
        let id = entry.key() as SlotId;
        let rank = self.budget.enter(id, Self::TOPIC_BYTES);
        entry.insert(Slot { topic, name: name.clone(), cost: 0, rank, active_us: now_us });
        let (slots, hasher) = (&self.slots, &self.hasher);
        let rehash = |&id: &SlotId| hasher.hash_one(slots[id as usize].name.as_str());
        self.by_name.insert_unique(hash, id, rehash);
        id
    }

    /// Prefetches the memory that [`Directory::push`] will change, without waiting for it.
    pub(crate) fn foresee(&self, id: SlotId) {
        let topic = self.topic(id);
        black_box(Arc::strong_count(topic));
        topic.foresee();
    }

    pub(crate) fn topic(&self, id: SlotId) -> &Arc<TopicState> {
        &self.slots[id as usize].topic
    }

    /// Appends an event to a topic's ring.
    pub(crate) fn push(&mut self, id: SlotId, event: Event, bounds: &Bounds) {
        self.slots[id as usize].active_us = event.applied_us();
        let Evicted { count, bytes, age, state } = self.change(id, |ring| ring.push(event, bounds));
        self.evictions.count += count;
        self.evictions.state += state;
        self.evictions.bytes += bytes;
        self.evictions.age += age;
    }

    /// The topic with this name, if it has readers.
    pub(crate) fn find_attached(&self, name: &Topic) -> Option<SlotId> {
        self.find_slot(name, self.hash(name)).filter(|&id| self.topic(id).is_attached())
    }

    /// Keeps an ephemeral event for the attached readers.
    pub(crate) fn push_ephemeral(&mut self, id: SlotId, event: Event) {
        self.topic(id).push_ephemeral(event);
        self.change(id, |_| ());
    }

    /// Changes a topic's ring and updates the accounts.
    pub(crate) fn change<R>(&mut self, id: SlotId, change: impl FnOnce(&mut Ring) -> R) -> R {
        let slot = &mut self.slots[id as usize];
        let (result, events, keys, cost) = slot.topic.write(|ring| {
            let (events, keys) = (ring.len() as isize, ring.keys() as isize);
            let result = change(ring);
            (result, ring.len() as isize - events, ring.keys() as isize - keys, ring.cost_bytes())
        });
        self.events = self.events.saturating_add_signed(events);
        self.keys = self.keys.saturating_add_signed(keys);
        let before = std::mem::replace(&mut slot.cost, cost);
        let mut rank = slot.rank;
        let slots = &mut self.slots;
        self.budget.update(id, &mut rank, before, cost, |other, at| slots[other as usize].rank = at);
        self.slots[id as usize].rank = rank;
        result
    }

    /// Removes everything above `end`. It never became history, and nothing can be missing there.
    pub(crate) fn truncate(&mut self, end: Seq, now_us: u64) {
        self.change_all(|ring| ring.truncate(end, now_us));
        self.floors.lower(end);
    }

    /// Changes every ring.
    fn change_all(&mut self, mut change: impl FnMut(&mut Ring)) {
        let ids: Vec<SlotId> = self.by_name.iter().copied().collect();
        for id in ids {
            self.change(id, &mut change);
        }
    }

    /// Removes everything: history starts again after `start`. If `start` is not zero, states may
    /// lack keys until they are known to be complete.
    pub(crate) fn restart(&mut self, start: Seq, now_us: u64) {
        self.change_all(|ring| ring.restart(start));
        self.floors.lower(Seq::ZERO);
        self.state_partial_until_us = 0;
        if start > Seq::ZERO {
            self.lack_state(now_us);
        }
    }

    /// The topics that keep their state; `None`: no topic does.
    pub(crate) fn state_rules(&self) -> Option<&StateRules> {
        self.state_rules.as_ref()
    }

    /// Until this time, a topic that is not in the directory may lack keys of its state.
    pub(crate) fn state_partial_until_us(&self) -> u64 {
        self.state_partial_until_us
    }

    /// Counts keys that were evicted from their states because of a bound.
    pub(crate) fn keys_evicted(&mut self, keys: u64) {
        self.evictions.state += keys;
    }

    /// The initial state of a topic, if it keeps one.
    pub(crate) fn empty_state(&self, name: &Topic) -> Option<StateMap> {
        let mut state = self.state_rules.as_ref().filter(|rules| rules.include(name))?.empty();
        state.lack(self.state_partial_until_us);
        Some(state)
    }

    /// A read of the state of a topic that is not in the directory: empty. `None`: the topic keeps
    /// no state.
    pub(crate) fn no_state(&self, name: &Topic, now_us: u64) -> Option<StateRead> {
        self.state_rules.as_ref().filter(|rules| rules.include(name))?;
        let partial = self.state_partial_until_us > now_us;
        Some(StateRead { next: None, partial, changed: Some(self.floors.of(name)), known: Seq::ZERO })
    }

    /// Marks all states as possibly incomplete from now on, for as long as keys are kept.
    pub(crate) fn lack_state(&mut self, now_us: u64) {
        let Some(rules) = &self.state_rules else { return };
        let until_us = now_us.saturating_add(rules.age_us_max());
        self.state_partial_until_us = self.state_partial_until_us.max(until_us);
        self.change_all(|ring| ring.state_mut().into_iter().for_each(|state| state.lack(until_us)));
    }

    /// Marks the state of this topic as possibly incomplete from now on.
    pub(crate) fn lack_state_of(&mut self, id: SlotId, now_us: u64) {
        let Some(rules) = &self.state_rules else { return };
        let until_us = now_us.saturating_add(rules.age_us_max());
        self.change(id, |ring| ring.state_mut().into_iter().for_each(|state| state.lack(until_us)));
    }

    /// Clears all states. Until `partial_until_us`, any state may lack keys.
    pub(crate) fn restart_states(&mut self, partial_until_us: u64) {
        self.state_partial_until_us = partial_until_us;
        self.change_all(|ring| {
            ring.state_mut().into_iter().for_each(|state| {
                state.clear();
                state.lack(partial_until_us);
            });
        });
    }

    /// Takes over the floors of an earlier process.
    pub(crate) fn resume(&mut self, floors: TopicFloors) {
        let ids: Vec<SlotId> = self.by_name.iter().copied().collect();
        for id in ids {
            let floor = floors.of(&self.slots[id as usize].name);
            self.change(id, |ring| ring.raise_floor(floor));
        }
        self.floors = floors;
    }

    /// Whether a reader of the topic may still have to get this event, or has missed it. `false`:
    /// the event was replaced or its time to live is over, so it is no loss.
    pub(crate) fn owes(&self, name: &Topic, seq: Seq, now_us: u64) -> bool {
        match self.find(name) {
            Some(topic) => topic.read(|ring| ring.owes(seq, now_us)),
            None => self.floors.of(name) >= seq,
        }
    }

    /// All topics.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<TopicState>> {
        self.slots.iter().map(|(_, slot)| &slot.topic)
    }

    /// The topics in up to `slots_max` slots, beginning with the slot `from`, and the next slot to
    /// read; `None`: there is none.
    pub(crate) fn some(&self, from: usize, slots_max: usize) -> (Vec<Arc<TopicState>>, Option<usize>) {
        let end = from.saturating_add(slots_max).min(self.slots.capacity());
        let topics = (from..end).filter_map(|id| self.slots.get(id)).map(|slot| Arc::clone(&slot.topic));
        (topics.collect(), (end < self.slots.capacity()).then_some(end))
    }

    /// Makes room until the budget holds. Collects empty topics without readers, and evicts events
    /// from the heaviest rings. Any remaining excess is the fixed cost of topics.
    pub(crate) fn enforce_budget(&mut self, now_us: u64) {
        while self.budget.is_exceeded() {
            if self.collect_an_empty(now_us) {
                continue;
            }
            let Some(id) = self.budget.heaviest() else { return };
            if !self.change(id, Ring::drop_oldest_ephemeral) {
                self.change(id, |ring| ring.give_way(now_us));
                self.evictions.budget += 1;
            }
        }
    }

    fn collect_an_empty(&mut self, now_us: u64) -> bool {
        (0..Self::EMPTY_TRIES).any(|_| self.budget.empty().is_some_and(|id| self.collect(id, now_us)))
    }

    /// Visits up to `slots_max` topics. Evicts events that are too old, drops old ephemeral events,
    /// which all readers have seen, and collects topics without readers that had no event since
    /// `idle_since_us`, or never. Then makes room for the topics that readers have created.
    pub(crate) fn sweep(&mut self, slots_max: usize, now_us: u64, bounds: &Bounds, idle_since_us: u64) {
        let ephemeral_since_us = now_us.saturating_sub(EPHEMERAL_AGE_US);
        let capacity = self.slots.capacity() as SlotId;
        let end =
            self.sweep_from.saturating_add(SlotId::try_from(slots_max).unwrap_or(SlotId::MAX)).min(capacity);
        for id in self.sweep_from..end {
            let Some(slot) = self.slots.get(id as usize) else { continue };
            let idle = slot.active_us < idle_since_us || self.budget.is_exceeded();
            let (evicted, empty, unused) = self.change(id, |ring| {
                ring.drop_ephemeral(ephemeral_since_us);
                let evicted = ring.evict_aged(now_us, bounds);
                (evicted, ring.len() == 0 && ring.keys() == 0, ring.reach() == Seq::ZERO)
            });
            self.evictions.age += evicted.age;
            if empty && (idle || unused) {
                self.collect(id, now_us);
            }
        }
        self.sweep_from = if end == capacity { 0 } else { end };
        self.enforce_budget(now_us);
    }

    /// Removes a topic without readers, and leaves a floor for its events. `false`: the topic has
    /// readers.
    fn collect(&mut self, id: SlotId, now_us: u64) -> bool {
        if self.topic(id).is_attached() {
            return false;
        }
        self.change(id, |ring| while ring.give_way(now_us) {});
        let Slot { topic, name, cost, rank, .. } = self.slots.remove(id as usize);
        let slots = &mut self.slots;
        self.budget.leave(rank, Self::TOPIC_BYTES + cost, |other, at| slots[other as usize].rank = at);
        let hash = self.hash(&name);
        if let Ok(entry) = self.by_name.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        self.floors.raise(&name, topic.read(|ring| ring.floor().max(ring.latest_floor())));
        let partial_until_us = topic.read(|ring| ring.state().map_or(0, StateMap::partial_until_us));
        self.state_partial_until_us = self.state_partial_until_us.max(partial_until_us);
        self.evictions.topics += 1;
        true
    }
}

/// How long an ephemeral event is kept for readers with a batch interval, which is at most one
/// minute.
const EPHEMERAL_AGE_US: u64 = 65_000_000;
