//! Which node publishes for a source of events that all nodes hear.
//!
//! The lease is a key with a time to live. The script of appends compares it with the token that
//! came with the drafts, so that a node that was frozen, or whose append came late, appends nothing
//! after another has taken the lease.
//!
//! Beside it stands until when everything that the source said has been published, by the server's
//! clock: a node that takes the lease and has heard the source since before then has missed nothing.
//! If no node has, the one takes it that has missed least.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Value, cmd};

use super::backoff::nonce;
use super::connection::Connection;
use super::reply::Failure;
use super::retention::duration_ms;
use super::shared::Shared;
use crate::{Lease, Unavailable};

/// The leases of all sources of a log.
pub struct SourceLeases {
    shared: Arc<Shared>,
    /// Tells this node from others.
    node: String,
    /// Between two calls.
    connection: Mutex<Option<Connection>>,
}

/// What came of trying to take a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// It is taken, and nobody has missed anything.
    Taken,
    /// It is taken, and what the source said before this node heard it may be missing.
    TakenWithGap,
    /// It is free, and was left to a node that has missed less.
    Left,
    /// Another has it.
    Held,
}

/// How long the server may take.
const PATIENCE: Duration = Duration::from_millis(1500);
/// For how long it is remembered until when a source was heard: a source that nobody has heard for
/// longer begins anew.
const HEARD_KEPT_MS: u64 = 24 * 3600 * 1000;

/// For how long a node counts as one that would take the lease: longer than it pauses between two
/// attempts.
const CANDIDATE_MS: u64 = 2_000;

/// KEYS: the lease; until when the source is published; the candidate. ARGV: what to do; the token;
/// the token that may be replaced; for how many ms the lease holds; how many ms ago; for how many ms
/// that is kept; whether to take it with a gap too; the node; for how many ms it is a candidate.
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
    /// For how long a lease holds that is not renewed.
    pub const KEPT: Duration = Duration::from_secs(5);

    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, node: format!("{:x}", nonce()), connection: Mutex::new(None) }
    }

    /// Takes a lease that nobody has, or that is this node's own `before`. `heard_for`: for how long
    /// this node has heard the source without a break. `with_gap`: whether to take it although that
    /// is not long enough, if no other node has heard it for longer; without it the lease is left to
    /// others for a while.
    ///
    /// # Errors
    /// The server cannot be asked. Why, the status of the store says.
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

    /// Keeps a lease. `published_ago`: how long ago everything that the source had said until then
    /// was published. `false`: the lease has been lost.
    ///
    /// # Errors
    /// As of [`SourceLeases::take`].
    pub async fn renew(&self, lease: &Lease, published_ago: Duration) -> Result<bool, Unavailable> {
        Ok(self.run("renew", lease, "", published_ago, false).await? == 1)
    }

    /// Gives a lease up. `published_ago`: as of [`SourceLeases::renew`].
    ///
    /// # Errors
    /// As of [`SourceLeases::take`].
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
        let answer = self.ask(what, lease, before, ago, with_gap).await;
        answer.map_err(|failure| {
            self.shared.health.set_failed(&failure);
            Unavailable("Redis cannot be asked about the lease")
        })
    }

    async fn ask(
        &self,
        what: &str,
        lease: &Lease,
        before: &str,
        ago: Duration,
        with_gap: bool,
    ) -> Result<i64, Failure> {
        let kept = self.connection.lock().take();
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::to_master(&self.shared.servers, PATIENCE).await?,
        };
        let keys = &self.shared.keys;
        let mut call = cmd("EVAL");
        let source = lease.source.as_str();
        call.arg(SCRIPT).arg(3).arg(keys.lease(source)).arg(keys.heard(source)).arg(keys.candidate(source));
        call.arg(what).arg(&*lease.token).arg(before);
        call.arg(duration_ms(Self::KEPT)).arg(duration_ms(ago)).arg(HEARD_KEPT_MS).arg(u8::from(with_gap));
        call.arg(&self.node).arg(CANDIDATE_MS);
        let Value::Int(answer) = connection.call(&call).await? else {
            return Err(Failure::Broken("the lease's key holds something else".to_owned()));
        };
        *self.connection.lock() = Some(connection);
        Ok(answer)
    }
}
