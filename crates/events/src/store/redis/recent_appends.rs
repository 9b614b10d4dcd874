//! The events that this node recently acknowledged or applied, so that it can name the topics of
//! events that turn out to be lost.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

use super::entry_id::EntryId;
use super::log_state::LogState;
use super::loss_notice::Lost;
use crate::{Seq, Topics};

#[derive(Default)]
pub(super) struct RecentAppends {
    inner: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    entries: VecDeque<(EntryId, Recorded)>,
    /// The newest entry that was forgotten for lack of space.
    forgotten: EntryId,
    /// Generations that are over, and their ends.
    ends: BTreeMap<u64, Seq>,
    /// Number of entries ever added.
    added: u64,
    /// Generations of the entries, and the number of entries added before the first entry of each.
    since: BTreeMap<u64, u64>,
}

/// The remembered part of an entry.
pub(super) enum Recorded {
    Event(Topics),
    /// A notice of loss. If it is lost itself, it is owed again.
    Notice(Lost),
}

/// The events that did not survive.
#[derive(Default)]
pub(super) struct Losses {
    pub(super) what: Lost,
    /// The newest generation with a loss.
    pub(super) newest: u64,
}

impl RecentAppends {
    /// Most entries that are remembered.
    const ENTRIES_MAX: usize = 65_536;

    /// Most ends that are remembered. The number is larger than a server's, to leave room for the
    /// ends of other servers.
    const ENDS_MAX: usize = 512;

    /// Remembers an entry. `false`: its generation ended before the entry.
    pub(super) fn add(&self, id: EntryId, touched: Recorded) -> bool {
        let mut inner = self.inner.lock();
        if inner.ends.get(&id.generation).is_some_and(|end| id.seq > *end) {
            return false;
        }
        if inner.entries.len() == Self::ENTRIES_MAX
            && let Some((id, _)) = inner.entries.pop_front()
        {
            inner.forgotten = inner.forgotten.max(id);
        }
        inner.entries.push_back((id, touched));
        let added = inner.added;
        inner.since.entry(id.generation).or_insert(added);
        inner.added += 1;
        true
    }

    /// The number of entries added so far. It identifies this moment.
    pub(super) fn now(&self) -> u64 {
        self.inner.lock().added
    }

    /// Whether any entries, added before a state was read, belong to a generation unknown to that
    /// state.
    pub(super) fn has_unknown(&self, look: &LogState, before: u64) -> bool {
        self.inner.lock().since.iter().any(|(generation, since)| *since < before && !look.knows(*generation))
    }

    /// Keeps the entries that are part of the log whose state was read, regardless of earlier
    /// beliefs about its generations. Returns the loss of the other entries, once.
    pub(super) fn survive(&self, look: &LogState, before: u64) -> Losses {
        let mut inner = self.inner.lock();
        let current = look.last.map_or(0, |last| last.generation);
        inner.ends.extend(&look.ends);
        inner.ends.remove(&current);
        inner.bound_ends();
        let mut lost = Losses::default();
        for (generation, since) in inner.since.clone() {
            let end = match look.end_of(generation) {
                Some(_) if generation == current => continue,
                Some(end) => end,
                // The generation is too new or too old to be known.
                None if since >= before || look.knows(generation) => continue,
                // Nothing survives of a generation that is unknown to the server.
                None => Seq::ZERO,
            };
            let what = inner.end(generation, end);
            if !what.is_nothing() {
                lost.what.merge(&what);
                lost.newest = lost.newest.max(generation);
            }
        }
        inner.since.retain(|generation, since| *since >= before || look.end_of(*generation).is_some());
        lost
    }

    /// Records that a generation is over and ended at `end`. Returns its loss, once.
    pub(super) fn end(&self, generation: u64, end: Seq) -> Lost {
        self.inner.lock().end(generation, end)
    }
}

impl Record {
    fn bound_ends(&mut self) {
        while self.ends.len() > RecentAppends::ENDS_MAX {
            self.ends.pop_first();
        }
    }

