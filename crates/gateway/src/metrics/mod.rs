//! Every name on a dashboard.
//!
//! A gateway makes one [`Metrics`] and shares it by `Arc`; there is no global registry, so two gateways in one
//! process count apart. Names begin with `throughline_`, units are base units and come last, counters end in
//! `_total`. Label values come from the enums of [`labels`] alone. Counting is relaxed atomics on handles that
//! were resolved at the start: no lookup, no allocation; deliveries are counted by each worker apart.
//!
//! `grafana/` shows these families; `tests/grafana.rs` fails when the two disagree.

mod buckets;
mod deliveries;
mod families;
pub mod labels;
mod process;
mod sources;

use prometheus::{Encoder, Gauge, Histogram, IntCounter, IntGauge, Registry, TextEncoder};

use buckets::{LAG_BUCKETS, LATENCY_BUCKETS, REQUEST_BUCKETS};
use deliveries::{Deliveries, Sums};
use families::{By, CountersByPair, Families};
use labels::{
    AppendOutcome, AuthFailure, ClientClose, CloseReason, EvictionCause, Handshake, RateLimit, RefuseReason,
    ResetReason, ResumeOutcome, Route, RouteClass, Source, StatusClass,
};

pub use deliveries::Live;
pub use labels::Transport;
pub use sources::SourceMetrics;

/// The `Content-Type` of [`Metrics::render`]: Prometheus text format 0.0.4.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What one gateway counts.
pub struct Metrics {
    registry: Registry,

    tcp_connections: IntGauge,
    connections: By<Transport, IntGauge>,
    sessions: By<Transport, IntGauge>,
    opened: By<Transport, IntCounter>,
    closed: CountersByPair<Transport, CloseReason>,
    refused: By<RefuseReason, IntCounter>,
    switches: CountersByPair<Transport, Transport>,
    slow_readers: By<Transport, IntCounter>,
    client_closes: By<ClientClose, IntCounter>,

    published: By<Source, IntCounter>,
    publish_duplicates: IntCounter,
    deliveries: Deliveries,
    resumes: By<ResumeOutcome, IntCounter>,
    resets: By<ResetReason, IntCounter>,

    auth_failures: By<AuthFailure, IntCounter>,
    rate_limited: By<RateLimit, IntCounter>,

    log_events: IntGauge,
    log_bytes: IntGauge,
    log_budget_bytes: IntGauge,
    log_topics: IntGauge,
    unsent_bytes: IntGauge,
    evicted: By<EvictionCause, IntCounter>,
    collected_topics: IntCounter,
    appends: By<AppendOutcome, IntCounter>,
    append_duration: Histogram,
    store_ready: IntGauge,
    store_lag: Gauge,
    store_failures: IntCounter,
    store_epochs: IntCounter,
    ids_evicted: IntCounter,

    /// What sources of events outside the gateway count.
    pub sources: SourceMetrics,
    socketio_handshakes: By<Handshake, IntCounter>,
    socketio_engines: IntGauge,
    socketio_unsendable: IntGauge,

    draining: IntGauge,
    drain_sessions: IntGauge,

    requests: CountersByPair<Route, StatusClass>,
    request_duration: By<RouteClass, Histogram>,
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

