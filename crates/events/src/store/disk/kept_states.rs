//! The states of topics on disk: of each key whose latest event was trimmed, that event.
//!
//! A row has the frame of the trimmed entry itself, under its topic and key. It is written when the entry is trimmed, so
//! an append costs nothing more. Entries that are retained take the place of rows when the log is read, in their order.
//! Notes stand beside the rows: one for each topic that lacks keys, and one that says for which topics and up to where
//! the rows are complete. If that note does not fit, another version or other options have trimmed the log meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::engine::{Engine, EngineError, damaged};
use super::record::{Entry, EntryContent, Meta};
use super::state_row::{ABOUT_ALL, Note, StateRows, name_of, topic_of};
use crate::log::Fact;
use crate::state_map::KeptState;
use crate::states::StateFate;
use crate::{Draft, Log, Seq, Sequenced, Topic};

/// Enters what becomes of a trimmed event in the states of its topics. The log has everything that was committed before.
pub(super) fn keep_trimmed(rows: &mut StateRows, log: &Log, seq: Seq, draft: &Draft, frame: &[u8]) {
    let Some(key) = draft.key.as_ref().filter(|_| !draft.is_latest_only()) else { return };
    for topic in &draft.topics {
        let row = match log.state_fate(topic, seq) {
            StateFate::None => continue,
            StateFate::Latest => Some(frame.to_vec()),
            StateFate::Gone => None,
        };
        rows.insert(name_of(topic, key), row);
    }
}

/// What changes in the rows with a commit that trims entries up to `floor`, of which these rows stay. `prunes`: rows of
/// no use are looked for there.
pub(super) fn change(
    trimmed: StateRows,
    prunes: Option<&Engine>,
    log: &Log,
    floor: Seq,
    time_ms: u64,
) -> Result<StateRows, EngineError> {
    if !log.keeps_states() {
        return Ok(StateRows::new());
    }
    let mut rows = prunes.map(|engine| stale(engine, log, time_ms)).transpose()?.unwrap_or_default();
    // What is trimmed now has the last word.
    rows.extend(trimmed);
    note(&mut rows, log, floor, time_ms);
    Ok(rows)
}

/// Enters the notes about the topics of these rows, and the one that entries were trimmed up to `floor`.
fn note(rows: &mut StateRows, log: &Log, floor: Seq, time_ms: u64) {
    let names = rows.keys().filter_map(|name| topic_of(name));
    let topics: BTreeSet<Topic> = names.filter_map(|name| name.parse().ok()).collect();
    let until_ms = |partial: Duration| {
        let partial_ms = u64::try_from(partial.as_millis()).unwrap_or(u64::MAX);
        if partial_ms == 0 { 0 } else { time_ms.saturating_add(partial_ms) }
    };
    for topic in topics {
        let partial_until_ms = until_ms(log.state_partial(Some(&topic)));
        if partial_until_ms > 0 {
            let note = Note { partial_until_ms, ..Note::default() };
            rows.insert(topic.to_string(), Some(note.seal()));
        }
    }
    let partial_until_ms = until_ms(log.state_partial(None));
    let note = Note { topics: log.state_topics(), floor, partial_until_ms };
    rows.insert(ABOUT_ALL.to_owned(), Some(note.seal()));
}

/// The rows that the log does not hold any more, and the notes whose time is over.
fn stale(engine: &Engine, log: &Log, time_ms: u64) -> Result<StateRows, EngineError> {
    let mut stale = StateRows::new();
    for (name, frame) in engine.states()? {
        let is_kept = match topic_of(&name) {
            Some(topic) => {
                let topic: Result<Topic, _> = topic.parse();
                let fate = |entry: Entry| Some(log.state_fate(topic.as_ref().ok()?, entry.seq));
                Entry::unseal(&frame).and_then(fate) == Some(StateFate::Latest)
            }
            None if name == ABOUT_ALL => true,
            None => Note::unseal(&frame).is_some_and(|note| note.partial_until_ms > time_ms),
        };
        if !is_kept {
            stale.insert(name, None);
        }
    }
    Ok(stale)
}

/// What has to change in the rows of an earlier process before they can be read. `is_damaged`: events may be lost.
pub(super) fn settle(
    engine: &Engine,
    log: &Log,
    meta: &Meta,
    is_damaged: bool,
) -> Result<StateRows, EngineError> {
    let found = engine.states()?;
    let mut rows = StateRows::new();
    if !log.keeps_states() {
        rows.extend(found.into_iter().map(|(name, _)| (name, None)));
        return Ok(rows);
    }
    let topics = log.state_topics();
    let about_all = found.iter().find(|(name, _)| name == ABOUT_ALL);
    let note = about_all.and_then(|(_, frame)| Note::unseal(frame)).unwrap_or_default();
    let is_complete = note.floor == meta.floor;
    if is_complete && note.topics == topics && !is_damaged {
        return Ok(rows);
    }
    // What was kept of a topic is right if every trim since has kept it.
    rows.extend(found.into_iter().filter(|_| !is_complete).map(|(name, _)| (name, None)));
    let is_partial = is_damaged || meta.floor > Seq::ZERO;
    let age_ms = u64::try_from(log.state_age().as_millis()).unwrap_or(u64::MAX);
    let partial_until_ms = if is_partial { log.clock().unix_ms().saturating_add(age_ms) } else { 0 };
    let note = Note { topics, floor: meta.floor, partial_until_ms };
    rows.insert(ABOUT_ALL.to_owned(), Some(note.seal()));
    Ok(rows)
}

/// Tells the log the states as far as rows have them.
pub(super) fn read(engine: &Engine, now_ms: u64, log: &Log) -> Result<(), EngineError> {
    if !log.keeps_states() {
        return Ok(());
    }
    let mut states: BTreeMap<Topic, KeptState> = BTreeMap::new();
    let mut partial_ms = 0;
    let left = |note: &Note| note.partial_until_ms.saturating_sub(now_ms);
    for (name, frame) in engine.states()? {
        let broken = || damaged("the state of a topic");
        if name == ABOUT_ALL {
            partial_ms = left(&Note::unseal(&frame).ok_or_else(broken)?);
            continue;
        }
        let topic: Topic = topic_of(&name).unwrap_or(&name).parse().map_err(|_| broken())?;
        let state = states.entry(topic.clone()).or_insert_with(|| KeptState::empty(topic));
        if topic_of(&name).is_none() {
            let note = Note::unseal(&frame).ok_or_else(broken)?;
            state.partial = Duration::from_millis(left(&note));
            continue;
        }
        let Entry { seq, time_ms, content, .. } = Entry::unseal(&frame).ok_or_else(broken)?;
        let EntryContent::Event(draft) = content else { return Err(broken()) };
        let age_ms = now_ms.saturating_sub(time_ms);
        state.events.push(Sequenced { seq: Some(seq), time_ms, age_ms, draft });
    }
    let partial = Duration::from_millis(partial_ms);
    log.apply(Fact::States { topics: states.into_values().collect(), partial });
    Ok(())
}
