//! The only path from the stream to this node's log. It reads the stream from the log's position
//! on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redis::{Value, pipe};
use tokio::time::Instant;

use super::backoff::backoff;
use super::connection::Connection;
use super::entry::{StreamEntry, parse};
use super::entry_id::EntryId;
use super::kept_states::{self, Place};
use super::log_state::LogState;
use super::loss_notice::{Lost, Notice};
use super::recent_appends::Recorded;
use super::reply::Failure;
use super::retention::{duration_ms, unix_ms};
use super::shared::Shared;
use crate::log::Fact;
use crate::{Epoch, Seq, Sequenced};

/// How long one read waits for a new entry. After each read the node checks that the server is
/// still the master.
const BLOCK: Duration = Duration::from_millis(500);

/// How long a node that may operate alone waits for Redis before it does: as long as drafts are
/// retried.
const ALONE_AFTER: Duration = Duration::from_secs(4);

/// Most entries that are read at once.
const COUNT: usize = 512;

/// Most generations that this node remembers.
const GENERATIONS_MAX: usize = 256;

pub(super) struct Tailer {
    shared: Arc<Shared>,
    /// The position up to which this node has followed each generation, oldest first. The last one
    /// is the node's position; empty: the node has no position yet.
    followed: Vec<EntryId>,
    /// The end of each generation, according to the last state.
    ends: BTreeMap<u64, Seq>,
    /// The current generation, according to the last state.
    current: u64,
    /// Whether the server just confirmed that this node's position is part of the surviving log.
    certain: bool,
    /// Whether the states of topics must be read again.
    lacks_states: bool,
    /// When the last read that found the end of the log began: entries of later reads were appended
    /// later. `None`: no read has found the end yet.
    was_at_end: Option<Instant>,
}

/// The result of one read of the stream.
struct Read {
    entries: Vec<(EntryId, StreamEntry)>,
    /// When the read began.
    began: Instant,
    /// When the server answered, in milliseconds since 1970 by its own clock.
    server_ms: u64,
}

/// Why reading stopped.
enum ReadStop {
    Connection(Failure),
    /// The entries do not follow this node's position.
    Astray,
}

impl<E: Into<Failure>> From<E> for ReadStop {
    fn from(error: E) -> Self {
        Self::Connection(error.into())
    }
}