    fn end(&mut self, generation: u64, end: Seq) -> Lost {
        self.ends.insert(generation, end);
        self.bound_ends();
        let is_lost = |id: EntryId| id.generation == generation && id.seq > end;
        let mut lost = Lost::default();
        if is_lost(self.forgotten) {
            lost = Lost::Everything;
            self.forgotten = EntryId { generation, seq: end };
        }
        self.entries.retain(|(id, touched)| {
            if is_lost(*id) {
                match touched {
                    Recorded::Event(topics) => lost.add(topics.iter()),
                    Recorded::Notice(notice) => lost.merge(notice),
                }
            }
            !is_lost(*id)
        });
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(generation: u64, seq: u64) -> EntryId {
        EntryId { generation, seq: Seq::new(seq).unwrap() }
    }

    fn event(name: &str) -> Recorded {
        Recorded::Event(Topics::one(name.parse().unwrap()))
    }

    #[test]
    fn what_lies_above_the_end_is_lost_once() {
        let recent = RecentAppends::default();
        for seq in 1..=4 {
            assert!(recent.add(id(7, seq), event(&format!("t{seq}"))));
        }
        assert_eq!(recent.end(7, Seq::new(2).unwrap()).to_string(), "t3,t4");
        assert!(recent.end(7, Seq::new(2).unwrap()).is_nothing(), "told once");
        assert!(!recent.add(id(7, 3), event("late")), "acknowledged by a master that is gone");
        assert!(recent.add(id(8, 3), event("t5")));
    }

    #[test]
    fn what_was_forgotten_and_is_lost_may_be_of_any_topic() {
        let recent = RecentAppends::default();
        for seq in 1..=RecentAppends::ENTRIES_MAX as u64 + 10 {
            recent.add(id(7, seq), event("a"));
        }
        assert_eq!(recent.end(7, Seq::new(20).unwrap()).to_string(), "a");
        assert_eq!(recent.end(7, Seq::new(5).unwrap()), Lost::Everything);
    }

    fn look(current: u64, ends: &[(u64, u64)]) -> LogState {
        LogState {
            is_master: true,
            is_open: true,
            last: Some(id(current, 50)),
            first: None,
            newest: None,
            ends: ends.iter().map(|(generation, end)| (*generation, Seq::new(*end).unwrap())).collect(),
        }
    }

    #[test]
    fn what_was_acknowledged_in_a_generation_that_nobody_followed_is_lost() {
        let recent = RecentAppends::default();
        recent.add(id(6, 3), event("a"));
        recent.add(id(7, 4), event("b"));
        let before = recent.now();
        recent.add(id(9, 1), event("later"));
        let look = look(8, &[(6, 3)]);
        assert!(recent.has_unknown(&look, before));
        let lost = recent.survive(&look, before);
        assert_eq!((lost.what.to_string().as_str(), lost.newest), ("b", 7));
        assert!(!recent.has_unknown(&look, before), "told once");
        assert!(recent.survive(&look, before).what.is_nothing());
        assert!(!recent.add(id(7, 5), event("b")), "still on the other server");
        assert!(recent.has_unknown(&look, recent.now()), "9, by a later look");
    }

    #[test]
    fn what_was_wrongly_ended_goes_on() {
        let recent = RecentAppends::default();
        for generation in [6, 7] {
            recent.end(generation, Seq::ZERO);
        }
        recent.survive(&look(7, &[(6, 9)]), 0);
        assert!(recent.add(id(7, 1), event("a")) && recent.add(id(6, 9), event("a")));
        assert!(!recent.add(id(6, 10), event("a")));
    }

    #[test]
    fn what_the_server_has_forgotten_is_not_lost() {
        let recent = RecentAppends::default();
        recent.add(id(6, 1), event("a"));
        let ends: Vec<_> = (100..356).map(|generation| (generation, 9)).collect();
        assert!(!recent.has_unknown(&look(400, &ends), recent.now()));
        assert!(recent.survive(&look(400, &ends), recent.now()).what.is_nothing());
    }

    #[test]
    fn a_lost_notice_is_owed_again() {
        let recent = RecentAppends::default();
        let mut lost = Lost::default();
        lost.add([&"b".parse().unwrap()]);
        recent.add(id(7, 1), event("a"));
        recent.add(id(7, 2), Recorded::Notice(lost));
        assert_eq!(recent.end(7, Seq::ZERO).to_string(), "a,b");
    }
}
