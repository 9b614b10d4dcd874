//! What is counted of Socket.IO clients.

use prometheus::{IntCounter, IntGauge, Result};

use super::families::{By, Families};
use super::labels::Handshake;

/// The counts of Socket.IO clients.
pub(super) struct SocketIoMetrics {
    pub(super) handshakes: By<Handshake, IntCounter>,
    pub(super) pollers: IntGauge,
    pub(super) unsendable: IntGauge,
}

impl SocketIoMetrics {
    pub(super) fn register(families: &Families<'_>) -> Result<Self> {
        Ok(Self {
            handshakes: families.counters(
                "throughline_socketio_handshakes_total",
                "Handshakes and upgrades of Socket.IO clients, by how they ended.",
                "result",
            )?,
            pollers: families
                .gauge("throughline_socketio_pollers", "Socket.IO clients that poll, or have not chosen yet.")?,
            unsendable: families.gauge(
                "throughline_socketio_unsendable_events",
                "Events not sent to Socket.IO clients since the start, because their type is a reserved name there.",
            )?,
        })
    }
}
