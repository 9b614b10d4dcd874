//! The state that all requests and sessions of a gateway share.

use std::sync::Arc;
use std::time::Duration;

use events::{Chance, Clock, Evictions, Lens, Log, Options, SourceLeases, Store};
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::sync::watch;
use transport::socketio::{Settings, Speech};
use transport::{HttpLimits, Transport, UnsentBytes};

use crate::auth::{Authenticator, Grant};
use crate::cluster::Cluster;
use crate::config::{Config, ConfigError, ConfigReader, Limits, SocketIo};
use crate::current::Current;
use crate::dialect::{Dialect, Speaker};
use crate::engineio::Engines;
use crate::http::origin::OriginPolicy;
use crate::http::tls::TlsFiles;
use crate::limits::brake::RefusalBrake;
use crate::limits::pacing::Pacing;
use crate::limits::rates::Limiters;
use crate::limits::replays::Replays;
use crate::metrics::Metrics;
use crate::metrics::labels::{CloseReason, EvictionCause};
use crate::presence::Presence;
use crate::problem::{Code, Problem};
use crate::publish::Publishing;
use crate::redact::Redaction;
use crate::registry::{Caps, OpenConnections, Registry, Sessionless};
use crate::sources::{SourceParts, SourceStates};
use crate::store;

/// A running gateway, apart from its sockets.
///
/// `session/`, `socketio/` and `endpoints/` get it whole: the admission and the commands of one client use 14 of its
/// parts, and each endpoint uses others, so a struct of what they need would be this one under another name. The rooms
/// below this file are given their parts one by one, and so is a function above it that needs no more than two.
pub(crate) struct App {
    /// What was configured at the start. What changes with a reload is apart: the keys, the origins,
    /// the redaction and the limits.
    pub config: Config,
    limits: Current<Limits>,
    /// How TLS handshakes are done; `None`: there is no TLS.
    tls: Option<Current<ServerConfig>>,
    /// Reads the configuration again.
    pub reader: ConfigReader,
    /// The log that every session reads.
    pub log: Arc<Log>,
    /// The store that drafts are appended to.
    pub store: Arc<dyn Store>,
    /// Tokens and keys.
    pub auth: Authenticator,
    /// The origins of web pages that may connect.
    pub origins: OriginPolicy,
    /// Every number on a dashboard.
    pub metrics: Arc<Metrics>,
    /// Every session and its connections.
    pub registry: Arc<Registry>,
    /// The rules that hide parts of events.
    redaction: Current<Redaction>,
    /// The members of every topic.
    pub presence: Arc<Presence>,
    /// All gateways of the log.
    pub cluster: Cluster,
    /// Recent refusals by user and by address, for holding further ones back.
    pub brake: RefusalBrake,
    /// The rates of commands and publishes of each user.
    pub limiters: Arc<Limiters>,
    /// The way of drafts into the store.
    pub publishing: Arc<Publishing>,
    /// The leases by which one gateway of the log publishes for a source; `None`: there is one gateway.
    leases: Option<Arc<SourceLeases>>,
    /// The state of each source of events.
    pub sources: Arc<SourceStates>,
    /// The waits that clients are told before they reconnect.
    pub pacing: Pacing,
    /// The replays in flight.
    pub replays: Arc<Replays>,
    /// The unsent bytes of clients that do not read.
    pub unsent: Arc<UnsentBytes>,
    /// `hello.deployment`.
    pub deployment: Arc<str>,
    /// The connections without a session, by address.
    pub sessionless: Arc<Sessionless>,
    /// The Engine.IO sessions of clients that poll.
    pub engines: Engines,
    /// What all Socket.IO sessions share.
    pub socketio: Arc<Settings>,
    /// Every open connection.
    pub open: OpenConnections,
    draining: watch::Sender<bool>,
    /// The evictions that the metrics have counted already.
    evictions_counted: Mutex<Evictions>,
}

