//! What is still whole in a damaged file: every frame that passes its own check, wherever it stands.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::checkpoints::FoundCheckpoints;
use super::frame::{self, FrameScan, Sort};
use super::record::{Entry, Meta, unseal_kept, unseal_last, unseal_token};
use crate::{Appended, Seq};

/// The frames that were found.
#[derive(Default)]
pub(super) struct Salvage {
    /// By seq. Of two that claim one seq, the one that was written later.
    pub(super) entries: BTreeMap<u64, (u64, Vec<u8>)>,
    /// The one that was written last.
    pub(super) meta: Option<Meta>,
    /// The last seq of a topic, and its time.
    pub(super) lasts: HashMap<String, (Seq, u64)>,
    pub(super) tokens: HashMap<String, (Appended, u64)>,
    pub(super) checkpoints: FoundCheckpoints,
}

/// How much is read at a time.
const WINDOW_BYTES: usize = 8 << 20;

impl Salvage {
    /// Reads the file from one end to the other.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let mut salvage = Self::default();
        let mut file = File::open(path)?;
        let mut window = Vec::new();
        let mut want = WINDOW_BYTES;
        loop {
            let read = file.by_ref().take(want as u64).read_to_end(&mut window)?;
            let is_end = read < want;
            let mut at = 0;
            want = WINDOW_BYTES;
            while let Some(start) = frame::next(&window, at) {
                at = start;
                match frame::find(&window[start..]) {
                    FrameScan::Frame { sort, length } => {
                        salvage.take(sort, &window[start..start + length]);
                        at += length;
                    }
                    FrameScan::Cut { length } if !is_end => {
                        want = want.max(length);
                        break;
                    }
                    FrameScan::Cut { .. } | FrameScan::Nothing => at += 1,
                }
                if at >= window.len() {
                    break;
                }
            }
            if is_end {
                return Ok(salvage);
            }
            let done = if frame::next(&window, at).is_some() { at } else { window.len() };
            window.drain(..done);
        }
    }

    fn take(&mut self, sort: Sort, frame: &[u8]) {
        match sort {
            Sort::Entry | Sort::Lacking => {
                let whole = Entry::unseal(frame).map(|entry| (entry.seq, entry.stamp));
                let Some((seq, stamp)) = whole else { return };
                let kept = self.entries.entry(seq.number()).or_default();
                if stamp > kept.0 {
                    *kept = (stamp, frame.to_vec());
                }
            }
            Sort::Meta => {
                let newer =
                    |meta: &Meta| self.meta.as_ref().is_none_or(|kept| meta.generation > kept.generation);
                self.meta = Meta::unseal(frame).filter(newer).or(self.meta.take());
            }
            Sort::Last => {
                let Some((topic, seq, time_ms)) = unseal_last(frame) else { return };
                let kept = self.lasts.entry(topic.to_owned()).or_default();
                *kept = (*kept).max((seq, time_ms));
            }
            // It is unknown which of two values of one name is the later, unless they are checkpoints.
            Sort::Value => {
                let Some((name, value)) = unseal_kept(frame) else { return };
                self.checkpoints.take(name, value);
            }
            // One that is missing would not be noticed.
            Sort::Floor | Sort::State => {}
            Sort::Token => {
                let Some((token, appended, time_ms)) = unseal_token(frame) else { return };
                let kept = self.tokens.entry(token.to_owned()).or_insert((appended, time_ms));
                if time_ms > kept.1 {
                    *kept = (appended, time_ms);
                }
            }
        }
    }
}
