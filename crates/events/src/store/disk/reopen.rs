//! After an error: opens the file again, brings what it shows to disk, and takes out what publishers were refused.

use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;
use super::engine::{Change, Engine, EngineError};
use super::mark::Synced;
use super::writer::Writer;
use crate::Unavailable;

impl Writer {
    /// How long nothing is tried after it could not be done: it may be the whole file that has to be written.
    const SETTLE_EVERY: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 1000 });

    /// Sees to it that all is as publishers were told, if there was an error.
    ///
    /// # Errors
    /// It cannot be done at the moment: nothing may be acknowledged.
    pub(super) fn settle(&mut self) -> Result<(), Unavailable> {
        match self.unsettled.failed {
            Some((at, unavailable)) if self.log.clock().now() - at < Self::SETTLE_EVERY => Err(unavailable),
            _ => self.settle_now(),
        }
    }

    /// As [`Self::settle`], even if it could not be done a moment ago.
    pub(super) fn settle_now(&mut self) -> Result<(), Unavailable> {
        if self.engine.is_some() && !self.file.has_failed() {
            return Ok(());
        }
        let refused = self.unsettled.refused.take();
        let settled = self.reopen(refused.as_ref(), true);
        self.unsettled.refused = refused.filter(|_| settled.is_err());
        settled.map(drop)
    }

    /// Brings to disk what the file shows, opens it again, and finds out what became of a batch whose commit failed.
    /// `Ok(true)`: it is there, unless it was refused: then it has been taken out.
    ///
    /// # Errors
    /// Not known yet. The file stays closed, and the mark says that the entries in doubt are refused.
    pub(super) fn reopen(&mut self, batch: Option<&Batch>, is_refused: bool) -> Result<bool, Unavailable> {
        let reopened = self.try_reopen(batch, is_refused);
        self.unsettled.failed = reopened.err().map(|unavailable| (self.log.clock().now(), unavailable));
        reopened
    }

    fn try_reopen(&mut self, batch: Option<&Batch>, is_refused: bool) -> Result<bool, Unavailable> {
        // A new start would not know, and to it all pages look fine.
        let synced = Synced::before_answers(self.options.fsync);
        let _ = self.mark.refuse(self.tail(), synced);
        if self.file.has_failed() {
            self.health.failed_to_sync();
            if self.engine.take().is_some() {
                // It was the keeper that met it, not a commit.
                self.health.failed("a sync failed".to_owned());
            }
            self.file.mend().map_err(|error| {
                self.health.failed(format!("sync: {error}"));
                Unavailable("the disk cannot be synced")
            })?;
        }
        let failed = |error: &EngineError, otherwise| {
            self.health.failed(error.to_string());
            Unavailable(if error.full { "the disk is full" } else { otherwise })
        };
        let engine = Engine::open(Arc::clone(&self.file))
            .map_err(|error| failed(&error, "the log file cannot be opened"))?;
        let damaged = Unavailable("the log file is damaged");
        let mut meta = engine.meta().ok().flatten().ok_or(damaged)?;
        let (seq, stamp) = engine.last().map_err(|_| damaged)?.unwrap_or((meta.floor.number(), 0));
        let last = seq.max(meta.start.number());
        // Every commit has entries or writes the meta record.
        let landed = batch.is_some_and(|batch| {
            meta.generation > self.state.meta.generation
                || (!batch.frames.is_empty() && stamp == self.state.stamp)
        });
        // Nothing but the batch may have changed: anything else is for a new start to look into.
        if last != self.state.last.number() && batch.is_none_or(|batch| last != batch.last.number()) {
            return Err(damaged);
        }
        if let Some(batch) = batch.filter(|_| landed && is_refused) {
            meta.generation += 1;
            let change = Change {
                cut: Some(self.state.last),
                tokens: batch.tokens.iter().map(|token| (&**token, None)).collect(),
                kept: batch.frames_before.iter().map(|(name, frame)| (&**name, frame.clone())).collect(),
                meta: Some(&meta),
                ..Change::default()
            };
            engine.commit(&change).map_err(|error| failed(&error, "the disk cannot be written"))?;
        }
        self.mark.set(self.tail(), synced).map_err(|error| {
            self.health.failed(error.to_string());
            Unavailable("the disk cannot be written")
        })?;
        if meta.floor > self.state.meta.floor {
            self.state.chunks.trimmed(meta.floor);
        }
        self.state.meta = meta;
        self.engine = Some(engine);
        Ok(landed)
    }
}
