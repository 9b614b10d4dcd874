//! The store in Redis: one log for many gateways.
//!
//! One stream is the log. Its ids are `GEN-N`: GEN is the epoch, N the seq. The script `publish.lua` appends; it looks
//! at the server's `master_replid`, which changes with every restart and promotion, and opens a new generation when it
//! is not the one of before: a marker in the stream says where the old one ended. So a node that follows the stream
//! (`tailer`) knows at each generation what of its own was history and what a dead master took along.
//!
//! * `servers`: which one is the master; `link`: a connection to it;
//! * `publisher`: drafts into the stream, by the call in `script`;
//! * `tailer`: the stream into the log; `entry`: what stands there; `id`: `GEN-N`;
//! * `recent`: what to name as lost; `notice`: how all nodes are told of it;
//! * `alone`: what a node does without Redis, if it is told to;
//! * `board`: what nodes show and ask one another beside the log; `keeper`: its task; `mine`: what this one shows;
//!   `untold`: what of the others its own listener does not know yet;
//! * `ephemeral`: events without a seq; `heard`: what comes by pub/sub; `status`: how things stand.
//!
//! What cannot be told: an event that was acknowledged, died with its master before a replica had it, and was known to
//! no node that lives on. Only the node that published it or one that had read it could name its topics; when all of
//! those died with the master, who never saw the event misses it unawares. Who did see it is reset wherever it comes,
//! because its cursor lies behind the end of its generation. With `wait_replicas` 0 this takes a failover that loses
//! writes and the death of those nodes at the same moment; with as many as a promoted replica needs there is nothing
//! that could be lost.
//!
//! Measured by `cargo bench -p gateway --bench gateways`; the figures stand in the README.

mod alone;
mod board;
mod entry;
mod ephemeral;
mod heard;
mod id;
mod keeper;
mod link;
mod mine;
mod notice;
mod publisher;
mod recent;
mod script;
mod servers;
mod status;
mod tailer;
mod untold;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use alone::Alone;
pub use board::{Board, News, Question, Shown};
use ephemeral::Ephemeral;
use notice::{Herald, Owed};
use publisher::{Job, Publisher};
use recent::Recent;
use ring::rand::SecureRandom as _;
use script::Kept;
use servers::Servers;
use status::Status;
use tailer::Tailer;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::{Appended, BoxFuture, Rejection, Store, StoreStatus, Unavailable};
use crate::{Cursor, Draft, Log, Topic};

/// Which Redis, and which log in it.
#[derive(Clone)]
pub struct RedisOptions {
    /// Servers, `redis://[user:password@]host:port[/db]`, several separated by commas: whichever is the master. Or
    /// `redis-sentinel://host:port,host:port/name`, or `redis-cluster://host:port,host:port`. With `rediss` by TLS.
    pub url: String,
    /// Certificates that are believed where TLS is used, in PEM; `None`: those of the system.
    pub authorities: Option<Vec<u8>>,
    /// The log's name, part of each of its keys.
    pub log_name: String,
    /// How many replicas must have an event before its publisher is answered. A failover loses nothing that was
    /// acknowledged only if the replica that is promoted has it: with a majority of those that may be promoted, any
    /// majority of them has one that does, and Sentinel promotes the one that is furthest. With fewer it may be lost.
    pub wait_replicas: u32,
    /// About how many events the stream keeps.
    pub events_max: u64,
    /// Whether this node goes on alone while Redis cannot be reached: what is published to it then never happened once
    /// Redis is back.
    pub alone_when_down: bool,
}

/// The configuration cannot work, in one line. Holds no password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RedisError(&'static str);

/// The store in Redis.
pub struct Redis {
    jobs: mpsc::Sender<Job>,
    site: Arc<Site>,
    board: Arc<Board>,
    tasks: Vec<AbortHandle>,
}

/// What the parts of the store share.
struct Site {
    log: Arc<Log>,
    servers: Servers,
    keys: Keys,
    kept: Kept,
    status: Status,
    recent: Recent,
    owed: Owed,
    alone: Alone,
}

impl Redis {
    /// How many appends wait at most.
    const QUEUE_MAX: usize = 1024;
    /// How long an append waits for a place in the queue.
    const QUEUE_PATIENCE: Duration = Duration::from_secs(4);

