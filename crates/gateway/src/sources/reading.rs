//! Turns messages into drafts by the rules. Rejected messages are counted.

use std::sync::Arc;
use std::time::Duration;

use events::Draft;
use tokio::time::Instant;

use super::apply::SourceMessage;
use crate::metrics::Metrics;
use crate::metrics::labels::{RejectReason, SourceKind};
use crate::publish::{Author, Publishing};

/// Most drafts, and most bytes of their data, that are appended at once.
pub(super) const BATCH_DRAFTS: usize = 128;
pub(super) const BATCH_BYTES: usize = 256 << 10;
/// Shortest interval between two log lines about rejected messages.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// Reads the messages of one source.
pub(super) struct Reading {
    kind: SourceKind,
    author: Author,
    publishing: Arc<Publishing>,
    metrics: Arc<Metrics>,
    /// When the last log line about rejected messages was written.
    said: Option<Instant>,
}

impl Reading {
    pub(super) fn new(kind: SourceKind, publishing: Arc<Publishing>, metrics: Arc<Metrics>) -> Self {
        Self { kind, author: Author::Source(kind), publishing, metrics, said: None }
    }

    pub(super) fn kind(&self) -> SourceKind {
        self.kind
    }

    /// Applies the rules to the messages.
    pub(super) fn drafts(&mut self, messages: &[SourceMessage]) -> Vec<Draft> {
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

    /// Counts a rejection, and logs one from time to time. The log line names the pattern of the
    /// channel and never the content.
    fn reject(&mut self, message: &SourceMessage, reason: RejectReason) {
        self.metrics.sources.rejected(self.kind, reason);
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            let (source, pattern, reason) = (self.kind.as_str(), &*message.rule.pattern, reason.as_str());
            tracing::warn!(source, pattern, reason, "a message of the source became no event");
        }
    }
}
