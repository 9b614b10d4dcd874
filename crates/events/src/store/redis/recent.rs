//! What this node has lately acknowledged or applied: what to name when it turns out lost.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

use super::id::Id;
use super::notice::Lost;
use crate::{Seq, Topics};

#[derive(Default)]
pub(super) struct Recent {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: VecDeque<(Id, Touched)>,
    /// The newest that was forgotten for want of room.
    forgotten: Id,
    /// Generations that are over, and where they ended.
    ends: BTreeMap<u64, Seq>,
}

/// What an entry was about.
pub(super) enum Touched {
    Event(Topics),
    /// A notice of loss: lost itself, it is owed again.
    Notice(Lost),
}

impl Recent {
    /// How many entries are remembered.
    const ENTRIES_MAX: usize = 65_536;

    /// How many ends are remembered: more than a server does, so that there is room for those of others.
    const ENDS_MAX: usize = 512;

    /// Remembers an entry. `false`: its generation ended before it.
    pub(super) fn add(&self, id: Id, touched: Touched) -> bool {
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
        true
    }

    /// A generation goes on, and others ended there, whatever was thought of them before.
    pub(super) fn go_on(&self, generation: u64, ends: &BTreeMap<u64, Seq>) {
        let mut inner = self.inner.lock();
        inner.ends.extend(ends);
        inner.ends.remove(&generation);
        while inner.ends.len() > Self::ENDS_MAX {
            inner.ends.pop_first();
        }
    }

    /// A generation is over and ended at `end`. What was lost with it; told once.
    pub(super) fn end(&self, generation: u64, end: Seq) -> Lost {
        let mut inner = self.inner.lock();
        inner.ends.insert(generation, end);
        if inner.ends.len() > Self::ENDS_MAX {
            inner.ends.pop_first();
        }
        let is_lost = |id: Id| id.generation == generation && id.seq > end;
        let mut lost = Lost::default();
        if is_lost(inner.forgotten) {
            lost = Lost::Everything;
            inner.forgotten = Id { generation, seq: end };
        }
        inner.entries.retain(|(id, touched)| {
            if is_lost(*id) {
                match touched {
                    Touched::Event(topics) => lost.add(topics.iter()),
                    Touched::Notice(notice) => lost.merge(notice),
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

    fn id(generation: u64, seq: u64) -> Id {
        Id { generation, seq: Seq::new(seq).unwrap() }
    }

    fn event(name: &str) -> Touched {
        Touched::Event(Topics::one(name.parse().unwrap()))
    }

    #[test]
    fn what_lies_above_the_end_is_lost_once() {
        let recent = Recent::default();
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
        let recent = Recent::default();
        for seq in 1..=Recent::ENTRIES_MAX as u64 + 10 {
            recent.add(id(7, seq), event("a"));
        }
        assert_eq!(recent.end(7, Seq::new(20).unwrap()).to_string(), "a");
        assert_eq!(recent.end(7, Seq::new(5).unwrap()), Lost::Everything);
    }

    #[test]
    fn what_was_wrongly_ended_goes_on() {
        let recent = Recent::default();
        let end = Seq::new(9).unwrap();
        for generation in [6, 7] {
            recent.end(generation, Seq::ZERO);
        }
        recent.go_on(7, &BTreeMap::from([(6, end)]));
        assert!(recent.add(id(7, 1), event("a")) && recent.add(id(6, 9), event("a")));
        assert!(!recent.add(id(6, 10), event("a")));
    }

    #[test]
    fn a_lost_notice_is_owed_again() {
        let recent = Recent::default();
        let mut lost = Lost::default();
        lost.add([&"b".parse().unwrap()]);
        recent.add(id(7, 1), event("a"));
        recent.add(id(7, 2), Touched::Notice(lost));
        assert_eq!(recent.end(7, Seq::ZERO).to_string(), "a,b");
    }
}
