//! The thread that writes: takes what is queued, commits it as one, reports it to the log, and answers.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::batch::{Append, Batch, Content, Job};
use super::engine::{Change, Engine, EngineError, damaged};
use super::file::DataFile;
use super::health::Health;
use super::kept_states;
use super::mark::{Mark, Synced};
use super::options::{DiskOptions, Fsync, KeptValue, SYNC_EVERY};
use super::record::{Entry, seal_floor, seal_kept};
use super::recover::Opened;
use super::state::{Room, State, Unsettled};
use super::time::StoreTime;
use super::trim::{Pruning, Remains};
use crate::log::Fact;
use crate::store::idempotency::RecentTokens;
use crate::{
    AppendResults, Appended, Checkpoint, Cursor, Draft, Lacking, Log, Rejection, Seq, Sequenced, Unavailable,
};

pub(super) struct Writer {
    pub(super) log: Arc<Log>,
    pub(super) options: DiskOptions,
    /// `None` after an error, until it is opened again.
    pub(super) engine: Option<Engine>,
    pub(super) unsettled: Unsettled,
    pub(super) file: Arc<DataFile>,
    pub(super) mark: Mark,
    pub(super) state: State,
    pub(super) health: Arc<Health>,
    time: StoreTime,
    pruning: Pruning,
    /// Held for as long as anything is written.
    _lock: File,
}

impl Writer {
    /// How much is committed at once.
    const BATCH_DRAFTS: usize = 4096;
    const BATCH_BYTES: usize = 8 << 20;

    /// Topics whose last seq is remembered at most.
    const LASTS_MAX: usize = 1_000_000;

    pub(super) fn new(
        log: Arc<Log>,
        options: DiskOptions,
        opened: Opened,
        health: Arc<Health>,
        lock: File,
    ) -> Self {
        let Opened { engine, file, mark, state, recovered: _, kept: _ } = opened;
        let time = StoreTime::begin(log.clock());
        let now_ms = time.now_ms(log.clock());
        let mut writer = Self {
            log,
            options,
            engine: Some(engine),
            unsettled: Unsettled::default(),
            file,
            mark,
            state,
            health,
            time,
            pruning: Pruning::default(),
            _lock: lock,
        };
        // Earlier processes may have left something.
        writer.pruning.wrote(now_ms, writer.lasts_age_ms());
        writer
    }

