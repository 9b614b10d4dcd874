//! The state of a topic: the latest event of each key, kept beyond the ring.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use crate::event::Sequenced;
use crate::{Event, Limit, Seq, Topic, TopicPattern};

/// The topics that keep their state, and the bounds of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateOptions {
    /// The topics.
    pub topics: Vec<TopicPattern>,
    /// Most keys of one topic, at least 1.
    pub keys_max: usize,
    /// Most bytes of the state of one topic, including overhead. The newest event stays regardless
    /// of its size.
    pub bytes_max: usize,
    /// How long a key is kept after its last event.
    pub age_max: Duration,
}

/// The same options in the units of the log.
#[derive(Clone, Debug)]
pub(crate) struct StateRules {
    topics: Vec<TopicPattern>,
    bounds: StateBounds,
}

#[derive(Clone, Copy, Debug)]
struct StateBounds {
    keys_max: usize,
    bytes_max: usize,
    age_us_max: u64,
}

impl StateRules {
    pub(crate) fn new(options: &StateOptions) -> Self {
        let &StateOptions { ref topics, keys_max, bytes_max, age_max } = options;
        let age_us_max = u64::try_from(age_max.as_micros()).unwrap_or(u64::MAX);
        let bounds = StateBounds { keys_max: keys_max.max(1), bytes_max, age_us_max };
        Self { topics: topics.clone(), bounds }
    }

    /// Whether this topic keeps its state.
    pub(crate) fn include(&self, topic: &Topic) -> bool {
        self.topics.iter().any(|pattern| pattern.matches(topic))
    }

    /// The empty state of a topic.
    pub(crate) fn empty(&self) -> StateMap {
        StateMap::new(self.bounds)
    }

    /// Most keys of one topic.
    pub(crate) fn keys_max(&self) -> usize {
        self.bounds.keys_max
    }

    /// Most bytes of the state of one topic.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bounds.bytes_max
    }

    /// How long a key is kept, in microseconds.
    pub(crate) fn age_us_max(&self) -> u64 {
        self.bounds.age_us_max
    }
}

impl fmt::Display for StateRules {
    /// The topics, sorted, separated by commas.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut topics: Vec<String> = self.topics.iter().map(ToString::to_string).collect();
        topics.sort_unstable();
        f.write_str(&topics.join(","))
    }
}

/// A part of the state of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRead {
    /// The next part begins after this seq; `None`: this is the last part.
    pub next: Option<Seq>,
    /// Whether keys may be missing, because there were too many or because history was lost.
    pub partial: bool,
    /// The state was the same at every point from this seq on. `None`: no such seq is known.
    pub changed: Option<Seq>,
    /// The last event with a key that the topic had at the time of the read.
    pub known: Seq,
}

/// The state of a topic that a store has kept.
#[derive(Clone, Debug)]
pub struct KeptState {
    /// The topic.
    pub topic: Topic,
    /// The latest event of each key, in any order.
    pub events: Vec<Sequenced>,
    /// For how long the topic may lack keys.
    pub partial: Duration,
}

impl KeptState {
    /// An empty state without missing keys.
    pub(crate) fn empty(topic: Topic) -> Self {
        Self { topic, events: Vec::new(), partial: Duration::ZERO }
    }
}

/// The latest event of each key, in the order of their seqs. A key whose latest event has the data
/// `null` is absent.
///
/// A snapshot at a point of the log consists of the events here with a seq up to that point. An
/// event after that point replaces the earlier event of its key, and readers get it from the ring.
/// The parts of a snapshot can therefore be read one after the other while the state changes: the
/// parts and the events after the point together make up the state, and contain each change once.
#[derive(Debug)]
pub(crate) struct StateMap {
    bounds: StateBounds,
    events: BTreeMap<Seq, Event>,
    /// The seq of a key's latest event, by [`Event::state_key`].
    by_key: HashMap<Box<[u8]>, Seq>,
    /// The events with a time to live, by the time of its end.
    expiring: BTreeSet<(u64, Seq)>,
    /// The last event of the topic with a key.
    last: Seq,
    /// The topic may have lost events up to this seq that no state holds.
    passed: Seq,
    /// Whether the state is unchanged since that event: no key has been dropped since.
    is_as_of_last: bool,
    cost_bytes: usize,
    /// Until this time, keys may be missing.
    partial_until_us: u64,
}