/// How many topics one sweep visits, so that it never holds up publishers for long.
const SWEEP_TOPICS: usize = 4096;
const SWEEP_EVERY: Duration = Duration::from_millis(250);

/// The number of unsent bytes of all clients that is ample: a small part of the log's budget, and at
/// most 32 MiB.
fn unsent_ample(log_bytes: u64) -> usize {
    (usize::try_from(log_bytes).unwrap_or(usize::MAX) / 32).clamp(64 << 10, 32 << 20)
}

/// A name for this process if none was configured: ten hexadecimal digits.
fn some_deployment(chance: &Chance) -> String {
    format!("{:010x}", chance.below(1 << 40))
}

/// What all Socket.IO sessions share.
fn settings(config: Option<&SocketIo>, clock: &Clock) -> Settings {
    let dialect = config.and_then(|config| config.dialect.clone());
    let speech =
        dialect.map(|dialect| Arc::new(Speaker { dialect, clock: clock.clone() }) as Arc<dyn Speech>);
    let (pings, cursor) = config.map(|config| (config.pings, config.cursor)).unwrap_or_default();
    Settings::new(pings, cursor, speech)
}

/// The refusal of a client that connects during a drain.
#[must_use]
pub(crate) fn draining() -> Problem {
    Problem::new(Code::Unavailable, "this gateway is shutting down")
}

impl App {
    /// Opens the store and reads the keys. All parts take the time and random bits from these two.
    ///
    /// # Errors
    /// When a configured part cannot be opened, as one line.
    pub(crate) fn open(
        config: Config,
        reader: ConfigReader,
        clock: Clock,
        chance: Chance,
    ) -> Result<Arc<Self>, ConfigError> {
        let limits = &config.limits;
        let log_bytes_max = usize::try_from(limits.log_bytes).unwrap_or(usize::MAX);
        let options = Options {
            ring_events_max: limits.ring_events,
            ring_bytes_max: (log_bytes_max / 16).max(64 << 10),
            ring_age_max: limits.ring_age,
            log_bytes_max,
            state: config.state.clone(),
            ..Options::default()
        };
        let log = Log::with(&options, clock, chance);
        let opened = store::open(&config.store, &log, limits)?;
        Self::on(config, reader, log, opened)
    }

    /// A gateway on a store that is open.
    ///
    /// # Errors
    /// When a key cannot be read, as one line.
    pub(crate) fn on(
        config: Config,
        reader: ConfigReader,
        log: Arc<Log>,
        store::Opened { store, keep, board, leases }: store::Opened,
    ) -> Result<Arc<Self>, ConfigError> {
        let (clock, chance) = (log.clock().clone(), log.chance().clone());
        let limits = &config.limits;
        let pacing = Pacing::new(chance.clone());
        let metrics = Arc::new(Metrics::new());
        metrics.set_log_budget(limits.log_bytes);
        metrics.set_config_in_force(true);
        let limiters = Arc::new(Limiters::new(limits, Arc::clone(&metrics)));
        let presence = Arc::new(Presence::new(limits.presence_ttl, keep, &clock));
        let registry = Arc::new(Registry::new(Arc::clone(&presence), chance.clone()));
        let publishing = Arc::new(Publishing::new(
            Arc::clone(&store),
            Arc::clone(&metrics),
            Arc::clone(&limiters),
            limits.data_bytes_max,
            clock.clone(),
        ));
        Ok(Arc::new(Self {
            auth: Authenticator::new(&config.auth, clock, chance.clone())?,
            origins: if config.dev {
                OriginPolicy::for_development(config.allow_origins.clone(), config.trusted_proxies.clone())
            } else {
                OriginPolicy::new(config.allow_origins.clone(), config.trusted_proxies.clone())
            },
            cluster: Cluster::new(board, Arc::clone(&registry), Arc::clone(&presence), pacing.clone()),
            registry,
            presence,
            redaction: Current::new(Redaction::new(&config.redact)),
            limits: Current::new(config.limits),
            tls: config.tls.as_ref().map(TlsFiles::open).transpose()?.map(Current::new),
            reader,
            brake: RefusalBrake::new(),
            publishing,
            leases,
            sources: Arc::new(SourceStates::new(Arc::clone(&metrics))),
            metrics,
            limiters,
            replays: Replays::new(limits.replay_bytes, pacing.clone()),
            pacing,
            unsent: Arc::new(UnsentBytes::new(unsent_ample(limits.log_bytes))),
            deployment: config.deployment.clone().unwrap_or_else(|| some_deployment(&chance)).into(),
            sessionless: Arc::new(Sessionless::new(limits.connections_per_ip_max)),
            engines: Engines::new(chance),
            socketio: Arc::new(settings(config.socketio.as_ref(), log.clock())),
            open: OpenConnections::default(),
            draining: watch::Sender::new(false),
            evictions_counted: Mutex::default(),
            config,
            log,
            store,
        }))
    }

