//! Storage of members beyond this process, and the way of presence events into the log.

use std::sync::Arc;

use events::{Appended, BoxFuture, Data, Draft, Rejection, Store, Topic, Unavailable};

use super::status::Status;

/// The record of one user in one topic.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// The topic.
    pub topic: Topic,
    /// The user.
    pub user: Arc<str>,
    /// The member; `None`: the record is deleted.
    pub member: Option<KeptMember>,
    /// The status in the latest presence event about the user, if it is known.
    pub told: Option<Status>,
}

/// A member, or a user who has left and is still listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptMember {
    /// JSON that the user shows.
    pub info: Data,
    /// When the user joined, in milliseconds since 1970.
    pub since_ms: u64,
    /// When the user was last present, in milliseconds since 1970.
    pub last_seen_ms: u64,
    /// The sessions that make the user a member; none: the user left.
    pub sessions: Vec<KeptSession>,
}

/// A session in a record. After a restart it counts as a session that has just lost its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptSession {
    /// The id in `hello`.
    pub id: Arc<str>,
    /// The status that the session shows.
    pub status: Status,
    /// Whether the session polls, so that it has no connection most of the time.
    pub polls: bool,
}

/// All records of an earlier process.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The records.
    pub kept: Vec<Kept>,
    /// When that process was last known to run, in milliseconds since 1970.
    pub alive_ms: u64,
}

/// The store's answer to each draft.
pub(crate) type Answers = Vec<Result<Appended, Rejection>>;

/// Appends presence events and stores the records of members.
pub(crate) trait Keep: Send + Sync + 'static {
    /// Reads all records. Called once, before the first user joins.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, Unavailable>>;

    /// Appends presence events, and replaces the records of the same users in the same topics. Events
    /// and records agree, as far as the store can ensure that. Without either, the call notes that this
    /// process runs.
    ///
    /// # Errors
    /// When no event was appended and no record was stored.
    fn tell(&self, drafts: Vec<Draft>, members: Vec<Kept>) -> BoxFuture<'_, Result<Answers, Unavailable>>;

    /// Whether other gateways announce the same members, so that two events may say the same.
    fn is_shared(&self) -> bool {
        false
    }
}

/// Appends presence events and stores no records: if the log is in memory, members end with the
/// process too.
pub(crate) struct TellOnly(pub(crate) Arc<dyn Store>);

impl Keep for TellOnly {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, Unavailable>> {
        Box::pin(std::future::ready(Ok(Loaded::default())))
    }

    fn tell(&self, drafts: Vec<Draft>, _: Vec<Kept>) -> BoxFuture<'_, Result<Answers, Unavailable>> {
        Box::pin(async move { Ok(self.0.append(drafts).await) })
    }
}
