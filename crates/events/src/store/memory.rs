//! The embedded store: order without durability. A restart is a new epoch.

use std::sync::Arc;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use parking_lot::Mutex;

use super::{Appended, BoxFuture, Rejection, Store, Unavailable, fresh_epoch};
use crate::event::Sequenced;
use crate::log::Fact;
use crate::{Cursor, Draft, Log, Seq};

/// Keeps nothing beyond the log's own rings; orders appends under one lock.
pub struct Memory {
    log: Arc<Log>,
    /// The last seq given. Held while a batch is applied, so that facts are reported in order.
    last: Mutex<Seq>,
    /// Results by idempotency token. May lose entries early when there are very many; never invents one.
    once: Cache<Box<str>, Appended>,
}

impl Memory {
    /// For how long a repeated append is recognised.
    pub const ONCE_SECONDS: u64 = 300;

    /// How many tokens are remembered at most.
    pub const ONCE_MAX: u64 = 500_000;

    /// Starts a new epoch of `log`.
    #[must_use]
    pub fn open(log: Arc<Log>) -> Arc<Self> {
        Self::begin(log, None, Seq::ZERO)
    }

    /// Goes on where `log` is, in a new epoch. Its seqs begin far from those that others may give meanwhile.
    #[must_use]
    pub(super) fn go_on(log: Arc<Log>) -> Arc<Self> {
        const JUMP: u64 = 1 << 30;
        let end = log.tail();
        let start = Seq::new(end.number() + JUMP).unwrap_or(end);
        Self::begin(log, Some(end), start)
    }

    fn begin(log: Arc<Log>, end: Option<Seq>, start: Seq) -> Arc<Self> {
        log.apply(Fact::Epoch { epoch: fresh_epoch(&log), end, start });
        let once = Cache::builder()
            .max_capacity(Self::ONCE_MAX)
            // The newest is the one that is retried: a policy by frequency would refuse it first.
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(Duration::from_secs(Self::ONCE_SECONDS))
            .build();
        Arc::new(Self { log, last: Mutex::new(start), once })
    }

    /// Appends a run of drafts under one lock. Only a draft that expects something can fail.
    fn append_run(&self, drafts: Vec<Draft>, answers: &mut Vec<Result<Appended, Rejection>>) {
        let mut last = self.last.lock();
        let time_ms = self.log.clock().unix_ms();
        let epoch = self.log.tail_cursor().epoch;
        let mut run: Vec<Sequenced> = Vec::with_capacity(drafts.len());
        for draft in drafts {
            if let Some(expected) = draft.expect {
                // What came earlier in this run counts too.
                self.log.apply(Fact::Events(std::mem::take(&mut run)));
                let actual = self.log.last(&draft.topics.as_slice()[0]);
                if actual != expected {
                    answers.push(Err(Rejection::Conflict { last: actual }));
                    continue;
                }
            }
            let seq = (!draft.ephemeral).then(|| last.next());
            *last = seq.unwrap_or(*last);
            answers.push(Ok(Appended { cursor: Cursor { epoch, seq: *last }, seq, duplicate: false }));
            run.push(Sequenced { seq, time_ms, age_ms: 0, draft });
        }
        self.log.apply(Fact::Events(run));
    }

    /// Appends one draft that carries a token, unless it was appended already.
    fn append_once(&self, token: Box<str>, draft: Draft) -> Result<Appended, Rejection> {
        let append = || {
            let mut answers = Vec::with_capacity(1);
            self.append_run(vec![draft], &mut answers);
            answers.pop().unwrap_or(Err(Unavailable("no answer").into()))
        };
        // The cache runs `append` once however many ask with the same token at the same time.
        let entry = self.once.entry(token).or_try_insert_with(append).map_err(|rejection| *rejection)?;
        Ok(Appended { duplicate: !entry.is_fresh(), ..entry.into_value() })
    }

    /// Appends the drafts in order and answers each in its place; by then they have been applied.
    pub(super) fn append_now(&self, drafts: Vec<Draft>) -> Vec<Result<Appended, Rejection>> {
        let mut answers = Vec::with_capacity(drafts.len());
        let mut run = Vec::with_capacity(drafts.len());
        for mut draft in drafts {
            match draft.once.take() {
                None => run.push(draft),
                Some(token) => {
                    if !run.is_empty() {
                        self.append_run(std::mem::take(&mut run), &mut answers);
                    }
                    answers.push(self.append_once(token, draft));
                }
            }
        }
        if !run.is_empty() {
            self.append_run(run, &mut answers);
        }
        answers
    }
}

impl Store for Memory {
    fn append(&self, drafts: Vec<Draft>) -> BoxFuture<'_, Vec<Result<Appended, Rejection>>> {
        Box::pin(std::future::ready(self.append_now(drafts)))
    }

    fn tail(&self) -> BoxFuture<'_, Result<Cursor, Unavailable>> {
        Box::pin(std::future::ready(Ok(self.log.tail_cursor())))
    }

    fn ready(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}
