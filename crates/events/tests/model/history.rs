//! What happened, as a plain list: the model that the log is held against.

use events::{Cursor, Epoch, Located, Seq};

/// The whole history, nothing ever evicted.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) items: Vec<Item>,
    /// Seqs at which the store said that something is missing, and in which topics.
    pub(crate) voids: Vec<(u64, Vec<usize>)>,
    pub(crate) ephemerals: Vec<Item>,
    pub(crate) tail: u64,
    /// The highest end of a fork: a ring whose floor was above it cannot tell what it lacks below it.
    pub(crate) blurred: u64,
    pub(crate) forked: bool,
    epochs: Vec<Life>,
}

/// One event, or for an ephemeral one its number in the place of the seq.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) id: u64,
    pub(crate) seq: u64,
    pub(crate) topics: Vec<usize>,
    pub(crate) kind: usize,
    pub(crate) key: Option<usize>,
    pub(crate) expires_us: u64,
}

/// An epoch: up to where it is history, or `None` when nothing of it is.
#[derive(Debug)]
struct Life {
    epoch: Epoch,
    start: u64,
    limit: Option<u64>,
}

impl History {
    pub(crate) fn epoch(&self) -> Epoch {
        self.epochs.last().map_or(Epoch::new(0), |life| life.epoch)
    }

    /// What a cursor is worth.
    pub(crate) fn locate(&self, cursor: Cursor) -> Located {
        let seq = cursor.seq.number();
        let Some(limit) =
            self.epochs.iter().find(|life| life.epoch == cursor.epoch).and_then(|life| life.limit)
        else {
            return Located::Unknown;
        };
        let current = cursor.epoch == self.epoch();
        match (current, seq) {
            (true, seq) if seq > self.tail => Located::Ahead,
            (false, seq) if seq > limit => Located::Phantom { end: self.cursor(limit) },
            _ => Located::Here(cursor),
        }
    }

    fn cursor(&self, seq: u64) -> Cursor {
        Cursor { epoch: self.epoch(), seq: Seq::new(seq).unwrap() }
    }

    /// The last point of history at or below `seq`, which may be one that was jumped over.
    pub(crate) fn point_at(&self, seq: u64) -> u64 {
        let known = || self.epochs.iter().filter_map(|life| Some((life.start, life.limit?)));
        let last = known().rev().find(|(start, _)| *start <= seq).or(known().next());
        last.map_or(seq, |(_, limit)| limit.min(seq))
    }

    /// What lies above `end` never happened; a new epoch starts after `start`.
    pub(crate) fn fork(&mut self, epoch: Epoch, end: u64, start: u64) {
        self.items.retain(|item| item.seq <= end);
        for (seq, _) in &mut self.voids {
            *seq = end.min(*seq);
        }
        for life in &mut self.epochs {
            life.limit = life.limit.map(|limit| limit.min(end));
        }
        if end < self.tail {
            self.blurred = self.blurred.max(end);
        }
        self.forked = true;
        self.epochs.push(Life { epoch, start, limit: Some(u64::MAX) });
        self.tail = start;
    }

    /// Nothing of before is known to have happened.
    pub(crate) fn forget(&mut self, epoch: Epoch, start: u64) {
        self.items.clear();
        self.voids.clear();
        self.blurred = start;
        self.epochs.iter_mut().for_each(|life| life.limit = None);
        self.epochs.push(Life { epoch, start, limit: Some(u64::MAX) });
        self.tail = start;
    }

    /// Something may be missing at or below `through`.
    pub(crate) fn void(&mut self, through: u64, topics: Vec<usize>) {
        self.voids.push((through, topics));
        self.tail = self.tail.max(through);
    }

    /// The seq of a topic's last event.
    pub(crate) fn last(&self, topic: usize) -> u64 {
        self.items.iter().rev().find(|item| item.topics.contains(&topic)).map_or(0, |item| item.seq)
    }

    /// The events of a topic with a seq above `after`.
    pub(crate) fn of_topic(&self, topic: usize, after: u64) -> impl DoubleEndedIterator<Item = &Item> {
        self.items.iter().filter(move |item| item.seq > after && item.topics.contains(&topic))
    }
}