    /// The limits of a connection while it speaks HTTP.
    #[must_use]
    pub(crate) fn http_limits(&self) -> HttpLimits {
        let limits = self.limits();
        HttpLimits {
            head_timeout: limits.head_timeout,
            keep_alive: limits.keep_alive,
            head_bytes_max: 16 << 10,
            headers_max: 64,
            write_timeout: self.config.streams.write_timeout,
        }
    }

    /// How TLS handshakes are done now; `None`: there is no TLS.
    #[must_use]
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.as_ref().map(Current::get)
    }

    /// The limits that hold now.
    #[must_use]
    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.limits.get()
    }

    /// The rules that hide parts of events now.
    #[must_use]
    pub(crate) fn redaction(&self) -> Arc<Redaction> {
        self.redaction.get()
    }

    /// Puts the keys, certificate, origins, redaction and limits of another configuration in force, and tells
    /// which of its options wait for a restart. Sessions stay. Each sees what the new rules leave of
    /// events from here on.
    ///
    /// # Errors
    /// When a key or the certificate cannot be read. Nothing has changed then.
    pub(crate) fn take_over(&self, config: &Config) -> Result<Vec<&'static str>, ConfigError> {
        let trusted = self.auth.prepare(&config.auth)?;
        let tls = config.tls.as_ref().map(TlsFiles::open).transpose()?;
        let limits = self.limits().with_changeable(&config.limits);
        self.auth.take_over(trusted);
        if let (Some(current), Some(tls)) = (&self.tls, tls) {
            current.set(tls);
        }
        self.origins.allow(config.allow_origins.clone());
        self.sessionless.set_cap(limits.connections_per_ip_max);
        if !self.limits().has_rates_of(&limits) {
            self.limiters.set(&limits);
        }
        self.limits.set(limits);
        if !self.redaction().is_of(&config.redact) {
            self.redaction.set(Redaction::new(&config.redact));
            self.registry.revise_all();
        }
        Ok(self.config.fixed_changes(config))
    }

    /// The caps on connections.
    #[must_use]
    pub(crate) fn caps(&self) -> Caps {
        let limits = self.limits();
        Caps { per_user: limits.connections_per_user_max, per_address: limits.connections_per_ip_max }
    }

    /// The parts that a source of events works with.
    #[must_use]
    pub(crate) fn source_parts(&self) -> SourceParts {
        SourceParts {
            publishing: Arc::clone(&self.publishing),
            data_bytes_max: self.config.limits.data_bytes_max,
            clock: self.log.clock().clone(),
            metrics: Arc::clone(&self.metrics),
            states: Arc::clone(&self.sources),
            store: Arc::clone(&self.store),
            log: Arc::clone(&self.log),
            leases: self.leases.clone(),
            gap: self.config.sources.gap,
            kept: self.config.limits.ring_age,
            draining: self.draining.subscribe(),
        }
    }

    /// The application's own names for the events of Socket.IO clients.
    #[must_use]
    pub(crate) fn dialect(&self) -> Option<&Dialect> {
        self.config.socketio.as_ref()?.dialect.as_deref()
    }

    /// The view of the bearer of a grant on events; `None`: events in full.
    #[must_use]
    pub(crate) fn lens(&self, grant: &Grant) -> Option<Arc<dyn Lens>> {
        self.redaction().lens(grant).map(|view| view as Arc<dyn Lens>)
    }

    /// The shortest time between two batches with ephemeral events for one reader.
    #[must_use]
    pub(crate) fn ephemeral_spacing(&self) -> Duration {
        let per_second = self.limits().ephemerals_per_second;
        per_second.map_or(Duration::ZERO, |per_second| Duration::from_secs(1) / per_second)
    }

    /// Whether streams and polls are taken now.
    ///
    /// # Errors
    /// Why not: the gateway drains, or the log has not been read.
    pub(crate) fn accepts_streams(&self) -> Result<(), Problem> {
        if self.is_draining() {
            return Err(draining());
        }
        Ok(self.store.loaded()?)
    }

    /// Whether the gateway drains.
    #[must_use]
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Sends every client away, each in a slot of its own, and accepts no new stream.
    pub(crate) fn drain(&self) {
        self.draining.send_replace(true);
        let told = self.registry.drain(self.config.streams.reconnects_per_second);
        self.engines.end_all();
        tracing::info!(connections = told, "draining");
    }

    /// Ready when the drain begins.
    pub(crate) async fn drained(&self) {
        let mut draining = self.draining.subscribe();
        // The sender lives as long as `self`.
        let _ = draining.wait_for(|draining| *draining).await;
    }

    /// Reads the key set again and again, if there is one, for ever.
    pub(crate) async fn read_key_set(self: Arc<Self>) {
        self.auth.read_key_set().await;
    }

    /// Keeps the log and the table of sessions within their bounds and watches the store, for ever.
    pub(crate) async fn tidy(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut watch = store::Watch::new(&*self.store, &self.config.store);
        loop {
            ticks.tick().await;
            self.log.sweep(SWEEP_TOPICS);
            for _ in 0..self.registry.sweep() {
                self.metrics.session_closed(Transport::Poll, CloseReason::Idle);
            }
            self.engines.sweep();
            self.presence.sweep();
            self.auth.sweep();
            watch.look(&*self.store, &self.log, &self.metrics);
        }
    }

    /// Takes in the members and the sessions of an earlier process.
    pub(crate) async fn restore_presence(&self) {
        self.registry.restore(self.presence.restore().await);
    }

    /// Appends presence events to the log, for ever.
    pub(crate) async fn tell_presence(self: Arc<Self>) {
        self.presence.tell().await;
    }

    /// Listens to the other gateways of the log, for ever.
    pub(crate) async fn listen_to_cluster(self: Arc<Self>) {
        self.cluster.listen().await;
    }

    /// The metrics as text, with those that are only sampled brought up to date.
    #[must_use]
    pub(crate) fn render_metrics(&self) -> Vec<u8> {
        let mut seen = self.evictions_counted.lock();
        let stats = self.log.stats();
        self.metrics.set_log(stats.events as u64, stats.bytes as u64, stats.topics as u64);
        self.metrics.set_state_keys(stats.keys as u64);
        self.metrics.set_unsent(self.unsent.bytes() as u64);
        let now = stats.evictions;
        self.metrics.evicted(EvictionCause::Count, now.count - seen.count);
        self.metrics.evicted(EvictionCause::Bytes, now.bytes - seen.bytes);
        self.metrics.evicted(EvictionCause::Age, now.age - seen.age);
        self.metrics.evicted(EvictionCause::Budget, now.budget - seen.budget);
        self.metrics.state_keys_evicted(now.state - seen.state);
        self.metrics.topics_collected(now.topics - seen.topics);
        *seen = now;
        self.metrics.set_socketio(self.engines.count() as u64, self.socketio.unsendable());
        self.metrics.set_drain(self.is_draining(), self.registry.connections() as u64);
        self.metrics.render()
    }
}
