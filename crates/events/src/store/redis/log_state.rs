//! A server's information about itself and about the log.

use std::collections::BTreeMap;

use redis::Value;

use super::entry_id::EntryId;
use super::reply::text;
use crate::Seq;

/// The answer of `log_state.lua`.
#[derive(Debug)]
pub(super) struct LogState {
    pub(super) is_master: bool,
    /// Whether the server opened the log since its last start, promotion or replacement of the
    /// stream.
    pub(super) is_open: bool,
    /// The last assigned id; `None`: there is no stream.
    pub(super) last: Option<EntryId>,
    /// The oldest entry in the stream; `None`: the stream is empty.
    pub(super) first: Option<EntryId>,
    /// The newest entry in the stream.
    pub(super) newest: Option<EntryId>,
    /// The end of each earlier generation.
    pub(super) ends: BTreeMap<u64, Seq>,
}

impl LogState {
    /// How many ends of generations a server remembers.
    const ENDS_MAX: usize = 256;

    /// Parses the answer. `None`: the answer has another form.
    pub(super) fn parse(answer: &Value) -> Option<Self> {
        let Value::Array(parts) = answer else { return None };
        let [role, identity, last, first, newest, Value::Array(fields)] = &parts[..] else { return None };
        let id = |value: &Value| match text(value)? {
            "" => Some(None),
            id => id.parse().ok().map(Some),
        };
        let mut state = Self {
            is_master: text(role)? == "master",
            is_open: false,
            last: id(last)?,
            first: id(first)?,
            newest: id(newest)?,
            ends: BTreeMap::new(),
        };
        let generation = state.last.map(|last| last.generation.to_string()).unwrap_or_default();
        let (mut is_same_server, mut is_same_stream) = (false, false);
        for pair in fields.chunks_exact(2) {
            match (text(&pair[0])?, text(&pair[1])?) {
                ("id", held) => is_same_server = held == text(identity)?,
                ("gen", held) => is_same_stream = held == generation,
                (generation, end) => {
                    state.ends.insert(generation.parse().ok()?, Seq::new(end.parse().ok()?)?);
                }
            }
        }
        state.is_open = is_same_server && is_same_stream;
        Some(state)
    }

    /// Whether a generation is part of the surviving log, or was so long ago that the server has
    /// forgotten it.
    pub(super) fn knows(&self, generation: u64) -> bool {
        let is_forgotten =
            |(oldest, _): (&u64, &Seq)| self.ends.len() >= Self::ENDS_MAX && generation < *oldest;
        self.end_of(generation).is_some() || self.ends.first_key_value().is_some_and(is_forgotten)
    }

    /// The last seq of a generation that is part of the surviving log.
    pub(super) fn end_of(&self, generation: u64) -> Option<Seq> {
        match self.last {
            Some(last) if last.generation == generation => Some(last.seq),
            _ => self.ends.get(&generation).copied(),
        }
    }
}
