//! Publishing, for any origin: a request, a command, or a source of events. Nothing here knows HTTP.
//!
//! An origin parses a [`DraftBody`], has it checked for its [`Author`], takes it from the author's rate, and appends.

mod author;
mod cloud_event;
mod command_draft;
mod draft;

use std::sync::Arc;

use events::{
    AppendResults, Appended, BoxFuture, Clock, Cursor, Draft, Lease, Rejection, Seq, Store, Unavailable,
};
use serde::Serialize;

pub(crate) use author::Author;
pub(crate) use cloud_event::CloudEvent;
pub(crate) use command_draft::draft_of_command;
pub(crate) use draft::{DraftBody, malformed};

use crate::limits::rates::{Limiters, Use};
use crate::metrics::Metrics;
use crate::metrics::labels::{AppendOutcome, Source};
use crate::problem::{ErrorMember, Problem};

/// Checks drafts, counts them against rates, and appends them to the store.
pub(crate) struct Publishing {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    limiters: Arc<Limiters>,
    /// The most bytes of one event's data.
    data_bytes_max: usize,
    clock: Clock,
}

impl Publishing {
    /// Publishing into this store, with data of at most `data_bytes_max` bytes.
    #[must_use]
    pub(crate) fn new(
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
        limiters: Arc<Limiters>,
        data_bytes_max: usize,
        clock: Clock,
    ) -> Self {
        Self { store, metrics, limiters, data_bytes_max, clock }
    }

    /// Checks a draft and the rights of its author.
    ///
    /// # Errors
    /// Names the first member that is wrong.
    pub(crate) fn check(&self, body: DraftBody<'_>, author: &Author) -> Result<Draft, Problem> {
        body.check(author, self.data_bytes_max)
    }

    /// Takes a draft from its author's rate. Backends, which hold a key or may publish to every topic, have
    /// no rate.
    ///
    /// # Errors
    /// When it is one too many.
    pub(crate) fn take(&self, draft: &Draft, author: &Author) -> Result<(), Problem> {
        match author {
            Author::Grant(grant, address) if !grant.may_administer() => {
                let what = if draft.ephemeral { Use::Ephemeral } else { Use::Publish };
                self.limiters.take(what, &grant.user, *address)
            }
            _ => Ok(()),
        }
    }

    /// Appends one draft.
    ///
    /// # Errors
    /// When the store does not take it.
    pub(crate) async fn append_one(&self, source: Source, draft: Draft) -> Result<Appended, Rejection> {
        let mut answers = self.append(source, vec![draft]).await;
        answers.pop().unwrap_or(Err(Unavailable("no answer").into()))
    }

    /// Appends to the store, and counts. Answers each draft in its place.
    pub(crate) async fn append(
        &self,
        source: Source,
        drafts: Vec<Draft>,
    ) -> Vec<Result<Appended, Rejection>> {
        self.count(source, self.store.append(drafts)).await
    }

    /// The same for a source that several gateways hear: the store takes nothing without the lease.
    pub(crate) async fn append_leased(
        &self,
        source: Source,
        drafts: Vec<Draft>,
        lease: &Lease,
    ) -> AppendResults {
        self.count(source, self.store.append_leased(drafts, lease)).await
    }

    async fn count(&self, source: Source, append: BoxFuture<'_, AppendResults>) -> AppendResults {
        let started = self.clock.now();
        let answers = append.await;
        self.metrics.append_took(started.elapsed().as_secs_f64());
        for answer in &answers {
            let outcome = match answer {
                Ok(Appended { duplicate: true, .. }) => AppendOutcome::Duplicate,
                Ok(_) => AppendOutcome::Ok,
                Err(Rejection::Conflict { .. }) => AppendOutcome::Conflict,
                Err(Rejection::Unavailable(_)) => AppendOutcome::Unavailable,
            };
            self.metrics.appended(outcome, 1);
            match outcome {
                AppendOutcome::Ok => self.metrics.published(source, 1),
                AppendOutcome::Duplicate => self.metrics.publish_duplicate(),
                AppendOutcome::Conflict | AppendOutcome::Unavailable => {}
            }
        }
        answers
    }
}

/// The result of one draft, for its publisher.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum DraftResult {
    /// It is in the store.
    Appended {
        /// The cursor of a client that has seen it.
        cursor: Cursor,
        /// Its seq, unless ephemeral.
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<Seq>,
        /// Whether it is a repeat. The reply to a command has it only for a repeat (C13).
        #[serde(skip_serializing_if = "Option::is_none")]
        duplicate: Option<bool>,
    },
    /// It is not.
    Refused {
        /// Why.
        error: ErrorMember,
    },
}

impl From<Appended> for DraftResult {
    fn from(appended: Appended) -> Self {
        Self::Appended { cursor: appended.cursor, seq: appended.seq, duplicate: Some(appended.duplicate) }
    }
}

impl DraftResult {
    /// The result in the reply to a `publish` command.
    pub(crate) fn of_command(Appended { cursor, seq, duplicate }: Appended) -> Self {
        Self::Appended { cursor, seq, duplicate: duplicate.then_some(true) }
    }
}
