//! How each source stands: what `/ready`, the metrics and the log say of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::metrics::labels::SourceKind;

/// How all sources stand that are configured.
pub(crate) struct SourceStates {
    metrics: Arc<Metrics>,
    down: Mutex<BTreeMap<&'static str, Down>>,
    /// For how many sources this gateway is the one that publishes.
    leases: watch::Sender<usize>,
}

struct Down {
    reason: &'static str,
    /// When the log was last told.
    said: Option<Instant>,
}

/// How often the log repeats that a source is down for the same reason.
const SAY_EVERY: Duration = Duration::from_secs(30);

impl SourceStates {
    /// No source yet.
    #[must_use]
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, down: Mutex::default(), leases: watch::Sender::new(0) }
    }

    /// Adds a source, which is down until it says otherwise.
    #[must_use]
    pub(crate) fn add(self: &Arc<Self>, kind: SourceKind) -> SourceState {
        self.down.lock().insert(kind.as_str(), Down { reason: "not connected yet", said: None });
        SourceState { kind, states: Arc::clone(self) }
    }

    /// This gateway begins or ends to be the one of its log that publishes for a source.
    pub(super) fn set_lease(&self, kind: SourceKind, is_held: bool) {
        self.metrics.sources.set_lease(kind, is_held);
        self.leases.send_modify(|leases| if is_held { *leases += 1 } else { *leases -= 1 });
    }

    /// Ready when this gateway publishes for no source that others could publish for: a gateway that
    /// drains has handed them over.
    pub(crate) async fn handed_over(&self) {
        // The sender lives as long as `self`.
        let _ = self.leases.subscribe().wait_for(|leases| *leases == 0).await;
    }

    /// Why each source that is down is so. Holds no secret and no address.
    #[must_use]
    pub(crate) fn reasons(&self) -> BTreeMap<&'static str, &'static str> {
        self.down.lock().iter().map(|(name, down)| (*name, down.reason)).collect()
    }
}

/// How one source stands. Held by the source, which reports.
#[derive(Clone)]
pub(crate) struct SourceState {
    kind: SourceKind,
    states: Arc<SourceStates>,
}

impl SourceState {
    /// Which source it is.
    #[must_use]
    pub(crate) fn kind(&self) -> SourceKind {
        self.kind
    }

    /// The source is connected and heard.
    pub(crate) fn up(&self) {
        let was = self.states.down.lock().remove(self.kind.as_str());
        self.states.metrics.sources.set_up(self.kind, true);
        if was.is_some() {
            tracing::info!(source = self.kind.as_str(), "the source is heard");
        }
    }

    /// The source is not heard. `reason` is shown to everyone who asks `/ready`; `detail` goes into
    /// the log, and its caller takes secrets out.
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
