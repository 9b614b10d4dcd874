//! The id of an entry of the stream.

use std::fmt;
use std::str::FromStr;

use crate::{Cursor, Epoch, Seq};

/// `GEN-N`: the N-th number of a generation. In a cursor, the generation is the epoch and N is the
/// seq.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryId {
    pub(super) generation: u64,
    pub(super) seq: Seq,
}

impl EntryId {
    pub(super) fn cursor(self) -> Cursor {
        Cursor { epoch: Epoch::new(self.generation), seq: self.seq }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.seq)
    }
}

/// The text is not an id, or its number cannot be a seq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAnEntryId;

impl FromStr for EntryId {
    type Err = NotAnEntryId;

    fn from_str(text: &str) -> Result<Self, NotAnEntryId> {
        let (generation, seq) = text.split_once('-').ok_or(NotAnEntryId)?;
        let seq = seq.parse().ok().and_then(Seq::new).ok_or(NotAnEntryId)?;
        Ok(Self { generation: generation.parse().map_err(|_| NotAnEntryId)?, seq })
    }
}
