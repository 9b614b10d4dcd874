//! What one session has received, held against what was published.

use crate::payload::Numbers;

/// Counts over all sessions of a side.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tally {
    /// Events that arrived, the first time each.
    pub received: u64,
    /// Events that arrived again.
    pub duplicates: u64,
    /// Events that arrived after a later one of their stream.
    pub reordered: u64,
    /// Events of a stream that the session does not follow.
    pub strays: u64,
}

/// The streams that one session follows and how far it has come in each.
#[derive(Clone, Default, Debug)]
pub(crate) struct Ledger {
    streams: Vec<Progress>,
    missing: Vec<(u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    stream: u32,
    last: u32,
}

impl Ledger {
    /// A session that follows `streams`, each from the number after the one given.
    pub(crate) fn follow(streams: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let streams = streams.into_iter().map(|(stream, last)| Progress { stream, last }).collect();
        Self { streams, missing: Vec::new() }
    }

    /// Enters one arrived event.
    pub(crate) fn enter(&mut self, numbers: Numbers, tally: &mut Tally) {
        let Some(progress) = self.streams.iter_mut().find(|progress| progress.stream == numbers.stream)
        else {
            tally.strays += 1;
            return;
        };
        if numbers.n == progress.last.wrapping_add(1) {
            progress.last = numbers.n;
            tally.received += 1;
        } else if numbers.n > progress.last {
            let gap = progress.last + 1..numbers.n;
            self.missing.extend(gap.map(|n| (numbers.stream, n)));
            progress.last = numbers.n;
            tally.received += 1;
        } else if let Some(place) = self.missing.iter().position(|&hole| hole == (numbers.stream, numbers.n))
        {
            self.missing.swap_remove(place);
            tally.received += 1;
            tally.reordered += 1;
        } else {
            tally.duplicates += 1;
        }
    }

    /// How many events have not arrived, when `published` answers the last number of a stream.
    pub(crate) fn lost(&self, published: impl Fn(u32) -> u32) -> u64 {
        let tails = self
            .streams
            .iter()
            .map(|progress| u64::from(published(progress.stream).saturating_sub(progress.last)));
        tails.sum::<u64>() + self.missing.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(numbers: &[(u32, u32)]) -> (Ledger, Tally) {
        let mut ledger = Ledger::follow([(1, 0), (2, 10)]);
        let mut tally = Tally::default();
        for &(stream, n) in numbers {
            ledger.enter(Numbers { stream, n, at_ns: 0 }, &mut tally);
        }
        (ledger, tally)
    }

    fn published(stream: u32) -> u32 {
        if stream == 1 { 4 } else { 12 }
    }

    #[test]
    fn a_perfect_delivery_has_nothing_to_report() {
        let (ledger, tally) = enter(&[(1, 1), (2, 11), (1, 2), (1, 3), (2, 12), (1, 4)]);
        assert_eq!((tally.received, tally.duplicates, tally.reordered, tally.strays), (6, 0, 0, 0));
        assert_eq!(ledger.lost(published), 0);
    }

    #[test]
    fn holes_and_missing_tails_are_losses() {
        let (ledger, tally) = enter(&[(1, 1), (1, 3), (2, 11)]);
        assert_eq!((tally.received, ledger.lost(published)), (3, 3));
    }

    #[test]
    fn a_late_event_is_a_reorder_and_a_repeated_one_a_duplicate() {
        let (ledger, tally) =
            enter(&[(1, 1), (1, 3), (1, 2), (1, 2), (1, 4), (1, 4), (2, 11), (2, 12), (9, 1)]);
        assert_eq!((tally.received, tally.duplicates, tally.reordered, tally.strays), (6, 2, 1, 1));
        assert_eq!(ledger.lost(published), 0);
    }
}
