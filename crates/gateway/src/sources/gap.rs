//! Messages of a source may have been missed: the readers of its topics are told.
//!
//! Nobody can name the topics of what was not heard. Those that the source published to within the
//! time that events are kept are told that they may lack events, and their readers get a reset.
//! What began and ended within the gap, on a topic that the source had not used before, is known to
//! nobody and told to nobody.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use events::{Draft, Lacking, Store, Topic};
use tokio::time::Instant;

use super::parts::SourceParts;
use crate::config::SourceGap;
use crate::metrics::Metrics;
use crate::metrics::labels::SourceKind;

/// How many topics are remembered. Beyond it a gap is told to all readers of the log.
const TOPICS_MAX: usize = 65_536;
/// The shortest time between two notices.
const NOTICE_EVERY: Duration = Duration::from_secs(10);

/// The gaps of one source.
pub(super) struct Gaps {
    kind: SourceKind,
    metrics: Arc<Metrics>,
    store: Arc<dyn Store>,
    policy: SourceGap,
    /// For how long a topic is remembered, at least.
    kept: Duration,
    recent: Generation,
    before: Generation,
    /// Whether there is a gap that nobody has been told of.
    is_open: bool,
    told: Option<Instant>,
}

/// Topics that were used from some moment on.
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

    /// The source publishes to the topics of this draft.
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

    /// Messages may have been missed.
    pub(super) fn open(&mut self) {
        self.metrics.sources.gap(self.kind);
        self.is_open = self.policy == SourceGap::Reset;
        tracing::warn!(source = self.kind.as_str(), "messages of the source may have been missed");
    }

    /// Whether there is a gap that nobody has been told of.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether a notice is due.
    pub(super) fn is_due(&self) -> bool {
        self.is_open && self.told.is_none_or(|told| told.elapsed() >= NOTICE_EVERY)
    }

    /// Tells the log, if that is due. `false`: the store did not take it.
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

    /// `None`: the source has published to no topic.
    fn lacking(&self) -> Option<Lacking> {
        // The last topic of a generation came within `kept` of its beginning.
        let is_recent = |generation: &&Generation| generation.since.elapsed() < self.kept * 2;
        let recent: Vec<&Generation> = [&self.before, &self.recent].into_iter().filter(is_recent).collect();
        if recent.iter().any(|generation| generation.is_more) {
            return Some(Lacking::All);
        }
        let topics: HashSet<&Topic> = recent.iter().flat_map(|generation| &generation.topics).collect();
        (!topics.is_empty()).then(|| Lacking::Topics(topics.into_iter().cloned().collect()))
    }
}
