//! What is counted of connections and sessions: how they come, go on and end.

use prometheus::{IntCounter, IntGauge, Result};

use super::families::{By, CountersByPair, Families};
use super::labels::{ClientClose, CloseReason, RefuseReason, Transport};

/// The counts of connections and sessions.
pub(super) struct ConnectionMetrics {
    pub(super) tcp: IntGauge,
    pub(super) open: By<Transport, IntGauge>,
    pub(super) sessions: By<Transport, IntGauge>,
    pub(super) opened: By<Transport, IntCounter>,
    pub(super) closed: CountersByPair<Transport, CloseReason>,
    pub(super) refused: By<RefuseReason, IntCounter>,
    pub(super) switches: CountersByPair<Transport, Transport>,
    pub(super) slow_readers: By<Transport, IntCounter>,
    pub(super) client_closes: By<ClientClose, IntCounter>,
}

impl ConnectionMetrics {
    pub(super) fn register(families: &Families<'_>) -> Result<Self> {
        Ok(Self {
            tcp: families.gauge(
                "throughline_tcp_connections",
                "TCP connections that are open, idle ones without a request included.",
            )?,
            open: families.gauges(
                "throughline_connections",
                "Streams that are open and polls that are waiting.",
                "transport",
            )?,
            sessions: families.gauges(
                "throughline_sessions",
                "Sessions that are alive; a poller's lives on between two of its polls.",
                "transport",
            )?,
            opened: families.counters(
                "throughline_sessions_opened_total",
                "Sessions opened.",
                "transport",
            )?,
            closed: families.counters_by_pair(
                "throughline_sessions_closed_total",
                "Sessions that ended, by what ended them.",
                ["transport", "reason"],
            )?,
            refused: families.counters(
                "throughline_connections_refused_total",
                "Connections turned away before they had a session.",
                "reason",
            )?,
            switches: families.counters_by_change(
                "throughline_transport_switches_total",
                "Sessions that went on over another transport.",
                ["from", "to"],
            )?,
            slow_readers: families.counters(
                "throughline_slow_readers_total",
                "Sessions ended because writing to them was blocked for the whole write timeout.",
                "transport",
            )?,
            client_closes: families.counters(
                "throughline_client_closes_total",
                "WebSockets that their clients closed, by the code that they gave; 1009: a message was too large for them.",
                "code",
            )?,
        })
    }
}
