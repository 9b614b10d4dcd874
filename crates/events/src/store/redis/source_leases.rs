//! Decides which node publishes for a source of events that all nodes receive.
//!
//! The lease is a key with a time to live. The append script compares it with the token that came
//! with the drafts. A node that was frozen, or whose append arrives late, therefore appends nothing
//! after another node has taken the lease.
//!
//! A second key holds the time, by the server's clock, up to which all messages of the source have
//! been published. A node that takes the lease and has received the source since before that time
//! has missed nothing. If there is no such node, the node that has missed least takes the lease.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Cmd, Value, cmd};

use super::backoff::nonce;
use super::connection::Connection;
use super::reply::Failure;
use super::retention::duration_ms;
use super::shared::Shared;
use crate::{Lease, Unavailable};

/// The leases of all sources of a log.
pub struct SourceLeases {
    shared: Arc<Shared>,
    /// Distinguishes this node from others.
    node: String,
    /// The connection, between two calls.
    connection: Mutex<Option<Connection>>,
}

/// The result of an attempt to take a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// The lease is taken, and no message has been missed.
    Taken,
    /// The lease is taken, and messages sent before this node received the source may be missing.
    TakenWithGap,
    /// The lease is free, and was left to a node that has missed less.
    Left,
    /// Another node has the lease.
    Held,
}

/// Timeout of the server's replies.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long the published-until time of a source is kept. A source that no node has received for
/// longer starts afresh.
const HEARD_KEPT_MS: u64 = 24 * 3600 * 1000;

/// How long a node counts as a candidate for the lease: longer than its pause between two attempts.
const CANDIDATE_MS: u64 = 2_000;

/// KEYS: the lease; the published-until time of the source; the candidate. ARGV: the operation; the
/// token; the token that may be replaced; the lease's time to live in ms; the age in ms of this
/// node's reception or of its published-until time; how long in ms that time is kept; whether to
/// take the lease with a gap; the node; how long in ms the node is a candidate.
const SCRIPT: &str = "
local held, time = redis.call('GET', KEYS[1]), redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local ago = now - tonumber(ARGV[5])
if ARGV[1] == 'take' then
  if held and held ~= ARGV[3] then return 0 end
  local heard = redis.call('GET', KEYS[2])
  local has_gap = heard and tonumber(heard) < ago
  if has_gap then
    local since, candidate = string.match(redis.call('GET', KEYS[3]) or '', '^(%d+) (.*)$')
    if candidate and candidate ~= ARGV[8] and tonumber(since) <= ago then return 3 end
    redis.call('SET', KEYS[3], string.format('%.0f', ago) .. ' ' .. ARGV[8], 'PX', ARGV[9])
    if ARGV[7] == '0' then return 3 end
  end
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4])
  return has_gap and 2 or 1
end
if held ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[2], string.format('%.0f', ago), 'PX', ARGV[6])
if ARGV[1] == 'renew' then redis.call('PEXPIRE', KEYS[1], ARGV[4]) else redis.call('DEL', KEYS[1]) end
return 1";

impl SourceLeases {
    /// How long a lease lasts without a renewal.
    pub const KEPT: Duration = Duration::from_secs(5);

    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, node: format!("{:x}", nonce()), connection: Mutex::new(None) }
    }

    /// Takes a lease that is free, or that is this node's own `before`. `heard_for`: how long this
    /// node has received the source without a break. `with_gap`: whether to take the lease even if
    /// that is too short, provided that no other node has received the source for longer. Without
    /// `with_gap`, the lease is left to other nodes for a while.
    ///
    /// # Errors
    /// When the server cannot be asked. The status of the store gives the reason.
    pub async fn take(
        &self,
        lease: &Lease,
        before: Option<&Lease>,
        heard_for: Duration,
        with_gap: bool,
    ) -> Result<LeaseAnswer, Unavailable> {
        let before = before.map_or("", |before| &before.token);
        Ok(match self.run("take", lease, before, heard_for, with_gap).await? {
            1 => LeaseAnswer::Taken,
            2 => LeaseAnswer::TakenWithGap,
            3 => LeaseAnswer::Left,
            _ => LeaseAnswer::Held,
        })
    }

    /// Renews a lease. `published_ago`: age of the moment up to which all messages of the source
    /// have been published. `false`: the lease has been lost.
    ///
    /// # Errors
    /// As for [`SourceLeases::take`].
    pub async fn renew(&self, lease: &Lease, published_ago: Duration) -> Result<bool, Unavailable> {
        Ok(self.run("renew", lease, "", published_ago, false).await? == 1)
    }

    /// Releases a lease. `published_ago`: as for [`SourceLeases::renew`].
    ///
    /// # Errors
    /// As for [`SourceLeases::take`].
    pub async fn release(&self, lease: &Lease, published_ago: Duration) -> Result<(), Unavailable> {
        self.run("release", lease, "", published_ago, false).await.map(drop)
    }

    async fn run(
        &self,
        what: &str,
        lease: &Lease,
        before: &str,
        ago: Duration,
        with_gap: bool,
    ) -> Result<i64, Unavailable> {
        let keys = &self.shared.keys;
        let mut call = cmd("EVAL");
        let source = lease.source.as_str();
        call.arg(SCRIPT).arg(3).arg(keys.lease(source)).arg(keys.heard(source)).arg(keys.candidate(source));
        call.arg(what).arg(&*lease.token).arg(before);
        call.arg(duration_ms(Self::KEPT)).arg(duration_ms(ago)).arg(HEARD_KEPT_MS).arg(u8::from(with_gap));
        call.arg(&self.node).arg(CANDIDATE_MS);
        self.ask(&call).await.map_err(|failure| {
            self.shared.health.set_failed(&failure);
            Unavailable("Redis cannot be asked about the lease")
        })
    }

    async fn ask(&self, call: &Cmd) -> Result<i64, Failure> {
        let kept = self.connection.lock().take();
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::to_master(&self.shared.servers, PATIENCE).await?,
        };
        let Value::Int(answer) = connection.call(call).await? else {
            return Err(Failure::Broken("the lease's key holds something else".to_owned()));
        };
        *self.connection.lock() = Some(connection);
        Ok(answer)
    }
}
