//! What is sampled and counted of the log: what it holds, and what had to leave.

use prometheus::{IntCounter, IntGauge, Result};

use super::families::{By, Families};
use super::labels::EvictionCause;

/// The state of the log and of what clients do not take.
pub(super) struct LogMetrics {
    pub(super) events: IntGauge,
    pub(super) bytes: IntGauge,
    pub(super) budget_bytes: IntGauge,
    pub(super) topics: IntGauge,
    pub(super) state_keys: IntGauge,
    pub(super) state_keys_evicted: IntCounter,
    pub(super) unsent_bytes: IntGauge,
    pub(super) evicted: By<EvictionCause, IntCounter>,
    pub(super) collected_topics: IntCounter,
}

impl LogMetrics {
    pub(super) fn register(families: &Families<'_>) -> Result<Self> {
        Ok(Self {
            events: families.gauge("throughline_log_events", "Events held by the rings.")?,
            bytes: families.gauge("throughline_log_bytes", "Memory held by the rings, in bytes.")?,
            budget_bytes: families.gauge(
                "throughline_log_budget_bytes",
                "Most memory that the rings may hold, in bytes; beyond it the oldest events leave.",
            )?,
            topics: families.gauge("throughline_log_topics", "Topics that have a ring.")?,
            state_keys: families
                .gauge("throughline_state_keys", "Keys in the states of the topics of --state.")?,
            state_keys_evicted: families.counter(
                "throughline_state_keys_evicted_total",
                "Keys that left the state of their topic, because --state-keys or --state-bytes was reached.",
            )?,
            unsent_bytes: families.gauge(
                "throughline_unsent_bytes",
                "Bytes that sessions have framed and their sockets have not taken.",
            )?,
            evicted: families.counters(
                "throughline_events_evicted_total",
                "Events that left a ring, by the bound that made them leave.",
                "cause",
            )?,
            collected_topics: families.counter(
                "throughline_topics_collected_total",
                "Idle rings dropped; a session that resumes below the mark they leave gets a reset.",
            )?,
        })
    }
}
