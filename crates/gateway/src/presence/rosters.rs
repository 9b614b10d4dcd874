//! The rosters of all topics: who is where, who has to be told, who is to be forgotten. Pure, with the time passed in.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use events::{Data, Topic};

use super::keep::Kept;
use super::roster::{Effect, Listed, Roster, Status, Told};
use crate::sessions::Key;

/// What is listed of a topic.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// How many members are not offline.
    pub count: usize,
    /// The first of the members, and of those who left.
    pub members: Vec<Listed>,
}

/// Every member of every topic. Empty rosters vanish.
#[derive(Debug)]
pub(crate) struct Rosters {
    topics: HashMap<Topic, Roster>,
    /// Of which topics a session makes its user a member.
    sessions: HashMap<Key, Vec<Topic>>,
    /// Of whom a topic's sessions have to be told, each once.
    changed: VecDeque<(Topic, Arc<str>)>,
    /// Who left and when, the first first; some have come back since.
    left: VecDeque<(u64, Topic, Arc<str>)>,
    /// Those whose places are held after a restart.
    held: Vec<(Topic, Arc<str>)>,
    /// Until when.
    held_until_ms: u64,
    ttl_ms: u64,
}

impl Rosters {
    /// How many departures are remembered; beyond it the first are forgotten before their time.
    const LEFT_MAX: usize = 100_000;

    /// Nobody anywhere. Who leaves is listed for `ttl_ms`.
    #[must_use]
    pub(crate) fn new(ttl_ms: u64) -> Self {
        Self {
            topics: HashMap::new(),
            sessions: HashMap::new(),
            changed: VecDeque::new(),
            left: VecDeque::new(),
            held: Vec::new(),
            held_until_ms: 0,
            ttl_ms,
        }
    }

    /// Takes in those who were here before this process. Until `held_until_ms` their sessions may come back.
    pub(crate) fn restore(&mut self, kept: Vec<Kept>, held_until_ms: u64) {
        self.held_until_ms = held_until_ms;
        for Kept { topic, user, status, info, since_ms, last_seen_ms } in kept {
            let roster = self.topics.entry(topic.clone()).or_default();
            roster.restore(&user, status, info, since_ms, last_seen_ms);
            if status == Status::Offline {
                self.left.push_back((last_seen_ms, topic, user));
            } else {
                self.held.push((topic, user));
            }
        }
        self.left.make_contiguous().sort_unstable_by_key(|(left_ms, ..)| *left_ms);
    }

    /// A session makes its user a member of a topic. `false`: it is in `topics_max` others already.
    pub(crate) fn join(
        &mut self,
        key: &Key,
        topic: &Topic,
        status: Status,
        info: Data,
        topics_max: usize,
        now_ms: u64,
    ) -> bool {
        let topics = self.sessions.entry(key.clone()).or_default();
        if !topics.contains(topic) {
            if topics.len() >= topics_max {
                return false;
            }
            topics.push(topic.clone());
        }
        let roster = self.topics.entry(topic.clone()).or_default();
        let effect = roster.join(&key.user, &key.id, status, info, now_ms);
        self.note(topic, &key.user, effect, now_ms);
        true
    }

    /// A session leaves the topics that `keep` does not keep.
    pub(crate) fn retain(&mut self, key: &Key, mut keep: impl FnMut(&Topic) -> bool, now_ms: u64) {
        let Some(topics) = self.sessions.get_mut(key) else { return };
        let (kept, dropped): (Vec<_>, Vec<_>) = topics.drain(..).partition(|topic| keep(topic));
        if kept.is_empty() {
            self.sessions.remove(key);
        } else {
            *topics = kept;
        }
        for topic in dropped {
            let Some(roster) = self.topics.get_mut(&topic) else { continue };
            let effect = roster.leave(&key.user, &key.id, now_ms);
            self.note(&topic, &key.user, effect, now_ms);
        }
    }

    /// A session has a connection, or none for now.
    pub(crate) fn connect(&mut self, key: &Key, is_connected: bool, now_ms: u64) {
        for topic in self.sessions.get(key).into_iter().flatten() {
            if let Some(roster) = self.topics.get_mut(topic) {
                roster.connect(&key.user, &key.id, is_connected, now_ms);
            }
        }
    }

    fn note(&mut self, topic: &Topic, user: &Arc<str>, effect: Effect, now_ms: u64) {
        if effect.changed {
            self.changed.push_back((topic.clone(), Arc::clone(user)));
        }
        if effect.left {
            self.left.push_back((now_ms, topic.clone(), Arc::clone(user)));
        }
    }

