//! Recovery of the log from its files: read and check, save the undamaged entries, replay.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::checkpoints::{Checkpoints, undone_above};
use super::engine::{Change, Engine, EngineError, damaged};
use super::file::DataFile;
use super::kept_states;
use super::mark::{Mark, Marked, Synced};
use super::options::{DiskError, DiskOptions, Fsync, Paths, Recovered};
use super::record::{Entry, EntryContent, Meta, seal_last, seal_token};
use super::salvage::Salvage;
use super::state::{Chunks, State};
use crate::log::Fact;
use crate::store::fresh_epoch;
use crate::store::idempotency::RecentTokens;
use crate::topic_floors::{FloorSeed, TopicFloors};
use crate::{Appended, Cursor, Log, Seq, Sequenced};

/// How far the numbers jump where history broke, so that no number is used a second time.
const JUMP: u64 = 1 << 20;

/// How many events are replayed at a time.
const REPLAY_EVENTS: usize = 1000;

/// The result of a recovery.
pub(super) struct Opened {
    pub(super) engine: Engine,
    pub(super) file: Arc<DataFile>,
    pub(super) mark: Mark,
    pub(super) state: State,
    pub(super) recovered: Recovered,
    /// The values beside the log.
    pub(super) kept: Vec<(String, Vec<u8>)>,
}

/// Opens the files and feeds what they hold to the log.
pub(super) fn open(paths: &Paths, options: &DiskOptions, log: &Log) -> Result<Opened, DiskError> {
    let io = |error: io::Error| paths.failed("cannot open the log", &error);
    let fsync = options.fsync;
    let _ = fs::remove_file(&paths.fresh);
    let (mark, marked) = Mark::open(&paths.mark).map_err(io)?;
    let existed = has_bytes(&paths.log);
    let file = DataFile::open(&paths.log, fsync).map_err(io)?;
    let mut recovery = Recovery { paths, fsync, log, marked, existed, file };
    let opened = recovery.run(&mark, options.token_bytes_max);
    if opened.is_err() && recovery.file.has_failed() {
        // The next start would not know of the failure, because its syncs would succeed.
        let _ = mark.doubt();
    }
    let (engine, state, recovered, kept) = opened?;
    Ok(Opened { engine, file: recovery.file, mark, state, recovered, kept })
}

/// The facts that a recovery begins with, and the file with which the log continues.
struct Recovery<'a> {
    paths: &'a Paths,
    fsync: Fsync,
    log: &'a Log,
    marked: Marked,
    /// There was a log file.
    existed: bool,
    file: Arc<DataFile>,
}

/// The log as it was found, or as it was saved.
struct Base {
    engine: Engine,
    meta: Meta,
    last: Seq,
    /// The entries above this seq were refused, and are removed.
    refused: Option<Seq>,
    /// What was wrong with the files.
    damage: Option<String>,
    /// Set if the log was saved from a damaged file: whether it has every acknowledged event.
    salvaged: Option<bool>,
}

impl Base {
    fn new(engine: Engine, meta: Meta, last: Seq) -> Self {
        Self { engine, meta, last, refused: None, damage: None, salvaged: None }
    }

    /// Acknowledged events may be gone.
    fn is_broken(&self) -> bool {
        self.damage.is_some() && self.salvaged != Some(true)
    }
}

type Found = (Engine, State, Recovered, Vec<(String, Vec<u8>)>);

