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
struct Stored {
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
type Kept = (String, Vec<u8>);

impl Checkpoints {
    /// Takes the checkpoints out of what was kept.
    pub(super) fn take_from(kept: &mut Vec<Kept>) -> Self {
        let mut found = HashMap::new();
        kept.retain(|(name, value)| {
            let Some(source) = name.strip_prefix(PREFIX) else { return true };
            found.extend(Stored::decode(value).map(|stored| (source.into(), stored)));
            false
        });
        Self(Mutex::new(found))
    }

    pub(super) fn position(&self, source: &SourceName) -> Option<Box<[u8]>> {
        self.0.lock().get(source.as_str()).map(|stored| stored.position.clone())
    }

    /// The values that a batch changes, with their names and as frames.
    pub(super) fn frames(&self, batch: &Batch) -> Vec<Kept> {
        let mut frames = Vec::with_capacity(batch.checkpoints.len());
        for (source, position) in &batch.checkpoints {
            let name = format!("{PREFIX}{source}");
            let frame = seal_kept(&name, &self.follow(source, position, batch.last).encode());
            frames.push((name, frame));
        }
        frames
    }

    /// The batch is on disk.
    pub(super) fn committed(&self, batch: &Batch) {
        for (source, position) in &batch.checkpoints {
            let stored = self.follow(source, position, batch.last);
            self.0.lock().insert(source.as_str().into(), stored);
        }
    }

    fn follow(&self, source: &SourceName, position: &[u8], last: Seq) -> Stored {
        Stored { last, position: position.into(), before: self.position(source) }
    }
}

/// The values to write when the events above `end` turn out to have been refused: each checkpoint of their commit is
/// again what it was before. `None`: it was not there.
pub(super) fn undone_above(kept: Vec<Kept>, end: Seq) -> Vec<(String, Option<Vec<u8>>)> {
    let undo = |(name, value): Kept| {
        let stored = name.strip_prefix(PREFIX).and_then(|_| Stored::decode(&value))?;
        let restored = |position| Stored { last: end, position, before: None }.encode();
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
        let mut bytes = self.last.number().to_le_bytes().to_vec();
        put(&mut bytes, &self.position);
        self.before.iter().for_each(|before| put(&mut bytes, before));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let last = Seq::new(fields.number()?)?;
        Some(Self { last, position: fields.bytes()?.into(), before: fields.bytes().map(Into::into) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_checkpoint_comes_back() {
        for before in [None, Some(Box::from(&b""[..])), Some(Box::from(&b"before"[..]))] {
            let stored =
                Stored { last: Seq::new(7).unwrap(), position: Box::from(&b"0/16B3748"[..]), before };
            assert_eq!(Stored::decode(&stored.encode()), Some(stored));
        }
        assert_eq!(Stored::decode(b"short"), None);
    }
}
