//! The members of topics: the events that announce them, and the lists of them.
//!
//! `roster`: the members of one topic; `rosters`: all topics; both are pure. `keep`: the records that
//! outlive this process; `on_disk`: records beside the log on disk; `on_redis`: members of other
//! gateways. This file has the lock, the clock, and the task that appends changes to the log.
//!
//! A change marks its user and wakes the task. The task appends an event for each user that differs
//! from the last event about that user. So a user whose status flickers costs one event at a time,
//! the count in an event fits its place in the log, and no queue grows while the store is away.

mod keep;
mod on_disk;
mod on_redis;
mod roster;
mod rosters;
mod status;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use events::{Clock, Data, Draft, Topic, Topics, Unavailable};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::Instant;

#[cfg(test)]
pub(crate) use keep::Loaded;
pub(crate) use keep::{Answers, Keep, Kept, TellOnly};
pub(crate) use on_disk::OnDisk;
pub(crate) use on_redis::OnRedis;
pub(crate) use roster::SessionPresence;
pub(crate) use rosters::Listing;
pub(crate) use status::Status;

use roster::{ChangeKind, Told};
use rosters::Rosters;

use crate::session_key::SessionKey;

/// The most changes in one append.
const TOLD_MAX: usize = 512;
/// How often this process notes that it runs, so that a later one knows until when its members were
/// present.
const ALIVE_EVERY: Duration = Duration::from_secs(60);
/// The pause before a failed store is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// The members of all topics.
pub(crate) struct Presence {
    rosters: Mutex<Rosters>,
    news: Notify,
    keep: Arc<dyn Keep>,
    /// The wall clock at the start, and the monotonic clock since then.
    origin: (u64, Instant),
}

/// The data of a presence event.
#[derive(Serialize)]
struct Change<'a> {
    user: &'a str,
    status: Status,
    info: &'a RawValue,
    count: usize,
}

