//! The options for opening the store in Redis.

use std::time::Duration;

/// The Redis servers, and the log in them.
#[derive(Clone)]
pub struct RedisOptions {
    /// One of:
    ///
    /// * `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, or several separated by commas: the server
    ///   that is the master is used;
    /// * `redis-sentinel://HOST:PORT[,HOST:PORT]/NAME`;
    /// * `redis-cluster://HOST:PORT[,HOST:PORT]`.
    ///
    /// `rediss` in place of `redis` means TLS.
    pub url: String,
    /// Trusted root certificates for TLS, in PEM; `None`: those of the system.
    pub authorities: Option<Vec<u8>>,
    /// The log's name, which is part of each of its keys.
    pub log_name: String,
    /// How many replicas must have an event before its publisher gets the answer. A failover loses
    /// no acknowledged event if the promoted replica has it. If the number is a majority of the
    /// replicas that may be promoted, every other majority contains a replica with the event, and
    /// Sentinel promotes the most advanced one. With a smaller number the event may be lost.
    pub wait_replicas: u32,
    /// Approximate number of bytes of events that the stream keeps. A gateway that starts can load
    /// this much. The value must be the same for all gateways.
    pub bytes_max: u64,
    /// How long the stream keeps an event, by the server's clock. The value must be the same for
    /// all gateways.
    pub age_max: Duration,
    /// Whether this node continues alone while Redis cannot be reached. Events that were published
    /// to it in the meantime are withdrawn once Redis returns.
    pub alone_when_down: bool,
}

/// The configuration cannot work. One line, without any password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RedisError(pub(super) &'static str);
