//! What is counted of the store: its answers, and how it stands.

use prometheus::{Gauge, Histogram, IntCounter, IntGauge, Result};

use super::buckets::LATENCY_BUCKETS;
use super::families::{By, Families};
use super::labels::AppendOutcome;

/// The counts of the store.
pub(super) struct StoreMetrics {
    pub(super) appends: By<AppendOutcome, IntCounter>,
    pub(super) append_duration: Histogram,
    pub(super) ready: IntGauge,
    pub(super) lag: Gauge,
    pub(super) failures: IntCounter,
    pub(super) epochs: IntCounter,
    pub(super) ids_evicted: IntCounter,
}

impl StoreMetrics {
    pub(super) fn register(families: &Families<'_>) -> Result<Self> {
        Ok(Self {
            appends: families.counters(
                "throughline_store_appends_total",
                "Drafts given to the store, by its answer.",
                "outcome",
            )?,
            append_duration: families.histogram(
                "throughline_store_append_seconds",
                "Seconds that the store took to answer an append of one or more drafts.",
                &LATENCY_BUCKETS,
            )?,
            ready: families.gauge(
                "throughline_store_ready",
                "1 while appends can be expected to succeed and the log follows the store, else 0.",
            )?,
            lag: families.gauge_of_seconds(
                "throughline_store_lag_seconds",
                "Seconds since the log was last seen to be where the store is; 0 while it follows it.",
            )?,
            failures: families.counter(
                "throughline_store_failures_total",
                "Connections to the store, reads and writes that failed.",
            )?,
            epochs: families.counter(
                "throughline_store_epochs_total",
                "Epochs that began while this gateway ran: restarts and failovers of the store.",
            )?,
            ids_evicted: families.counter(
                "throughline_publish_ids_evicted_total",
                "Ids of publishes forgotten within their 5 minutes, because --ids-bytes was reached.",
            )?,
        })
    }
}
