//! Moves messages from the queue of a source into the store, in order and one batch at a time.

use std::sync::Arc;
use std::time::Duration;

use events::SourceName;

use super::append::{RETRY_FIRST, RETRY_LAST, append_until_taken};
use super::gap::Gaps;
use super::parts::SourceParts;
use super::queue::{self, Ear, Heard, Taken};
use super::reading::Reading;
use super::states::SourceState;
use super::takeover::Takeover;
use crate::metrics::Metrics;
use crate::metrics::labels::SourceKind;
use crate::publish::Publishing;

/// Interval between checks for a gap that has not been reported.
const GAP_EVERY: Duration = Duration::from_secs(1);

/// Publishes the messages of a source.
pub(crate) enum Intake {
    /// This gateway is the only gateway of its log.
    Alone(Box<Alone>),
    /// Several gateways share the log, and one of them publishes.
    Shared(Box<Takeover>),
}

/// Publishes for a log that no other gateway shares.
pub(crate) struct Alone {
    kind: SourceKind,
    reading: Reading,
    gaps: Gaps,
    publishing: Arc<Publishing>,
    metrics: Arc<Metrics>,
    heard: Heard,
}

impl Intake {
    /// Opens the path from a source into the store: the queue's entrance for the source, and the
    /// task that publishes the messages.
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
            _ => Self::Alone(Box::new(Alone {
                kind,
                reading,
                gaps: Gaps::new(kind, parts),
                publishing: Arc::clone(&parts.publishing),
                metrics: Arc::clone(&parts.metrics),
                heard,
            })),
        };
        (ear, intake)
    }

    /// Publishes messages for ever.
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
                    append_until_taken(&self.publishing, &self.metrics, self.kind, drafts).await;
                }
            }
            let mut pause = RETRY_FIRST;
            while !self.gaps.tell().await {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_LAST);
            }
        }
    }
}
