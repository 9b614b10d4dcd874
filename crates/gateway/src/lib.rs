//! The gateway: who may, what was configured, and what is logged. See `ARCHITECTURE.md` for the whole.
//!
//! # Layout
//! * [`config`]: the command line and the environment, checked once into [`config::Config`].
//! * [`auth`]: tokens and publish keys; a verified token becomes an [`auth::Grant`].
//! * [`origin`]: which web pages may connect, and the CORS headers.
//! * [`address`]: the client's address behind trusted proxies.
//! * [`metrics`]: every name on a dashboard.
//! * [`telemetry`]: log lines, and what may stand in them.
//! * [`secret`]: text that is never shown.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps nothing fails, as it should"))]

pub mod address;
pub mod auth;
pub mod config;
pub mod metrics;
pub mod origin;
pub mod secret;
pub mod telemetry;
