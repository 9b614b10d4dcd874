//! The epochs of one log and where each began and ended: what a cursor of an earlier life is worth.

use crate::{Cursor, Epoch, Seq};

/// The epochs through which this log's history runs without a break, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Lineage {
    /// Each epoch with the seq after which it began. Never empty.
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    epoch: Epoch,
    /// Events of this epoch have seqs above this.
    start: Seq,
    /// The last seq of the epoch that is history; the current epoch has no end.
    end: Option<Seq>,
}

/// What the log makes of a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Located {
    /// It is a point of this log's history.
    Here(Cursor),
    /// Its epoch is part of the history, but ended earlier: what lies between never became history.
    Phantom {
        /// The last point that both share.
        end: Cursor,
    },
    /// It is of the current epoch and past the tail of this node.
    Ahead,
    /// Its epoch is none of this log's.
    Unknown,
}

impl Lineage {
    /// How many epochs are remembered.
    const SPANS_MAX: usize = 256;

    /// A history that begins after `start`.
    pub(crate) fn new(epoch: Epoch, start: Seq) -> Self {
        Self { spans: vec![Span { epoch, start, end: None }] }
    }

    /// History ended at `end`, be that in the current epoch or in one before it; `epoch` goes on from `start`, and
    /// nothing was lost in between.
    pub(crate) fn go_on(&mut self, epoch: Epoch, end: Seq, start: Seq) {
        for span in &mut self.spans {
            span.end = Some(span.end.map_or(end, |ended| ended.min(end)));
        }
        if self.spans.len() == Self::SPANS_MAX {
            self.spans.remove(0);
        }
        self.spans.push(Span { epoch, start, end: None });
    }

    /// The cursor of a point of this history.
    pub(crate) fn cursor(&self, seq: Seq) -> Cursor {
        let span = self.spans.iter().rev().find(|span| span.start <= seq).or(self.spans.first());
        // A point in the gap between two epochs is the end of the earlier one.
        span.map_or(Cursor { epoch: Epoch::new(0), seq }, |span| Cursor {
            epoch: span.epoch,
            seq: span.end.map_or(seq, |end| seq.min(end)),
        })
    }

    /// The epoch that goes on.
    pub(crate) fn current(&self) -> Epoch {
        self.spans.last().map_or(Epoch::new(0), |span| span.epoch)
    }

    /// Up to where an epoch is part of this history.
    pub(crate) fn end_of(&self, epoch: Epoch) -> Seq {
        let span = self.spans.iter().rev().find(|span| span.epoch == epoch);
        span.map_or(Seq::ZERO, |span| span.end.unwrap_or(Seq::MAX))
    }

    /// What `cursor` is worth when the log's tail is at `tail`.
    pub(crate) fn locate(&self, cursor: Cursor, tail: Seq) -> Located {
        let Some(span) = self.spans.iter().rev().find(|span| span.epoch == cursor.epoch) else {
            return Located::Unknown;
        };
        match span.end {
            None if cursor.seq > tail => Located::Ahead,
            Some(end) if cursor.seq > end => Located::Phantom { end: self.cursor(end) },
            _ => Located::Here(cursor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(number: u64) -> Seq {
        Seq::new(number).unwrap()
    }

    fn cursor(epoch: u64, number: u64) -> Cursor {
        Cursor { epoch: Epoch::new(epoch), seq: seq(number) }
    }

    #[test]
    fn cursors_of_earlier_epochs_are_good_up_to_their_end() {
        let mut lineage = Lineage::new(Epoch::new(1), Seq::ZERO);
        assert_eq!(lineage.locate(cursor(1, 7), seq(7)), Located::Here(cursor(1, 7)));
        assert_eq!(lineage.locate(cursor(1, 8), seq(7)), Located::Ahead);
        lineage.go_on(Epoch::new(2), seq(7), seq(1000));
        assert_eq!(lineage.locate(cursor(1, 7), seq(1000)), Located::Here(cursor(1, 7)));
        assert_eq!(lineage.locate(cursor(1, 8), seq(1000)), Located::Phantom { end: cursor(1, 7) });
        assert_eq!(lineage.locate(cursor(2, 1001), seq(1000)), Located::Ahead);
        assert_eq!(lineage.locate(cursor(3, 1), seq(1000)), Located::Unknown);
    }

    #[test]
    fn every_point_has_the_cursor_of_its_epoch() {
        let mut lineage = Lineage::new(Epoch::new(1), Seq::ZERO);
        lineage.go_on(Epoch::new(2), seq(7), seq(1000));
        assert_eq!(lineage.cursor(seq(3)), cursor(1, 3));
        assert_eq!(lineage.cursor(seq(7)), cursor(1, 7));
        assert_eq!(lineage.cursor(seq(500)), cursor(1, 7));
        assert_eq!(lineage.cursor(seq(1000)), cursor(2, 1000));
        assert_eq!(lineage.cursor(seq(2000)), cursor(2, 2000));
    }

    #[test]
    fn old_epochs_are_forgotten() {
        let mut lineage = Lineage::new(Epoch::new(0), Seq::ZERO);
        for epoch in 1..=300 {
            lineage.go_on(Epoch::new(epoch), seq(epoch * 10), seq(epoch * 10));
        }
        assert_eq!(lineage.locate(cursor(10, 1), seq(3000)), Located::Unknown);
        let point = cursor(100, 1001);
        assert_eq!(lineage.locate(point, seq(3000)), Located::Here(point));
    }
}
