//! Redis pub/sub as a source of events, with real servers and several gateways.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod support;

#[path = "../../events/tests/redis/server.rs"]
#[allow(dead_code, reason = "the store's own tests use the rest")]
mod server;

#[path = "sources_redis/listening.rs"]
mod listening;
#[path = "sources_redis/masters.rs"]
mod masters;
#[path = "sources_redis/streams.rs"]
mod streams;
#[path = "sources_redis/takeover.rs"]
mod takeover;