impl Recovery<'_> {
    fn run(&mut self, mark: &Mark, token_bytes_max: usize) -> Result<Found, DiskError> {
        let mut base = self.find()?;
        if let Marked::Here { safe: false, .. } = self.marked
            && base.damage.is_none()
        {
            base.damage = Some("the machine went down before everything was on disk".to_owned());
        }
        let is_broken = base.is_broken();
        if is_broken {
            self.begin_an_epoch(&mut base)?;
        }
        self.settle(&mut base, mark)?;
        let failed = |error: EngineError| self.paths.failed("cannot open the log", &error);
        let mut state =
            replay(&base.engine, base.meta, base.last, token_bytes_max, self.log).map_err(failed)?;
        let mut kept = base.engine.kept().map_err(failed)?;
        state.checkpoints = Arc::new(Checkpoints::take_from(&mut kept));
        state.stamp = state.stamp.max(state.checkpoints.newest_stamp());
        let damage = base.damage.as_ref().map(|damage| self.report(damage, &base, state.chunks.entries()));
        let recovered = Recovered { events: state.chunks.entries(), epoch_changed: is_broken, damage };
        Ok((base.engine, state, recovered, kept))
    }

    /// Reads the file, or makes another one from its undamaged entries.
    fn find(&mut self) -> Result<Base, DiskError> {
        let io = |error: io::Error| self.paths.failed("cannot open the log", &error);
        let engine_failed = |error: EngineError| self.paths.failed("cannot open the log", &error);
        let is_new = self.marked == Marked::Absent;
        if self.existed {
            self.file.adopt(self.marked.is_in_doubt()).map_err(io)?;
        }
        let read =
            if self.existed { read(&self.file) } else { Err(EngineError::new("the log file is gone")) };
        match read {
            Ok((engine, Some(meta), found)) if !is_short(self.marked, &meta, found) => {
                let refused = self.marked.refused_above().filter(|last| *last < found);
                Ok(Base { refused, ..Base::new(engine, meta, refused.unwrap_or(found)) })
            }
            // The mark is made when a log has begun.
            Ok((engine, None, _)) if is_new => Ok(Base::new(engine, fresh_meta(self.log), Seq::ZERO)),
            Err(_) if !self.existed && is_new => {
                let engine = Engine::open(Arc::clone(&self.file)).map_err(engine_failed)?;
                Ok(Base::new(engine, fresh_meta(self.log), Seq::ZERO))
            }
            // The disk has failed; the file may be whole.
            Err(error) if self.file.has_failed() => Err(engine_failed(error)),
            read => {
                let damage = match read {
                    Err(error) => error.to_string(),
                    Ok(_) if self.marked == Marked::Damaged => damaged("the file `mark`").to_string(),
                    Ok(_) if is_new => "the file `mark` is gone".to_owned(),
                    Ok(_) => "the log ends before the last acknowledged event".to_owned(),
                };
                self.save(damage)
            }
        }
    }

    /// Makes another file from the undamaged entries of the damaged one.
    fn save(&mut self, damage: String) -> Result<Base, DiskError> {
        let paths = self.paths;
        let io = |error: io::Error| paths.failed("cannot open the log", &error);
        let salvage = if self.existed { Salvage::of(&paths.log).map_err(io)? } else { Salvage::default() };
        let saved = Saved::of(salvage, self.marked, self.log);
        saved.write(paths).map_err(|error| paths.failed("cannot save what is whole", &error))?;
        self.file = DataFile::open(&paths.log, self.fsync).map_err(io)?;
        let engine = Engine::open(Arc::clone(&self.file))
            .map_err(|error| paths.failed("cannot open the log", &error))?;
        let base = Base::new(engine, saved.meta, saved.last);
        Ok(Base { damage: Some(damage), salvaged: Some(saved.complete), ..base })
    }

    /// Acknowledged events may be lost: continues in another epoch, with numbers that no client has seen.
    fn begin_an_epoch(&self, base: &mut Base) -> Result<(), DiskError> {
        let answered = match self.marked {
            Marked::Here { tail, .. } => tail.seq,
            _ => Seq::ZERO,
        };
        let above = base.last.max(answered).number() + JUMP;
        let out_of_numbers = || self.paths.failed("cannot go on", &"out of sequence numbers");
        base.last = Seq::new(above).ok_or_else(out_of_numbers)?;
        base.meta = Meta { epoch: fresh_epoch(self.log), start: base.last, ..base.meta };
        Ok(())
    }

    /// Removes the refused entries, and writes to disk where the log continues.
    fn settle(&self, base: &mut Base, mark: &Mark) -> Result<(), DiskError> {
        let io = |error: io::Error| self.paths.failed("cannot open the log", &error);
        let engine_failed = |error: EngineError| self.paths.failed("cannot open the log", &error);
        base.meta.generation += 1;
        let undone = match base.refused {
            Some(end) => undone_above(base.engine.kept().map_err(engine_failed)?, end),
            None => Vec::new(),
        };
        let states = kept_states::settle(&base.engine, self.log, &base.meta, base.damage.is_some())
            .map_err(engine_failed)?;
        let change = Change {
            states,
            cut: base.refused,
            kept: undone.iter().map(|(name, frame)| (&**name, frame.clone())).collect(),
            meta: Some(&base.meta),
            ..Change::default()
        };
        base.engine.commit(&change).map_err(engine_failed)?;
        self.file.sync().map_err(io)?;
        let tail = Cursor { epoch: base.meta.epoch, seq: base.last };
        mark.set(tail, Synced::before_answers(self.fsync)).map_err(io)?;
        mark.sync().map_err(io)?;
        sync_dir(&self.paths.dir).map_err(io)
    }

    /// The damage and its outcome, in one line.
    fn report(&self, damage: &str, base: &Base, entries: u64) -> String {
        let Paths { dir, damaged, .. } = self.paths;
        let outcome = match base.is_broken() {
            false => "nothing is lost",
            true => "acknowledged events may be lost, and a new epoch begins",
        };
        let kept = match base.salvaged {
            Some(_) if self.existed => format!(
                "; values beside the log are forgotten, save checkpoints; the damaged file is kept as {}",
                damaged.display()
            ),
            _ => String::new(),
        };
        format!("{}: {damage}; {entries} events are whole; {outcome}{kept}", dir.display())
    }
}

