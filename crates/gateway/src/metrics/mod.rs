//! Every name on a dashboard.
//!
//! A gateway makes one [`Metrics`] and shares it by `Arc`. There is no global registry, so two gateways in one process
//! count separately. Names begin with `throughline_`, units are base units and come last, and counters end in
//! `_total`. Label values come only from the enums of [`labels`]. Counting is a relaxed atomic operation on a handle
//! that was resolved at the start: no lookup, no allocation. Each worker counts its deliveries separately.
//!
//! Each subject has a file with its families and their help texts: `connections`, `log`, `store`, `requests`,
//! `deliveries`, `socketio`, `sources`. The methods that count are here.
//!
//! `grafana/` shows these families; `tests/grafana.rs` fails when the two disagree.

mod buckets;
mod connections;
mod deliveries;
mod families;
pub mod labels;
mod log;
mod process;
mod requests;
mod socketio;
mod sources;
mod store;

use prometheus::{Encoder, IntCounter, IntGauge, Registry, TextEncoder};

use connections::ConnectionMetrics;
use deliveries::Deliveries;
use families::{By, Families};
use labels::{
    AppendOutcome, AuthFailure, ClientClose, CloseReason, EvictionCause, Handshake, RateLimit, RefuseReason,
    ResetReason, ResumeOutcome, Route, Source, StatusClass,
};
use log::LogMetrics;
use requests::RequestMetrics;
use socketio::SocketIoMetrics;
use store::StoreMetrics;

pub use deliveries::Live;
pub use labels::Transport;
pub use sources::SourceMetrics;

/// The `Content-Type` of [`Metrics::render`]: Prometheus text format 0.0.4.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What one gateway counts.
pub struct Metrics {
    registry: Registry,
    connections: ConnectionMetrics,
    log: LogMetrics,
    store: StoreMetrics,
    requests: RequestMetrics,
    socketio: SocketIoMetrics,
    /// What sources of events outside the gateway count.
    pub sources: SourceMetrics,

    published: By<Source, IntCounter>,
    publish_duplicates: IntCounter,
    deliveries: Deliveries,
    resumes: By<ResumeOutcome, IntCounter>,
    resets: By<ResetReason, IntCounter>,

