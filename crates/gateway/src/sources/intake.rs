//! From the queue of a source into the store: in order, at most one batch under way.

use std::sync::Arc;
use std::time::Duration;

use events::{Appended, Draft, Rejection, SourceName};

use super::gap::Gaps;
use super::parts::SourceParts;
use super::queue::{self, Ear, Heard, Taken};
use super::reading::{BATCH_BYTES, BATCH_DRAFTS, Reading};
use super::states::SourceState;
use super::takeover::Takeover;
use crate::metrics::Metrics;
use crate::metrics::labels::{RejectReason, SourceKind};
use crate::publish::Publishing;

/// How long to wait before the store is tried again: doubles from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(2);
/// How often a gap is looked for of which nobody has been told.
const GAP_EVERY: Duration = Duration::from_secs(1);

/// Takes over what a source hears.
pub(crate) enum Intake {
    /// This gateway is the only one of its log.
    Alone(Alone),
    /// The log is shared, and one of its gateways publishes.
    Shared(Box<Takeover>),
}

/// Takes over for a log that no other gateway has.
pub(crate) struct Alone {
    kind: SourceKind,
    reading: Reading,
    gaps: Gaps,
    publishing: Arc<Publishing>,
    metrics: Arc<Metrics>,
    heard: Heard,
}

impl Intake {
    /// The way into the store of a source: where it leaves what it hears, and the task that takes
    /// it over.
    #[must_use]
    pub(crate) fn open(state: SourceState, parts: &SourceParts) -> (Ear, Self) {
        let kind = state.kind();
        let (ear, heard) = queue::open(state, Arc::clone(&parts.metrics));
        let reading = Reading::new(kind, Arc::clone(&parts.publishing), Arc::clone(&parts.metrics));
        let name: Option<SourceName> = kind.as_str().parse().ok();
        let intake = match (&parts.leases, name) {
            (Some(leases), Some(name)) => {
                Self::Shared(Box::new(Takeover::new(name, reading, heard, Arc::clone(leases), parts)))
            }
            _ => Self::Alone(Alone {
                kind,
                reading,
                gaps: Gaps::new(kind, parts),
                publishing: Arc::clone(&parts.publishing),
                metrics: Arc::clone(&parts.metrics),
                heard,
            }),
        };
        (ear, intake)
    }

    /// Takes over, for ever.
    pub(crate) async fn run(self) {
        match self {
            Self::Alone(alone) => alone.run().await,
            Self::Shared(takeover) => takeover.run().await,
        }
    }
}

impl Alone {
    async fn run(mut self) {
        loop {
            match tokio::time::timeout(GAP_EVERY, self.heard.next()).await {
                Err(_) => {}
                Ok(Taken::Interrupted | Taken::Overflow) => self.gaps.open(),
                Ok(Taken::Messages(messages)) => {
                    let drafts = self.reading.drafts(&messages);
                    drafts.iter().for_each(|draft| self.gaps.touch(draft));
                    for batch in batches(drafts) {
                        self.publish(batch).await;
                    }
                }
            }
            let mut pause = RETRY_FIRST;
            while !self.gaps.tell().await {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_LAST);
            }
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
fn batches(drafts: Vec<Draft>) -> Vec<Vec<Draft>> {
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
