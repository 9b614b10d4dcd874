//! The gateway: the sockets, the endpoints, who may, and what is counted. See `ARCHITECTURE.md` for the whole.
//!
//! # Layout
//! * [`config`]: the command line and the environment, checked once into [`config::Config`].
//! * [`run`], `server`: sockets, accepted, served and drained; `app`: what all of them share.
//! * `routes`: which endpoint a request is for; `upgrade`, `send`, `backend`, `page`: the endpoints.
//! * `connect`: from a request to a running session; `early`: a WebSocket before it is one; `client`: what a
//!   session asks of the gateway; `commands`: what a client asks.
//! * `publish`: drafts on their way into the store.
//! * `peers`: the other gateways of the same log, and what is asked of all of them.
//! * `presence`: who is in a topic, and what its sessions are told of it.
//! * `explain`: why a user did or did not get an event.
//! * `sessions`: who is connected, `scope`: what each may see and was sent; `limits`: how much one user may; `pacing`: who may come back when,
//!   `replays`: and how much of what it missed is sent at once.
//! * `store`: opens the store that was configured, and says how it stands.
//! * [`auth`]: tokens and publish keys; a verified token becomes an [`auth::Grant`].
//! * [`origin`]: which web pages may connect, and the CORS headers; [`address`]: the client's address behind proxies.
//! * [`metrics`]: every name on a dashboard; [`telemetry`]: log lines; `problem`: errors as clients see them.
//! * [`redact`]: what of an event not everybody may see.
//! * `audit`: what somebody tried and must not.
//! * [`secret`]: text that is never shown.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps nothing fails, as it should"))]

pub mod address;
mod app;
mod audit;
pub mod auth;
mod backend;
mod client;
mod commands;
pub mod config;
mod connect;
mod early;
mod explain;
mod limits;
pub mod metrics;
pub mod origin;
mod pacing;
mod page;
mod peers;
mod presence;
mod problem;
mod publish;
pub mod redact;
mod replays;
mod routes;
mod scope;
pub mod secret;
mod send;
mod server;
mod sessions;
mod store;
pub mod telemetry;
mod time;
mod upgrade;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use app::App;
use config::{Config, ConfigError};
use routes::Door;

/// Where a gateway listens, once it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Clients, and backends if they have no listener of their own.
    pub clients: SocketAddr,
    /// Backends, if apart.
    pub admin: Option<SocketAddr>,
}

/// Runs a gateway until `shutdown` is ready and everyone has been sent away. `ready` is told once clients can connect.
///
/// # Errors
/// When something that was configured cannot be had, as one line.
pub async fn run(
    config: Config,
    ready: impl FnOnce(Bound),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ConfigError> {
    let (listen, admin_listen, patience) = (config.listen, config.admin_listen, config.streams.drain);
    server::allow_files(config.limits.connections_max);
    let app = App::open(config)?;
    app.restore_presence().await;
    let listener = |address: SocketAddr| {
        let listener = server::bind(address);
        let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
        bound.map_err(|error| ConfigError::new(format!("cannot listen on {address}: {error}")))
    };
    let (clients, client_listener) = listener(listen)?;
    let mut bound = Bound { clients, admin: None };
    let mut tasks = tokio::task::JoinSet::new();
    if let Some(address) = admin_listen {
        let (admin, admin_listener) = listener(address)?;
        bound.admin = Some(admin);
        tasks.spawn(server::accept(Arc::clone(&app), admin_listener, Door::Backends));
    }
    let door = if admin_listen.is_some() { Door::Clients } else { Door::Both };
    tasks.spawn(server::accept(Arc::clone(&app), client_listener, door));
    tasks.spawn(Arc::clone(&app).tidy());
    tasks.spawn(Arc::clone(&app).tell_presence());
    tasks.spawn(peers::listen(Arc::clone(&app)));
    ready(bound);
    tokio::select! {
        () = shutdown => {}
        // Nothing here ends by itself. A gateway that no longer accepts or tidies is not left standing.
        Some(_) = tasks.join_next() => return Err(ConfigError::new("a part of the gateway has failed: see the log")),
    }
    app.drain();
    // The listeners stay until the last client has gone, so that `/ready` can say no.
    let gone = async {
        while app.open.count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(patience, gone).await.is_err() {
        tracing::warn!(connections = app.open.count(), "some connections outlived the drain and are cut");
    }
    app.presence.end().await;
    Ok(())
}
