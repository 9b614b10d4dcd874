//! What a source works with.

use std::sync::Arc;

use super::states::SourceStates;
use crate::metrics::Metrics;
use crate::publish::Publishing;

/// What a source works with.
#[derive(Clone)]
pub(crate) struct SourceParts {
    /// The way of drafts into the store.
    pub publishing: Arc<Publishing>,
    /// Every number on a dashboard.
    pub metrics: Arc<Metrics>,
    /// How each source stands.
    pub states: Arc<SourceStates>,
}
