//! What sources of events outside the gateway count. All are 0 from the start.

use prometheus::{Gauge, IntCounter, IntGauge, Result};

use super::families::{By, CountersByPair, Families};
use super::labels::{RejectReason, SourceKind};

/// The counts of all sources. A source that is not configured stays at 0.
pub struct SourceMetrics {
    up: By<SourceKind, IntGauge>,
    received: By<SourceKind, IntCounter>,
    published: By<SourceKind, IntCounter>,
    duplicates: By<SourceKind, IntCounter>,
    rejected: CountersByPair<SourceKind, RejectReason>,
    dropped: By<SourceKind, IntCounter>,
    gaps: By<SourceKind, IntCounter>,
    queue_bytes: By<SourceKind, IntGauge>,
    lease: By<SourceKind, IntGauge>,
    takeovers: By<SourceKind, IntCounter>,
    held_published: By<SourceKind, IntCounter>,
    outbox_lag: Gauge,
    outbox_rows: IntGauge,
    notify_queue_usage: Gauge,
}

impl SourceMetrics {
    pub(super) fn register(families: &Families<'_>) -> Result<Self> {
        let counters = |name: &str, help: &str| families.counters(name, help, "source");
        let gauges = |name: &str, help: &str| families.gauges(name, help, "source");
        Ok(Self {
            up: gauges(
                "throughline_source_up",
                "1 while the source is connected and heard; 0 while it is not, or not configured.",
            )?,
            received: counters("throughline_source_received_total", "Messages that the source gave.")?,
            published: counters("throughline_source_published_total", "Events made of its messages.")?,
            duplicates: counters(
                "throughline_source_duplicates_total",
                "Messages whose id the store knew already.",
            )?,
            rejected: families.counters_by_pair(
                "throughline_source_rejected_total",
                "Messages that became no event.",
                ["source", "reason"],
            )?,
            dropped: counters(
                "throughline_source_dropped_total",
                "Messages dropped because the queue was full while the store took none.",
            )?,
            gaps: counters(
                "throughline_source_gaps_total",
                "Times at which messages of the source may have been missed.",
            )?,
            queue_bytes: gauges("throughline_source_queue_bytes", "Bytes that wait for the store.")?,
            lease: gauges(
                "throughline_source_lease",
                "1 while this gateway is the one of its log that publishes for the source.",
            )?,
            takeovers: counters(
                "throughline_source_takeovers_total",
                "Times at which this gateway began to publish for the source.",
            )?,
            held_published: counters(
                "throughline_source_held_published_total",
                "Messages that another gateway had not published, taken over from what this one had kept.",
            )?,
            outbox_lag: families.gauge_of_seconds(
                "throughline_outbox_lag_seconds",
                "Age of the oldest row in the outbox table, in seconds; 0 when it is empty.",
            )?,
            outbox_rows: families
                .gauge("throughline_outbox_rows", "Rows in the outbox table, counted up to 10,000.")?,
            notify_queue_usage: families.gauge_of_seconds(
                "throughline_pg_notify_queue_usage",
                "Part of PostgreSQL's notification queue that is in use, 0 to 1.",
            )?,
        })
    }

    /// Whether the source is connected and heard.
    pub fn set_up(&self, kind: SourceKind, is_up: bool) {
        self.up.at(kind).set(i64::from(is_up));
    }

    /// The source gave this many messages.
    pub fn received(&self, kind: SourceKind, messages: u64) {
        self.received.at(kind).inc_by(messages);
    }

    /// Events were made of its messages.
    pub fn published(&self, kind: SourceKind, events: u64) {
        self.published.at(kind).inc_by(events);
    }

    /// The store knew the id of a message.
    pub fn duplicate(&self, kind: SourceKind) {
        self.duplicates.at(kind).inc();
    }

    /// A message became no event.
    pub fn rejected(&self, kind: SourceKind, reason: RejectReason) {
        self.rejected.at(kind).at(reason).inc();
    }

    /// Messages were dropped because the queue was full.
    pub fn dropped(&self, kind: SourceKind, messages: u64) {
        self.dropped.at(kind).inc_by(messages);
    }

    /// Messages may have been missed.
    pub fn gap(&self, kind: SourceKind) {
        self.gaps.at(kind).inc();
    }

    /// How many bytes wait for the store.
    pub fn set_queue_bytes(&self, kind: SourceKind, bytes: usize) {
        self.queue_bytes.at(kind).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Whether this gateway is the one that publishes.
    pub fn set_lease(&self, kind: SourceKind, is_held: bool) {
        self.lease.at(kind).set(i64::from(is_held));
    }

    /// This gateway began to publish.
    pub fn took_over(&self, kind: SourceKind) {
        self.takeovers.at(kind).inc();
    }

    /// Messages were published that another gateway had not.
    pub fn held_published(&self, kind: SourceKind, messages: u64) {
        self.held_published.at(kind).inc_by(messages);
    }

    /// The age of the oldest row of the outbox in seconds, and how many rows there are.
    pub fn set_outbox(&self, lag_seconds: f64, rows: u64) {
        self.outbox_lag.set(lag_seconds);
        self.outbox_rows.set(i64::try_from(rows).unwrap_or(i64::MAX));
    }

    /// How full PostgreSQL's notification queue is, 0 to 1.
    pub fn set_notify_queue_usage(&self, part: f64) {
        self.notify_queue_usage.set(part);
    }
}
