//! What a source works with.

use std::pin::Pin;
use std::sync::Arc;

use events::Clock;

use super::states::SourceStates;
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
}
