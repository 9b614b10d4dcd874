//! One ordered log of events, bounded replay rings per topic, and cursors that read them.
//!
//! ```text
//! publish -> Store (orders it) -> Log::apply -> Ring (per topic) -> Reader (a cursor)
//! ```
//!
//! A [`Store`] takes [`Draft`]s, gives each its [`Seq`] and reports the result to [`Log::apply`], the one place in
//! which rings change. A [`Reader`] is a [`Cursor`] over a set of topics. It owns no queue: it looks into the rings
//! when asked, so replay and live delivery are the same read, and a slow reader costs nothing. When a ring no longer
//! has what a reader still needs, the read is a [`Reset`] that names the topics.
//!
//! # Layout
//!
//! * `position`: [`Seq`], [`Epoch`], [`Cursor`] and its text.
//! * `topic_name`: [`Topic`], checked once; `topic_pattern`: [`TopicPattern`], one topic or a prefix.
//! * `draft`: [`Draft`], what a publisher hands in; `event`: [`Event`], numbered and encoded once;
//!   `separators`: the characters that are escaped for it.
//! * `ring`: the replay buffer of one topic; `latest_by_key`: what it keeps beside its ring; `topic`: a ring and its waiters; `signal`: a waiter's doorbell.
//! * `state_map`: the latest event of each key of a topic that keeps its state; `states`: the log's side of it.
//! * `directory`: all topics; `budget`: who gives way when memory is used up; `topic_floors`: what a topic that is
//!   made again must not claim to have.
//! * `log`: [`Log`], the sequencer; `options`: how much it may hold; `lineage`: which epochs its history runs through.
//! * `clock`: [`Clock`], and `chance`: [`Chance`]: the only sources of time and of random bits.
//! * `reader`: [`Reader`], one cursor over many topics; `view`: one of them; `merge`: what it takes of them, in order;
//!   `seen_by`: events that it has by several of them, or that replace one another; `filter`: [`TypeFilter`];
//!   `sight`: what it wants and may see; `limit`: how much it takes at once.
//! * `store`: the [`Store`] trait and the stores: [`Memory`], [`Disk`], [`Redis`].

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance"))]

mod budget;
mod chance;
mod clock;
mod directory;
mod draft;
mod event;
mod filter;
mod latest_by_key;
mod limit;
mod lineage;
mod log;
mod merge;
mod options;
mod position;
mod reader;
mod ring;
mod seen_by;
mod separators;
mod sight;
mod signal;
mod state_map;
mod states;
mod store;
mod timestamp;
mod topic;
mod topic_floors;
mod topic_name;
mod topic_pattern;
mod view;

pub use chance::{Chance, NoRandomBytes};
pub use clock::{Clock, SimulatedClock};
pub use directory::Evictions;
pub use draft::{Data, Draft, DraftError, EventId, Key, Kind, Topics};
pub use event::{Event, Sequenced};
pub use filter::{FilterError, TypeFilter};
pub use limit::Limit;
pub use lineage::Located;
pub use log::{Fact, Found, Log, Stats};
pub use options::Options;
pub use position::{Cursor, CursorError, Epoch, Seq};
pub use reader::{Reader, Reset, ResetReason, Span, Start};
pub use sight::Lens;
pub use state_map::{KeptState, StateOptions, StateRead};
pub use store::{
    AppendResults, Appended, Board, BoardEvent, BoardValue, BoxFuture, Checkpoint, CheckpointError, Disk,
    DiskError, DiskOptions, Fsync, KeptValue, Lacking, Lease, LeaseAnswer, Memory, Question, Recovered,
    Redis, RedisError, RedisOptions, RedisServers, Rejection, SourceLeases, SourceName, Store, StoreStatus,
    TOKEN_BYTES_MAX, Unavailable,
};
pub use topic_floors::TopicFloors;
pub use topic_name::{Topic, TopicError};
pub use topic_pattern::TopicPattern;
