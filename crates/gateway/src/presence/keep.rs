//! Where members are kept beyond this process.

use std::sync::Arc;

use events::{BoxFuture, Data, Topic, Unavailable};

use super::roster::Status;

/// A member as it is kept. Sessions are not: after a restart each has to come back.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// The topic.
    pub topic: Topic,
    /// Who.
    pub user: Arc<str>,
    /// How present.
    pub status: Status,
    /// JSON that the user shows.
    pub info: Data,
    /// When the user came, milliseconds since 1970.
    pub since_ms: u64,
    /// When the user was last there, milliseconds since 1970.
    pub last_seen_ms: u64,
}

/// Keeps members, so that they outlive this process. It may forget those who have been offline for the time to live.
pub(crate) trait Keep: Send + Sync + 'static {
    /// Everybody who was kept; asked once, before anybody joins.
    fn load(&self) -> BoxFuture<'_, Result<Vec<Kept>, Unavailable>>;

    /// Keeps members as they are now, each in the place of what was kept of the same user in the same topic.
    fn save(&self, members: Vec<Kept>) -> BoxFuture<'_, Result<(), Unavailable>>;
}

/// Keeps nobody: with the log in memory, members end with the process too.
#[derive(Debug)]
pub(crate) struct Memory;

impl Keep for Memory {
    fn load(&self) -> BoxFuture<'_, Result<Vec<Kept>, Unavailable>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn save(&self, _members: Vec<Kept>) -> BoxFuture<'_, Result<(), Unavailable>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
