//! The rosters of all topics, and the changes that wait for an event. Pure: the time is passed in.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use events::{Data, Topic};

use super::keep::{Kept, KeptMember};
use super::roster::{ChangeKind, Effect, Forgetting, Listed, Roster, SessionPresence, Told};
use super::status::Status;
use crate::session_key::SessionKey;

/// The list of a topic's members.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// How many members are not offline.
    pub count: usize,
    /// The first members, and the first users who have left.
    pub members: Vec<Listed>,
}

/// All members of all topics. Empty rosters are removed.
#[derive(Debug)]
pub(crate) struct Rosters {
    topics: HashMap<Topic, Roster>,
    /// The topics in which each session makes its user a member.
    pub(super) sessions: HashMap<SessionKey, Vec<Topic>>,
    /// The users that need an event or a record, each once; some of them may have been forgotten.
    changed: VecDeque<(Topic, Arc<str>)>,
    /// The users who left, roughly in the order of their time, each once; some have come back since.
    left: VecDeque<(u64, Topic, Arc<str>)>,
    /// How many entries of `changed` may belong to users who were dropped since it was last tidied.
    dropped: usize,
    ttl_ms: u64,
}

impl Rosters {
    /// The most departures that are remembered; beyond it the first are forgotten early.
    const LEFT_MAX: usize = 100_000;

    /// No members. A user who leaves is listed for `ttl_ms`.
    #[must_use]
    pub(crate) fn new(ttl_ms: u64) -> Self {
        Self {
            topics: HashMap::new(),
            sessions: HashMap::new(),
            changed: VecDeque::new(),
            left: VecDeque::new(),
            dropped: 0,
            ttl_ms,
        }
    }

    /// Takes in the records of an earlier process, which was last known to run at `alive_ms`. Returns
    /// their sessions, each of which has lost its connection, and whether each polls.
    pub(crate) fn restore(&mut self, kept: Vec<Kept>, alive_ms: u64, now_ms: u64) -> Vec<(SessionKey, bool)> {
        let mut sessions: HashMap<SessionKey, bool> = HashMap::new();
        for Kept { topic, user, member, .. } in kept {
            let Some(KeptMember { info, since_ms, last_seen_ms, sessions: present }) = member else {
                continue;
            };
            let was_there = !present.is_empty();
            let last_seen_ms = if was_there { last_seen_ms.max(alive_ms) } else { last_seen_ms };
            // The clock may have been set back in the meantime.
            let last_seen_ms = last_seen_ms.min(now_ms);
            for session in &present {
                let key = SessionKey { user: Arc::clone(&user), id: Arc::clone(&session.id) };
                self.sessions.entry(key.clone()).or_default().push(topic.clone());
                *sessions.entry(key).or_default() |= session.polls;
            }
            let roster = self.topics.entry(topic.clone()).or_default();
            roster.restore(&user, KeptMember { info, since_ms, last_seen_ms, sessions: present });
            if !was_there {
                self.note_departure(&topic, &user);
            }
        }
        self.left.make_contiguous().sort_unstable_by_key(|(left_ms, ..)| *left_ms);
        sessions.into_iter().collect()
    }

    /// A session makes its user a member of a topic. `false`: it is in `topics_max` others already.
    pub(crate) fn join(
        &mut self,
        key: &SessionKey,
        topic: &Topic,
        shown: SessionPresence,
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
        let effect = roster.join(&key.user, &key.id, shown, now_ms);
        self.note(topic, &key.user, effect);
        true
    }

    /// Whether a topic would get an event if a session showed this in it.
    #[must_use]
    pub(crate) fn would_change(&self, key: &SessionKey, topic: &Topic, status: Status, info: &Data) -> bool {
        let is_in = self.sessions.get(key).is_some_and(|topics| topics.contains(topic));
        let roster = self.topics.get(topic);
        let shows = roster.is_some_and(|roster| roster.shows(&key.user, &key.id, status, info));
        if status == Status::Offline { is_in } else { !is_in || !shows }
    }

