//! Where in the stream: the id of an entry.

use std::fmt;
use std::str::FromStr;

use crate::{Cursor, Epoch, Seq};

/// `GEN-N`: the N-th number of a generation. As a cursor, the generation is the epoch and N the seq.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) generation: u64,
    pub(super) seq: Seq,
}

impl Id {
    pub(super) fn cursor(self) -> Cursor {
        Cursor { epoch: Epoch::new(self.generation), seq: self.seq }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.seq)
    }
}

/// The text is no id, or of a number that no seq can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoId;

impl FromStr for Id {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let (generation, seq) = text.split_once('-').ok_or(NoId)?;
        let seq = seq.parse().ok().and_then(Seq::new).ok_or(NoId)?;
        Ok(Self { generation: generation.parse().map_err(|_| NoId)?, seq })
    }
}
