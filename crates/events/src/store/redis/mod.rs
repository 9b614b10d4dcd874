//! The store in Redis: one log for many gateways.
//!
//! The log is one stream. Its ids are `GEN-N`: GEN is the epoch, N the seq. The script
//! `publish.lua` appends to it. The server's `master_replid` changes with every restart and
//! promotion. The script compares it with that of the last append. If they differ, the script opens
//! a new generation: a marker in the stream records the end of the old generation. At each marker,
//! a node that follows the stream (`tailer`) learns which of its events are history and which were
//! lost with an old master.
//!
//! From the bottom up:
//!
//! * `options`, `keys`, `entry_id`, `backoff`, `reply`: vocabulary;
//! * `servers`: finds the master; `pubsub`: a channel of it; `log_state`: the extent of its log;
//!   `connection`: a connection to it;
//! * `outside`: finds servers for readers of Redis outside the log;
//! * `loss_notice`: topics that lost acknowledged events; `recent_appends`: the events that this
//!   node would have to name as lost;
//! * `kept_states`: the states of topics, for a node that starts;
//! * `entry`: the entries of the stream; `publish_script`: the call of `publish.lua`; `retention`:
//!   how much of the log is kept; `health`: the health that operators see;
//! * `standalone`: the log of a node that continues without Redis, if it is configured to;
//! * `shared`: the data that the tasks share. The tasks are `publisher` (drafts into the stream),
//!   `tailer` (the stream into the log), `loss_announcer` (notices into the stream), `ephemeral`
//!   (events without a seq) and `board::task`;
//! * `source_leases`: decides which node publishes for a source of events;
//! * `board`: values and questions that nodes exchange beside the log.
//!
//! One kind of loss goes unreported: an event that was acknowledged, died with its master before a
//! replica had it, and was known to no surviving node. Only the node that published it, or one that
//! had read it, could name its topics. If all of those died together with the master, a client that
//! never saw the event misses it without a reset. A client that did see it is reset wherever it
//! connects, because its cursor lies behind the end of its generation. With `wait_replicas` 0 this
//! takes a failover that loses writes and the death of those nodes at the same moment. With as many
//! as a promoted replica needs, nothing acknowledged can be lost.
//!
//! `cargo bench -p gateway --bench gateways` measures it.

mod backoff;
mod board;
mod connection;
mod entry;
mod entry_id;
mod ephemeral;
mod health;
mod kept_states;
mod keys;
mod log_state;
mod loss_announcer;
mod loss_notice;
mod options;
mod outside;
mod publish_script;
mod publisher;
mod pubsub;
mod recent_appends;
mod reply;
mod retention;
mod servers;
mod shared;
mod source_leases;
mod standalone;
mod tailer;

use std::sync::Arc;
use std::time::Duration;

pub use board::{Board, BoardEvent, BoardValue, Question};
use ephemeral::Ephemeral;
use health::RedisHealth;
use keys::Keys;
use loss_announcer::LossAnnouncer;
use loss_notice::OwedNotices;
pub use options::{RedisError, RedisOptions};
pub use outside::RedisServers;
use publisher::{PublishJob, StreamPublisher};
use recent_appends::RecentAppends;
use retention::{Retention, duration_ms};
use servers::Servers;
use shared::Shared;
pub use source_leases::{LeaseAnswer, SourceLeases};
use standalone::Standalone;
use tailer::Tailer;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::{
    AppendResults, BoxFuture, Checkpoint, Lacking, Lease, Rejection, SourceName, Store, StoreStatus,
    Unavailable,
};
use crate::{Cursor, Draft, Log};

/// The store in Redis.
pub struct Redis {
    jobs: mpsc::Sender<PublishJob>,
    shared: Arc<Shared>,
    board: Arc<Board>,
    tasks: Vec<AbortHandle>,
}

impl Redis {
    /// Most appends that wait.
    const QUEUE_MAX: usize = 1024;
    /// How long an append waits for a place in the queue.
    const QUEUE_PATIENCE: Duration = Duration::from_secs(4);