    /// Starts to follow the log. It needs not be there yet: until it is, the store is not ready.
    ///
    /// # Errors
    /// When the URL is none.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(log: Arc<Log>, options: &RedisOptions) -> Result<Arc<Self>, RedisError> {
        let keys = Keys::new(&options.log_name);
        let last_ms = u64::try_from(log.topic_kept().as_millis()).unwrap_or(u64::MAX);
        let site = Arc::new(Site {
            servers: Servers::parse(&options.url, &keys.stream, options.authorities.clone())?,
            keys,
            kept: Kept { events_max: options.events_max, last_ms },
            status: Status::new(),
            recent: Recent::default(),
            owed: Owed::default(),
            alone: Alone::new(Arc::clone(&log), options.alone_when_down),
            log,
        });
        let (jobs, queue) = mpsc::channel(Self::QUEUE_MAX);
        let publisher = Publisher::new(Arc::clone(&site), options.wait_replicas);
        let tailer = Tailer::new(Arc::clone(&site));
        let herald = Herald { site: Arc::clone(&site) };
        let ephemeral = Ephemeral { site: Arc::clone(&site) };
        let (board, keeping) = Board::open(Arc::clone(&site));
        let tasks = vec![
            tokio::spawn(publisher.run(queue)).abort_handle(),
            tokio::spawn(tailer.run(options.alone_when_down)).abort_handle(),
            tokio::spawn(herald.run()).abort_handle(),
            tokio::spawn(ephemeral.run()).abort_handle(),
            tokio::spawn(keeping).abort_handle(),
        ];
        Ok(Arc::new(Self { jobs, site, board, tasks }))
    }

    /// Ready once this node has followed the log to its end for the first time.
    pub async fn followed(&self) {
        let mut state = self.site.status.state();
        // The sender lives as long as `self`.
        let _ = state.wait_for(Result::is_ok).await;
    }

    /// What this node and the others show and ask one another.
    #[must_use]
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// What went wrong last, for a log line. Holds no password.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.site.status.status().error
    }

    async fn append_queued(&self, drafts: Vec<Draft>) -> Vec<Result<Appended, Rejection>> {
        let number = drafts.len();
        if number == 0 {
            return Vec::new();
        }
        let refused = |why| vec![Err(Unavailable(why).into()); number];
        let (answer, answered) = oneshot::channel();
        let job = Job::Append { drafts, answer };
        match tokio::time::timeout(Self::QUEUE_PATIENCE, self.jobs.send(job)).await {
            Err(_) => refused("Redis does not keep up"),
            Ok(Err(_)) => refused("the store is closed"),
            Ok(Ok(())) => answered.await.unwrap_or_else(|_| refused("the store is closed")),
        }
    }

    async fn ask_tail(&self) -> Result<Cursor, Unavailable> {
        let closed = |_| Unavailable("the store is closed");
        let (answer, answered) = oneshot::channel();
        let asking = self.jobs.send_timeout(Job::Tail { answer }, Self::QUEUE_PATIENCE);
        asking.await.map_err(|_| Unavailable("Redis does not keep up"))?;
        answered.await.map_err(closed)?
    }
}

impl Store for Redis {
    fn append(&self, drafts: Vec<Draft>) -> BoxFuture<'_, Vec<Result<Appended, Rejection>>> {
        Box::pin(self.append_queued(drafts))
    }

    fn tail(&self) -> BoxFuture<'_, Result<Cursor, Unavailable>> {
        Box::pin(self.ask_tail())
    }

    fn ready(&self) -> Result<(), Unavailable> {
        if self.site.alone.has_begun() { Ok(()) } else { self.site.status.ready() }
    }

    fn loaded(&self) -> Result<(), Unavailable> {
        if self.site.status.is_loaded() || self.site.alone.has_begun() {
            Ok(())
        } else {
            Err(Unavailable("the log has not been read yet"))
        }
    }

    fn status(&self) -> StoreStatus {
        StoreStatus { alone: self.site.alone.has_begun(), ..self.site.status.status() }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// The names of the log's keys: all in one slot.
struct Keys {
    tag: String,
    stream: String,
    fence: String,
    ephemeral: String,
}

impl Keys {
    fn new(log_name: &str) -> Self {
        let tag = format!("{{{log_name}}}");
        Self { stream: format!("{tag}:s"), fence: format!("{tag}:f"), ephemeral: format!("{tag}:e"), tag }
    }

    fn token(&self, token: &str) -> String {
        format!("{}:i:{token}", self.tag)
    }

    /// Who is there, and when each node was last; the channel on which they speak to each other too.
    fn nodes(&self) -> String {
        format!("{}:n", self.tag)
    }

    fn shown_by(&self, node: &str) -> String {
        format!("{}:n:{node}", self.tag)
    }

    fn last(&self, topic: &Topic) -> String {
        format!("{}:t:{topic}", self.tag)
    }
}

/// How long to wait before trying again: longer each time, and not at the same moment as everyone else.
fn backoff(failures: u32) -> Duration {
    let most_ms = (20 << failures.min(6)).min(1000);
    Duration::from_millis(most_ms / 2 + u64::from(random()) * most_ms / 2048)
}

/// A number below 1024.
fn random() -> u32 {
    nonce() as u32 % 1024
}

/// A number that nobody else has.
fn nonce() -> u64 {
    let mut bytes = [0; 8];
    match ring::rand::SystemRandom::new().fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        // Keyed anew in each place, so still no two alike.
        Err(_) => RandomState::new().hash_one(std::process::id()),
    }
}

/// What tells these bytes from others.
fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
