//! What the writer is asked for, and what of it is committed together.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::engine::KeptFrame;
use super::options::KeptValue;
use crate::{
    AppendResults, Appended, Checkpoint, Draft, Lacking, Seq, Sequenced, SourceName, Topic, Unavailable,
};

/// What is committed as one or not at all.
pub(super) type Outcome = Result<AppendResults, Unavailable>;

/// What the writer is asked to do.
pub(super) enum Job {
    Append(Append),
    /// Look whether anything is to be trimmed, and whether what was wrong still is.
    Tick,
}

/// Drafts to append, values to keep and a checkpoint to store, in one commit.
#[derive(Default)]
pub(super) struct Content {
    pub(super) drafts: Vec<Draft>,
    pub(super) values: Vec<KeptValue>,
    pub(super) checkpoint: Option<Checkpoint>,
    /// Topics of which events are lacking. Comes after all drafts of its commit.
    pub(super) lacking: Option<Lacking>,
}

pub(super) struct Append {
    pub(super) content: Content,
    pub(super) answer: oneshot::Sender<Outcome>,
}

impl Content {
    pub(super) fn bytes(&self) -> usize {
        let drafts = self.drafts.iter().map(|draft| draft.data.as_bytes().len());
        drafts
            .chain(self.values.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)))
            .sum()
    }
}

/// What is committed together, and not yet part of the state.
pub(super) struct Batch {
    pub(super) last: Seq,
    /// The store's own time ([`super::time::StoreTime`]), which decides.
    pub(super) now_ms: u64,
    /// The wall clock's, which clients and later processes read.
    pub(super) time_ms: u64,
    pub(super) events: Vec<Sequenced>,
    pub(super) frames: Vec<(u64, Vec<u8>)>,
    /// What is lacking, and the seq of that note. All come after the events.
    pub(super) lacking: Vec<(Seq, Lacking)>,
    pub(super) lasts: HashMap<Topic, Seq>,
    /// The results of idempotency tokens.
    pub(super) results: HashMap<Box<str>, Appended>,
    /// Tokens of ephemeral events, which leave no entry.
    pub(super) tokens: Vec<Box<str>>,
    pub(super) checkpoints: HashMap<SourceName, Box<[u8]>>,
    pub(super) values: Vec<KeptValue>,
    /// The frames of these values before, should the batch have to be taken out again.
    pub(super) frames_before: Vec<KeptFrame>,
}

impl Batch {
    /// One that follows `last`.
    pub(super) fn after(last: Seq, now_ms: u64, time_ms: u64) -> Self {
        Self {
            last,
            now_ms,
            time_ms,
            events: Vec::new(),
            frames: Vec::new(),
            lacking: Vec::new(),
            lasts: HashMap::new(),
            results: HashMap::new(),
            tokens: Vec::new(),
            checkpoints: HashMap::new(),
            values: Vec::new(),
            frames_before: Vec::new(),
        }
    }

    /// Whether there is nothing to bring to disk.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
            && self.tokens.is_empty()
            && self.values.is_empty()
            && self.checkpoints.is_empty()
    }
}