        let sums = Sums {
            events: families.counters(
                "throughline_events_delivered_total",
                "Events written to sessions; one event to ten sessions counts ten.",
                "transport",
            )?,
            batches: families.counters(
                "throughline_batches_sent_total",
                "Batches written to sessions, heartbeats included.",
                "transport",
            )?,
            bytes: families.counters(
                "throughline_sent_bytes_total",
                "Bytes of batches and their framing handed to sockets, before TLS.",
                "transport",
            )?,
            publish_to_write: families.histograms(
                "throughline_publish_to_write_seconds",
                "Seconds from the log's acceptance of an event to the turn of the live session that writes it; replays not counted.",
                "transport",
                &LATENCY_BUCKETS,
            )?,
            reader_lag: families.histogram(
                "throughline_reader_lag_events",
                "Events between a session's cursor and the tail at the time of a batch.",
                &LAG_BUCKETS,
            )?,
        };
        Ok(Self {
            tcp_connections: families.gauge(
                "throughline_tcp_connections",
                "TCP connections that are open, idle ones without a request included.",
            )?,
            connections: families.gauges(
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
            published: families.counters(
                "throughline_events_published_total",
                "Events accepted from publishers, ephemeral ones included, by where they came from.",
                "source",
            )?,
            publish_duplicates: families.counter(
                "throughline_publish_duplicates_total",
                "Drafts answered with an earlier result because their idempotency key was known.",
            )?,
            deliveries: Deliveries::new(&sums),
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
            auth_failures: families.counters(
                "throughline_auth_failures_total",
                "Tokens and publish keys refused.",
                "reason",
            )?,
            rate_limited: families.counters(
                "throughline_rate_limited_total",
                "Requests, commands and connections refused because a limit was reached.",
                "kind",
            )?,
            log_events: families.gauge("throughline_log_events", "Events held by the rings.")?,
            log_bytes: families.gauge("throughline_log_bytes", "Memory held by the rings, in bytes.")?,
            log_budget_bytes: families.gauge(
                "throughline_log_budget_bytes",
                "Most memory that the rings may hold, in bytes; beyond it the oldest events leave.",
            )?,
            log_topics: families.gauge("throughline_log_topics", "Topics that have a ring.")?,
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
            store_ready: families.gauge(
                "throughline_store_ready",
                "1 while appends can be expected to succeed and the log follows the store, else 0.",
            )?,
            store_lag: families.gauge_of_seconds(
                "throughline_store_lag_seconds",
                "Seconds since the log was last seen to be where the store is; 0 while it follows it.",
            )?,
            store_failures: families.counter(
                "throughline_store_failures_total",
                "Connections to the store, reads and writes that failed.",
            )?,
            store_epochs: families.counter(
                "throughline_store_epochs_total",
                "Epochs that began while this gateway ran: restarts and failovers of the store.",
            )?,
            ids_evicted: families.counter(
                "throughline_publish_ids_evicted_total",
                "Ids of publishes forgotten within their 5 minutes, because --ids-bytes was reached.",
            )?,
            sources: SourceMetrics::register(&families)?,
            socketio_handshakes: families.counters(
                "throughline_socketio_handshakes_total",
                "Handshakes and upgrades of Socket.IO clients, by how they ended.",
                "result",
            )?,
            socketio_engines: families
                .gauge("throughline_socketio_pollers", "Socket.IO clients that poll, or have not chosen yet.")?,
            socketio_unsendable: families.gauge(
                "throughline_socketio_unsendable_events",
                "Events not sent to Socket.IO clients since the start, because their type is a reserved name there.",
            )?,
            draining: families.gauge("throughline_draining", "1 while the gateway drains, else 0.")?,
            drain_sessions: families.gauge(
                "throughline_drain_sessions",
                "Sessions that the drain has still to end; 0 when not draining.",
            )?,
            requests: families.counters_by_pair(
                "throughline_http_requests_total",
                "HTTP requests answered.",
                ["route", "status"],
            )?,
            request_duration: families.histograms(
                "throughline_http_request_seconds",
                "Seconds from a request's head to its response's head; a poll's wait is part of it.",
                "class",
                &REQUEST_BUCKETS,
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

    /// A TCP connection was accepted.
    pub fn tcp_opened(&self) {
        self.tcp_connections.inc();
    }

    /// A TCP connection is gone. Once for each [`Metrics::tcp_opened`].
    pub fn tcp_closed(&self) {
        self.tcp_connections.dec();
    }

    /// A stream was opened, or a poll began to wait.
    pub fn connection_opened(&self, transport: Transport) {
        self.connections.at(transport).inc();
    }

    /// A stream ended, or a poll was answered. Once for each [`Metrics::connection_opened`].
    pub fn connection_closed(&self, transport: Transport) {
        self.connections.at(transport).dec();
    }

    /// A connection was turned away before it had a session.
    pub fn connection_refused(&self, reason: RefuseReason) {
        self.refused.at(reason).inc();
    }

    /// A Socket.IO client came, changed its transport, or could not.
    pub fn socketio_handshake(&self, handshake: Handshake) {
        self.socketio_handshakes.at(handshake).inc();
    }

    /// How many Socket.IO clients poll, and how many events were not sent to any.
    pub fn set_socketio(&self, pollers: u64, unsendable: u64) {
        set(&self.socketio_engines, pollers);
        set(&self.socketio_unsendable, unsendable);
    }

    /// A session began.
    pub fn session_opened(&self, transport: Transport) {
        self.sessions.at(transport).inc();
        self.opened.at(transport).inc();
    }

    /// A session ended. Once for each [`Metrics::session_opened`], with the transport it was opened on; a
    /// session that moves to another transport closes as [`CloseReason::Replaced`] and opens there.
    pub fn session_closed(&self, transport: Transport, reason: CloseReason) {
        self.sessions.at(transport).dec();
        self.closed.at(transport).at(reason).inc();
        if reason == CloseReason::Slow {
            self.slow_readers.at(transport).inc();
        }
    }

    /// A client closed its WebSocket.
    pub fn client_closed(&self, code: ClientClose) {
        self.client_closes.at(code).inc();
    }

    /// A session went on over another transport; going on over the same one is not counted.
    pub fn switched(&self, from: Transport, to: Transport) {
        self.switches.at(from).at(to).inc();
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
        self.deliveries.count(|tally| {
            tally.events.at(transport).inc_by(events);
            tally.batches.at(transport).inc();
            tally.bytes.at(transport).inc_by(bytes);
            if let Some(Live { latency, lag }) = live {
                tally.publish_to_write.at(transport).observe(latency.as_secs_f64());
                tally.reader_lag.observe(lag as f64);
            }
        });
    }

    /// A request came with a cursor and was dealt with.
    pub fn resumed(&self, outcome: ResumeOutcome) {
        self.resumes.at(outcome).inc();
    }

    /// A reset was sent.
    pub fn reset(&self, reason: ResetReason) {
        self.resets.at(reason).inc();
    }

    /// A token or a publish key was refused.
    pub fn auth_failed(&self, reason: AuthFailure) {
        self.auth_failures.at(reason).inc();
    }

    /// A limit refused something.
    pub fn rate_limited(&self, kind: RateLimit) {
        self.rate_limited.at(kind).inc();
    }

    /// What the rings hold now: events, their bytes, and topics.
    pub fn set_log(&self, events: u64, bytes: u64, topics: u64) {
        set(&self.log_events, events);
        set(&self.log_bytes, bytes);
        set(&self.log_topics, topics);
    }

    /// The bytes that sessions have framed and their sockets have not taken.
    pub fn set_unsent(&self, bytes: u64) {
        set(&self.unsent_bytes, bytes);
    }

    /// The bytes that the rings may hold.
    pub fn set_log_budget(&self, bytes: u64) {
        set(&self.log_budget_bytes, bytes);
    }

    /// Events left their rings.
    pub fn evicted(&self, cause: EvictionCause, events: u64) {
        self.evicted.at(cause).inc_by(events);
    }

    /// Idle rings were dropped.
    pub fn topics_collected(&self, topics: u64) {
        self.collected_topics.inc_by(topics);
    }

    /// The store answered for some drafts of an append; see [`Metrics::append_took`] for the append's time.
    pub fn appended(&self, outcome: AppendOutcome, drafts: u64) {
        self.appends.at(outcome).inc_by(drafts);
    }

    /// How long the store took to answer one append, in seconds, whatever the answer.
    pub fn append_took(&self, seconds: f64) {
        self.append_duration.observe(seconds);
    }

    /// Whether the store is ready, and for how many seconds the log has not been seen to be where the store is.
    pub fn set_store(&self, ready: bool, lag_seconds: f64) {
        self.store_ready.set(i64::from(ready));
        self.store_lag.set(lag_seconds);
    }

    /// Failures of the store and epochs, since this was called last.
    pub fn store_counted(&self, failures: u64, epochs: u64) {
        self.store_failures.inc_by(failures);
        self.store_epochs.inc_by(epochs);
    }

    /// Ids of publishes that the store forgot before their time, since this was called last.
    pub fn ids_evicted(&self, number: u64) {
        self.ids_evicted.inc_by(number);
    }

    /// Whether the gateway drains, and how many sessions that has still to end.
    pub fn set_drain(&self, draining: bool, sessions: u64) {
        self.draining.set(i64::from(draining));
        set(&self.drain_sessions, sessions);
    }

    /// An HTTP request was answered. `seconds`: from its head to the response's head; the streams' own length
    /// is no duration of a request.
    pub fn request(&self, route: Route, status: u16, seconds: f64) {
        self.requests.at(route).at(StatusClass::of(status)).inc();
        self.request_duration.at(route.class()).observe(seconds);
    }
}

/// A gauge holds an `i64`; what does not fit is shown as the most that does.
fn set(gauge: &IntGauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests;
