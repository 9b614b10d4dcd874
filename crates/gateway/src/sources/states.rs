//! The state of each source, as shown by `/ready`, the metrics and the log.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::metrics::labels::SourceKind;

/// The states of all configured sources.
pub(crate) struct SourceStates {
    metrics: Arc<Metrics>,
    down: Mutex<BTreeMap<&'static str, Down>>,
    /// Number of sources for which this gateway holds the lease.
    leases: watch::Sender<usize>,
}

struct Down {
    reason: &'static str,
    /// When the last log line about this source was written.
    said: Option<Instant>,
}

/// Interval at which the log repeats that a source is down for the same reason.
const SAY_EVERY: Duration = Duration::from_secs(30);

impl SourceStates {
    /// States without any source.
    #[must_use]
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, down: Mutex::default(), leases: watch::Sender::new(0) }
    }

    /// Adds a source. The source is down until it reports otherwise.
    #[must_use]
    pub(crate) fn add(self: &Arc<Self>, kind: SourceKind) -> SourceState {
        self.down.lock().insert(kind.as_str(), Down { reason: "not connected yet", said: None });
        SourceState { kind, states: Arc::clone(self) }
    }

    /// Records that this gateway has acquired or lost the lease of a source.
    pub(super) fn set_lease(&self, kind: SourceKind, is_held: bool) {
        self.metrics.sources.set_lease(kind, is_held);
        self.leases.send_modify(|leases| if is_held { *leases += 1 } else { *leases -= 1 });
    }

    /// Waits until this gateway holds no lease of a source. A gateway that drains has then handed
    /// all of its sources over.
    pub(crate) async fn handed_over(&self) {
        // The sender lives as long as `self`.
        let _ = self.leases.subscribe().wait_for(|leases| *leases == 0).await;
    }

    /// The reason of each source that is down. A reason contains no secret and no address.
    #[must_use]
    pub(crate) fn reasons(&self) -> BTreeMap<&'static str, &'static str> {
        self.down.lock().iter().map(|(name, down)| (*name, down.reason)).collect()
    }
}

/// The state of one source. The source holds it and reports to it.
#[derive(Clone)]
pub(crate) struct SourceState {
    kind: SourceKind,
    states: Arc<SourceStates>,
}

impl SourceState {
    /// The kind of the source.
    #[must_use]
    pub(crate) fn kind(&self) -> SourceKind {
        self.kind
    }

    /// Reports that the source is connected and received.
    pub(crate) fn up(&self) {
        let was = self.states.down.lock().remove(self.kind.as_str());
        self.states.metrics.sources.set_up(self.kind, true);
        if was.is_some() {
            tracing::info!(source = self.kind.as_str(), "the source is heard");
        }
    }

    /// Reports that the source is not received. `reason` is public: `/ready` shows it. `detail`
    /// goes to the log, so the caller must remove secrets from it.
    pub(crate) fn down(&self, reason: &'static str, detail: &dyn fmt::Display) {
        self.states.metrics.sources.set_up(self.kind, false);
        let mut all = self.states.down.lock();
        let down = all.entry(self.kind.as_str()).or_insert(Down { reason, said: None });
        let is_old = down.said.is_none_or(|said| said.elapsed() >= SAY_EVERY);
        if down.reason != reason || is_old {
            *down = Down { reason, said: Some(Instant::now()) };
            drop(all);
            tracing::warn!(source = self.kind.as_str(), error = %detail, "the source is not heard: {reason}");
        }
    }
}