/// The meta record of a log without a past.
fn fresh_meta(log: &Log) -> Meta {
    Meta::new(fresh_epoch(log), FloorSeed([log.chance().number(), log.chance().number()]))
}

/// Whether publishers were answered beyond the last entry, or it is unknown how far they were answered.
fn is_short(marked: Marked, meta: &Meta, last: Seq) -> bool {
    match marked {
        Marked::Absent | Marked::Damaged => true,
        Marked::Here { tail, .. } => tail.epoch != meta.epoch || tail.seq > last,
    }
}

impl Marked {
    /// Whether a sync of the log may have failed and was not repeated.
    fn is_in_doubt(self) -> bool {
        !matches!(self, Self::Here { doubt: false, .. })
    }

    /// The last seq below the refused entries.
    fn refused_above(self) -> Option<Seq> {
        match self {
            Self::Here { tail, refused: true, .. } => Some(tail.seq),
            _ => None,
        }
    }
}

/// Opens the file and checks all of it. Returns its last seq.
fn read(file: &Arc<DataFile>) -> Result<(Engine, Option<Meta>, Seq), EngineError> {
    let mut engine = Engine::open(Arc::clone(file))?;
    engine.check()?;
    let Some(meta) = engine.meta()? else { return Ok((engine, None, Seq::ZERO)) };
    let mut last = meta.floor;
    engine.entries(Seq::ZERO, |seq, frame| {
        let whole = Entry::unseal(frame).map(|entry| entry.seq);
        match whole.filter(|whole| whole.number() == seq && follows(&meta, last, *whole)) {
            Some(seq) => {
                last = seq;
                Ok(true)
            }
            None => Err(damaged(&format!("event {seq}"))),
        }
    })?;
    engine.lasts()?;
    engine.tokens()?;
    engine.kept()?;
    engine.floors()?;
    engine.states()?;
    let last = last.max(meta.start);
    Ok((engine, Some(meta), last))
}

/// Whether no entry is missing between two, except where the meta record says so.
fn follows(meta: &Meta, previous: Seq, seq: Seq) -> bool {
    seq == previous.max(meta.start).next() || (seq > previous && seq <= meta.start)
}

/// The content of a fresh file after the old one was damaged.
struct Saved {
    meta: Meta,
    last: Seq,
    salvage: Salvage,
    /// Whether every acknowledged event is there.
    complete: bool,
}

impl Saved {
    fn of(mut salvage: Salvage, marked: Marked, log: &Log) -> Self {
        let found = salvage.meta.take();
        let mut complete = found.is_some();
        let mut meta = found.unwrap_or_else(|| fresh_meta(log));
        salvage.entries.retain(|seq, _| *seq > meta.floor.number());
        match marked {
            Marked::Here { tail, exact: true, .. } if tail.epoch == meta.epoch => {
                // Above it are remains of commits that never were.
                salvage.entries.retain(|seq, _| *seq <= tail.seq.number());
            }
            // It is unknown how far publishers were answered.
            _ => complete = false,
        }
        let mut last = meta.floor;
        for (seq, (_, frame)) in &salvage.entries {
            let Some(seq) = Seq::new(*seq) else { continue };
            let is_of_this_life = || Entry::unseal(frame).is_some_and(|entry| entry.epoch == meta.epoch);
            complete &= follows(&meta, last, seq) && (seq <= meta.start || is_of_this_life());
            last = seq;
        }
        let last = last.max(meta.start);
        complete &= !is_short(marked, &meta, last);
        meta.generation += 1;
        // The floor of a topic may be among what was damaged.
        meta.floors_from = meta.floor;
        Self { meta, last, salvage, complete }
    }

