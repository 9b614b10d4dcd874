//! The rows and notes of the states of topics: their names and their frames.

use std::collections::BTreeMap;

use super::frame::{self, Sort};
use super::record::Entry;
use crate::store::codec::{Fields, put};
use crate::{Key, Seq, Topic};

/// Rows and notes to be written by name; `None` goes.
pub(super) type StateRows = BTreeMap<String, Option<Vec<u8>>>;

/// The name of the note about all topics. The name of a topic's own note is the topic's.
pub(super) const ABOUT_ALL: &str = "";

/// What is known of the rows of one topic, or of all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// The topics whose states are kept. Empty in a topic's own note.
    pub(super) topics: String,
    /// The rows are complete for entries that were trimmed up to here.
    pub(super) floor: Seq,
    /// Until then keys may be missing, in milliseconds since 1970.
    pub(super) partial_until_ms: u64,
}

impl Note {
    pub(super) fn seal(&self) -> Vec<u8> {
        frame::seal(Sort::State, |body| {
            body.extend_from_slice(&self.floor.number().to_le_bytes());
            body.extend_from_slice(&self.partial_until_ms.to_le_bytes());
            put(body, self.topics.as_bytes());
        })
    }

    pub(super) fn unseal(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(frame::unseal(Sort::State, bytes)?);
        let (floor, partial_until_ms) = (Seq::new(fields.number()?)?, fields.number()?);
        Some(Self { topics: fields.text()?.to_owned(), floor, partial_until_ms })
    }
}

/// The name of a row: no topic, user or key has a control character.
pub(super) fn name_of(topic: &Topic, key: &Key) -> String {
    format!("{topic}\0{}\0{}", key.owner(), key.as_str())
}

/// The topic of a row; `None`: it is a note.
pub(super) fn topic_of(name: &str) -> Option<&str> {
    name.split_once('\0').map(|(topic, _)| topic)
}

/// Whether a row or a note is as it was written.
pub(super) fn is_whole(name: &str, bytes: &[u8]) -> bool {
    match topic_of(name) {
        Some(_) => Entry::unseal(bytes).is_some(),
        None => Note::unseal(bytes).is_some(),
    }
}
