//! From the queue of a source into the store: in order, at most one batch under way.

use std::sync::Arc;
use std::time::Duration;

use events::{Appended, Draft, Rejection};
use tokio::time::Instant;

use super::apply::SourceMessage;
use super::parts::SourceParts;
use super::queue::{self, Ear, Heard, Taken};
use super::states::SourceState;
use crate::metrics::Metrics;
use crate::metrics::labels::{RejectReason, SourceKind};
use crate::publish::{Author, Publishing};

/// How many drafts and how many bytes of their data are appended at once.
const BATCH_DRAFTS: usize = 128;
const BATCH_BYTES: usize = 256 << 10;
/// How long to wait before the store is tried again: doubles from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);
/// How often the log says that messages were rejected.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// Takes over what a source hears.
pub(crate) struct Intake {
    kind: SourceKind,
    author: Author,
    publishing: Arc<Publishing>,
    metrics: Arc<Metrics>,
    heard: Heard,
    /// When the log last said that messages were rejected.
    said: Option<Instant>,
}

impl Intake {
    /// The way into the store of a source: where it leaves what it hears, and the task that takes
    /// it over.
    #[must_use]
    pub(crate) fn open(state: SourceState, parts: &SourceParts) -> (Ear, Self) {
        let kind = state.kind();
        let (ear, heard) = queue::open(state, Arc::clone(&parts.metrics));
        let intake = Self {
            kind,
            author: Author::Source(kind),
            publishing: Arc::clone(&parts.publishing),
            metrics: Arc::clone(&parts.metrics),
            heard,
            said: None,
        };
        (ear, intake)
    }

    /// Takes over, for ever.
    pub(crate) async fn run(mut self) {
        loop {
            match self.heard.next().await {
                Taken::Gap => self.metrics.sources.gap(self.kind),
                Taken::Messages(messages) => {
                    let drafts = self.drafts(&messages);
                    for batch in batches(drafts) {
                        self.publish(batch).await;
                    }
                }
            }
        }
    }

    /// What the rules make of the messages.
    fn drafts(&mut self, messages: &[SourceMessage]) -> Vec<Draft> {
        let mut drafts = Vec::with_capacity(messages.len());
        for message in messages {
            let made = message.drafts(&mut |body| self.publishing.check(body, &self.author));
            for draft in made {
                match draft {
                    Ok(draft) => drafts.push(draft),
                    Err(reason) => self.reject(message, reason),
                }
            }
        }
        drafts
    }

    /// Counts, and says so now and then: by the pattern of the channel, never by what was in it.
    fn reject(&mut self, message: &SourceMessage, reason: RejectReason) {
        self.metrics.sources.rejected(self.kind, reason);
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            let (source, pattern, reason) = (self.kind.as_str(), &*message.rule.pattern, reason.as_str());
            tracing::warn!(source, pattern, reason, "a message of the source became no event");
        }
    }

    /// Appends the drafts, however often that takes.
    async fn publish(&self, mut drafts: Vec<Draft>) {
        let mut pause = RETRY_FIRST;
        while !drafts.is_empty() {
            let answers = self.publishing.append(self.kind.origin(), drafts.clone()).await;
            let mut answers = answers.into_iter();
            drafts.retain(|_| match answers.next() {
                Some(Ok(Appended { duplicate: true, .. })) => {
                    self.metrics.sources.duplicate(self.kind);
                    false
                }
                Some(Ok(_)) => {
                    self.metrics.sources.published(self.kind, 1);
                    false
                }
                Some(Err(Rejection::Conflict { .. })) => {
                    self.metrics.sources.rejected(self.kind, RejectReason::BadDraft);
                    false
                }
                Some(Err(Rejection::Unavailable(_))) | None => true,
            });
            if !drafts.is_empty() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_LAST);
            }
        }
    }
}

/// The drafts in batches, in order.
pub(super) fn batches(drafts: Vec<Draft>) -> Vec<Vec<Draft>> {
    let mut batches: Vec<Vec<Draft>> = Vec::new();
    let mut bytes = BATCH_BYTES;
    for draft in drafts {
        let cost = draft.data.as_bytes().len();
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH_DRAFTS && bytes + cost <= BATCH_BYTES => {
                bytes += cost;
                batch.push(draft);
            }
            _ => {
                bytes = cost;
                batches.push(vec![draft]);
            }
        }
    }
    batches
}
