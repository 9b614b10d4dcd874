//! The tables, and the one transaction that changes them.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::file::{Backend, DataFile};
use super::record::{Entry, Meta, unseal_floor, unseal_kept, unseal_last, unseal_token};
use super::state_row::{self, StateRows};
use crate::{Appended, Seq};

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const LASTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("lasts");
const TOKENS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("tokens");
const KEPT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("kept");
const FLOORS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("floors");
const STATES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("states");
const META: TableDefinition<'_, (), &[u8]> = TableDefinition::new("meta");

/// Why the engine could not do something: the file is damaged, full or gone.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct EngineError {
    text: String,
    /// There is no room.
    pub(super) full: bool,
}

impl EngineError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), full: false }
    }
}

impl<E: Into<redb::Error>> From<E> for EngineError {
    fn from(error: E) -> Self {
        let error = error.into();
        let full = matches!(&error, redb::Error::Io(error) if matches!(
            error.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
        ));
        Self { text: error.to_string(), full }
    }
}

/// The frame of a kept value under its name, if there is one.
pub(super) type KeptFrame = (String, Option<Vec<u8>>);

/// An open database.
pub(super) struct Engine {
    /// `None` only while it is dropped.
    db: Option<Database>,
}

/// What one transaction changes.
#[derive(Default)]
pub(super) struct Change<'a> {
    pub(super) entries: &'a [(u64, Vec<u8>)],
    /// `None` goes.
    pub(super) tokens: Vec<(&'a str, Option<Vec<u8>>)>,
    pub(super) lasts: Vec<(&'a str, Vec<u8>)>,
    /// The floors of places of topics.
    pub(super) floors: Vec<(u32, Vec<u8>)>,
    /// `None` goes.
    pub(super) kept: Vec<(&'a str, Option<Vec<u8>>)>,
    /// The states of topics; `None` goes.
    pub(super) states: StateRows,
    /// Entries up to this one go.
    pub(super) trim: Option<Seq>,
    /// Entries above this one go, and tokens of what was behind them.
    pub(super) cut: Option<Seq>,
    /// Tokens and lasts older than these times, in milliseconds since 1970, go.
    pub(super) prune: Option<(u64, u64)>,
    pub(super) meta: Option<&'a Meta>,
}

impl Engine {
    /// Enough for the branches of the tree and the pages at its end: entries are written once and read at the start.
    const CACHE_BYTES: usize = 16 << 20;

    /// Opens the database in `file`, or makes one in an empty file.
    pub(super) fn open(file: Arc<DataFile>) -> Result<Self, EngineError> {
        guarded(|| {
            let mut builder = Database::builder();
            let db = builder.set_cache_size(Self::CACHE_BYTES).create_with_backend(Backend(file))?;
            Ok(Self { db: Some(db) })
        })
    }

    /// Reads every page once. An error: something is not as it was written.
    pub(super) fn check(&mut self) -> Result<(), EngineError> {
        let Some(db) = &mut self.db else { return Err(closed()) };
        match guarded(|| Ok(db.check_integrity()?))? {
            true => Ok(()),
            false => Err(EngineError::new("some pages are not as they were written")),
        }
    }

    /// Makes the change, all of it or nothing. After an error the engine must be opened again.
    pub(super) fn commit(&self, change: &Change<'_>) -> Result<(), EngineError> {
        let Some(db) = &self.db else { return Err(closed()) };
        guarded(|| {
            let write = db.begin_write()?;
            {
                let mut entries = write.open_table(ENTRIES)?;
                for (seq, frame) in change.entries {
                    entries.insert(seq, &frame[..])?;
                }
                if let Some(through) = change.trim {
                    entries.retain_in(..=through.number(), |_, _| false)?;
                }
                let mut tokens = write.open_table(TOKENS)?;
                if let Some(last) = change.cut {
                    entries.retain_in(last.number() + 1.., |_, _| false)?;
                    let stays = |first: Appended| first.cursor.seq <= last;
                    tokens
                        .retain(|_, frame| unseal_token(frame).is_some_and(|(_, first, _)| stays(first)))?;
                }
                put(&mut tokens, &change.tokens)?;
                let mut lasts = write.open_table(LASTS)?;
                for (topic, frame) in &change.lasts {
                    lasts.insert(topic, &frame[..])?;
                }
                if !change.floors.is_empty() {
                    let mut floors = write.open_table(FLOORS)?;
                    for (place, frame) in &change.floors {
                        floors.insert(place, &frame[..])?;
                    }
                }
                if !change.kept.is_empty() {
                    put(&mut write.open_table(KEPT)?, &change.kept)?;
                }
                if !change.states.is_empty() {
                    let mut states = write.open_table(STATES)?;
                    for (name, frame) in &change.states {
                        match frame {
                            Some(frame) => states.insert(&**name, &frame[..])?,
                            None => states.remove(&**name)?,
                        };
                    }
                }
                if let Some((tokens_ms, lasts_ms)) = change.prune {
                    tokens.retain(|_, frame| unseal_token(frame).is_some_and(|(.., ms)| ms >= tokens_ms))?;
                    lasts.retain(|_, frame| unseal_last(frame).is_some_and(|(.., ms)| ms >= lasts_ms))?;
                }
                if let Some(meta) = change.meta {
                    write.open_table(META)?.insert((), &meta.seal()[..])?;
                }
            }
            write.commit()?;
            Ok(())
        })
    }

    /// The meta record; `None` in a new file.
    pub(super) fn meta(&self) -> Result<Option<Meta>, EngineError> {
        let Some(db) = &self.db else { return Err(closed()) };
        guarded(|| {
            let read = db.begin_read()?;
            let table = match read.open_table(META) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                table => table?,
            };
            let Some(frame) = table.get(())? else { return Ok(None) };
            Meta::unseal(frame.value()).map(Some).ok_or_else(|| damaged("the meta record"))
        })
    }

    /// Visits the frames of the entries above `after`, in order, until `visit` says that this is enough.
    pub(super) fn entries(
        &self,
        after: Seq,
        mut visit: impl FnMut(u64, &[u8]) -> Result<bool, EngineError>,
    ) -> Result<(), EngineError> {
        let Some(db) = &self.db else { return Err(closed()) };
        guarded(|| {
            let table = db.begin_read()?.open_table(ENTRIES)?;
            for entry in table.range(after.number() + 1..)? {
                let (seq, frame) = entry?;
                if !visit(seq.value(), frame.value())? {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The seq and the stamp of the last entry.
    pub(super) fn last(&self) -> Result<Option<(u64, u64)>, EngineError> {
        let Some(db) = &self.db else { return Err(closed()) };
        guarded(|| {
            let table = db.begin_read()?.open_table(ENTRIES)?;
            let Some((seq, frame)) = table.last()? else { return Ok(None) };
            match Entry::unseal(frame.value()) {
                Some(entry) if entry.seq.number() == seq.value() => Ok(Some((seq.value(), entry.stamp))),
                _ => Err(damaged("the last entry")),
            }
        })
    }

    /// The topics' last seqs and times that were written apart from entries.
    pub(super) fn lasts(&self) -> Result<HashMap<String, (Seq, u64)>, EngineError> {
        let Some(db) = &self.db else { return Err(closed()) };
        guarded(|| {
            let mut lasts = HashMap::new();
            for last in db.begin_read()?.open_table(LASTS)?.iter()? {
                let (key, frame) = last?;
                match unseal_last(frame.value()) {
                    Some((topic, seq, time_ms)) if topic == key.value() => {
                        lasts.insert(topic.to_owned(), (seq, time_ms))
                    }
                    _ => return Err(damaged("the last seq of a topic")),
                };
            }
            Ok(lasts)
        })
    }

    /// The floors of places of topics.
    pub(super) fn floors(&self) -> Result<Vec<(u32, Seq)>, EngineError> {
        let Some(db) = &self.db else { return Err(closed()) };
        guarded(|| {
            let table = match db.begin_read()?.open_table(FLOORS) {
                // Nothing was trimmed yet.
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table?,
            };
            let mut floors = Vec::new();
            for floor in table.iter()? {
                let (key, frame) = floor?;
                match unseal_floor(frame.value()) {
                    Some((place, floor)) if place == key.value() => floors.push((place, floor)),
                    _ => return Err(damaged("the floor of topics")),
                }
            }
            Ok(floors)
        })
    }

    /// What is kept beside the log, by name.
    pub(super) fn kept(&self) -> Result<Vec<(String, Vec<u8>)>, EngineError> {
        let Some(db) = &self.db else { return Err(closed()) };
        guarded(|| {
            let table = match db.begin_read()?.open_table(KEPT) {
                // Made by a gateway that kept nothing.
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table?,
            };
            let mut values = Vec::new();
            for value in table.iter()? {
                let (key, frame) = value?;
                match unseal_kept(frame.value()) {
                    Some((name, value)) if name == key.value() => {
                        values.push((name.to_owned(), value.to_vec()));
                    }
                    _ => return Err(damaged("a value beside the log")),
                }
            }
            Ok(values)
        })
    }

    /// The rows and notes of the states of topics.
    pub(super) fn states(&self) -> Result<Vec<(String, Vec<u8>)>, EngineError> {
        let Some(db) = &self.db else { return Err(closed()) };
        guarded(|| {
            let table = match db.begin_read()?.open_table(STATES) {
                // No topic has kept its state yet.
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table?,
            };
            let mut rows = Vec::new();
            for row in table.iter()? {
                let (name, frame) = row?;
                if !state_row::is_whole(name.value(), frame.value()) {
                    return Err(damaged("the state of a topic"));
                }
                rows.push((name.value().to_owned(), frame.value().to_vec()));
            }
            Ok(rows)
        })
    }

    /// The frames of what is kept under these names.
    pub(super) fn frames_of_kept<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<Vec<KeptFrame>, EngineError> {
        let Some(db) = &self.db else { return Err(closed()) };
        guarded(|| {
            let table = match db.begin_read()?.open_table(KEPT) {
                Err(redb::TableError::TableDoesNotExist(_)) => None,
                table => Some(table?),
            };
            let mut frames = Vec::new();
            for name in names {
                let frame = table.as_ref().map(|table| table.get(name)).transpose()?.flatten();
                frames.push((name.to_owned(), frame.map(|frame| frame.value().to_vec())));
            }
            Ok(frames)
        })
    }

    /// The tokens that were written apart from entries.
    pub(super) fn tokens(&self) -> Result<Vec<(String, Appended, u64)>, EngineError> {
        let Some(db) = &self.db else { return Err(closed()) };
        guarded(|| {
            let mut tokens = Vec::new();
            for token in db.begin_read()?.open_table(TOKENS)?.iter()? {
                let (key, frame) = token?;
                match unseal_token(frame.value()) {
                    Some((token, appended, time_ms)) if token == key.value() => {
                        tokens.push((token.to_owned(), appended, time_ms));
                    }
                    _ => return Err(damaged("an idempotency token")),
                }
            }
            Ok(tokens)
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let db = self.db.take();
        // A database that met an error may meet another when it is closed.
        let _ = guarded(|| {
            drop(db);
            Ok(())
        });
    }
}

/// Writes these; `None` goes.
fn put(
    table: &mut redb::Table<'_, &'static str, &'static [u8]>,
    frames: &[(&str, Option<Vec<u8>>)],
) -> Result<(), redb::StorageError> {
    for (name, frame) in frames {
        match frame {
            Some(frame) => table.insert(name, &frame[..])?,
            None => table.remove(name)?,
        };
    }
    Ok(())
}

pub(super) fn damaged(what: &str) -> EngineError {
    EngineError::new(format!("{what} is not as it was written"))
}

fn closed() -> EngineError {
    EngineError::new("the database is closed")
}

/// The engine trusts some pages enough to panic when they are wrong.
fn guarded<T>(run: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(damaged("a page")))
}
