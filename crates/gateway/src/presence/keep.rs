//! Where members are kept beyond this process, and how what is told of them gets into the log.

use std::sync::Arc;

use events::{Appended, BoxFuture, Data, Draft, Rejection, Store, Topic, Unavailable};

use super::status::Status;

/// One user in one topic, as kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// The topic.
    pub topic: Topic,
    /// Who.
    pub user: Arc<str>,
    /// `None`: forgotten.
    pub member: Option<KeptMember>,
    /// What the topic's sessions have been told, if that is known.
    pub told: Option<Status>,
}

/// A member, or one who left and is still listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptMember {
    /// JSON that the user shows.
    pub info: Data,
    /// When the user came, milliseconds since 1970.
    pub since_ms: u64,
    /// When the user was last there, milliseconds since 1970.
    pub last_seen_ms: u64,
    /// The sessions that make the user a member; none: the user left.
    pub sessions: Vec<KeptSession>,
}

/// A session as kept. After a restart it is one that has just lost its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptSession {
    /// Its id.
    pub id: Arc<str>,
    /// How present.
    pub status: Status,
    /// It polls, so that it has no connection most of the time.
    pub polls: bool,
}

/// Everybody who was kept.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Them.
    pub kept: Vec<Kept>,
    /// When the process that kept them last did so, milliseconds since 1970.
    pub alive_ms: u64,
}

/// The answers to each draft, as a store gives them.
pub(crate) type Answers = Vec<Result<Appended, Rejection>>;

/// Tells of members and keeps them.
pub(crate) trait Keep: Send + Sync + 'static {
    /// Everybody who was kept; asked once, before anybody joins.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, Unavailable>>;

    /// Appends what is told of members, and keeps each in the place of what was kept of the same user in the same topic.
    /// What is kept is what was told, as far as the store can see to it. Without either, it says that this process lives.
    ///
    /// An error: nobody was told, and nobody kept.
    fn tell(&self, drafts: Vec<Draft>, members: Vec<Kept>) -> BoxFuture<'_, Result<Answers, Unavailable>>;

    /// Whether other gateways tell of the same members, so that two may say the same.
    fn is_shared(&self) -> bool {
        false
    }
}

/// Tells, and keeps nobody: with the log in memory, members end with the process too.
pub(crate) struct TellOnly(pub(crate) Arc<dyn Store>);

impl Keep for TellOnly {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, Unavailable>> {
        Box::pin(std::future::ready(Ok(Loaded::default())))
    }

    fn tell(&self, drafts: Vec<Draft>, _: Vec<Kept>) -> BoxFuture<'_, Result<Answers, Unavailable>> {
        Box::pin(async move { Ok(self.0.append(drafts).await) })
    }
}
