//! Notices of loss. Acknowledged events died with an old master, and every node has to reset the
//! readers of their topics.
//!
//! The surviving log does not mention those events, so a client that never saw them would miss them
//! unknowingly. A node that knows of lost events puts a notice into the log. The node owes the
//! notice until the log contains it. A task with its own connection announces it, so no publisher
//! waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::entry_id::EntryId;
use crate::Topic;

/// The topics of lost events. As text `TOPIC,TOPIC`, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    Topics(BTreeSet<Topic>),
    /// The topics are unknown, or there are too many to name.
    Everything,
}

/// The loss after the end of a generation. As text `GEN-N TOPICS`.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    pub(super) of: EntryId,
    pub(super) lost: Lost,
}

impl Default for Lost {
    fn default() -> Self {
        Self::Topics(BTreeSet::new())
    }
}

impl Lost {
    /// Most topics that a notice names.
    pub(super) const TOPICS_MAX: usize = 4096;

    pub(super) fn add<'a>(&mut self, more: impl IntoIterator<Item = &'a Topic>) {
        if let Self::Topics(topics) = self {
            topics.extend(more.into_iter().cloned());
            if topics.len() > Self::TOPICS_MAX {
                *self = Self::Everything;
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        match other {
            Self::Topics(topics) => self.add(topics),
            Self::Everything => *self = Self::Everything,
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Topics(topics) if topics.is_empty())
    }

    /// Removes the losses that `told` has announced.
    fn remove(&mut self, told: &Self) {
        match (&mut *self, told) {
            (_, Self::Everything) => *self = Self::default(),
            (Self::Topics(topics), Self::Topics(told)) => topics.retain(|topic| !told.contains(topic)),
            (Self::Everything, Self::Topics(_)) => {}
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Topics(topics) = self else { return f.write_str("*") };
        for (at, topic) in topics.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{topic}")?;
        }
        Ok(())
    }
}

/// The text is not a notice.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotANotice;

impl FromStr for Notice {
    type Err = NotANotice;

    fn from_str(text: &str) -> Result<Self, NotANotice> {
        let (of, topics) = text.split_once(' ').ok_or(NotANotice)?;
        let lost = match topics {
            "*" => Lost::Everything,
            topics => Lost::Topics(
                topics
                    .split(',')
                    .map(|topic| topic.parse().map_err(|_| NotANotice))
                    .collect::<Result<_, _>>()?,
            ),
        };
        Ok(Self { of: of.parse().map_err(|_| NotANotice)?, lost })
    }
}

/// The notices that this node has yet to announce.
#[derive(Default)]
pub(super) struct OwedNotices {
    notices: Mutex<BTreeMap<EntryId, Lost>>,
    pub(super) news: Notify,
}

impl OwedNotices {
    /// Most generations with separate notices.
    const NOTICES_MAX: usize = 64;

    pub(super) fn add(&self, Notice { of, lost }: Notice) {
        if lost.is_nothing() {
            return;
        }
        let mut notices = self.notices.lock();
        if notices.len() == Self::NOTICES_MAX && !notices.contains_key(&of) {
            // One notice replaces all of them.
            let newest = notices.keys().next_back().copied().unwrap_or(of).max(of);
            *notices = BTreeMap::from([(newest, Lost::Everything)]);
        } else {
            notices.entry(of).or_default().merge(&lost);
        }
        self.news.notify_one();
    }

    /// Records that the log contains a notice, regardless of its author.
    pub(super) fn told(&self, Notice { of, lost }: &Notice) {
        let mut notices = self.notices.lock();
        if let Some(owed) = notices.get_mut(of) {
            owed.remove(lost);
        }
        notices.retain(|_, owed| !owed.is_nothing());
    }

    pub(super) fn first(&self) -> Option<Notice> {
        self.notices.lock().first_key_value().map(|(of, lost)| Notice { of: *of, lost: lost.clone() })
    }
}
