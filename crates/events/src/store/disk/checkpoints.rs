//! The checkpoints of sources, kept beside the log in the same commits as the events.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::batch::Batch;
use super::record::seal_kept;
use crate::store::codec::{Fields, put};
use crate::{Seq, SourceName};

/// The last checkpoint of each source. The writer changes them, anybody reads them.
#[derive(Default)]
pub(super) struct Checkpoints(Mutex<HashMap<Box<str>, Stored>>);

/// A checkpoint as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The stamp of the commit that stored it ([`super::record::Entry::stamp`]).
    stamp: u64,
    /// The last seq of the commit that stored it. If a start finds that the events of this commit were refused, the
    /// checkpoint goes with them.
    last: Seq,
    position: Box<[u8]>,
    /// The position before that commit.
    before: Option<Box<[u8]>>,
}

/// The names of kept values that are checkpoints begin so. What the gateway keeps has a space in its name, or is `alive`.
const PREFIX: &str = "checkpoint:";

/// A kept value: its name and its bytes.
type StoredValue = (String, Vec<u8>);

impl Checkpoints {
    /// Takes the checkpoints out of what was kept.
    pub(super) fn take_from(kept: &mut Vec<StoredValue>) -> Self {
        let mut found = HashMap::new();
        kept.retain(|(name, value)| {
            let Some(source) = name.strip_prefix(PREFIX) else { return true };
            found.extend(Stored::decode(value).map(|stored| (source.into(), stored)));
            false
        });
        Self(Mutex::new(found))
    }

    /// The newest stamp of a checkpoint.
    pub(super) fn newest_stamp(&self) -> u64 {
        self.0.lock().values().map(|stored| stored.stamp).max().unwrap_or_default()
    }

    pub(super) fn position(&self, source: &SourceName) -> Option<Box<[u8]>> {
        self.0.lock().get(source.as_str()).map(|stored| stored.position.clone())
    }

    /// The values that a batch changes, with their names and as frames.
    pub(super) fn frames(&self, batch: &Batch, stamp: u64) -> Vec<StoredValue> {
        let mut frames = Vec::with_capacity(batch.checkpoints.len());
        for (source, position) in &batch.checkpoints {
            let name = format!("{PREFIX}{source}");
            let frame = seal_kept(&name, &self.follow(source, position, batch.last, stamp).encode());
            frames.push((name, frame));
        }
        frames
    }

    /// The batch is on disk.
    pub(super) fn committed(&self, batch: &Batch, stamp: u64) {
        for (source, position) in &batch.checkpoints {
            let stored = self.follow(source, position, batch.last, stamp);
            self.0.lock().insert(source.as_str().into(), stored);
        }
    }

    fn follow(&self, source: &SourceName, position: &[u8], last: Seq, stamp: u64) -> Stored {
        Stored { stamp, last, position: position.into(), before: self.position(source) }
    }
}

/// The checkpoints found in a damaged file, each as often as the file has it: the last one of a source, earlier ones, and
/// ones whose commits were refused.
#[derive(Default)]
pub(super) struct FoundCheckpoints(HashMap<String, Vec<Stored>>);

impl FoundCheckpoints {
    /// Takes in a kept value if it is a checkpoint.
    pub(super) fn take(&mut self, name: &str, value: &[u8]) {
        if name.starts_with(PREFIX)
            && let Some(stored) = Stored::decode(value)
        {
            self.0.entry(name.to_owned()).or_default().push(stored);
        }
    }

    /// The frame of the newest checkpoint of each source whose commit is part of the log. `stamp_of` gives the stamp of
    /// the event with a seq, if the log has it; the log ends at `end`.
    ///
    /// A checkpoint of a refused commit covers events that are not in the log, so a source that continued from it would
    /// lose them. It is recognised by the event with its last seq: that seq is above the end, or a later commit used
    /// it again.
    pub(super) fn newest(&self, end: Seq, stamp_of: impl Fn(Seq) -> Option<u64>) -> Vec<StoredValue> {
        let is_of_the_log = |stored: &&Stored| {
            stored.last <= end && stamp_of(stored.last).is_none_or(|stamp| stamp <= stored.stamp)
        };
        let newest = |(name, stored): (&String, &Vec<Stored>)| {
            let newest = stored.iter().filter(is_of_the_log).max_by_key(|stored| stored.stamp)?;
            Some((name.clone(), seal_kept(name, &newest.encode())))
        };
        self.0.iter().filter_map(newest).collect()
    }
}

