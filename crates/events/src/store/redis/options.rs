//! What the store in Redis is told when it is opened.

use std::time::Duration;

/// Which Redis, and which log in it.
#[derive(Clone)]
pub struct RedisOptions {
    /// One of:
    ///
    /// * `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, several separated by commas: the one that is
    ///   the master is used;
    /// * `redis-sentinel://HOST:PORT[,HOST:PORT]/NAME`;
    /// * `redis-cluster://HOST:PORT[,HOST:PORT]`.
    ///
    /// `rediss` in place of `redis` means TLS.
    pub url: String,
    /// Trusted root certificates for TLS, in PEM; `None`: those of the system.
    pub authorities: Option<Vec<u8>>,
    /// The log's name, part of each of its keys.
    pub log_name: String,
    /// How many replicas must have an event before its publisher gets the answer. A failover loses
    /// no acknowledged event if the promoted replica has it. With a majority of the replicas that
    /// may be promoted, every other majority has one that does, and Sentinel promotes the most
    /// advanced one. With fewer the event may be lost.
    pub wait_replicas: u32,
    /// About how many bytes of events the stream keeps. What a gateway that starts can load; the
    /// same for all.
    pub bytes_max: u64,
    /// For how long the stream keeps an event, by the server's clock; the same for all.
    pub age_max: Duration,
    /// Whether this node goes on alone while Redis cannot be reached. What was published to it
    /// meanwhile is taken back once Redis returns.
    pub alone_when_down: bool,
}

/// The configuration cannot work. One line, without any password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RedisError(pub(super) &'static str);