    /// Starts to follow the log. The server need not be available yet: until it is, the store is
    /// not ready.
    ///
    /// # Errors
    /// When the URL is invalid.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(log: Arc<Log>, options: &RedisOptions) -> Result<Arc<Self>, RedisError> {
        let keys = Keys::new(&options.log_name);
        let shared = Arc::new(Shared {
            servers: Servers::parse(&options.url, &keys.stream, options.authorities.clone())?,
            keys,
            retention: Retention {
                bytes_max: options.bytes_max,
                age_ms: duration_ms(options.age_max),
                last_ms: duration_ms(log.topic_kept()),
            },
            health: RedisHealth::new(),
            recent: RecentAppends::default(),
            owed: OwedNotices::default(),
            states: log.state_rules(),
            alone: Standalone::new(Arc::clone(&log), options.alone_when_down),
            log,
        });
        let (jobs, queue) = mpsc::channel(Self::QUEUE_MAX);
        let publisher = StreamPublisher::new(Arc::clone(&shared), options.wait_replicas);
        let tailer = Tailer::new(Arc::clone(&shared));
        let herald = LossAnnouncer { shared: Arc::clone(&shared) };
        let ephemeral = Ephemeral { shared: Arc::clone(&shared) };
        let (board, keeping) = Board::open(Arc::clone(&shared));
        let tasks = vec![
            tokio::spawn(publisher.run(queue)).abort_handle(),
            tokio::spawn(tailer.run(options.alone_when_down)).abort_handle(),
            tokio::spawn(herald.run()).abort_handle(),
            tokio::spawn(ephemeral.run()).abort_handle(),
            tokio::spawn(keeping).abort_handle(),
        ];
        Ok(Arc::new(Self { jobs, shared, board, tasks }))
    }

    /// Waits until this node has followed the log to its end for the first time.
    pub async fn followed(&self) {
        let mut state = self.shared.health.state();
        // The sender lives as long as `self`.
        let _ = state.wait_for(Result::is_ok).await;
    }

    /// The board for values and questions between the nodes.
    #[must_use]
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// The last error, for a log line. It contains no password.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.shared.health.status().error
    }

    /// The leases that decide which node publishes for which source.
    #[must_use]
    pub fn source_leases(&self) -> SourceLeases {
        SourceLeases::new(Arc::clone(&self.shared))
    }

    async fn append_queued(
        &self,
        lease: Option<Lease>,
        drafts: Vec<Draft>,
        checkpoint: Option<Checkpoint>,
    ) -> AppendResults {
        let number = usize::from(lease.is_some()) + drafts.len() + usize::from(checkpoint.is_some());
        if number == 0 {
            return Vec::new();
        }
        let refused = |why| vec![Err(Unavailable(why).into()); number];
        let (answer, answered) = oneshot::channel();
        let job = PublishJob::Append { lease, drafts, checkpoint, answer };
        match tokio::time::timeout(Self::QUEUE_PATIENCE, self.jobs.send(job)).await {
            Err(_) => refused("Redis does not keep up"),
            Ok(Err(_)) => refused("the store is closed"),
            Ok(Ok(())) => answered.await.unwrap_or_else(|_| refused("the store is closed")),
        }
    }

    async fn append_with(
        &self,
        drafts: Vec<Draft>,
        checkpoint: Checkpoint,
    ) -> Result<AppendResults, Unavailable> {
        if self.shared.alone.has_begun() {
            // Appends made now are withdrawn once Redis is back, and the source would not know.
            return Err(Unavailable("Redis cannot be reached"));
        }
        let mut answers = self.append_queued(None, drafts, Some(checkpoint)).await;
        let refused = answers.iter().find_map(|answer| match answer {
            Err(Rejection::Unavailable(why)) => Some(*why),
            _ => None,
        });
        answers.pop();
        refused.map_or(Ok(answers), Err)
    }

    async fn ask_position(&self, source: SourceName) -> Result<Option<Box<[u8]>>, Unavailable> {
        let (answer, answered) = oneshot::channel();
        let asking = self.jobs.send_timeout(PublishJob::Checkpoint { source, answer }, Self::QUEUE_PATIENCE);
        asking.await.map_err(|_| Unavailable("Redis does not keep up"))?;
        answered.await.map_err(|_| Unavailable("the store is closed"))?
    }

    async fn ask_tail(&self) -> Result<Cursor, Unavailable> {
        let closed = |_| Unavailable("the store is closed");
        let (answer, answered) = oneshot::channel();
        let asking = self.jobs.send_timeout(PublishJob::Tail { answer }, Self::QUEUE_PATIENCE);
        asking.await.map_err(|_| Unavailable("Redis does not keep up"))?;
        answered.await.map_err(closed)?
    }
}

impl Store for Redis {
    fn append(&self, drafts: Vec<Draft>) -> BoxFuture<'_, AppendResults> {
        Box::pin(self.append_queued(None, drafts, None))
    }

    fn append_and_checkpoint(
        &self,
        drafts: Vec<Draft>,
        checkpoint: Checkpoint,
    ) -> BoxFuture<'_, Result<AppendResults, Unavailable>> {
        Box::pin(self.append_with(drafts, checkpoint))
    }

    fn checkpoint(&self, source: &SourceName) -> BoxFuture<'_, Result<Option<Box<[u8]>>, Unavailable>> {
        Box::pin(self.ask_position(source.clone()))
    }

    fn append_leased(&self, drafts: Vec<Draft>, lease: &Lease) -> BoxFuture<'_, AppendResults> {
        let lease = lease.clone();
        Box::pin(async move {
            let mut answers = self.append_queued(Some(lease), drafts, None).await;
            answers.drain(..1);
            answers
        })
    }

    fn tell_lacking(&self, lacking: Lacking) -> BoxFuture<'_, Result<(), Unavailable>> {
        Box::pin(async move {
            let told = loss_announcer::tell_lacking(&self.shared, lacking).await;
            told.map_err(|error| {
                self.shared.health.set_failed(&error);
                Unavailable("Redis cannot be reached")
            })
        })
    }

    fn tail(&self) -> BoxFuture<'_, Result<Cursor, Unavailable>> {
        Box::pin(self.ask_tail())
    }

    fn ready(&self) -> Result<(), Unavailable> {
        if self.shared.alone.has_begun() { Ok(()) } else { self.shared.health.ready() }
    }

    fn loaded(&self) -> Result<(), Unavailable> {
        if self.shared.health.is_loaded() || self.shared.alone.has_begun() {
            Ok(())
        } else {
            Err(Unavailable("the log has not been read yet"))
        }
    }

    fn status(&self) -> StoreStatus {
        StoreStatus { alone: self.shared.alone.has_begun(), ..self.shared.health.status() }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}