    config_in_force: IntGauge,
    draining: IntGauge,
    drain_sessions: IntGauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry of its own with every family in it, all at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::register(Registry::new())
            .expect("names and labels are constants, and a test registers them all")
    }

    fn register(registry: Registry) -> prometheus::Result<Self> {
        let families = Families(&registry);
        // Release builds set it; a working copy has no single commit to name.
        let commit = option_env!("THROUGHLINE_COMMIT").unwrap_or("unknown");
        families.info(
            "throughline_build_info",
            "Always 1; the labels name the release, its compiler and its commit.",
            &[
                ("version", env!("CARGO_PKG_VERSION")),
                ("rust_version", env!("THROUGHLINE_RUSTC_VERSION")),
                ("commit", commit),
            ],
        )?;
        registry.register(Box::new(process::Process::new()?))?;

        Ok(Self {
            connections: ConnectionMetrics::register(&families)?,
            log: LogMetrics::register(&families)?,
            store: StoreMetrics::register(&families)?,
            requests: RequestMetrics::register(&families)?,
            socketio: SocketIoMetrics::register(&families)?,
            sources: SourceMetrics::register(&families)?,
            published: families.counters(
                "throughline_events_published_total",
                "Events accepted from publishers, ephemeral ones included, by where they came from.",
                "source",
            )?,
            publish_duplicates: families.counter(
                "throughline_publish_duplicates_total",
                "Drafts answered with an earlier result because their idempotency key was known.",
            )?,
            deliveries: Deliveries::register(&families)?,
            resumes: families.counters(
                "throughline_resumes_total",
                "Requests that came with a cursor, by how the resume ended.",
                "outcome",
            )?,
            resets: families.counters(
                "throughline_resets_total",
                "Resets sent: sessions told that events may be lost and to fetch their state again.",
                "reason",
            )?,
            config_in_force: families.gauge(
                "throughline_config_in_force",
                "1 while the configuration that was read last is in force, 0 if it was refused.",
            )?,
            draining: families.gauge("throughline_draining", "1 while the gateway drains, else 0.")?,
            drain_sessions: families.gauge(
                "throughline_drain_sessions",
                "Sessions that the drain has still to end; 0 when not draining.",
            )?,
            registry,
        })
    }

    /// Everything in Prometheus text format, see [`CONTENT_TYPE`].
    ///
    /// Call the `set_` methods first: what they set is a sample, not a running count.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        self.deliveries.add_up();
        let mut text = Vec::with_capacity(64 * 1024);
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics are incomplete");
        }
        text
    }

    /// Events were accepted from a publisher.
    pub fn published(&self, source: Source, events: u64) {
        self.published.at(source).inc_by(events);
    }

    /// A draft was answered with the result that its idempotency key already had.
    pub fn publish_duplicate(&self) {
        self.publish_duplicates.inc();
    }

    /// What one batch carried: call it once a batch, not once an event.
    pub fn sent(&self, transport: Transport, events: u64, bytes: u64, live: Option<Live>) {
        self.deliveries.sent(transport, events, bytes, live);
    }

    /// A request came with a cursor and was dealt with.
    pub fn resumed(&self, outcome: ResumeOutcome) {
        self.resumes.at(outcome).inc();
    }

    /// A reset was sent.
    pub fn reset(&self, reason: ResetReason) {
        self.resets.at(reason).inc();
    }

    /// Whether the configuration that was read last is in force.
    pub fn set_config_in_force(&self, is_in_force: bool) {
        self.config_in_force.set(i64::from(is_in_force));
    }

    /// Whether the gateway drains, and how many sessions that has still to end.
    pub fn set_drain(&self, draining: bool, sessions: u64) {
        self.draining.set(i64::from(draining));
        set(&self.drain_sessions, sessions);
    }

    /// A TCP connection was accepted.
    pub fn tcp_opened(&self) {
        self.connections.tcp.inc();
    }

    /// A TCP connection is gone. Once for each [`Metrics::tcp_opened`].
    pub fn tcp_closed(&self) {
        self.connections.tcp.dec();
    }

    /// A stream was opened, or a poll began to wait.
    pub fn connection_opened(&self, transport: Transport) {
        self.connections.open.at(transport).inc();
    }

    /// A stream ended, or a poll was answered. Once for each [`Metrics::connection_opened`].
    pub fn connection_closed(&self, transport: Transport) {
        self.connections.open.at(transport).dec();
    }

    /// A connection was turned away before it had a session.
    pub fn connection_refused(&self, reason: RefuseReason) {
        self.connections.refused.at(reason).inc();
    }

    /// A session began.
    pub fn session_opened(&self, transport: Transport) {
        self.connections.sessions.at(transport).inc();
        self.connections.opened.at(transport).inc();
    }

    /// A session ended. Once for each [`Metrics::session_opened`], with the transport it was opened on; a
    /// session that moves to another transport closes as [`CloseReason::Replaced`] and opens there.
    pub fn session_closed(&self, transport: Transport, reason: CloseReason) {
        self.connections.sessions.at(transport).dec();
        self.connections.closed.at(transport).at(reason).inc();
        if reason == CloseReason::Slow {
            self.connections.slow_readers.at(transport).inc();
        }
    }

    /// A client closed its WebSocket.
    pub fn client_closed(&self, code: ClientClose) {
        self.connections.client_closes.at(code).inc();
    }

    /// A session went on over another transport; going on over the same one is not counted.
    pub fn switched(&self, from: Transport, to: Transport) {
        self.connections.switches.at(from).at(to).inc();
    }

    /// What the rings hold now: events, their bytes, and topics.
    pub fn set_log(&self, events: u64, bytes: u64, topics: u64) {
        set(&self.log.events, events);
        set(&self.log.bytes, bytes);
        set(&self.log.topics, topics);
    }

    /// The bytes that sessions have framed and their sockets have not taken.
    pub fn set_unsent(&self, bytes: u64) {
        set(&self.log.unsent_bytes, bytes);
    }

    /// The bytes that the rings may hold.
    pub fn set_log_budget(&self, bytes: u64) {
        set(&self.log.budget_bytes, bytes);
    }

    /// How many keys the states have.
    pub fn set_state_keys(&self, keys: u64) {
        set(&self.log.state_keys, keys);
    }

    /// Keys left states that had too much.
    pub fn state_keys_evicted(&self, keys: u64) {
        self.log.state_keys_evicted.inc_by(keys);
    }

    /// Events left their rings.
    pub fn evicted(&self, cause: EvictionCause, events: u64) {
        self.log.evicted.at(cause).inc_by(events);
    }

    /// Idle rings were dropped.
    pub fn topics_collected(&self, topics: u64) {
        self.log.collected_topics.inc_by(topics);
    }

    /// The store answered for some drafts of an append; see [`Metrics::append_took`] for the append's time.
    pub fn appended(&self, outcome: AppendOutcome, drafts: u64) {
        self.store.appends.at(outcome).inc_by(drafts);
    }

    /// How long the store took to answer one append, in seconds, whatever the answer.
    pub fn append_took(&self, seconds: f64) {
        self.store.append_duration.observe(seconds);
    }

    /// Whether the store is ready, and for how many seconds the log has not been seen to be where the store is.
    pub fn set_store(&self, ready: bool, lag_seconds: f64) {
        self.store.ready.set(i64::from(ready));
        self.store.lag.set(lag_seconds);
    }

    /// Failures of the store and epochs, since this was called last.
    pub fn store_counted(&self, failures: u64, epochs: u64) {
        self.store.failures.inc_by(failures);
        self.store.epochs.inc_by(epochs);
    }

    /// Ids of publishes that the store forgot before their time, since this was called last.
    pub fn ids_evicted(&self, number: u64) {
        self.store.ids_evicted.inc_by(number);
    }

    /// A token or a publish key was refused.
    pub fn auth_failed(&self, reason: AuthFailure) {
        self.requests.auth_failures.at(reason).inc();
    }

    /// A limit refused something.
    pub fn rate_limited(&self, kind: RateLimit) {
        self.requests.rate_limited.at(kind).inc();
    }

    /// An HTTP request was answered. `seconds`: from its head to the response's head; the streams' own length
    /// is no duration of a request.
    pub fn request(&self, route: Route, status: u16, seconds: f64) {
        self.requests.answered.at(route).at(StatusClass::of(status)).inc();
        self.requests.duration.at(route.class()).observe(seconds);
    }

    /// A Socket.IO client came, changed its transport, or could not.
    pub fn socketio_handshake(&self, handshake: Handshake) {
        self.socketio.handshakes.at(handshake).inc();
    }

    /// How many Socket.IO clients poll, and how many events were not sent to any.
    pub fn set_socketio(&self, pollers: u64, unsendable: u64) {
        set(&self.socketio.pollers, pollers);
        set(&self.socketio.unsendable, unsendable);
    }
}

/// A gauge holds an `i64`; what does not fit is shown as the most that does.
fn set(gauge: &IntGauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests;