impl Presence {
    /// No members yet. A user who leaves is listed for `ttl`.
    #[must_use]
    pub(crate) fn new(ttl: Duration, keep: Arc<dyn Keep>, clock: &Clock) -> Self {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Self {
            rosters: Mutex::new(Rosters::new(ttl_ms)),
            news: Notify::new(),
            keep,
            origin: (clock.unix_ms(), clock.now()),
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
        key: &SessionKey,
        topic: &Topic,
        shown: SessionPresence,
        topics_max: usize,
    ) -> bool {
        let now_ms = self.now_ms();
        let mut rosters = self.rosters.lock();
        if shown.status == Status::Offline {
            rosters.retain(key, |other| other != topic, now_ms);
        } else if !rosters.join(key, topic, shown, topics_max, now_ms) {
            return false;
        }
        self.tell_if_news(&rosters);
        true
    }

    /// How many of these topics would get an event if the session showed this in them.
    #[must_use]
    pub(crate) fn changes(&self, key: &SessionKey, topics: &[Topic], status: Status, info: &Data) -> usize {
        let rosters = self.rosters.lock();
        topics.iter().filter(|topic| rosters.would_change(key, topic, status, info)).count()
    }

    /// How many topics more than `topics_max` the session would be in if it joined these.
    #[must_use]
    pub(crate) fn excess(&self, key: &SessionKey, topics: &[Topic], topics_max: usize) -> usize {
        self.rosters.lock().joined(key, topics).saturating_sub(topics_max)
    }

    /// A session leaves the topics that `keep` does not allow.
    pub(crate) fn retain(&self, key: &SessionKey, keep: impl FnMut(&Topic) -> bool) {
        let mut rosters = self.rosters.lock();
        rosters.retain(key, keep, self.now_ms());
        self.tell_if_news(&rosters);
    }

    /// A session has a connection, over which it `polls` or not, or has lost it and is in its grace
    /// period.
    pub(crate) fn connect(&self, key: &SessionKey, polls: Option<bool>) {
        let mut rosters = self.rosters.lock();
        rosters.connect(key, polls, self.now_ms());
        self.tell_if_news(&rosters);
    }

    /// Another gateway shows some of its members, or all.
    pub(crate) fn hear(&self, node: &Arc<str>, shown: &[events::BoardValue], is_all: bool) {
        let now_ms = self.now_ms();
        let mut theirs: Vec<Kept> = shown.iter().filter_map(on_redis::heard).collect();
        let mut rosters = self.rosters.lock();
        if is_all {
            let stay = theirs.iter().map(|kept| (kept.topic.clone(), Arc::clone(&kept.user))).collect();
            rosters.lose(node, &stay, now_ms);
            // A gateway has announced the users that it shows.
            for kept in &mut theirs {
                let statuses = kept.member.iter().flat_map(|member| &member.sessions);
                kept.told = statuses.map(|session| session.status).max();
            }
        }
        theirs.into_iter().for_each(|kept| rosters.hear(node, kept, now_ms));
        self.tell_if_news(&rosters);
    }

    /// Forgets the users who left too long ago.
    pub(crate) fn sweep(&self) {
        let mut rosters = self.rosters.lock();
        rosters.sweep(self.now_ms());
        self.tell_if_news(&rosters);
    }

    /// The topics that a session makes its user a member of.
    #[cfg(test)]
    pub(crate) fn topics_of(&self, key: &SessionKey) -> Vec<Topic> {
        self.rosters.lock().sessions.get(key).cloned().unwrap_or_default()
    }

    /// The members of a topic, of whom up to `members_max` are named.
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

    /// Takes in the members of an earlier process. Returns their sessions, and whether each polls.
    pub(crate) async fn restore(&self) -> Vec<(SessionKey, bool)> {
        match self.keep.load().await {
            Ok(loaded) => self.rosters.lock().restore(loaded.kept, loaded.alive_ms, self.now_ms()),
            Err(error) => {
                tracing::warn!(%error, "the stored members cannot be read: presence starts empty");
                Vec::new()
            }
        }
    }

    /// Appends changes to the log, for ever. This is the only task that does, so that they are in order.
    pub(crate) async fn tell(&self) {
        let mut is_said = true;
        loop {
            let (told, kept) = self.rosters.lock().tell(TOLD_MAX);
            if kept.is_empty() && is_said {
                is_said = tokio::time::timeout(ALIVE_EVERY, self.news.notified()).await.is_ok();
                continue;
            }
            is_said = true;
            let is_shared = self.keep.is_shared();
            let drafts = told.iter().filter_map(|told| draft_of(told, is_shared)).collect();
            let answers = self.keep.tell(drafts, kept.clone()).await;
            if self.take_back(&told, kept, answers) {
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }

    /// Notes that this process has run until now.
    pub(crate) async fn end(&self) {
        if let Err(error) = self.keep.tell(Vec::new(), Vec::new()).await {
            tracing::warn!(%error, "the last-seen times of members cannot be stored");
        }
    }

    /// Returns failed events and records to the queue. Says whether there were any.
    fn take_back(&self, told: &[Told], mut kept: Vec<Kept>, answers: Result<Answers, Unavailable>) -> bool {
        let mut rosters = self.rosters.lock();
        match answers {
            Err(_) => rosters.untell(told.iter()),
            Ok(answers) => {
                let failed: Vec<&Told> = told
                    .iter()
                    .zip(&answers)
                    .filter(|(_, answer)| answer.is_err())
                    .map(|(told, _)| told)
                    .collect();
                kept.retain(|kept| {
                    failed.iter().any(|told| told.topic == kept.topic && told.user == kept.user)
                });
                rosters.untell(failed.into_iter());
            }
        }
        let has_failed = !kept.is_empty();
        rosters.retry(kept);
        has_failed
    }
}

/// The event that announces a change. All its parts were checked before, so there always is one.
fn draft_of(told: &Told, is_shared: bool) -> Option<Draft> {
    let kind = match told.kind {
        ChangeKind::Join => "presence.join",
        ChangeKind::Update => "presence.update",
        ChangeKind::Leave => "presence.leave",
    };
    // All other gateways announce the members that leave because a gateway is gone.
    let is_once = is_shared && told.kind != ChangeKind::Update;
    let once = is_once.then(|| format!("m\n{kind}\n{}\n{}\n{}", told.topic, told.user, told.since_ms).into());
    let info = serde_json::from_slice(told.info.as_bytes()).ok()?;
    let change = Change { user: &told.user, status: told.status, info, count: told.count };
    Some(Draft {
        key: Some(told.user.parse().ok()?),
        once,
        ..Draft::new(Topics::one(told.topic.clone()), kind.parse().ok()?, Data::from_value(&change).ok()?)
    })
}

/// A time as clients read it.
#[must_use]
pub(crate) fn moment(ms: u64) -> String {
    crate::time::rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
}

#[cfg(test)]
mod review_tests;
#[cfg(test)]
mod roster_tests;
#[cfg(test)]
mod storm_tests;
#[cfg(test)]
mod world;
