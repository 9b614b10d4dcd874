//! The id from which a turn begins to look for rows. Pure.
//!
//! Published and deleted rows stay in the table's index until a vacuum, and an old snapshot
//! anywhere in the database keeps the vacuum from removing them. In every turn, a scan from the
//! beginning would walk past them, and their number grows by the hour. A turn therefore begins at a
//! floor, and no row can appear below the floor any more.
//!
//! Ids are assigned in order, but transactions commit in any order. A row below an id that was seen
//! can appear only while the transaction that inserts it is open. That transaction has held a lock
//! on the table since before it got the id. The floor rises in three steps. First, note the
//! transactions that hold that lock, for the highest id that was seen. When all of them have ended,
//! look once more: a row that this look does not show will never appear. The floor then rises above
//! that id.
//!
//! This assumes that ids only grow. After TRUNCATE … RESTART IDENTITY they start again. From time
//! to time a turn therefore looks from the beginning, and a row that it finds below the floor
//! resets the floor.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

/// How many ids the floor may lag behind before the writers are read.
const IDS_BEHIND_MAX: i64 = 2_000;
/// How long the floor may lag behind by fewer ids.
const LAG_MAX: Duration = Duration::from_secs(1);
/// Least interval between two turns that look from the beginning.
const WHOLE_EVERY: Duration = Duration::from_secs(10);
/// Turns from the beginning may take at most one part in this many of the time.
const WHOLE_SHARE: u32 = 20;

/// The floor of one outbox.
#[derive(Debug)]
pub(super) struct Floor {
    /// No row can appear below this id.
    floor: i64,
    /// The highest id that any turn saw.
    seen: i64,
    candidate: Option<Candidate>,
    /// When the floor was last as high as possible.
    caught_up_at: Instant,
    /// When a turn next looks from the beginning.
    whole_at: Instant,
}

/// An id that may become the floor.
#[derive(Debug)]
struct Candidate {
    id: i64,
    /// The transactions that could still insert a lower id.
    writers: BTreeSet<String>,
}

/// The result of a turn that has read, published and deleted rows.
#[derive(Debug)]
pub(super) struct Look {
    /// The id from which the turn looked: [`Floor::from`].
    pub(super) from: i64,
    /// The lowest and the highest id that the turn found.
    pub(super) found: Option<(i64, i64)>,
    /// Whether the turn took all rows that were there.
    pub(super) is_all: bool,
    /// The writers that were open after the turn had read the rows, if it read them.
    pub(super) writers: Option<BTreeSet<String>>,
    /// Duration of the read.
    pub(super) took: Duration,
}

impl Floor {
    /// A floor without any knowledge: the first turn looks from the beginning.
    pub(super) fn new(now: Instant) -> Self {
        Self { floor: 0, seen: 0, candidate: None, caught_up_at: now, whole_at: now }
    }

    /// The id from which a turn at this time begins.
    pub(super) fn from(&self, now: Instant) -> i64 {
        if now >= self.whole_at { i64::MIN } else { self.floor }
    }

    /// Whether the turn should also read the writers.
    pub(super) fn needs_writers(&self, now: Instant) -> bool {
        match &self.candidate {
            Some(candidate) => !candidate.writers.is_empty(),
            None => {
                let behind = self.seen.saturating_add(1).saturating_sub(self.floor);
                behind > IDS_BEHIND_MAX || (behind > 0 && now >= self.caught_up_at + LAG_MAX)
            }
        }
    }

