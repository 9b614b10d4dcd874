//! Notices of loss. Acknowledged events died with an old master, and every node has to reset the
//! readers of their topics.
//!
//! Nothing in the surviving log mentions those events, so a client that never saw them would miss
//! them unknowingly. A node that knows of some puts a notice into the log. It is owed until it
//! stands there, and told by a task with a connection of its own, so that no publisher waits for
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::entry_id::EntryId;
use crate::Topic;

/// The topics of what was lost. As text `TOPIC,TOPIC`, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    Topics(BTreeSet<Topic>),
    /// Nobody knows which, or they are too many to name.
    Everything,
}

/// What was lost behind the end of a generation. As text `GEN-N TOPICS`.
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
    /// How many topics a notice names.
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

    /// What is left to tell once `told` has been told.
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

/// The text is no notice.
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

/// What this node still has to tell.
#[derive(Default)]
pub(super) struct OwedNotices {
    notices: Mutex<BTreeMap<EntryId, Lost>>,
    pub(super) news: Notify,
}

impl OwedNotices {
    /// How many generations are told of apart.
    const NOTICES_MAX: usize = 64;

    pub(super) fn add(&self, Notice { of, lost }: Notice) {
        if lost.is_nothing() {
            return;
        }
        let mut notices = self.notices.lock();
        if notices.len() == Self::NOTICES_MAX && !notices.contains_key(&of) {
            // One word for all that is known of all of them.
            let newest = notices.keys().next_back().copied().unwrap_or(of).max(of);
            *notices = BTreeMap::from([(newest, Lost::Everything)]);
        } else {
            notices.entry(of).or_default().merge(&lost);
        }
        self.news.notify_one();
    }

    /// It stands in the log, whoever told it.
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