    /// The number of topics of a session if it joined these.
    #[must_use]
    pub(crate) fn joined(&self, key: &SessionKey, topics: &[Topic]) -> usize {
        let has: &[Topic] = self.sessions.get(key).map_or(&[], |topics| topics);
        has.len() + topics.iter().filter(|topic| !has.contains(topic)).count()
    }

    /// A session leaves the topics that `keep` does not keep.
    pub(crate) fn retain(&mut self, key: &SessionKey, mut keep: impl FnMut(&Topic) -> bool, now_ms: u64) {
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
            self.note(&topic, &key.user, effect);
        }
    }

    /// A session has a connection, over which it `polls` or not, or none for now.
    pub(crate) fn connect(&mut self, key: &SessionKey, polls: Option<bool>, now_ms: u64) {
        for topic in self.sessions.get(key).into_iter().flatten() {
            let Some(roster) = self.topics.get_mut(topic) else { continue };
            if roster.connect(&key.user, &key.id, polls, now_ms).changed {
                self.changed.push_back((topic.clone(), Arc::clone(&key.user)));
            }
        }
    }

    /// Takes in what another gateway shows of a user in a topic.
    pub(crate) fn hear(&mut self, node: &Arc<str>, theirs: Kept, now_ms: u64) {
        let Kept { topic, user, member, told } = theirs;
        let roster = self.topics.entry(topic.clone()).or_default();
        let before = roster.sessions_at(&user, node);
        let effect = roster.hear(&user, node, member, told, now_ms);
        let now = roster.sessions_at(&user, node);
        let is_empty = roster.is_empty();
        for id in &now {
            let topics =
                self.sessions.entry(SessionKey { user: Arc::clone(&user), id: Arc::clone(id) }).or_default();
            if !topics.contains(&topic) {
                topics.push(topic.clone());
            }
        }
        for id in before.into_iter().filter(|id| !now.contains(id)) {
            let key = SessionKey { user: Arc::clone(&user), id };
            if self.topics.get(&topic).is_some_and(|roster| roster.is_known(&user, &key.id)) {
                continue;
            }
            if let Some(topics) = self.sessions.get_mut(&key) {
                topics.retain(|other| *other != topic);
                if topics.is_empty() {
                    self.sessions.remove(&key);
                }
            }
        }
        if is_empty {
            self.topics.remove(&topic);
        }
        self.note(&topic, &user, effect);
    }

    /// Another gateway no longer shows anything but what `stays`.
    pub(crate) fn lose(&mut self, node: &Arc<str>, stays: &HashSet<(Topic, Arc<str>)>, now_ms: u64) {
        let of_topic = |(topic, roster): (&Topic, &Roster)| {
            roster.users_at(node).into_iter().map(|user| (topic.clone(), user)).collect::<Vec<_>>()
        };
        let lost: Vec<(Topic, Arc<str>)> = self.topics.iter().flat_map(of_topic).collect();
        for (topic, user) in lost.into_iter().filter(|lost| !stays.contains(lost)) {
            self.hear(node, Kept { topic, user, member: None, told: None }, now_ms);
        }
    }

    /// Notes that a user left, so that the user is forgotten in time.
    fn note_departure(&mut self, topic: &Topic, user: &Arc<str>) {
        let left_ms = self.topics.get_mut(topic).and_then(|roster| roster.note_departure(user));
        self.left.extend(left_ms.map(|left_ms| (left_ms, topic.clone(), Arc::clone(user))));
    }

    fn note(&mut self, topic: &Topic, user: &Arc<str>, effect: Effect) {
        if effect.changed {
            self.changed.push_back((topic.clone(), Arc::clone(user)));
        }
        if effect.left {
            self.note_departure(topic, user);
        }
    }

    /// Whether a user needs an event or a record.
    #[must_use]
    pub(crate) fn has_news(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The events and the records of up to `users_max` users, in order.
    pub(crate) fn tell(&mut self, users_max: usize) -> (Vec<Told>, Vec<Kept>) {
        let users = self.changed.len().min(users_max);
        let (mut told, mut kept) = (Vec::with_capacity(users), Vec::with_capacity(users));
        for (topic, user) in self.changed.drain(..users) {
            let mut roster = self.topics.get_mut(&topic);
            let news = roster.as_mut().and_then(|roster| roster.tell(&topic, &user));
            if news.as_ref().is_some_and(|news| news.kind == ChangeKind::Leave) {
                let left_ms = roster.as_mut().and_then(|roster| roster.note_departure(&user));
                self.left.extend(left_ms.map(|left_ms| (left_ms, topic.clone(), Arc::clone(&user))));
            }
            told.extend(news);
            let member = roster.as_ref().and_then(|roster| roster.kept(&user));
            let told = roster.map(|roster| roster.believed(&user));
            kept.push(Kept { topic, user, member, told });
        }
        (told, kept)
    }

    /// These events could not be appended.
    pub(crate) fn untell<'a>(&mut self, told: impl Iterator<Item = &'a Told>) {
        for told in told {
            if let Some(roster) = self.topics.get_mut(&told.topic) {
                roster.untell(told);
            }
        }
    }

    /// These records are tried again, in the same order.
    pub(crate) fn retry(&mut self, kept: Vec<Kept>) {
        for Kept { topic, user, .. } in kept.into_iter().rev() {
            if self.topics.get_mut(&topic).is_none_or(|roster| roster.retry(&user)) {
                self.changed.push_front((topic, user));
            }
        }
    }

    /// Forgets the users who left too long ago, and the first ones if there are too many.
    pub(crate) fn sweep(&mut self, now_ms: u64) {
        let left_before_ms = now_ms.saturating_sub(self.ttl_ms);
        while let Some((left_ms, topic, user)) = self.left.front() {
            let is_full = self.left.len() > Self::LEFT_MAX;
            if *left_ms > left_before_ms && !is_full {
                break;
            }
            let Some(roster) = self.topics.get_mut(topic) else {
                self.left.pop_front();
                continue;
            };
            let forgetting = roster.forget(user, left_before_ms.max(*left_ms), is_full);
            if forgetting == Forgetting::Pending {
                break;
            }
            let is_empty = roster.is_empty();
            let Some((_, topic, user)) = self.left.pop_front() else { return };
            if is_empty {
                self.topics.remove(&topic);
            }
            match forgetting {
                Forgetting::Done => self.changed.push_back((topic, user)),
                Forgetting::Later(left_ms) => self.left.push_back((left_ms, topic, user)),
                Forgetting::Dropped => self.dropped += 1,
                // Noted again with the event that announces it.
                Forgetting::Untold | Forgetting::Needless | Forgetting::Pending => {}
            }
        }
        if self.dropped > Self::LEFT_MAX {
            self.dropped = 0;
            let topics = &self.topics;
            self.changed
                .retain(|(topic, user)| topics.get(topic).is_some_and(|roster| roster.is_changed(user)));
        }
    }

    /// The members of a topic, of whom up to `members_max` are named.
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
    use events::Data;

    use super::*;
    use crate::presence::keep::KeptSession;
    use crate::presence::status::Status;

    fn key(user: &str, id: &str) -> SessionKey {
        SessionKey { user: user.into(), id: id.into() }
    }

    fn topic(name: &str) -> Topic {
        name.parse().unwrap()
    }

    fn join(rosters: &mut Rosters, key: &SessionKey, name: &str, now_ms: u64) -> bool {
        let shown = SessionPresence { status: Status::Online, info: Data::null(), polls: false };
        rosters.join(key, &topic(name), shown, 2, now_ms)
    }

    fn tell(rosters: &mut Rosters, users_max: usize) -> Vec<(String, usize)> {
        rosters.tell(users_max).0.into_iter().map(|told| (told.user.to_string(), told.count)).collect()
    }

    /// How many of those who were to be forgotten are.
    fn forgotten(rosters: &mut Rosters) -> usize {
        let (told, kept) = rosters.tell(usize::MAX);
        assert!(told.is_empty());
        kept.iter().filter(|kept| kept.member.is_none()).count()
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
        assert_eq!(tell(&mut rosters, usize::MAX).len(), 100);
        for n in 0..50 {
            rosters.retain(&key(&format!("u{n}"), "s"), |_| false, 100 + n);
        }
        assert_eq!(tell(&mut rosters, usize::MAX).last().map(|(_, count)| *count), Some(0));
        rosters.sweep(1099);
        assert_eq!(rosters.list(&topic("room:1"), 100, 0).members.len(), 50, "still listed");
        rosters.sweep(1120);
        assert_eq!(rosters.list(&topic("room:1"), 100, 0).members.len(), 29);
        rosters.sweep(1149);
        assert_eq!(forgotten(&mut rosters), 100);
        assert!(rosters.is_empty(), "{rosters:?}");
    }

    /// While the store is away no event can be appended, and users still come and go.
    #[test]
    fn departures_that_cannot_be_told_stay_bounded() {
        const COME_AND_GO: u64 = 3 * Rosters::LEFT_MAX as u64;
        let mut rosters = Rosters::new(1000);
        for n in 0..10 {
            join(&mut rosters, &key(&format!("told {n}"), "s"), "room:1", 0);
        }
        assert_eq!(tell(&mut rosters, usize::MAX).len(), 10);
        for n in 0..10 {
            rosters.retain(&key(&format!("told {n}"), "s"), |_| false, 1);
        }
        for n in 0..COME_AND_GO {
            // Some come and go in the same room, some are never seen again.
            let user = if n % 2 == 0 { format!("u{n}") } else { "often".to_owned() };
            join(&mut rosters, &key(&user, "s"), "room:1", n);
            rosters.retain(&key(&user, "s"), |_| false, n);
            if n % 1000 == 0 {
                let (told, kept) = rosters.tell(512);
                rosters.untell(told.iter());
                rosters.retry(kept);
                rosters.sweep(n);
                assert!(rosters.left.len() <= Rosters::LEFT_MAX, "{}", rosters.left.len());
                assert!(rosters.changed.len() <= 2 * Rosters::LEFT_MAX + 2000, "{}", rosters.changed.len());
            }
        }
        let listed = rosters.list(&topic("room:1"), usize::MAX, COME_AND_GO).members.len();
        assert!(listed <= Rosters::LEFT_MAX + 1000, "{listed}");
        // The store is back: the announced users are announced to have left, and none is left behind.
        let left = tell(&mut rosters, usize::MAX);
        assert_eq!(left.len(), 10, "{left:?}");
        assert_eq!(rosters.present(&topic("room:1")), 0);
        rosters.sweep(COME_AND_GO + 1000);
        rosters.tell(usize::MAX);
        assert!(rosters.is_empty());
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
        assert_eq!(forgotten(&mut rosters), 1);
        assert!(rosters.is_empty());
    }

    #[test]
    fn what_could_not_be_told_keeps_its_order() {
        let mut rosters = Rosters::new(1000);
        for user in ["a", "b", "c"] {
            join(&mut rosters, &key(user, "s"), "room:1", 1);
        }
        let (told, kept) = rosters.tell(2);
        rosters.untell(told.iter());
        rosters.retry(kept);
        let told = tell(&mut rosters, 9);
        assert_eq!(told, [("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 3)]);
        assert!(!rosters.has_news());
    }

    #[test]
    fn a_restart_is_the_loss_of_every_connection() {
        let mut rosters = Rosters::new(1000);
        let kept = |user: &str, sessions: &[&str], last_seen_ms| Kept {
            topic: topic("room:1"),
            user: user.into(),
            member: Some(KeptMember {
                info: Data::null(),
                since_ms: 1,
                last_seen_ms,
                sessions: (sessions.iter())
                    .map(|id| KeptSession { id: (*id).into(), status: Status::Online, polls: *id == "p" })
                    .collect(),
            }),
            told: None,
        };
        let of_before = vec![kept("a", &["s", "p"], 5), kept("b", &["s"], 900), kept("c", &[], 5)];
        let mut sessions = rosters.restore(of_before, 40, 100);
        sessions.sort_by_key(|(key, _)| (Arc::clone(&key.user), Arc::clone(&key.id)));
        assert_eq!(sessions, [(key("a", "p"), true), (key("a", "s"), false), (key("b", "s"), false)]);
        assert!(!rosters.has_news(), "everyone knows");
        let listed: Vec<_> = (rosters.list(&topic("room:1"), 9, 100).members.iter())
            .map(|listed| (listed.user.to_string(), listed.sessions, listed.last_seen_ms))
            .collect();
        let expected = [("a", 2, 40), ("b", 1, 100), ("c", 0, 5)];
        assert_eq!(listed, expected.map(|(user, sessions, at)| (user.to_owned(), sessions, at)));

        // A session that comes back continues without an event; one that does not is announced.
        rosters.connect(&key("a", "s"), Some(false), 110);
        assert_eq!(tell(&mut rosters, 9), []);
        for gone in [key("a", "p"), key("b", "s")] {
            rosters.retain(&gone, |_| false, 120);
        }
        assert_eq!(tell(&mut rosters, 9), [("b".to_owned(), 1)]);
        rosters.sweep(1005);
        assert_eq!(rosters.list(&topic("room:1"), 9, 0).members.len(), 2, "c is forgotten");
        rosters.sweep(1120);
        assert_eq!(rosters.list(&topic("room:1"), 9, 0).members.len(), 1);
    }

    #[test]
    fn whatever_changes_is_kept() {
        let mut rosters = Rosters::new(1000);
        let mut kept = |change: &mut dyn FnMut(&mut Rosters)| {
            change(&mut rosters);
            let (_, kept) = rosters.tell(9);
            assert!(kept.len() <= 1, "{kept:?}");
            kept.into_iter().next().map(|kept| kept.member)
        };
        let (one, two) = (key("a", "1"), key("a", "2"));
        let sessions = |member: Option<Option<KeptMember>>| -> Vec<(String, bool)> {
            let sessions = member.flatten().expect("a member").sessions;
            sessions.into_iter().map(|session| (session.id.to_string(), session.polls)).collect()
        };
        let first = ("1".to_owned(), false);
        assert_eq!(
            sessions(kept(&mut |r| assert!(join(r, &one, "room:1", 1)))),
            std::slice::from_ref(&first)
        );
        assert_eq!(kept(&mut |r| assert!(join(r, &one, "room:1", 2))), None, "the same again");
        let second = sessions(kept(&mut |r| assert!(join(r, &two, "room:1", 3))));
        assert_eq!(second, [first.clone(), ("2".to_owned(), false)], "though nobody is told of a second tab");
        assert_eq!(kept(&mut |r| r.connect(&two, None, 4)), None);
        let polls = sessions(kept(&mut |r| r.connect(&two, Some(true), 5)));
        assert_eq!(polls, [first.clone(), ("2".to_owned(), true)], "another transport");
        assert_eq!(sessions(kept(&mut |r| r.retain(&two, |_| false, 6))), [first]);
        assert_eq!(sessions(kept(&mut |r| r.retain(&one, |_| false, 7))), []);
        assert_eq!(kept(&mut |r| r.sweep(1006)), None);
        assert_eq!(kept(&mut |r| r.sweep(1007)), Some(None), "forgotten");
    }
}
