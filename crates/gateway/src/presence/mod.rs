//! Who is in a topic: members, what their topic's sessions are told of them, and who is listed.
//!
//! `roster`: the members of one topic; `rosters`: all topics, both pure. `keep`: what outlives this process. Here: the
//! lock, the clock, and the task that puts what changed into the log.
//!
//! A change marks its user and wakes the task; the task appends what differs from what was told last. So a user whose
//! status flickers costs one event at a time, the count of an event fits its place in the log, and nothing piles up
//! while the store cannot be reached.

mod keep;
mod roster;
mod rosters;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use events::{Data, Draft, Store, Topic, Topics};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) use keep::{Keep, Memory};
pub(crate) use roster::Status;
pub(crate) use rosters::Listing;

use keep::Kept;
use roster::{Kind, Told};
use rosters::Rosters;

use crate::sessions::Key;

/// How long sessions are given to come back after a restart; as long as a poller may stay away.
const HELD: Duration = Duration::from_secs(60);
/// How many changes are told in one append.
const TOLD_MAX: usize = 512;
/// How long to wait before a store that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// The members of all topics.
pub(crate) struct Presence {
    rosters: Mutex<Rosters>,
    news: Notify,
    keep: Arc<dyn Keep>,
    /// The system's clock when this began, and since then the one that never goes back.
    origin: (u64, Instant),
}

/// What the topic's sessions read of one change.
#[derive(Serialize)]
struct Change<'a> {
    user: &'a str,
    status: Status,
    info: &'a RawValue,
    count: usize,
}

impl Presence {
    /// Nobody yet. Who leaves is listed for `ttl`.
    #[must_use]
    pub(crate) fn new(ttl: Duration, keep: Arc<dyn Keep>) -> Self {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Self {
            rosters: Mutex::new(Rosters::new(ttl_ms)),
            news: Notify::new(),
            keep,
            origin: (events::unix_ms(), Instant::now()),
        }
    }

    fn now_ms(&self) -> u64 {
        let (at_ms, at) = self.origin;
        at_ms.saturating_add(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// A session makes its user a member, or shows something else; `offline` leaves. `false`: the session is in
    /// `topics_max` topics already.
    pub(crate) fn set(
        &self,
        key: &Key,
        topic: &Topic,
        status: Status,
        info: Data,
        topics_max: usize,
    ) -> bool {
        let now_ms = self.now_ms();
        let mut rosters = self.rosters.lock();
        if status == Status::Offline {
            rosters.retain(key, |other| other != topic, now_ms);
        } else if !rosters.join(key, topic, status, info, topics_max, now_ms) {
            return false;
        }
        self.tell_if_news(&rosters);
        true
    }

    /// A session stays only where `keep` allows it.
    pub(crate) fn retain(&self, key: &Key, keep: impl FnMut(&Topic) -> bool) {
        let mut rosters = self.rosters.lock();
        rosters.retain(key, keep, self.now_ms());
        self.tell_if_news(&rosters);
    }

    /// A session has a connection, or none for now: its place is held.
    pub(crate) fn connect(&self, key: &Key, is_connected: bool) {
        self.rosters.lock().connect(key, is_connected, self.now_ms());
    }

    /// Forgets those who left too long ago.
    pub(crate) fn sweep(&self) {
        let mut rosters = self.rosters.lock();
        rosters.sweep(self.now_ms());
        self.tell_if_news(&rosters);
    }

    /// Who is in a topic, naming up to `members_max`.
    #[must_use]
    pub(crate) fn list(&self, topic: &Topic, members_max: usize) -> Listing {
        self.rosters.lock().list(topic, members_max, self.now_ms())
    }

    /// How many members a topic has that are not offline.
    #[must_use]
    pub(crate) fn present(&self, topic: &Topic) -> usize {
        self.rosters.lock().present(topic)
    }

    fn tell_if_news(&self, rosters: &Rosters) {
        if rosters.has_news() {
            self.news.notify_one();
        }
    }

    /// Puts what changes into the log, for ever. The only one to do so, so that it is told in order.
    pub(crate) async fn tell(&self, store: &dyn Store) {
        match self.keep.load().await {
            Ok(kept) => {
                let held_until_ms = self.now_ms() + HELD.as_millis() as u64;
                self.rosters.lock().restore(kept, held_until_ms);
            }
            Err(error) => tracing::warn!(%error, "members of before cannot be read"),
        }
        loop {
            let told = self.rosters.lock().tell(TOLD_MAX);
            if told.is_empty() {
                self.news.notified().await;
                continue;
            }
            let drafts = told.iter().filter_map(draft_of).collect();
            let answers = store.append(drafts).await;
            let failed: Vec<Told> = (told.iter().zip(&answers))
                .filter(|(_, answer)| answer.is_err())
                .map(|(told, _)| told.clone())
                .collect();
            if let Err(error) = self.keep.save(told.into_iter().map(Kept::from).collect()).await {
                tracing::warn!(%error, "members cannot be kept");
            }
            if !failed.is_empty() {
                self.rosters.lock().untell(&failed);
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

impl From<Told> for Kept {
    fn from(told: Told) -> Self {
        let Told { topic, user, status, info, since_ms, last_seen_ms, .. } = told;
        Self { topic, user, status, info, since_ms, last_seen_ms }
    }
}

/// The event that tells of a change. Every part of it has been checked before it came here, so that there is one.
fn draft_of(told: &Told) -> Option<Draft> {
    let kind = match told.kind {
        Kind::Join => "presence.join",
        Kind::Update => "presence.update",
        Kind::Leave => "presence.leave",
    };
    let info = serde_json::from_slice(told.info.as_bytes()).ok()?;
    let change = Change { user: &told.user, status: told.status, info, count: told.count };
    Some(Draft {
        topics: Topics::one(told.topic.clone()),
        kind: kind.parse().ok()?,
        data: Data::from_value(&change).ok()?,
        key: Some(told.user.parse().ok()?),
        id: None,
        once: None,
        ttl_ms: None,
        ephemeral: false,
        expect: None,
    })
}

/// A moment as the clients read it.
#[must_use]
pub(crate) fn moment(ms: u64) -> String {
    crate::time::rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
}

#[cfg(test)]
mod storm_tests;