/// The values to write when the events above `end` turn out to have been refused: each checkpoint of their commit is
/// again what it was before. `None`: it was not there.
pub(super) fn undone_above(kept: Vec<StoredValue>, end: Seq) -> Vec<(String, Option<Vec<u8>>)> {
    let undo = |(name, value): StoredValue| {
        let stored = name.strip_prefix(PREFIX).and_then(|_| Stored::decode(&value))?;
        let stamp = stored.stamp + 1;
        let restored = |position| Stored { stamp, last: end, position, before: None }.encode();
        (stored.last > end).then(|| {
            let value = stored.before.map(restored);
            let frame = value.map(|value| seal_kept(&name, &value));
            (name, frame)
        })
    };
    kept.into_iter().filter_map(undo).collect()
}

impl Stored {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = [self.stamp, self.last.number()].map(u64::to_le_bytes).concat();
        put(&mut bytes, &self.position);
        self.before.iter().for_each(|before| put(&mut bytes, before));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let (stamp, last) = (fields.number()?, Seq::new(fields.number()?)?);
        Some(Self { stamp, last, position: fields.bytes()?.into(), before: fields.bytes().map(Into::into) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_checkpoint_comes_back() {
        for before in [None, Some(Box::from(&b""[..])), Some(Box::from(&b"before"[..]))] {
            let stored = Stored { before, ..stored(3, 7, "0/16B3748") };
            assert_eq!(Stored::decode(&stored.encode()), Some(stored));
        }
        assert_eq!(Stored::decode(b"short"), None);
    }

    fn stored(stamp: u64, last: u64, position: &str) -> Stored {
        let last = Seq::new(last).unwrap();
        Stored { stamp, last, position: position.as_bytes().into(), before: None }
    }

    #[test]
    fn of_the_checkpoints_in_a_damaged_file_the_newest_counts_whose_events_are_there() {
        // Of the log's events 4 to 9 have these stamps; what lies before was trimmed.
        let stamps = [(4, 40), (5, 50), (6, 60), (7, 60), (8, 90), (9, 95)];
        let newest = |found: &[Stored]| {
            let mut all = FoundCheckpoints::default();
            all.take("a value", b"that is no checkpoint");
            found.iter().for_each(|stored| all.take("checkpoint:s", &stored.encode()));
            let stamp_of = |seq: Seq| stamps.iter().find(|(at, _)| *at == seq.number()).map(|at| at.1);
            let mut kept: Vec<StoredValue> = all.newest(Seq::new(9).unwrap(), stamp_of);
            let (_, frame) = kept.pop()?;
            let (_, value) = crate::store::disk::record::unseal_kept(&frame)?;
            Stored::decode(value).map(|stored| stored.position)
        };
        let first = stored(50, 5, "first");
        assert_eq!(newest(&[stored(60, 7, "second"), first.clone()]).unwrap()[..], b"second"[..]);
        let without_events = stored(61, 7, "without events");
        assert_eq!(newest(&[without_events, first.clone()]).unwrap()[..], b"without events"[..]);
        // Refused: what was 8 then is another event now.
        assert_eq!(newest(&[first.clone(), stored(70, 8, "refused")]).unwrap()[..], b"first"[..]);
        assert_eq!(newest(&[first, stored(99, 10, "above the end")]).unwrap()[..], b"first"[..]);
        assert_eq!(newest(&[stored(30, 3, "of trimmed events")]).unwrap()[..], b"of trimmed events"[..]);
        assert_eq!(newest(&[]), None);
    }
}
