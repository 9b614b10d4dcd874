//! The latest event of each key, which a topic keeps beside its ring for types where only the
//! latest matters.

use std::collections::{BTreeMap, HashMap};

use crate::{Event, Seq};

/// The latest event of each key, in the order of their seqs.
///
/// A replaced event is no loss: a reader that has not seen it gets its replacement. Only an
/// eviction because of the bounds or the age raises the floor.
#[derive(Debug, Default)]
pub(crate) struct LatestByKey {
    events: BTreeMap<Seq, Event>,
    /// The seq of a key's latest event.
    latest: HashMap<Box<[u8]>, Seq>,
    floor: Seq,
    last: Seq,
    cost_bytes: usize,
}

impl LatestByKey {
    /// Most keys of one topic.
    const KEYS_MAX: usize = 10_000;

    pub(crate) fn floor(&self) -> Seq {
        self.floor
    }

    pub(crate) fn last(&self) -> Seq {
        self.last
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn cost_bytes(&self) -> usize {
        self.cost_bytes
    }

    /// Adds an event, which replaces the event with the same key. Returns the number of other
    /// events that were evicted.
    pub(crate) fn push(&mut self, event: Event, bytes_max: usize) -> u64 {
        let seq = event.seq().unwrap_or_default();
        self.last = seq;
        self.cost_bytes += Self::cost_of(&event);
        let before = self.latest.insert(event.key().into(), seq);
        if let Some(old) = before.and_then(|seq| self.events.remove(&seq)) {
            self.cost_bytes -= Self::cost_of(&old);
        }
        self.events.insert(seq, event);
        let mut evicted = 0;
        while self.len() > Self::KEYS_MAX || (self.cost_bytes > bytes_max && self.len() > 1) {
            self.evict_oldest();
            evicted += 1;
        }
        evicted
    }

    /// Drops events applied before `oldest_us`. Returns their number.
    pub(crate) fn evict_aged(&mut self, oldest_us: u64) -> u64 {
        let mut evicted = 0;
        while self.events.first_key_value().is_some_and(|(_, event)| event.applied_us() < oldest_us) {
            self.evict_oldest();
            evicted += 1;
        }
        evicted
    }

    /// Drops the oldest event and raises the floor to its seq. `false`: there is no event.
    pub(crate) fn evict_oldest(&mut self) -> bool {
        let Some((seq, event)) = self.events.pop_first() else { return false };
        self.forget(&event);
        self.floor = self.floor.max(seq);
        true
    }

    /// Raises the floor: at or below it, completeness is no longer guaranteed.
    pub(crate) fn raise_floor(&mut self, floor: Seq) {
        while self.events.first_key_value().is_some_and(|(seq, _)| *seq <= floor) {
            self.evict_oldest();
        }
        self.floor = self.floor.max(floor);
    }

    /// Drops every event above `to`: it never became history. The events that it replaced are lost
    /// too, so completeness up to `to` is no longer guaranteed either.
    pub(crate) fn truncate(&mut self, to: Seq) {
        if self.last <= to {
            return;
        }
        for (_, event) in self.events.split_off(&to.next()) {
            self.forget(&event);
        }
        self.last = to;
        self.floor = to;
    }

    /// The events with a seq in (`after`, `up_to`], oldest first.
    pub(crate) fn range(&self, after: Seq, up_to: Seq) -> impl Iterator<Item = &Event> {
        // With `up_to` below `after`, as in a mere check, the range is empty.
        self.events
            .range(after.next()..)
            .map(|(_, event)| event)
            .take_while(move |event| event.seq() <= Some(up_to))
    }

    fn forget(&mut self, event: &Event) {
        self.cost_bytes -= Self::cost_of(event);
        self.latest.remove(event.key());
    }

    /// Cost of an event. The key is stored a second time, and both maps have an entry for the
    /// event.
    fn cost_of(event: &Event) -> usize {
        event.cost_bytes() + event.key().len() + 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;
    use crate::{Data, Draft, Topics};

    const BYTES_MAX: usize = 1 << 30;

    fn event(seq: u64, kind: &str, key: &str) -> Event {
        let draft = Draft {
            key: Some(key.parse().unwrap()),
            ..Draft::new(Topics::one("room:1".parse().unwrap()), kind.parse().unwrap(), Data::null())
        };
        Event::encode(&draft, &draft.topics.as_slice()[0], seq, &Timestamp::new(0), seq, &mut Vec::new())
    }

    fn seqs(latest: &LatestByKey, after: u64) -> Vec<u64> {
        latest.range(Seq::new(after).unwrap(), Seq::MAX).map(|event| event.seq().unwrap().number()).collect()
    }

    #[test]
    fn the_latest_of_a_key_is_kept_whatever_its_type() {
        let mut latest = LatestByKey::default();
        for (seq, kind, key) in
            [(1, "presence.join", "a"), (2, "presence.join", "b"), (5, "presence.leave", "a")]
        {
            assert_eq!(latest.push(event(seq, kind, key), BYTES_MAX), 0);
        }
        assert_eq!(seqs(&latest, 0), [2, 5]);
        assert_eq!(seqs(&latest, 2), [5]);
        assert_eq!(latest.floor(), Seq::ZERO, "what was replaced is no loss");
        assert_eq!(latest.range(Seq::new(1).unwrap(), Seq::ZERO).count(), 0);
    }

    #[test]
    fn what_has_to_leave_raises_the_floor() {
        let mut latest = LatestByKey::default();
        for seq in 1..=LatestByKey::KEYS_MAX as u64 {
            latest.push(event(seq, "presence.join", &format!("u{seq}")), BYTES_MAX);
        }
        assert_eq!((latest.len(), latest.floor()), (LatestByKey::KEYS_MAX, Seq::ZERO));
        assert_eq!(latest.push(event(20_000, "presence.join", "late"), BYTES_MAX), 1);
        assert_eq!((latest.len(), latest.floor().number()), (LatestByKey::KEYS_MAX, 1));
        assert_eq!(latest.evict_aged(4), 2);
        assert_eq!(latest.floor().number(), 3);
        while latest.evict_oldest() {}
        assert_eq!((latest.cost_bytes(), latest.latest.len(), latest.floor().number()), (0, 0, 20_000));
    }

    #[test]
    fn a_truncated_history_vouches_for_nothing_before() {
        let mut latest = LatestByKey::default();
        for (seq, key) in [(1, "a"), (2, "b"), (3, "a")] {
            latest.push(event(seq, "presence.join", key), BYTES_MAX);
        }
        latest.truncate(Seq::new(2).unwrap());
        assert_eq!((seqs(&latest, 0), latest.floor().number()), (vec![2], 2));
        latest.truncate(Seq::new(2).unwrap());
        latest.push(event(3, "presence.join", "a"), BYTES_MAX);
        assert_eq!(seqs(&latest, 0), [2, 3]);
    }
}
