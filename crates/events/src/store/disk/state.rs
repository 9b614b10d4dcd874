//! What the writer knows without asking the file.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use super::batch::Batch;
use super::checkpoints::Checkpoints;
use super::record::Meta;
use crate::store::idempotency::RecentTokens;
use crate::{Seq, Topic, Unavailable};

/// The log's end and what decides whether a draft may follow it.
pub(super) struct State {
    pub(super) meta: Meta,
    /// The last seq given.
    pub(super) last: Seq,
    /// The stamp of the last commit, failed ones included.
    pub(super) stamp: u64,
    pub(super) chunks: Chunks,
    /// The seq and the time of each topic's last event, for `expect`.
    pub(super) lasts: HashMap<Topic, (Seq, u64)>,
    pub(super) tokens: RecentTokens,
    pub(super) checkpoints: Arc<Checkpoints>,
}

/// What is left to do after an error.
#[derive(Default)]
pub(super) struct Unsettled {
    /// The batch that was refused. The file may contain it all the same.
    pub(super) refused: Option<Batch>,
    /// When the last attempt to settle failed, and why.
    pub(super) failed: Option<(Instant, Unavailable)>,
}

/// The entries of the file in runs, so that trimming needs no look at each.
#[derive(Default)]
pub(super) struct Chunks {
    chunks: VecDeque<Chunk>,
    entries: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Default)]
struct Chunk {
    last: u64,
    entries: u64,
    bytes: u64,
    newest_ms: u64,
}

/// How much the file may hold.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) entries_max: u64,
    pub(super) bytes_max: u64,
    /// Entries older than this are of no use.
    pub(super) oldest_ms: u64,
}

impl Chunks {
    /// How many entries a run has.
    const CHUNK_ENTRIES: u64 = 512;

    /// How many runs are trimmed at once.
    const TRIM_CHUNKS: usize = 8;

    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    pub(super) fn push(&mut self, seq: u64, bytes: usize, time_ms: u64) {
        if self.chunks.back().is_none_or(|chunk| chunk.entries >= Self::CHUNK_ENTRIES) {
            self.chunks.push_back(Chunk::default());
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.last = seq;
            chunk.entries += 1;
            chunk.bytes += bytes as u64;
            chunk.newest_ms = chunk.newest_ms.max(time_ms);
        }
        self.entries += 1;
        self.bytes += bytes as u64;
    }

    /// Up to where to trim now: whole runs only, and never the last one to make room.
    pub(super) fn due(&self, room: &Room) -> Option<Seq> {
        let (mut entries, mut bytes) = (self.entries, self.bytes);
        let mut due = None;
        for (at, chunk) in self.chunks.iter().enumerate().take(Self::TRIM_CHUNKS) {
            let is_last = at + 1 == self.chunks.len();
            let too_much = !is_last && (entries > room.entries_max || bytes > room.bytes_max);
            if !too_much && chunk.newest_ms >= room.oldest_ms {
                break;
            }
            entries -= chunk.entries;
            bytes -= chunk.bytes;
            due = Seq::new(chunk.last);
        }
        due
    }

    /// The entries up to `through`, the end of a run, are gone.
    pub(super) fn trimmed(&mut self, through: Seq) {
        while let Some(chunk) = self.chunks.front().filter(|chunk| chunk.last <= through.number()) {
            self.entries -= chunk.entries;
            self.bytes -= chunk.bytes;
            self.chunks.pop_front();
        }
    }
}