    /// Records the result of a turn. Only for a turn whose rows are all settled: published or
    /// refused.
    pub(super) fn looked(&mut self, look: Look, now: Instant) {
        if look.from < self.floor {
            self.whole_at = now + WHOLE_EVERY.max(look.took * WHOLE_SHARE);
            if look.found.is_some_and(|(lowest, _)| lowest < self.floor) {
                // Ids have started again.
                *self = Self { whole_at: self.whole_at, ..Self::new(now) };
            }
        } else if look.from == i64::MIN {
            self.whole_at = now + WHOLE_EVERY.max(look.took * WHOLE_SHARE);
        }
        let highest = look.found.map(|(_, highest)| highest);
        // For this candidate, the turn began after the last writer had ended.
        if let Some(settled) = self.candidate.take_if(|candidate| candidate.writers.is_empty())
            && (look.is_all || highest.is_some_and(|highest| highest >= settled.id))
        {
            self.floor = settled.id.saturating_add(1);
            self.caught_up_at = now;
        }
        self.seen = self.seen.max(highest.unwrap_or(i64::MIN));
        let Some(writers) = look.writers else { return };
        match &mut self.candidate {
            Some(candidate) => candidate.writers.retain(|writer| writers.contains(writer)),
            None if self.seen >= self.floor => self.candidate = Some(Candidate { id: self.seen, writers }),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(from: i64, found: Option<(i64, i64)>, writers: &[&str]) -> Look {
        let writers = Some(writers.iter().map(ToString::to_string).collect());
        Look { from, found, is_all: true, writers, took: Duration::ZERO }
    }

    /// A floor after a turn from the beginning that found ids up to 10, with these writers.
    fn seen_10(now: Instant, writers: &[&str]) -> Floor {
        let mut floor = Floor::new(now);
        assert_eq!(floor.from(now), i64::MIN);
        floor.looked(look(i64::MIN, Some((1, 10)), writers), now);
        floor
    }

    #[test]
    fn the_floor_rises_one_look_after_the_last_writer_has_ended() {
        let now = Instant::now();
        let mut floor = seen_10(now, &["3/7", "4/1"]);
        floor.looked(look(0, Some((11, 12)), &["3/7", "5/5"]), now);
        assert_eq!(floor.from(now), 0, "3/7 may still insert a lower id");
        floor.looked(look(0, Some((5, 5)), &["5/5"]), now);
        assert_eq!(floor.from(now), 0, "3/7 may have committed after that look had read the rows");
        assert!(!floor.needs_writers(now), "its writers have ended");
        floor.looked(Look { writers: None, ..look(0, None, &[]) }, now);
        assert_eq!(floor.from(now), 11);
    }

    #[test]
    fn a_look_that_did_not_take_all_rows_settles_nothing_above_them() {
        let now = Instant::now();
        let mut floor = seen_10(now, &[]);
        floor.looked(Look { is_all: false, writers: None, ..look(0, Some((2, 9)), &[]) }, now);
        assert_eq!(floor.from(now), 0);
        let mut floor = seen_10(now, &[]);
        floor.looked(Look { is_all: false, writers: None, ..look(0, Some((2, 10)), &[]) }, now);
        assert_eq!(floor.from(now), 11);
    }

    #[test]
    fn ids_that_begin_again_take_the_floor_away() {
        let now = Instant::now();
        let mut floor = seen_10(now, &[]);
        floor.looked(Look { writers: None, ..look(0, None, &[]) }, now);
        assert_eq!(floor.from(now), 11);
        let later = now + WHOLE_EVERY;
        assert_eq!(floor.from(later), i64::MIN);
        floor.looked(look(i64::MIN, Some((1, 3)), &[]), later);
        assert_eq!(floor.from(later), 0);
    }

    #[test]
    fn looks_from_the_beginning_take_a_bounded_part_of_the_time() {
        let now = Instant::now();
        let mut floor = seen_10(now, &[]);
        floor.looked(Look { writers: None, ..look(0, None, &[]) }, now);
        let later = now + WHOLE_EVERY;
        floor.looked(Look { took: Duration::from_secs(3), ..look(i64::MIN, None, &[]) }, later);
        assert_eq!(floor.from(later + Duration::from_secs(59)), 11);
        assert_eq!(floor.from(later + Duration::from_secs(60)), i64::MIN);
    }

    #[test]
    fn an_idle_outbox_asks_nothing_about_writers() {
        let now = Instant::now();
        let mut floor = seen_10(now, &[]);
        floor.looked(Look { writers: None, ..look(0, None, &[]) }, now);
        assert!(!floor.needs_writers(now + Duration::from_secs(3600)));
    }
}