impl Tailer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            followed: Vec::new(),
            ends: BTreeMap::new(),
            current: 0,
            certain: false,
            lacks_states: true,
            was_at_end: None,
        }
    }

    pub(super) async fn run(mut self, may_go_alone: bool) {
        let mut failures = 0;
        let mut lost_at = Instant::now();
        loop {
            match Connection::to_master(&self.shared.servers, BLOCK + Duration::from_secs(2)).await {
                Ok(mut connection) => {
                    let error = self.follow(&mut connection).await;
                    failures += 1;
                    if self.shared.health.is_followed() {
                        (failures, lost_at) = (0, Instant::now());
                    }
                    self.shared.health.set_lost(&error);
                }
                Err(error) => {
                    failures += 1;
                    self.shared.health.set_lost(&error);
                }
            }
            if may_go_alone {
                self.shared.alone.allow();
                if lost_at.elapsed() > ALONE_AFTER {
                    self.shared.alone.begin();
                }
            }
            tokio::time::sleep(backoff(failures)).await;
        }
    }

    async fn follow(&mut self, connection: &mut Connection) -> Failure {
        // A server that does not answer causes no warning.
        self.shared.health.set_evicts(connection.evicts().await.unwrap_or(false));
        loop {
            match self.follow_until_astray(connection).await {
                Err(ReadStop::Connection(error)) => return error,
                // The next attempt asks the server again, and either finds the position or starts
                // over.
                Ok(()) | Err(ReadStop::Astray) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn follow_until_astray(&mut self, connection: &mut Connection) -> Result<(), ReadStop> {
        let before = self.shared.recent.now();
        let state = connection.open_log(&self.shared.keys).await?;
        if state.last.is_some_and(|last| last.generation == self.at().generation && last < self.at()) {
            // The end of a generation never moves back, so this is another stream.
            connection.unseal(&self.shared.keys).await?;
            return Err(ReadStop::Astray);
        }
        let useless_up_to = self.useless_up_to(connection, &state).await?;
        let was_alone = self.shared.alone.end();
        self.resync(&state, before, was_alone, useless_up_to);
        self.skip_trimmed(&state, useless_up_to);
        let mut looked = Instant::now();
        let mut read_to = self.at().max(useless_up_to);
        loop {
            let Read { entries, began, server_ms } = self.read(connection, read_to).await?;
            if self.shared.health.take_doubt() {
                return Err(Failure::Broken("another server is a master too".to_owned()).into());
            }
            if entries.is_empty() || looked.elapsed() > BLOCK {
                // XREAD alone does not notice a deleted stream, or another stream with lower ids.
                let before = self.shared.recent.now();
                let state = connection.log_state(&self.shared.keys).await?;
                looked = Instant::now();
                let is_at_end = state.last == self.followed.last().copied();
                if !state.is_master || !state.is_open || entries.is_empty() && !is_at_end {
                    return Ok(());
                }
                if self.shared.recent.has_unknown(&state, before) {
                    // The other server's log may be the surviving one. Both tasks look for the
                    // master again.
                    self.shared.health.set_astray();
                    return Err(Failure::Broken("this node publishes on another server".to_owned()).into());
                }
            }
            if entries.is_empty() {
                self.load_states(connection).await?;
                self.set_at_end(began);
                continue;
            }
            let full = entries.len() == COUNT;
            read_to = entries.last().map_or(read_to, |(id, _)| *id);
            self.take_in(entries, server_ms)?;
            if !full {
                self.load_states(connection).await?;
                self.set_at_end(began);
            }
        }
    }

    /// The id up to which a starting node need not read, because no ring can hold earlier entries.
    async fn useless_up_to(&self, connection: &mut Connection, state: &LogState) -> Result<EntryId, Failure> {
        if self.shared.health.is_loaded() {
            return Ok(EntryId::default());
        }
        let marks = connection.marks(&self.shared.keys).await?;
        Ok(marks.useless_up_to(self.shared.retention, state).unwrap_or_default())
    }

    async fn read(&mut self, connection: &mut Connection, after: EntryId) -> Result<Read, ReadStop> {
        let began = self.shared.log.clock().now();
        let mut reading = pipe();
        reading.cmd("XREAD").arg("COUNT").arg(COUNT).arg("BLOCK").arg(BLOCK.as_millis() as u64);
        reading.arg("STREAMS").arg(&self.shared.keys.stream).arg(after.to_string());
        reading.cmd("TIME");
        let answers = connection.call_all(&reading).await?;
        let unknown = || Failure::Broken("XREAD answered something else".to_owned());
        let [answer, time] = <[Value; 2]>::try_from(answers).map_err(|_| unknown())?;
        let server_ms = unix_ms(&time).ok_or_else(unknown)?;
        let entries = match answer {
            Value::Nil => Vec::new(),
            answer => parse(answer).ok_or_else(unknown)?,
        };
        Ok(Read { entries, began, server_ms })
    }

    /// The age of an event in a read, by the clock of the server that also accepted the event. The
    /// clock may have been set, or may be another server's. The age is therefore limited to the
    /// time since this node last was at the end of the log.
    fn age_ms(&self, time_ms: u64, server_ms: u64) -> u64 {
        let age_ms = server_ms.saturating_sub(time_ms);
        let behind = self.was_at_end.map(|at| self.shared.log.clock().now().saturating_duration_since(at));
        behind.map_or(age_ms, |behind| age_ms.min(duration_ms(behind)))
    }

    /// Records that a read that began at this time has found the end of the log.
    fn set_at_end(&mut self, began: Instant) {
        self.was_at_end = Some(began);
        self.shared.health.set_at_end();
    }

    /// Reads the states of topics, if the log may lack a part of them.
    async fn load_states(&mut self, connection: &mut Connection) -> Result<(), ReadStop> {
        let shared = Arc::clone(&self.shared);
        if let Some(rules) = shared.states.as_ref().filter(|_| self.lacks_states) {
            let states = kept_states::load(connection, &shared.keys, rules, |id| self.place_of(id)).await?;
            shared.log.apply(states);
            self.lacks_states = false;
        }
        Ok(())
    }

    /// The position of an event relative to this node's position.
    fn place_of(&self, id: EntryId) -> Place {
        let at = self.at();
        if id.generation == at.generation {
            return if id.seq <= at.seq { Place::Read } else { Place::Ahead };
        }
        if id.generation > at.generation {
            return Place::Ahead;
        }
        let is_forgotten = self.ends.len() >= GENERATIONS_MAX
            && self.ends.first_key_value().is_some_and(|(oldest, _)| id.generation < *oldest);
        let is_history = self.ends.get(&id.generation).is_some_and(|end| id.seq <= *end);
        if is_history || is_forgotten { Place::Read } else { Place::Void }
    }

    /// Applies a fact about a break in the entries that this node has read.
    fn tell(&mut self, fact: Fact) {
        self.lacks_states = true;
        self.shared.log.apply(fact);
    }

    /// This node's position.
    fn at(&self) -> EntryId {
        self.followed.last().copied().unwrap_or_default()
    }

    /// Moves back to the newest point that this node shares with the surviving log, and drops
    /// everything above it.
    fn resync(&mut self, state: &LogState, before: u64, was_alone: bool, useless_up_to: EntryId) {
        let at = self.at();
        let current = state.last.map_or(0, |last| last.generation);
        let lost = self.shared.recent.survive(state, before);
        let shared = self.followed.iter().rposition(|id| state.end_of(id.generation).is_some());
        self.followed.truncate(shared.map_or(0, |index| index + 1));
        if let Some(id) = self.followed.last_mut() {
            id.seq = id.seq.min(state.end_of(id.generation).unwrap_or_default());
        }
        let now = self.at();
        self.ends.clone_from(&state.ends);
        self.current = current;
        self.certain = true;
        if self.followed.is_empty() {
            let first = state.first.or(state.last).unwrap_or_default().max(useless_up_to);
            self.recall(first.generation);
            // A log that is newer than every loss has no cursors, so there is no client to reset.
            let is_new = state.ends.is_empty() && lost.newest < current;
            if let Some(last) = state.last.filter(|_| !is_new) {
                self.shared.owed.add(Notice { of: last, lost: lost.what });
            }
        } else {
            if now != at || was_alone {
                // The generation continues from there, perhaps with entries that a master in
                // between never had.
                let epoch = Epoch::new(now.generation);
                self.tell(Fact::Epoch { epoch, end: Some(now.seq), start: now.seq });
            }
            self.shared.owed.add(Notice { of: now, lost: lost.what });
        }
    }

    /// Moves to the end of the log if all entries after this node's position were trimmed or
    /// deleted.
    fn skip_trimmed(&mut self, state: &LogState, useless_up_to: EntryId) {
        let (at, newest) = (self.at(), state.newest.unwrap_or_default());
        if let Some(last) = state.last
            && last > at
            && newest <= at.max(useless_up_to)
        {
            if last.generation != at.generation {
                self.recall(last.generation);
                self.enter(EntryId { seq: last.seq, ..last });
            }
            self.tell(Fact::Trimmed { through: last.seq });
            self.move_to(last);
        }
    }

    /// Passes through the generations between this node's position and another generation. None of
    /// their entries is left.
    fn recall(&mut self, generation: u64) {
        let at = self.at();
        if let Some(end) = self.ends.get(&at.generation).copied().filter(|end| *end > at.seq) {
            self.tell(Fact::Trimmed { through: end });
            self.move_to(EntryId { seq: end, ..at });
        }
        let between: Vec<(u64, Seq)> = self
            .ends
            .range(at.generation + 1..generation)
            .map(|(generation, end)| (*generation, *end))
            .collect();
        for (generation, end) in between {
            let start = self.at().seq;
            self.enter(EntryId { generation, seq: start });
            self.tell(Fact::Trimmed { through: end });
            self.move_to(EntryId { generation, seq: end });
        }
    }

    /// Begins a generation after `start`. This node's previous generation ends at its position.
    fn enter(&mut self, start: EntryId) {
        let end = self.followed.last().map(|at| at.seq);
        self.tell(Fact::Epoch { epoch: Epoch::new(start.generation), end, start: start.seq });
        self.shared.health.add_epoch();
        if self.followed.len() == GENERATIONS_MAX {
            self.followed.remove(0);
        }
        self.followed.push(start);
    }

    fn move_to(&mut self, id: EntryId) {
        if let Some(at) = self.followed.last_mut() {
            *at = id;
        }
    }

    /// Applies entries that follow this node's position.
    fn take_in(&mut self, entries: Vec<(EntryId, StreamEntry)>, server_ms: u64) -> Result<(), ReadStop> {
        let mut events = Vec::with_capacity(entries.len());
        for (id, entry) in entries {
            if self.is_void(id) {
                continue;
            }
            let at = self.at();
            if id.generation != at.generation || id.seq != at.seq.next() {
                self.flush(&mut events);
                self.leap(id, &entry)?;
            }
            self.certain = false;
            match entry {
                StreamEntry::Event(event) => {
                    self.shared.recent.add(id, Recorded::Event(event.draft.topics.clone()));
                    let age_ms = self.age_ms(event.time_ms, server_ms);
                    events.push(Sequenced { seq: Some(id.seq), age_ms, ..event });
                }
                StreamEntry::Lost(notice) => {
                    self.flush(&mut events);
                    self.lose(&notice, id);
                }
                StreamEntry::Generation { .. } => {}
                StreamEntry::Other => {
                    self.flush(&mut events);
                    self.tell(Fact::Trimmed { through: id.seq });
                }
            }
            self.move_to(id);
        }
        self.flush(&mut events);
        Ok(())
    }

    /// Whether an entry lies beyond the end of its generation, or in a generation that never was.
    /// This can happen after a server is killed in the middle of a script, if its file ends within
    /// a command: the completed part of the script stays in the file. That part is not visible
    /// after the next start, from which the next generation counts, but becomes visible after the
    /// start that follows.
    fn is_void(&self, id: EntryId) -> bool {
        match self.ends.get(&id.generation) {
            Some(end) => id.seq > *end,
            None => {
                let is_known = |(oldest, _): (&u64, &Seq)| *oldest < id.generation;
                self.ends.first_key_value().is_some_and(is_known) && id.generation < self.current
            }
        }
    }

    fn has_come_through(&self, point: EntryId) -> bool {
        self.followed.iter().any(|id| id.generation == point.generation && id.seq >= point.seq)
    }

    /// Moves back to a point that this node has passed: according to the stream, the previous
    /// generation ended there.
    fn go_back(&mut self, to: EntryId) {
        let mut lost = Lost::default();
        let after =
            self.followed.iter().rposition(|id| id.generation == to.generation).map_or(0, |at| at + 1);
        for void in self.followed.drain(after..) {
            lost.merge(&self.shared.recent.end(void.generation, Seq::ZERO));
        }
        lost.merge(&self.shared.recent.end(to.generation, to.seq));
        self.move_to(to);
        let epoch = Epoch::new(to.generation);
        self.tell(Fact::Epoch { epoch, end: Some(to.seq), start: to.seq });
        self.shared.owed.add(Notice { of: to, lost });
    }

    /// Moves from this node's position to an entry that is not the next of its generation.
    fn leap(&mut self, id: EntryId, entry: &StreamEntry) -> Result<(), ReadStop> {
        let at = self.at();
        if self.followed.is_empty() {
            self.enter(start_of(id, entry));
        } else if id.generation == at.generation && id.seq > at.seq {
            self.tell(Fact::Trimmed { through: before(id.seq) });
        } else {
            let continues =
                |previous: &EntryId| previous.generation == at.generation && previous.seq >= at.seq;
            match entry {
                StreamEntry::Generation { previous } if continues(previous) => {
                    let lost = self.shared.recent.end(at.generation, previous.seq);
                    if previous.seq > at.seq {
                        self.tell(Fact::Trimmed { through: previous.seq });
                        self.move_to(*previous);
                    }
                    self.enter(start_of(id, entry));
                    self.shared.owed.add(Notice { of: *previous, lost });
                }
                // The entries since that point are void, which was not known before.
                StreamEntry::Generation { previous } if self.has_come_through(*previous) => {
                    self.go_back(*previous);
                    self.enter(start_of(id, entry));
                }
                // The entries in between were trimmed, perhaps together with the marker.
                _ if self.certain && self.ends.contains_key(&at.generation) => {
                    self.recall(id.generation);
                    let follows =
                        matches!(entry, StreamEntry::Generation { previous } if *previous == self.at());
                    let start = start_of(id, entry);
                    self.enter(start);
                    if !follows {
                        self.tell(Fact::Trimmed { through: start.seq });
                    }
                }
                _ => return Err(ReadStop::Astray),
            }
        }
        Ok(())
    }

    /// Resets the readers of topics that lost acknowledged events.
    fn lose(&mut self, notice: &Notice, id: EntryId) {
        self.shared.recent.add(id, Recorded::Notice(notice.lost.clone()));
        self.shared.owed.told(notice);
        let through = id.seq;
        self.tell(match &notice.lost {
            Lost::Topics(topics) => Fact::Lost { topics: topics.iter().cloned().collect(), through },
            Lost::Everything => Fact::Trimmed { through },
        });
    }

    fn flush(&self, events: &mut Vec<Sequenced>) {
        if !events.is_empty() {
            self.shared.log.apply(Fact::Events(std::mem::take(events)));
        }
    }
}

/// The position before the first event of a generation whose first entry is this one.
fn start_of(id: EntryId, entry: &StreamEntry) -> EntryId {
    let seq = if matches!(entry, StreamEntry::Generation { .. }) { id.seq } else { before(id.seq) };
    EntryId { seq, ..id }
}

fn before(seq: Seq) -> Seq {
    Seq::new(seq.number().saturating_sub(1)).unwrap_or_default()
}
