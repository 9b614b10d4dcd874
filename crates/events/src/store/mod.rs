//! Where the log lives: a [`Store`] orders what is published and reports it as facts.

mod checkpoint;
mod codec;
mod disk;
mod idempotency;
mod memory;
mod redis;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub use checkpoint::{Checkpoint, CheckpointError, SourceName};
pub use disk::{Disk, DiskError, DiskOptions, Fsync, KeptValue, Recovered};
pub use memory::Memory;
pub use redis::{
    Board, BoardEvent, BoardValue, LeaseAnswer, Question, Redis, RedisError, RedisOptions, RedisServers,
    SourceLeases,
};

use crate::{Cursor, Draft, Epoch, Fact, Log, Seq, Topic};

/// A boxed future, so that stores can stand behind one pointer. Made once a batch, never once a reader.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Gives events their place in one total order, keeps them, and reports to [`crate::Log::apply`], in order, what its
/// history has become.
///
/// A draft that was acknowledged is in the store. Its event is applied at the latest shortly after; a reader that
/// cannot get it any more gets a reset.
pub trait Store: Send + Sync + 'static {
    /// Appends the drafts in order and answers each in its place.
    fn append(&self, drafts: Vec<Draft>) -> BoxFuture<'_, AppendResults>;

    /// Appends the drafts as [`Store::append`] does and stores the checkpoint in the same commit: after a crash both
    /// are there or neither. A draft that its `expect` or its token keeps out does not hold up the checkpoint.
    ///
    /// # Errors
    /// Neither was stored, or the store cannot say. The caller hands in the same drafts again, with tokens.
    fn append_and_checkpoint(
        &self,
        drafts: Vec<Draft>,
        checkpoint: Checkpoint,
    ) -> BoxFuture<'_, Result<AppendResults, Unavailable>>;

    /// The position of the last checkpoint of a source. `None`: there was none, or it was lost together with events.
    ///
    /// # Errors
    /// The store cannot be read.
    fn checkpoint(&self, source: &SourceName) -> BoxFuture<'_, Result<Option<Box<[u8]>>, Unavailable>>;

    /// Puts it into the history that events of these topics may be lacking: a source that fills the log has missed
    /// some. Their readers get a reset, those who come later with an older cursor included.
    ///
    /// # Errors
    /// It is not known to stand there. Telling it again does no harm but a second reset.
    fn tell_lacking(&self, lacking: Lacking) -> BoxFuture<'_, Result<(), Unavailable>>;

    /// Appends like [`Store::append`], but only while a lease is held: what arrives at the store after the lease was
    /// taken by another is refused. A log of one process has no other.
    fn append_leased(&self, drafts: Vec<Draft>, lease: &Lease) -> BoxFuture<'_, AppendResults> {
        let _ = lease;
        self.append(drafts)
    }

    /// The store's own end of history, asked for now: decides between a node that is behind and a store that is.
    fn tail(&self) -> BoxFuture<'_, Result<Cursor, Unavailable>>;

    /// Whether appends can be expected to succeed.
    ///
    /// # Errors
    /// Says why not.
    fn ready(&self) -> Result<(), Unavailable>;

    /// Whether the log has once been brought to where the store is: before that it is no place for a reader to begin.
    ///
    /// # Errors
    /// Says why not.
    fn loaded(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    /// How it stands, for operators.
    fn status(&self) -> StoreStatus {
        StoreStatus::default()
    }
}

/// What became of each of several drafts, in their order.
pub type AppendResults = Vec<Result<Appended, Rejection>>;

/// Topics of which events are lacking that never came into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lacking {
    /// These; at least one.
    Topics(Vec<Topic>),
    /// It is unknown which.
    All,
}

impl Lacking {
    /// What the log is told, when the note has this seq.
    fn fact(self, through: Seq) -> Fact {
        match self {
            Self::Topics(topics) => Fact::Lost { topics, through },
            Self::All => Fact::Trimmed { through },
        }
    }
}

/// The right to publish for a source, which one gateway of a log has at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What is leased.
    pub source: SourceName,
    /// Tells this lease from every other, those of this process included.
    pub token: Box<str>,
}

/// How many bytes of idempotency tokens a store keeps unless it is told otherwise, overhead included: those of five
/// minutes at some 2,400 drafts with a token a second.
pub const TOKEN_BYTES_MAX: usize = 128 << 20;

/// How a store stands. One that lives in this process has nothing to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// For how long the log has not been seen to be where the store is; zero while it is followed.
    pub lag: Duration,
    /// Connections, reads and writes that failed.
    pub failures: u64,
    /// Epochs that began.
    pub epochs: u64,
    /// Idempotency tokens that were forgotten before their time, because there were more bytes of them than configured.
    pub tokens_evicted: u64,
    /// It goes on in an epoch of its own, because what it shares with others cannot be reached.
    pub alone: bool,
    /// What went wrong last, until it is well again. Holds no secret.
    pub error: Option<String>,
    /// What its operator should change, though nothing has gone wrong yet.
    pub warning: Option<&'static str>,
}

/// Where a draft ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The cursor of a client that has seen everything up to this event.
    pub cursor: Cursor,
    /// Its seq; `None` if ephemeral.
    pub seq: Option<Seq>,
    /// It was there already; this is the first result.
    pub duplicate: bool,
}

/// Why a draft was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// `expect` did not hold.
    #[error("the topic's last event has seq {last}")]
    Conflict {
        /// The seq of the topic's last event.
        last: Seq,
    },
    /// The store cannot take it now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The store cannot be reached or cannot write; trying again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is unavailable: {0}")]
pub struct Unavailable(pub &'static str);

/// The time in microseconds plus a little chance, so that two lives of a log never share an epoch.
fn fresh_epoch(log: &Log) -> Epoch {
    Epoch::new(log.clock().unix_ms().saturating_mul(1000) + log.chance().below(1000))
}
