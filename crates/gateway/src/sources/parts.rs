//! The parts of the gateway that a source uses.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use events::{Clock, Log, SourceLeases, Store};
use tokio::sync::watch;

use super::states::SourceStates;
use crate::config::SourceGap;
use crate::metrics::Metrics;
use crate::publish::Publishing;

/// A task of a source, which never ends.
pub(crate) type SourceTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The parts of the gateway that a source uses.
#[derive(Clone)]
pub(crate) struct SourceParts {
    /// Appends drafts to the store.
    pub publishing: Arc<Publishing>,
    /// Most bytes of an event's data.
    pub data_bytes_max: usize,
    /// The clock.
    pub clock: Clock,
    /// The metrics of the gateway.
    pub metrics: Arc<Metrics>,
    /// The state of each source.
    pub states: Arc<SourceStates>,
    /// The store itself.
    pub store: Arc<dyn Store>,
    /// The log that the store feeds.
    pub log: Arc<Log>,
    /// The leases that decide which gateway publishes for which source; `None`: no other gateway
    /// shares the log.
    pub leases: Option<Arc<SourceLeases>>,
    /// The report that readers get about a gap.
    pub gap: SourceGap,
    /// How long events are kept for replay.
    pub kept: Duration,
    /// Whether the gateway is draining.
    pub draining: watch::Receiver<bool>,
}