    /// Works until no publisher is left that could ask.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut asked = Vec::new();
            let (mut drafts, mut bytes) = (0, 0);
            let mut next = Some(first);
            while let Some(job) = next {
                if let Job::Append(append) = job {
                    drafts += append.content.drafts.len();
                    bytes += append.content.bytes();
                    asked.push(append);
                }
                let full = drafts >= Self::BATCH_DRAFTS || bytes >= Self::BATCH_BYTES;
                next = if full { None } else { jobs.try_recv().ok() };
            }
            self.turn(asked);
        }
        self.close();
    }

    fn turn(&mut self, asked: Vec<Append>) {
        if let Err(unavailable) = self.settle() {
            self.health.refuses(unavailable);
            asked.into_iter().for_each(|append| drop(append.answer.send(Err(unavailable))));
            return;
        }
        let (now_ms, time_ms) = (self.time.now_ms(self.log.clock()), self.log.clock().unix_ms());
        let mut batch = Batch::after(self.state.last, now_ms, time_ms);
        self.state.stamp = (self.state.stamp + 1).max(now_ms * 1000);
        let mut notes = Vec::new();
        let answers: Vec<_> = asked
            .into_iter()
            .map(|Append { content: Content { drafts, values, checkpoint, lacking }, answer }| {
                let answers: AppendResults =
                    drafts.into_iter().map(|draft| self.place(draft, &mut batch)).collect();
                batch.values.extend(values);
                let position =
                    |checkpoint: Checkpoint| (checkpoint.source().clone(), checkpoint.position().into());
                batch.checkpoints.extend(checkpoint.map(position));
                notes.extend(lacking);
                (answers, answer)
            })
            .collect();
        notes.into_iter().for_each(|lacking| self.note(lacking, &mut batch));
        let committed = self.commit(batch);
        match committed {
            Ok(()) => {
                self.health.accepts();
                answers.into_iter().for_each(|(answers, answer)| drop(answer.send(Ok(answers))));
            }
            Err(unavailable) => {
                self.health.refuses(unavailable);
                answers.into_iter().for_each(|(_, answer)| drop(answer.send(Err(unavailable))));
            }
        }
    }

    /// Gives a note that events are lacking its place. It takes a seq, which is above every cursor.
    fn note(&self, lacking: Lacking, batch: &mut Batch) {
        let seq = batch.last.next();
        batch.last = seq;
        let epoch = self.state.meta.epoch;
        let frame = Entry::seal_lacking(self.state.stamp, epoch, seq, batch.time_ms, &lacking);
        batch.frames.push((seq.number(), frame));
        batch.lacking.push((seq, lacking));
    }

    /// Finds the place of one draft, if there is nothing against it.
    fn place(&self, draft: Draft, batch: &mut Batch) -> Result<Appended, Rejection> {
        if let Some(token) = &draft.once {
            let known = batch.results.get(token).copied();
            if let Some(first) = known.or_else(|| self.state.tokens.find(token, batch.now_ms)) {
                return Ok(Appended { duplicate: true, ..first });
            }
        }
        if let Some(expected) = draft.expect {
            let topic = &draft.topics.as_slice()[0];
            let kept = || self.state.lasts.get(topic).map(|(seq, _)| *seq);
            let last = batch.lasts.get(topic).copied().or_else(kept).unwrap_or_default();
            if last != expected {
                return Err(Rejection::Conflict { last });
            }
        }
        let epoch = self.state.meta.epoch;
        let seq = (!draft.ephemeral).then(|| batch.last.next());
        batch.last = seq.unwrap_or(batch.last);
        // A life that began with a jump has no event at its start, so no client can have seen one.
        let seen = if batch.last == self.state.meta.start { self.log.tail() } else { batch.last };
        let appended = Appended { cursor: Cursor { epoch, seq: seen }, seq, duplicate: false };
        if let Some(token) = &draft.once {
            batch.results.insert(token.clone(), appended);
        }
        if let Some(seq) = seq {
            let frame = Entry::seal(self.state.stamp, epoch, seq, batch.time_ms, &draft);
            batch.frames.push((seq.number(), frame));
            // `expect` does not see what is kept apart.
            if !draft.is_latest_only() {
                batch.lasts.extend(draft.topics.iter().map(|topic| (topic.clone(), seq)));
            }
        } else {
            batch.tokens.extend(draft.once.clone());
        }
        batch.events.push(Sequenced { seq, time_ms: batch.time_ms, age_ms: 0, draft });
        Ok(appended)
    }

    /// Brings the batch to disk, and trims what is due. `Ok`: it is there, and the log has heard of it.
    fn commit(&mut self, mut batch: Batch) -> Result<(), Unavailable> {
        let due = self.state.chunks.due(&self.room(batch.now_ms));
        let in_trouble = self.health.refusal().is_some();
        let is_idle = batch.is_empty() && due.is_none() && !in_trouble && !self.pruning.is_due(batch.now_ms);
        let written = if is_idle { Ok(()) } else { self.write(&mut batch, due, in_trouble) };
        let Err(error) = written else {
            self.take_in(batch);
            return Ok(());
        };
        self.health.failed(error.to_string());
        self.engine = None;
        // Whether it came to disk all the same is for the file to say.
        let unavailable = match self.reopen(Some(&batch), false) {
            Ok(true) => {
                self.take_in(batch);
                return Ok(());
            }
            Ok(false) => Unavailable("the disk cannot be written"),
            Err(unavailable) => {
                self.unsettled.refused = Some(batch);
                unavailable
            }
        };
        Err(if error.full { Unavailable("the disk is full") } else { unavailable })
    }

    /// `probe`: write something in any case, to see whether it can be done again.
    fn write(&mut self, batch: &mut Batch, due: Option<Seq>, probe: bool) -> Result<(), EngineError> {
        let Some(engine) = &self.engine else { return Err(damaged("the log file")) };
        let checkpoints = self.state.checkpoints.frames(batch, self.state.stamp);
        if !batch.values.is_empty() || !checkpoints.is_empty() {
            let values = batch.values.iter().map(|(name, _)| &**name);
            batch.frames_before =
                engine.frames_of_kept(values.chain(checkpoints.iter().map(|(name, _)| &**name)))?;
        }
        let mut remains = Remains::of_ephemeral(batch);
        let mut change = Change { entries: &batch.frames, ..Change::default() };
        let mut meta = self.state.meta;
        meta.generation += 1;
        if let Some(through) = due {
            remains.take_from_trimmed(engine, &self.state, &self.log, through, batch.now_ms)?;
            meta.floor = through;
            change.trim = due;
        }
        let has_pruned = self.pruning.is_due(batch.now_ms);
        if due.is_some() || has_pruned {
            let trimmed = std::mem::take(&mut remains.states);
            let prunes = has_pruned.then_some(engine);
            change.states = kept_states::change(trimmed, prunes, &self.log, meta.floor, batch.time_ms)?;
        }
        change.prune = has_pruned.then(|| {
            let tokens_oldest_ms = batch.time_ms.saturating_sub(RecentTokens::AGE_MS);
            (tokens_oldest_ms, self.lasts_oldest_ms(batch.time_ms))
        });
        // So that every commit can be told from the one before.
        let is_new = probe || due.is_some() || batch.frames.is_empty();
        change.meta = is_new.then_some(&meta);
        change.tokens = remains.tokens.iter().map(|(token, frame)| (&**token, Some(frame.clone()))).collect();
        let sealed = |(name, value): &KeptValue| value.as_ref().map(|value| seal_kept(name, value));
        change.kept = batch.values.iter().map(|kept| (&*kept.0, sealed(kept))).collect();
        change.kept.extend(checkpoints.iter().map(|(name, frame)| (&**name, Some(frame.clone()))));
        change.lasts = remains.lasts.iter().map(|(topic, frame)| (&**topic, frame.clone())).collect();
        change.floors =
            remains.floors.iter().map(|(place, floor)| (*place, seal_floor(*place, *floor))).collect();
        engine.commit(&change)?;
        for (is_written, age_ms) in [
            (!remains.tokens.is_empty() || !remains.lasts.is_empty(), self.lasts_age_ms()),
            (due.is_some() && !change.states.is_empty(), millis(self.log.state_age())),
        ] {
            if is_written {
                self.pruning.wrote(batch.now_ms, age_ms);
            }
        }
        if has_pruned {
            self.pruning.pruned(batch.now_ms);
            let oldest_ms = self.lasts_oldest_ms(batch.now_ms);
            self.state.lasts.retain(|_, (_, ms)| *ms >= oldest_ms);
        }
        if is_new {
            self.state.meta = meta;
        }
        if let Some(through) = due {
            self.state.chunks.trimmed(through);
        }
        Ok(())
    }

    /// What is on disk becomes part of the state, and the log hears of it.
    fn take_in(&mut self, batch: Batch) {
        self.state.checkpoints.committed(&batch, self.state.stamp);
        let Batch { last, now_ms, events, frames, lacking, lasts, results, .. } = batch;
        for (seq, frame) in &frames {
            self.state.chunks.push(*seq, frame.len(), now_ms);
        }
        self.state.last = last;
        self.state.lasts.extend(lasts.into_iter().map(|(topic, seq)| (topic, (seq, now_ms))));
        for (token, appended) in results {
            self.state.tokens.insert(&token, appended, now_ms);
        }
        self.health.tokens_evicted(self.state.tokens.evicted_young());
        if !frames.is_empty() {
            // Without it a later cut of the log could go unnoticed, but nothing is wrong with what was written.
            let _ = self.mark.set(self.tail(), Synced::before_answers(self.options.fsync));
        }
        if self.state.lasts.len() > Self::LASTS_MAX {
            let mut times: Vec<u64> = self.state.lasts.values().map(|(_, ms)| *ms).collect();
            let (_, middle_ms, _) = times.select_nth_unstable(Self::LASTS_MAX / 4);
            let oldest_ms = *middle_ms;
            self.state.lasts.retain(|_, (_, ms)| *ms > oldest_ms);
        }
        if !events.is_empty() {
            self.log.apply(Fact::Events(events));
        }
        lacking.into_iter().for_each(|(seq, lacking)| self.log.apply(lacking.fact(seq)));
    }

    pub(super) fn tail(&self) -> Cursor {
        Cursor { epoch: self.state.meta.epoch, seq: self.state.last }
    }

    fn room(&self, now_ms: u64) -> Room {
        let age_ms = millis(self.options.age_max).max(RecentTokens::AGE_MS);
        Room {
            entries_max: self.options.events_max,
            bytes_max: self.options.bytes_max,
            oldest_ms: now_ms.saturating_sub(age_ms),
        }
    }

    /// For how long a topic's last seq is kept.
    fn lasts_age_ms(&self) -> u64 {
        millis(self.options.topic_idle_max).max(millis(self.options.age_max)).max(RecentTokens::AGE_MS)
    }

    fn lasts_oldest_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.lasts_age_ms())
    }

    fn close(mut self) {
        let is_settled = self.settle_now().is_ok();
        self.engine = None;
        let _ = match is_settled && self.file.sync().is_ok() {
            true => self.mark.set(self.tail(), Synced::All),
            false => self.mark.refuse(self.tail(), Synced::before_answers(self.options.fsync)),
        };
        let _ = self.mark.sync();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Starts the thread that syncs at intervals and wakes an idle writer, for as long as there is one.
pub(super) fn keep(jobs: mpsc::WeakSender<Job>, fsync: Fsync, file: Arc<DataFile>) -> io::Result<()> {
    /// After how many rounds an idle writer looks after its file.
    const TICK_ROUNDS: u32 = 5;
    let keep = move || {
        for round in 1_u32.. {
            std::thread::sleep(SYNC_EVERY);
            let Some(jobs) = jobs.upgrade() else { return };
            // After a sync that failed the writer refuses all until it has mended that: it must not wait for a publish.
            let failed = fsync == Fsync::Interval && file.sync().is_err();
            if failed || round % TICK_ROUNDS == 0 {
                let _ = jobs.try_send(Job::Tick);
            }
        }
    };
    std::thread::Builder::new().name("disk-keeper".to_owned()).spawn(keep).map(drop)
}
