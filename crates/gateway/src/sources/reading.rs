//! From messages to drafts, by the rules; what became none is counted.

use std::sync::Arc;
use std::time::Duration;

use events::Draft;
use tokio::time::Instant;

use super::apply::SourceMessage;
use crate::metrics::Metrics;
use crate::metrics::labels::{RejectReason, SourceKind};
use crate::publish::{Author, Publishing};

/// How many drafts and how many bytes of their data are appended at once.
pub(super) const BATCH_DRAFTS: usize = 128;
pub(super) const BATCH_BYTES: usize = 256 << 10;
/// How often the log says that messages were rejected.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// Reads what one source says.
pub(super) struct Reading {
    kind: SourceKind,
    author: Author,
    publishing: Arc<Publishing>,
    metrics: Arc<Metrics>,
    /// When the log last said that messages were rejected.
    said: Option<Instant>,
}

impl Reading {
    pub(super) fn new(kind: SourceKind, publishing: Arc<Publishing>, metrics: Arc<Metrics>) -> Self {
        Self { kind, author: Author::Source(kind), publishing, metrics, said: None }
    }

    pub(super) fn kind(&self) -> SourceKind {
        self.kind
    }

    /// What the rules make of the messages.
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

    /// Counts, and says so now and then: by the pattern of the channel, never by what was in it.
    fn reject(&mut self, message: &SourceMessage, reason: RejectReason) {
        self.metrics.sources.rejected(self.kind, reason);
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            let (source, pattern, reason) = (self.kind.as_str(), &*message.rule.pattern, reason.as_str());
            tracing::warn!(source, pattern, reason, "a message of the source became no event");
        }
    }
}
