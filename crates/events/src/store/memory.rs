//! The embedded store: order without durability. A restart is a new epoch.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::idempotency::RecentTokens;
use super::{
    AppendResults, BoxFuture, Checkpoint, Lacking, SourceName, Store, StoreStatus, TOKEN_BYTES_MAX,
    Unavailable, fresh_epoch,
};
use crate::event::Sequenced;
use crate::log::Fact;
use crate::{Appended, Cursor, Draft, Log, Rejection, Seq};

/// Keeps nothing beyond the log's own rings; orders appends under one lock.
pub struct Memory {
    log: Arc<Log>,
    /// Held while a batch is applied, so that facts are reported in order.
    state: Mutex<State>,
}

struct State {
    /// The last seq given.
    last: Seq,
    tokens: RecentTokens,
    checkpoints: HashMap<SourceName, Box<[u8]>>,
}

impl Memory {
    /// Starts a new epoch of `log`, with room for [`TOKEN_BYTES_MAX`] bytes of idempotency tokens.
    #[must_use]
    pub fn open(log: Arc<Log>) -> Arc<Self> {
        Self::open_with(log, TOKEN_BYTES_MAX)
    }

    /// Starts a new epoch of `log`, with room for `token_bytes_max` bytes of idempotency tokens.
    #[must_use]
    pub fn open_with(log: Arc<Log>, token_bytes_max: usize) -> Arc<Self> {
        Self::begin(log, None, Seq::ZERO, token_bytes_max)
    }

    /// Goes on where `log` is, in a new epoch. Its seqs begin far from those that others may give meanwhile.
    #[must_use]
    pub(super) fn go_on(log: Arc<Log>) -> Arc<Self> {
        const JUMP: u64 = 1 << 30;
        let end = log.tail();
        let start = Seq::new(end.number() + JUMP).unwrap_or(end);
        Self::begin(log, Some(end), start, TOKEN_BYTES_MAX)
    }

    fn begin(log: Arc<Log>, end: Option<Seq>, start: Seq, token_bytes_max: usize) -> Arc<Self> {
        log.apply(Fact::Epoch { epoch: fresh_epoch(&log), end, start });
        let tokens = RecentTokens::new(token_bytes_max);
        Arc::new(Self { log, state: Mutex::new(State { last: start, tokens, checkpoints: HashMap::new() }) })
    }

    /// Appends the drafts in order and answers each in its place; by then they have been applied.
    pub(super) fn append_now(&self, drafts: Vec<Draft>) -> AppendResults {
        self.state.lock().append(&self.log, drafts)
    }
}

impl State {
    fn append(&mut self, log: &Log, drafts: Vec<Draft>) -> AppendResults {
        let (time_ms, now_ms) = (log.clock().unix_ms(), log.now_us() / 1000);
        let epoch = log.tail_cursor().epoch;
        let mut answers = Vec::with_capacity(drafts.len());
        let mut run: Vec<Sequenced> = Vec::with_capacity(drafts.len());
        for mut draft in drafts {
            let token = draft.once.take();
            if let Some(first) = token.as_deref().and_then(|token| self.tokens.find(token, now_ms)) {
                answers.push(Ok(Appended { duplicate: true, ..first }));
                continue;
            }
            if let Some(expected) = draft.expect {
                // What came earlier in this run counts too.
                log.apply(Fact::Events(std::mem::take(&mut run)));
                let actual = log.last(&draft.topics.as_slice()[0]);
                if actual != expected {
                    answers.push(Err(Rejection::Conflict { last: actual }));
                    continue;
                }
            }
            let seq = (!draft.ephemeral).then(|| self.last.next());
            self.last = seq.unwrap_or(self.last);
            let appended = Appended { cursor: Cursor { epoch, seq: self.last }, seq, duplicate: false };
            if let Some(token) = token {
                self.tokens.insert(&token, appended, now_ms);
            }
            answers.push(Ok(appended));
            run.push(Sequenced { seq, time_ms, age_ms: 0, draft });
        }
        log.apply(Fact::Events(run));
        answers
    }
}

impl Store for Memory {
    fn append(&self, drafts: Vec<Draft>) -> BoxFuture<'_, AppendResults> {
        Box::pin(std::future::ready(self.append_now(drafts)))
    }

    fn append_and_checkpoint(
        &self,
        drafts: Vec<Draft>,
        checkpoint: Checkpoint,
    ) -> BoxFuture<'_, Result<AppendResults, Unavailable>> {
        let mut state = self.state.lock();
        let answers = state.append(&self.log, drafts);
        state.checkpoints.insert(checkpoint.source().clone(), checkpoint.position().into());
        Box::pin(std::future::ready(Ok(answers)))
    }

    fn checkpoint(&self, source: &SourceName) -> BoxFuture<'_, Result<Option<Box<[u8]>>, Unavailable>> {
        let position = self.state.lock().checkpoints.get(source).cloned();
        Box::pin(std::future::ready(Ok(position)))
    }

    fn tell_lacking(&self, lacking: Lacking) -> BoxFuture<'_, Result<(), Unavailable>> {
        let mut state = self.state.lock();
        state.last = state.last.next();
        self.log.apply(lacking.fact(state.last));
        Box::pin(std::future::ready(Ok(())))
    }

    fn tail(&self) -> BoxFuture<'_, Result<Cursor, Unavailable>> {
        Box::pin(std::future::ready(Ok(self.log.tail_cursor())))
    }

    fn ready(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    fn status(&self) -> StoreStatus {
        let tokens_evicted = self.state.lock().tokens.evicted_young();
        StoreStatus { tokens_evicted, ..StoreStatus::default() }
    }
}
