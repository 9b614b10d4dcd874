//! The gateway: sockets, endpoints, access, and metrics. `ARCHITECTURE.md` has the whole map.
//!
//! # Layout
//! From the top down; each uses only what stands below it.
//!
//! * [`run`]: the gateway from its configuration to its end; `server`: sockets, accepted, served and drained.
//! * `dispatch`: finds the endpoint of a request; `endpoints`: one module for each of them.
//! * `socketio`: the endpoint of Socket.IO clients; `engineio`: their state between two polls.
//! * `session`: a client's session, from its admission to its end.
//! * `cluster`: the other gateways of the same log, and questions to all of them.
//! * `presence`: the members of each topic, and the events that announce them.
//! * `sources`: events from outside, such as Redis and PostgreSQL.
//! * `publish`: drafts on their way into the store; `store` opens the store that was configured.
//! * `reload`: another configuration for a gateway that runs.
//! * `app`: the state that all requests and sessions share.
//! * [`telemetry`]: log lines; [`config`]: the command line and the environment, checked once into
//!   [`config::Config`].
//! * [`dialect`]: an application's own names for the events of Socket.IO clients.
//! * [`http`]: errors as clients see them, web origins and CORS, the client's address behind proxies.
//! * [`redact`]: the parts of an event that only some clients may see.
//! * [`auth`]: tokens and publish keys; a verified token becomes an [`auth::Grant`].
//! * `current`: a value that a reload replaces.
//! * [`metrics`]: every name on a dashboard; `audit`: refused attempts; [`secret`]: text that is never shown.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance"))]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps nothing fails, as it should"))]

mod app;
mod audit;
pub mod auth;
mod cluster;
pub mod config;
mod current;
pub mod dialect;
mod dispatch;
mod endpoints;
mod engineio;
pub mod http;
mod json_pointer;
mod limits;
pub mod loggable;
pub mod metrics;
mod object;
mod presence;
mod problem;
mod publish;
pub mod redact;
mod registry;
mod reload;
pub mod secret;
mod server;
mod session;
mod session_key;
#[cfg(test)]
mod simulation;
mod socketio;
pub mod sources;
mod store;
mod tasks;
pub mod telemetry;
mod time;

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use app::App;
use config::{Config, ConfigError, ConfigReader};
use events::{Chance, Clock};
use http::door::Door;
use tasks::Tasks;
use tokio::net::TcpListener;

/// How long handing over the sources to other gateways may take at the end of a drain.
const HAND_OVER: Duration = Duration::from_secs(3);

/// The addresses at which a gateway listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Clients, and backends if they have no listener of their own.
    pub clients: SocketAddr,
    /// Backends, if they have a listener of their own.
    pub admin: Option<SocketAddr>,
    /// They speak TLS.
    pub has_tls: bool,
}

/// Runs a gateway until `shutdown` is ready and everyone has been sent away. `reader` reads its configuration again.
/// `ready` is told once clients can connect.
///
/// # Errors
/// When a configured part cannot be opened, as one line.
pub async fn run(
    config: Config,
    reader: ConfigReader,
    ready: impl FnOnce(Bound),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ConfigError> {
    let (listen, admin_listen, patience) = (config.listen, config.admin_listen, config.streams.drain);
    server::allow_files(config.limits.connections_max);
    #[expect(clippy::disallowed_methods, reason = "everything below takes the time and chance from here")]
    let (clock, chance) = (Clock::system(), Chance::system());
    let watched = reload::Watched::look(config.files()).await;
    let app = App::open(config, reader, clock, chance)?;
    let mut tasks = Tasks::default();
    tasks.spawn("key set", Arc::clone(&app).read_key_set());
    app.restore_presence().await;
    let (clients, client_listener) = bind(listen)?;
    let mut bound = Bound { clients, admin: None, has_tls: app.tls().is_some() };
    if let Some(address) = admin_listen {
        let (admin, admin_listener) = bind(address)?;
        bound.admin = Some(admin);
        tasks.spawn("admin listener", server::accept(Arc::clone(&app), admin_listener, Door::Backends));
    }
    let door = if admin_listen.is_some() { Door::Clients } else { Door::Both };
    tasks.spawn("listener", server::accept(Arc::clone(&app), client_listener, door));
    tasks.spawn("sweep", Arc::clone(&app).tidy());
    tasks.spawn("configuration", reload::watch(Arc::clone(&app), watched));
    tasks.spawn("presence", Arc::clone(&app).tell_presence());
    for (name, task) in sources::open(&app.config.sources, &app.source_parts())? {
        tasks.spawn(name, task);
    }
    tasks.spawn("cluster", Arc::clone(&app).listen_to_cluster());
    ready(bound);
    tokio::select! {
        () = shutdown => {}
        failure = tasks.failed() => return Err(failure),
    }
    app.drain();
    drained(&app, patience).await;
    app.presence.end().await;
    Ok(())
}

/// Ready when every client has gone and every source was handed over, or `patience` is over. The
/// listeners stay until then, so that `/ready` can say no.
async fn drained(app: &App, patience: Duration) {
    let gone = async {
        while app.open.count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(patience, gone).await.is_err() {
        tracing::warn!(
            connections = app.open.count(),
            "connections that are still open after the drain are cut"
        );
    }
    if tokio::time::timeout(HAND_OVER, app.sources.handed_over()).await.is_err() {
        tracing::warn!("a source could not be handed over to another gateway: its lease ends by itself");
    }
}

/// A listener, and the address that it has.
fn bind(address: SocketAddr) -> Result<(SocketAddr, TcpListener), ConfigError> {
    let bound = server::bind(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
    bound.map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::AddrInUse => ": stop the program that listens there, or choose another port",
            ErrorKind::AddrNotAvailable => ": choose an address of this machine, or 0.0.0.0",
            ErrorKind::PermissionDenied => ": choose a port above 1023",
            _ => "",
        };
        ConfigError::new(format!("cannot listen on {address}: {error}{remedy}"))
    })
}