impl StateMap {
    /// Cost of a key besides its event and its text: its entries in the maps.
    const KEY_BYTES: usize = 96;

    fn new(bounds: StateBounds) -> Self {
        Self {
            bounds,
            events: BTreeMap::new(),
            by_key: HashMap::new(),
            expiring: BTreeSet::new(),
            last: Seq::ZERO,
            passed: Seq::ZERO,
            is_as_of_last: true,
            cost_bytes: 0,
            partial_until_us: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn cost_bytes(&self) -> usize {
        self.cost_bytes
    }

    pub(crate) fn has(&self, seq: Seq) -> bool {
        self.events.contains_key(&seq)
    }

    /// The time until which keys may be missing.
    pub(crate) fn partial_until_us(&self) -> u64 {
        self.partial_until_us
    }

    /// Marks the state as possibly incomplete until `until_us`.
    pub(crate) fn lack(&mut self, until_us: u64) {
        self.partial_until_us = self.partial_until_us.max(until_us);
    }

    /// Notes an event without a key, or a floor: the topic may lose events up to this seq.
    pub(crate) fn pass(&mut self, seq: Seq) {
        self.passed = self.passed.max(seq);
    }

    /// Above this seq, the topic has only events that states hold.
    pub(crate) fn passed(&self) -> Seq {
        self.passed
    }

    /// Adds an event with a key, unless the state has a later event of the key. Returns the number
    /// of evicted keys.
    pub(crate) fn push(&mut self, event: &Event, now_us: u64) -> u64 {
        let seq = event.seq().unwrap_or_default();
        let key = event.state_key();
        (self.last, self.is_as_of_last) = (self.last.max(seq), true);
        match self.by_key.get(&*key) {
            Some(&old) if old >= seq => return 0,
            Some(&old) => self.remove(old),
            None => None,
        };
        if event.data() == b"null" {
            return 0;
        }
        self.cost_bytes += Self::cost_of(event, &key);
        self.by_key.insert(key.into(), seq);
        if event.can_expire() {
            self.expiring.insert((event.expires_us(), seq));
        }
        self.events.insert(seq, event.clone());
        if !self.is_exceeded() {
            return 0;
        }
        self.evict_aged(now_us);
        let mut evicted = 0;
        while self.is_exceeded() && self.give_way() {
            evicted += 1;
        }
        evicted
    }

    fn is_exceeded(&self) -> bool {
        let StateBounds { keys_max, bytes_max, .. } = self.bounds;
        self.len() > keys_max || (self.cost_bytes > bytes_max && self.len() > 1)
    }

    /// Drops the keys whose time is over. They do not count as missing.
    pub(crate) fn evict_aged(&mut self, now_us: u64) {
        while let Some(&(expires_us, seq)) = self.expiring.first()
            && expires_us <= now_us
        {
            self.drop_key(seq);
        }
        let oldest_us = now_us.saturating_sub(self.bounds.age_us_max);
        while let Some((&seq, event)) = self.events.first_key_value()
            && event.applied_us() < oldest_us
        {
            self.drop_key(seq);
        }
    }

    fn drop_key(&mut self, seq: Seq) {
        self.remove(seq);
        self.is_as_of_last = false;
    }

    /// Drops the key with the oldest change, and marks the state as possibly incomplete. `false`:
    /// there is no key.
    pub(crate) fn give_way(&mut self) -> bool {
        let Some((&seq, event)) = self.events.first_key_value() else { return false };
        let until_us = event.applied_us().saturating_add(self.bounds.age_us_max).min(event.expires_us());
        self.lack(until_us);
        self.drop_key(seq);
        true
    }

    /// Drops every event above `to`: it never became history. The events that it replaced are lost
    /// too.
    pub(crate) fn truncate(&mut self, to: Seq, now_us: u64) {
        self.passed = self.passed.min(to);
        if self.last <= to {
            return;
        }
        let phantoms: Vec<Seq> = self.events.range(to.next()..).map(|(seq, _)| *seq).collect();
        phantoms.into_iter().for_each(|seq| self.drop_key(seq));
        (self.last, self.is_as_of_last) = (to, false);
        self.lack(now_us.saturating_add(self.bounds.age_us_max));
    }

    /// Clears the state.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.bounds);
    }

    /// Appends to `out` the wanted events with a seq in (`after`, `up_to`], oldest first, within
    /// the limit but at least one.
    pub(crate) fn part(
        &self,
        after: Seq,
        up_to: Seq,
        now_us: u64,
        limit: Limit,
        wants: impl Fn(&Event) -> bool,
        out: &mut Vec<Event>,
    ) -> StateRead {
        let changed = self.is_as_of_last.then_some(self.last);
        let partial = self.partial_until_us > now_us;
        let mut whole = StateRead { next: None, partial, changed, known: self.last };
        let oldest_us = now_us.saturating_sub(self.bounds.age_us_max);
        let (mut last, mut count, mut bytes) = (after, 0, 0);
        for (&seq, event) in self.events.range(after.next()..).take_while(|(seq, _)| **seq <= up_to) {
            if event.applied_us() < oldest_us || event.is_expired(now_us) {
                whole.changed = None;
                continue;
            }
            if !wants(event) {
                continue;
            }
            // Includes the comma that separates the event from the previous one.
            bytes += event.json().len() + 1;
            if count > 0 && (count >= limit.events || bytes > limit.bytes) {
                return StateRead { next: Some(last), ..whole };
            }
            (last, count) = (seq, count + 1);
            out.push(event.clone());
        }
        whole
    }

    fn remove(&mut self, seq: Seq) -> Option<Event> {
        let event = self.events.remove(&seq)?;
        let key = event.state_key();
        self.cost_bytes -= Self::cost_of(&event, &key);
        self.by_key.remove(&*key);
        if event.can_expire() {
            self.expiring.remove(&(event.expires_us(), seq));
        }
        Some(event)
    }

    /// Cost of an event. The event counts here too while its ring holds it.
    fn cost_of(event: &Event, key: &[u8]) -> usize {
        event.cost_bytes() + key.len() + Self::KEY_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;
    use crate::{Data, Draft, Key, Topics};

    fn state(keys_max: usize) -> StateMap {
        let age_max = Duration::from_micros(1000);
        StateRules::new(&StateOptions { topics: Vec::new(), keys_max, bytes_max: 1 << 20, age_max }).empty()
    }

    fn event_of(seq: u64, key: Key, data: Data, ttl_ms: Option<u64>) -> Event {
        let topics = Topics::one("job:1".parse().unwrap());
        let draft = Draft { key: Some(key), ttl_ms, ..Draft::new(topics, "progress".parse().unwrap(), data) };
        Event::encode(&draft, &draft.topics.as_slice()[0], seq, &Timestamp::new(0), seq, &mut Vec::new())
    }

    fn event(seq: u64, key: &str) -> Event {
        event_of(seq, key.parse().unwrap(), Data::from_value(&seq).unwrap(), None)
    }

    fn tombstone(seq: u64, key: &str) -> Event {
        event_of(seq, key.parse().unwrap(), Data::null(), None)
    }

    fn seq(number: u64) -> Seq {
        Seq::new(number).unwrap()
    }

    /// The seqs up to `up_to`, in parts of one event, and whether the last part is partial.
    fn seqs(state: &StateMap, up_to: u64, now_us: u64) -> (Vec<u64>, bool) {
        let (mut seqs, mut after) = (Vec::new(), Seq::ZERO);
        for _ in 0..100 {
            let mut out = Vec::new();
            let limit = Limit { events: 1, bytes: 1 };
            let part = state.part(after, seq(up_to), now_us, limit, |_| true, &mut out);
            seqs.extend(out.iter().filter_map(Event::seq).map(Seq::number));
            match part.next {
                Some(next) => after = next,
                None => return (seqs, part.partial),
            }
        }
        panic!("the parts do not end");
    }

    #[test]
    fn a_snapshot_leaves_what_changed_behind_its_point_to_those_who_follow() {
        let mut state = state(10);
        for (at, key) in [(1, "a"), (2, "b"), (3, "c"), (4, "a")] {
            state.push(&event(at, key), at);
        }
        assert_eq!(seqs(&state, 4, 4), (vec![2, 3, 4], false));
        assert_eq!(seqs(&state, 3, 4), (vec![2, 3], false), "`a` has changed since");
        state.push(&tombstone(5, "b"), 5);
        assert_eq!(seqs(&state, 4, 5), (vec![3, 4], false), "`b` is gone, which the log says");
        state.push(&event(2, "b"), 5);
        state.push(&event(1, "c"), 5);
        assert_eq!(seqs(&state, 9, 5), (vec![2, 3, 4], false), "an older event replaces none");
        assert_eq!(state.len(), state.by_key.len());
    }

    #[test]
    fn one_key_of_two_users_is_two_keys() {
        let mut state = state(10);
        let key: Key = "k".parse().unwrap();
        for (at, owner) in [(1, "alice"), (2, "bob"), (3, "alice")] {
            state.push(&event_of(at, key.clone().owned_by(owner), Data::from_value(&at).unwrap(), None), at);
        }
        assert_eq!(seqs(&state, 9, 3).0, [2, 3]);
    }

    #[test]
    fn too_many_keys_are_told_for_as_long_as_they_would_have_been_kept() {
        let mut state = state(2);
        assert_eq!((1..=3).map(|at| state.push(&event(at, &format!("k{at}")), at)).sum::<u64>(), 1);
        assert_eq!(seqs(&state, 9, 3), (vec![2, 3], true));
        assert_eq!(seqs(&state, 9, 1000), (vec![2, 3], true));
        assert_eq!(seqs(&state, 9, 1001), (vec![2, 3], false), "the first would be gone by now");
        while state.give_way() {}
        assert_eq!((state.cost_bytes(), state.by_key.len(), seqs(&state, 9, 4)), (0, 0, (vec![], true)));
    }

    #[test]
    fn what_is_too_old_or_expired_goes_without_a_word() {
        let mut state = state(10);
        state.push(&event_of(1, "a".parse().unwrap(), Data::from_value(&1).unwrap(), Some(1)), 1);
        state.push(&event(2, "b"), 2);
        state.push(&event(900, "c"), 900);
        assert_eq!(seqs(&state, 999, 1000), (vec![1, 2, 900], false));
        assert_eq!(seqs(&state, 999, 1001), (vec![2, 900], false));
        assert_eq!(seqs(&state, 999, 1003), (vec![900], false));
        state.evict_aged(1003);
        assert_eq!((state.len(), state.by_key.len(), state.expiring.len()), (1, 1, 0));
        state.evict_aged(1901);
        assert_eq!((state.len(), state.cost_bytes()), (0, 0));
    }

    #[test]
    fn a_truncated_history_takes_its_keys_and_says_that_others_may_be_missing() {
        let mut state = state(10);
        for (at, key) in [(1, "a"), (2, "b"), (3, "a")] {
            state.push(&event(at, key), at);
        }
        state.truncate(seq(3), 3);
        assert_eq!(seqs(&state, 9, 3), (vec![2, 3], false), "nothing was above");
        state.truncate(seq(2), 3);
        assert_eq!(seqs(&state, 9, 3), (vec![2], true), "what `a` was before is not known");
        state.clear();
        assert_eq!(seqs(&state, 9, 3), (vec![], false));
    }
}
