//! What stays of entries that are trimmed, and when it is forgotten as well.

use std::collections::BTreeMap;

use super::batch::Batch;
use super::engine::{Engine, EngineError, damaged};
use super::kept_states;
use super::record::{Entry, EntryContent, seal_last, seal_token};
use super::state::State;
use super::state_row::StateRows;
use crate::topic_floors::TopicFloors;
use crate::{Lacking, Log, Seq};

/// What is written apart from entries, as frames with their keys.
#[derive(Default)]
pub(super) struct Remains {
    /// The last seqs of topics, for `expect`.
    pub(super) lasts: Vec<(String, Vec<u8>)>,
    /// The results of idempotency tokens, for repeats.
    pub(super) tokens: Vec<(String, Vec<u8>)>,
    /// Up to where readers may miss events, by the places of their topics.
    pub(super) floors: BTreeMap<u32, Seq>,
    /// The states of topics.
    pub(super) states: StateRows,
}

impl Remains {
    /// The tokens of ephemeral events, which leave no entry.
    pub(super) fn of_ephemeral(batch: &Batch) -> Self {
        let sealed = |token: &str| {
            let appended = batch.results.get(token)?;
            Some((token.to_owned(), seal_token(token, appended, batch.time_ms)))
        };
        Self { tokens: batch.tokens.iter().filter_map(|token| sealed(token)).collect(), ..Self::default() }
    }

    /// Gathers what `expect`, repeats and cursors still need of the entries up to `through`, which go.
    pub(super) fn take_from_trimmed(
        &mut self,
        engine: &Engine,
        state: &State,
        log: &Log,
        through: Seq,
        now_ms: u64,
    ) -> Result<(), EngineError> {
        let keeps_states = log.keeps_states();
        engine.entries(state.meta.floor, |seq, frame| {
            if seq > through.number() {
                return Ok(false);
            }
            let entry = Entry::unseal(frame).ok_or_else(|| damaged("an event"))?;
            let Entry { seq, time_ms, content, .. } = entry;
            let draft = match content {
                EntryContent::Event(draft) => draft,
                EntryContent::Lacking(Lacking::Topics(topics)) => {
                    let places = topics.iter().map(|topic| state.meta.floor_seed.place_of(topic));
                    self.floors.extend(places.map(|place| (place, seq)));
                    return Ok(true);
                }
                EntryContent::Lacking(Lacking::All) => {
                    self.floors.extend((0..TopicFloors::PLACES as u32).map(|place| (place, seq)));
                    return Ok(true);
                }
            };
            for topic in &draft.topics {
                if state.lasts.get(topic).is_some_and(|(last, _)| *last == seq) {
                    self.lasts.push((topic.to_string(), seal_last(topic.as_str(), seq, time_ms)));
                }
                if log.owes(topic, seq) {
                    self.floors.insert(state.meta.floor_seed.place_of(topic), seq);
                }
            }
            if keeps_states {
                kept_states::keep_trimmed(&mut self.states, log, seq, &draft, frame);
            }
            if let Some(token) = &draft.once
                && let Some(first) = state.tokens.find(token, now_ms)
            {
                self.tokens.push((token.to_string(), seal_token(token, &first, time_ms)));
            }
            Ok(true)
        })
    }
}

/// When old tokens and lasts are taken off the disk. A pass looks at all of them.
#[derive(Default)]
pub(super) struct Pruning {
    last_ms: u64,
    /// Until when there may be something to prune.
    until_ms: u64,
}

impl Pruning {
    /// How often what is too old is forgotten.
    const EVERY_MS: u64 = 60_000;

    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.last_ms) >= Self::EVERY_MS && self.last_ms <= self.until_ms
    }

    /// Something was written at `now_ms` that is too old after `age_ms`.
    pub(super) fn wrote(&mut self, now_ms: u64, age_ms: u64) {
        self.until_ms = self.until_ms.max(now_ms.saturating_add(age_ms));
    }

    pub(super) fn pruned(&mut self, now_ms: u64) {
        self.last_ms = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::file::DataFile;
    use super::super::power_cut_tests::{Directory, draft};
    use super::*;
    use crate::{Chance, Disk, Draft, Fsync, Log, Options, SimulatedClock, Store as _};

    /// How many tokens the file has.
    fn tokens(directory: &Directory) -> usize {
        let file = DataFile::open(&directory.options(Fsync::Never).dir.join("log"), Fsync::Never).unwrap();
        Engine::open(file).unwrap().tokens().unwrap().len()
    }

    #[tokio::test]
    async fn tokens_of_ephemeral_events_leave_the_disk_without_a_trim() {
        const START_MS: u64 = 1_800_000_000_000;
        let directory = Directory::new("prune tokens");
        let open = |at_ms: u64| {
            let log = Log::with(&Options::default(), SimulatedClock::new(at_ms).clock(), Chance::system());
            Disk::open(Arc::clone(&log), directory.options(Fsync::Never)).unwrap().0
        };
        let ephemeral =
            |n: u64| Draft { ephemeral: true, once: Some(format!("token {n}").into()), ..draft(n) };
        let disk = open(START_MS);
        assert!(disk.append((0..100).map(ephemeral).collect()).await.iter().all(Result::is_ok));
        drop(disk);
        assert_eq!(tokens(&directory), 100);
        let disk = open(START_MS + 299_000);
        assert!(disk.append(vec![ephemeral(7)]).await[0].unwrap().duplicate, "a repeat may still come");
        drop(disk);
        let disk = open(START_MS + 301_000);
        disk.append(vec![ephemeral(200)]).await[0].unwrap();
        drop(disk);
        assert_eq!(tokens(&directory), 1, "nothing was trimmed, and old tokens are gone all the same");
    }

    #[test]
    fn what_was_written_is_pruned_until_all_of_it_is_too_old() {
        let mut pruning = Pruning::default();
        let mut passes = Vec::new();
        pruning.wrote(1_000_000, 150_000);
        for now_ms in (1_000_000..2_000_000).step_by(1000) {
            if pruning.is_due(now_ms) {
                pruning.pruned(now_ms);
                passes.push(now_ms);
            }
        }
        assert_eq!(passes, [1_000_000, 1_060_000, 1_120_000, 1_180_000]);
        pruning.wrote(3_000_000, 0);
        assert!(pruning.is_due(3_000_000));
    }
}