    /// Whether somebody has to be told of something.
    #[must_use]
    pub(crate) fn has_news(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What has to be told, up to `max`, in order.
    pub(crate) fn tell(&mut self, max: usize) -> Vec<Told> {
        let mut told = Vec::new();
        while told.len() < max
            && let Some((topic, user)) = self.changed.pop_front()
        {
            told.extend(self.topics.get_mut(&topic).and_then(|roster| roster.tell(&topic, &user)));
        }
        told
    }

    /// What could not be told, in the order in which it was given; it is tried again.
    pub(crate) fn untell(&mut self, told: &[Told]) {
        for told in told.iter().rev() {
            if self.topics.get_mut(&told.topic).is_some_and(|roster| roster.untell(told)) {
                self.changed.push_front((told.topic.clone(), Arc::clone(&told.user)));
            }
        }
    }

    /// Forgets those who left too long ago, and gives up the places that were held after a restart.
    pub(crate) fn sweep(&mut self, now_ms: u64) {
        if !self.held.is_empty() && now_ms >= self.held_until_ms {
            for (topic, user) in std::mem::take(&mut self.held) {
                let Some(roster) = self.topics.get_mut(&topic) else { continue };
                let effect = roster.release(&user);
                self.note(&topic, &user, effect, now_ms);
            }
        }
        let left_before_ms = now_ms.saturating_sub(self.ttl_ms);
        while let Some((left_ms, topic, user)) = self.left.front() {
            let is_over = *left_ms <= left_before_ms;
            if !is_over && self.left.len() <= Self::LEFT_MAX {
                return;
            }
            let Some(roster) = self.topics.get_mut(topic) else {
                self.left.pop_front();
                continue;
            };
            if !roster.forget(user, left_before_ms.max(*left_ms)) {
                return;
            }
            if roster.is_empty() {
                let topic = topic.clone();
                self.topics.remove(&topic);
            }
            self.left.pop_front();
        }
    }

    /// Who is in a topic, naming up to `members_max`.
    #[must_use]
    pub(crate) fn list(&self, topic: &Topic, members_max: usize, now_ms: u64) -> Listing {
        self.topics.get(topic).map_or_else(Listing::default, |roster| Listing {
            count: roster.present(),
            members: roster.list(members_max, now_ms),
        })
    }

    /// How many members a topic has that are not offline.
    #[must_use]
    pub(crate) fn present(&self, topic: &Topic) -> usize {
        self.topics.get(topic).map_or(0, Roster::present)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.sessions.is_empty() && self.changed.is_empty() && self.left.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(user: &str, id: &str) -> Key {
        Key { user: user.into(), id: id.into() }
    }

    fn topic(name: &str) -> Topic {
        name.parse().unwrap()
    }

    fn join(rosters: &mut Rosters, key: &Key, name: &str, now_ms: u64) -> bool {
        rosters.join(key, &topic(name), Status::Online, Data::null(), 2, now_ms)
    }

    #[test]
    fn nothing_is_left_behind() {
        let mut rosters = Rosters::new(1000);
        for n in 0..50 {
            for room in ["room:1", "room:2"] {
                assert!(join(&mut rosters, &key(&format!("u{n}"), "s"), room, n));
            }
        }
        assert!(!join(&mut rosters, &key("u1", "s"), "room:3", 50), "a session is in so many topics at most");
        assert_eq!(rosters.tell(usize::MAX).len(), 100);
        for n in 0..50 {
            rosters.retain(&key(&format!("u{n}"), "s"), |_| false, 100 + n);
        }
        assert_eq!(rosters.tell(usize::MAX).last().map(|told| told.count), Some(0));
        rosters.sweep(1099);
        assert_eq!(rosters.list(&topic("room:1"), 100, 0).members.len(), 50, "still listed");
        rosters.sweep(1120);
        assert_eq!(rosters.list(&topic("room:1"), 100, 0).members.len(), 29);
        rosters.sweep(1149);
        assert!(rosters.is_empty(), "{rosters:?}");
    }

    #[test]
    fn who_comes_back_is_not_forgotten() {
        let mut rosters = Rosters::new(1000);
        let alice = key("alice", "s");
        for round in 0..3 {
            assert!(join(&mut rosters, &alice, "room:1", round * 600));
            rosters.tell(10);
            rosters.sweep(round * 600);
            assert_eq!(rosters.present(&topic("room:1")), 1);
            rosters.retain(&alice, |_| false, round * 600 + 300);
            rosters.tell(10);
        }
        rosters.sweep(2499);
        assert_eq!(rosters.list(&topic("room:1"), 10, 0).members.len(), 1);
        rosters.sweep(2500);
        assert!(rosters.is_empty());
    }

    #[test]
    fn what_could_not_be_told_keeps_its_order() {
        let mut rosters = Rosters::new(1000);
        for user in ["a", "b", "c"] {
            join(&mut rosters, &key(user, "s"), "room:1", 1);
        }
        let told = rosters.tell(2);
        rosters.untell(&told);
        let told: Vec<_> =
            rosters.tell(9).into_iter().map(|told| (told.user.to_string(), told.count)).collect();
        assert_eq!(told, [("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 3)]);
        assert!(!rosters.has_news());
    }

    #[test]
    fn places_are_held_after_a_restart() {
        let mut rosters = Rosters::new(1000);
        let kept = |user: &str, status| Kept {
            topic: topic("room:1"),
            user: user.into(),
            status,
            info: Data::null(),
            since_ms: 1,
            last_seen_ms: 5,
        };
        rosters.restore(
            vec![kept("a", Status::Online), kept("b", Status::Online), kept("c", Status::Offline)],
            60,
        );
        assert_eq!(rosters.present(&topic("room:1")), 2);
        join(&mut rosters, &key("a", "s"), "room:1", 50);
        rosters.sweep(60);
        let told: Vec<_> =
            rosters.tell(9).into_iter().map(|told| (told.user.to_string(), told.count)).collect();
        assert_eq!(told, [("b".to_owned(), 1)], "only who did not come back is told of");
        rosters.sweep(1005);
        assert_eq!(rosters.list(&topic("room:1"), 9, 0).members.len(), 2, "c is forgotten");
        rosters.sweep(1060);
        assert_eq!(rosters.list(&topic("room:1"), 9, 0).members.len(), 1);
    }
}
