//! Reports a gap in a source to the readers of its topics: messages may have been missed.
//!
//! The topics of missed messages are unknown. The gateway therefore marks the topics that the
//! source published to within the retention time as possibly incomplete, and their readers get a
//! reset. One kind of loss goes unreported: a message missed on a topic that the source had not
//! used before, when all activity on that topic began and ended within the gap.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use events::{Draft, Lacking, Store, Topic};
use tokio::time::Instant;

use super::parts::SourceParts;
use crate::config::SourceGap;
use crate::metrics::Metrics;
use crate::metrics::labels::SourceKind;

/// Most topics that are remembered. Beyond this a gap is reported to all readers of the log.
const TOPICS_MAX: usize = 65_536;
/// The shortest time between two notices.
const NOTICE_EVERY: Duration = Duration::from_secs(10);

/// The gaps of one source.
pub(super) struct Gaps {
    kind: SourceKind,
    metrics: Arc<Metrics>,
    store: Arc<dyn Store>,
    policy: SourceGap,
    /// Least time for which a topic is remembered.
    kept: Duration,
    recent: Generation,
    before: Generation,
    /// Whether a gap has not been reported yet.
    is_open: bool,
    told: Option<Instant>,
}

/// Topics that the source has used since a given moment.
struct Generation {
    since: Instant,
    topics: HashSet<Topic>,
    is_more: bool,
}

impl Generation {
    fn begin() -> Self {
        Self { since: Instant::now(), topics: HashSet::new(), is_more: false }
    }
}

impl Gaps {
    pub(super) fn new(kind: SourceKind, parts: &SourceParts) -> Self {
        Self {
            kind,
            metrics: Arc::clone(&parts.metrics),
            store: Arc::clone(&parts.store),
            policy: parts.gap,
            kept: parts.kept,
            recent: Generation::begin(),
            before: Generation::begin(),
            is_open: false,
            told: None,
        }
    }

    /// Remembers the topics of this draft as topics of the source.
    pub(super) fn touch(&mut self, draft: &Draft) {
        if self.recent.since.elapsed() >= self.kept {
            self.before = std::mem::replace(&mut self.recent, Generation::begin());
        }
        let Generation { topics, is_more, .. } = &mut self.recent;
        for topic in &draft.topics {
            if topics.contains(topic) {
                continue;
            }
            if topics.len() < TOPICS_MAX {
                topics.insert(topic.clone());
            } else {
                *is_more = true;
            }
        }
    }

    /// Records a gap: messages may have been missed.
    pub(super) fn open(&mut self) {
        self.metrics.sources.gap(self.kind);
        self.is_open = self.policy == SourceGap::Reset;
        tracing::warn!(source = self.kind.as_str(), "messages of the source may have been missed");
    }

    /// Whether a gap has not been reported yet.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether a notice is due.
    pub(super) fn is_due(&self) -> bool {
        self.is_open && self.told.is_none_or(|told| told.elapsed() >= NOTICE_EVERY)
    }

    /// Reports the gap to the log if a notice is due. `false`: the store did not accept the notice.
    pub(super) async fn tell(&mut self) -> bool {
        if !self.is_due() {
            return true;
        }
        let lacking = self.lacking();
        if let Some(lacking) = lacking
            && self.store.tell_lacking(lacking).await.is_err()
        {
            return false;
        }
        self.told = Some(Instant::now());
        self.is_open = false;
        true
    }

    /// The topics to report; `None`: the source has not published to any topic.
    fn lacking(&self) -> Option<Lacking> {
        // The last topic of a generation was added within `kept` of the generation's beginning.
        let is_recent = |generation: &&Generation| generation.since.elapsed() < self.kept * 2;
        let recent: Vec<&Generation> = [&self.before, &self.recent].into_iter().filter(is_recent).collect();
        if recent.iter().any(|generation| generation.is_more) {
            return Some(Lacking::All);
        }
        let topics: HashSet<&Topic> = recent.iter().flat_map(|generation| &generation.topics).collect();
        (!topics.is_empty()).then(|| Lacking::Topics(topics.into_iter().cloned().collect()))
    }
}
