//! The data that the store's tasks share.

use std::sync::Arc;

use super::health::RedisHealth;
use super::keys::Keys;
use super::loss_notice::OwedNotices;
use super::recent_appends::RecentAppends;
use super::retention::Retention;
use super::servers::Servers;
use super::standalone::Standalone;
use crate::Log;
use crate::state_map::StateRules;

pub(super) struct Shared {
    pub(super) log: Arc<Log>,
    pub(super) servers: Servers,
    pub(super) keys: Keys,
    pub(super) retention: Retention,
    pub(super) health: RedisHealth,
    pub(super) recent: RecentAppends,
    pub(super) owed: OwedNotices,
    pub(super) alone: Standalone,
    /// The topics that keep their states; `None`: no topic does.
    pub(super) states: Option<StateRules>,
}