    /// Makes the fresh file beside the damaged one and puts it in its place.
    fn write(&self, paths: &Paths) -> Result<(), EngineError> {
        let io = |error| EngineError::from(redb::StorageError::Io(error));
        {
            let file = DataFile::open(&paths.fresh, Fsync::Interval).map_err(io)?;
            let engine = Engine::open(Arc::clone(&file))?;
            let entries: Vec<_> =
                self.salvage.entries.iter().map(|(seq, (_, frame))| (*seq, frame.clone())).collect();
            for entries in entries.chunks(REPLAY_EVENTS) {
                engine.commit(&Change { entries, ..Change::default() })?;
            }
            let lasts = self.salvage.lasts.iter();
            let tokens = self.salvage.tokens.iter();
            let stamp_of = |seq: Seq| self.salvage.entries.get(&seq.number()).map(|(stamp, _)| *stamp);
            let checkpoints = self.salvage.checkpoints.newest(self.last, stamp_of);
            engine.commit(&Change {
                lasts: lasts.map(|(topic, (seq, ms))| (&**topic, seal_last(topic, *seq, *ms))).collect(),
                tokens: tokens
                    .map(|(token, (first, ms))| (&**token, Some(seal_token(token, first, *ms))))
                    .collect(),
                kept: checkpoints.iter().map(|(name, frame)| (&**name, Some(frame.clone()))).collect(),
                meta: Some(&self.meta),
                ..Change::default()
            })?;
            drop(engine);
            file.sync().map_err(io)?;
        }
        let _ = fs::remove_file(&paths.damaged);
        if has_bytes(&paths.log) {
            fs::hard_link(&paths.log, &paths.damaged).map_err(io)?;
        }
        fs::rename(&paths.fresh, &paths.log).map_err(io)?;
        sync_dir(&paths.dir).map_err(io)
    }
}

fn has_bytes(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.len() > 0)
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Replays the file into the log, and collects the writer's state.
fn replay(
    engine: &Engine,
    meta: Meta,
    last: Seq,
    token_bytes_max: usize,
    log: &Log,
) -> Result<State, EngineError> {
    let mut lasts: HashMap<_, _> = HashMap::new();
    for (topic, last) in engine.lasts()? {
        if let Ok(topic) = topic.parse() {
            lasts.insert(topic, last);
        }
    }
    let mut tokens = engine.tokens()?;
    tokens.sort_by_key(|(.., time_ms)| *time_ms);
    let mut recent = RecentTokens::new(token_bytes_max);
    tokens.iter().for_each(|(token, appended, time_ms)| recent.insert(token, *appended, *time_ms));

    let now_ms = log.clock().unix_ms();
    let mut chunks = Chunks::default();
    let mut stamp = 0;
    let mut events: Vec<Sequenced> = Vec::with_capacity(REPLAY_EVENTS);
    // All lives are one to the log: a cursor of an earlier one is not known and gets a reset.
    log.apply(Fact::Epoch { epoch: meta.epoch, end: None, start: meta.floors_from });
    let mut floors = TopicFloors::new(meta.floor_seed);
    engine.floors()?.into_iter().for_each(|(place, floor)| floors.raise_place(place, floor));
    log.apply(Fact::Resumed { floors, through: meta.floor });
    kept_states::read(engine, now_ms, log)?;
    engine.entries(meta.floor, |seq, frame| {
        let entry = Entry::unseal(frame).ok_or_else(|| damaged(&format!("event {seq}")))?;
        let Entry { seq: number, time_ms, content, .. } = entry;
        stamp = stamp.max(entry.stamp);
        chunks.push(seq, frame.len(), time_ms);
        let draft = match content {
            EntryContent::Event(draft) => draft,
            EntryContent::Lacking(lacking) => {
                log.apply(Fact::Events(std::mem::take(&mut events)));
                log.apply(lacking.fact(number));
                return Ok(true);
            }
        };
        if events.len() == REPLAY_EVENTS {
            log.apply(Fact::Events(std::mem::replace(&mut events, Vec::with_capacity(REPLAY_EVENTS))));
        }
        if !draft.is_latest_only() {
            lasts.extend(draft.topics.iter().map(|topic| (topic.clone(), (number, time_ms))));
        }
        if let Some(token) = &draft.once {
            let cursor = Cursor { epoch: entry.epoch, seq: number };
            recent.insert(token, Appended { cursor, seq: Some(number), duplicate: false }, time_ms);
        }
        // Time goes on while no process has the file, so only the wall clock can say how old the event is.
        let age_ms = now_ms.saturating_sub(time_ms);
        events.push(Sequenced { seq: Some(number), time_ms, age_ms, draft });
        Ok(true)
    })?;
    log.apply(Fact::Events(events));
    Ok(State { meta, last, stamp, chunks, lasts, tokens: recent, checkpoints: Arc::default() })
}
