//! The states of topics in the log: keeping, reading and loading them.

use std::sync::Arc;
use std::time::Duration;

use crate::event::Sequenced;
use crate::log::{Sequencer, us_of};
use crate::state_map::{KeptState, StateMap, StateRead, StateRules};
use crate::{Event, Limit, Log, Seq, Topic};

/// The relation of an event that a store is about to drop to the state of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateFate {
    /// The topic keeps no state.
    None,
    /// The event is the latest of its key.
    Latest,
    /// The event is no longer part of the state: it was replaced, it is a tombstone, or it was
    /// dropped.
    Gone,
}

impl Log {
    /// Replaces all states by those that a store has kept.
    pub(crate) fn apply_states(&self, topics: &[KeptState], partial: Duration) {
        let mut writer = self.writer.lock();
        let Sequencer { directory, stamp, json, .. } = &mut *writer;
        let now_us = self.now_us();
        let until_us = |partial: Duration| if partial.is_zero() { 0 } else { now_us + us_of(partial) };
        directory.restart_states(until_us(partial));
        for KeptState { topic, events, partial } in topics {
            let id = directory.enter(topic, now_us);
            let events = events.iter().filter_map(|Sequenced { seq, time_ms, age_ms, draft }| {
                stamp.set(*time_ms);
                let applied_us = now_us.saturating_sub(age_ms.saturating_mul(1000));
                Some(Event::encode(draft, topic, (*seq)?.number(), stamp, applied_us, json))
            });
            let mut evicted = 0;
            directory.change(id, |ring| {
                let Some(state) = ring.state_mut() else { return };
                state.lack(until_us(*partial));
                evicted = events.map(|event| state.push(&event, now_us)).sum();
                state.evict_aged(now_us);
            });
            directory.keys_evicted(evicted);
        }
        directory.enforce_budget(now_us);
    }

    /// Reads a part of the state of a topic: the events with a seq in (`after`, `up_to`]. `up_to`
    /// must be at or below the tail. `None`: the topic keeps no state.
    pub fn state(
        &self,
        topic: &Topic,
        after: Seq,
        up_to: Seq,
        limit: Limit,
        out: &mut Vec<Event>,
    ) -> Option<StateRead> {
        let now_us = self.now_us();
        let found = {
            let directory = &self.writer.lock().directory;
            match directory.find(topic) {
                Some(found) => Arc::clone(found),
                None => return directory.no_state(topic, now_us),
            }
        };
        let since = self.since();
        found.read(|ring| {
            let part = ring.state()?.part(after, up_to, now_us, limit, |_| true, out);
            // An event that left the ring may have been a tombstone.
            let changed = part.changed.map(|changed| changed.max(ring.floor()).max(since));
            Some(StateRead { changed, ..part })
        })
    }

    /// Bytes of the states of these topics, for the topics that keep one.
    #[must_use]
    pub fn state_bytes(&self, topics: &[Topic]) -> usize {
        let directory = &self.writer.lock().directory;
        let bytes_of = |topic| directory.find(topic)?.read(|ring| ring.state().map(StateMap::cost_bytes));
        topics.iter().filter_map(bytes_of).sum()
    }

    /// Whether any topic keeps its state.
    pub(crate) fn keeps_states(&self) -> bool {
        self.writer.lock().directory.state_rules().is_some()
    }

    /// The topics that keep their states, and the bounds of the states.
    pub(crate) fn state_rules(&self) -> Option<StateRules> {
        self.writer.lock().directory.state_rules().cloned()
    }

    /// The topics that keep their states, as one text that changes when they change.
    pub(crate) fn state_topics(&self) -> String {
        let writer = self.writer.lock();
        writer.directory.state_rules().map_or_else(String::new, |rules| rules.to_string())
    }

    /// How long keys are kept after their last event.
    pub(crate) fn state_age(&self) -> Duration {
        let writer = self.writer.lock();
        let age_us = writer.directory.state_rules().map_or(0, |rules| rules.age_us_max());
        Duration::from_micros(age_us)
    }

    /// The relation of an event to the state of a topic.
    pub(crate) fn state_fate(&self, topic: &Topic, seq: Seq) -> StateFate {
        let directory = &self.writer.lock().directory;
        if !directory.state_rules().is_some_and(|rules| rules.include(topic)) {
            return StateFate::None;
        }
        let found = directory.find(topic);
        let is_latest =
            found.is_some_and(|topic| topic.read(|ring| ring.state().is_some_and(|state| state.has(seq))));
        if is_latest { StateFate::Latest } else { StateFate::Gone }
    }

    /// For how long the state of a topic may lack keys. `None` means any topic that is not in the
    /// directory. Zero: no key is missing.
    pub(crate) fn state_partial(&self, topic: Option<&Topic>) -> Duration {
        let now_us = self.now_us();
        let directory = &self.writer.lock().directory;
        let until_us = match topic.map(|topic| directory.find(topic)) {
            Some(Some(topic)) => topic.read(|ring| ring.state().map_or(0, StateMap::partial_until_us)),
            Some(None) | None => directory.state_partial_until_us(),
        };
        Duration::from_micros(until_us.saturating_sub(now_us))
    }
}
