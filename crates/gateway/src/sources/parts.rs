//! What a source works with.

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

/// What a source works with.
#[derive(Clone)]
pub(crate) struct SourceParts {
    /// The way of drafts into the store.
    pub publishing: Arc<Publishing>,
    /// Most bytes of an event's data.
    pub data_bytes_max: usize,
    /// The time.
    pub clock: Clock,
    /// Every number on a dashboard.
    pub metrics: Arc<Metrics>,
    /// How each source stands.
    pub states: Arc<SourceStates>,
    /// The store itself.
    pub store: Arc<dyn Store>,
    /// The log that the store fills.
    pub log: Arc<Log>,
    /// Which gateway publishes for which source; `None`: the log has no other gateway.
    pub leases: Option<Arc<SourceLeases>>,
    /// What readers are told of gaps.
    pub gap: SourceGap,
    /// For how long events are kept for replay.
    pub kept: Duration,
    /// Whether the gateway drains.
    pub draining: watch::Receiver<bool>,
}
