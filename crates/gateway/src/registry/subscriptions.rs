//! The topics of one connection, and since when it has each: the one place that says so.
//!
//! Commands and grants change it, always under the lock of [`Connection`](super::Connection). The
//! session's reader follows it (`Host::access`), and so do the metrics and `GET /v1/explain`.

use events::{Seq, Topic};
use transport::Refused;

/// What a connection is subscribed to.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    /// In the order in which an event of several is attributed, each once. Those that the session
    /// has not taken up yet are at the end.
    topics: Vec<Topic>,
    /// What few connections have, so that the others pay one pointer.
    rare: Option<Box<Rare>>,
}

/// What few connections have.
#[derive(Debug, Default)]
struct Rare {
    /// Topics that were added after the session began.
    late: Vec<Late>,
    /// Topics that were asked for and are not delivered, until the client has been told.
    refused: Vec<Refused>,
}

/// A topic that was added after the session began.
#[derive(Clone, Debug)]
struct Late {
    topic: Topic,
    /// The session has its events above this seq; `None`: it has not taken the topic up yet.
    since: Option<Seq>,
}

/// Since when a session has one of its topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// Since the session began.
    Beginning,
    /// Above this seq.
    After(Seq),
    /// It was added a moment ago, and begins with what the session reads next.
    Next,
}

impl Subscriptions {
    /// These topics from the beginning of the session, each once.
    pub(crate) fn new(topics: Vec<Topic>) -> Self {
        Self { topics, rare: None }
    }

    /// All topics, in order.
    pub(crate) fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// How many topics, at the end, the session has not taken up yet.
    pub(crate) fn added(&self) -> usize {
        self.late().iter().filter(|late| late.since.is_none()).count()
    }

    /// Since when the session has this topic, which is one of its topics.
    pub(crate) fn since(&self, topic: &Topic) -> Since {
        match self.late().iter().find(|late| late.topic == *topic) {
            None => Since::Beginning,
            Some(Late { since: Some(at), .. }) => Since::After(*at),
            Some(Late { since: None, .. }) => Since::Next,
        }
    }

    /// Adds topics; those that are there stay as they are.
    pub(crate) fn add(&mut self, topics: &[Topic]) {
        for topic in topics {
            if !self.topics.contains(topic) {
                self.topics.push(topic.clone());
                let late = Late { topic: topic.clone(), since: None };
                self.rare.get_or_insert_default().late.push(late);
            }
        }
    }

    /// Keeps the topics that `keep` allows.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Topic) -> bool) {
        self.topics.retain(&mut keep);
        self.change_rare(|rare| rare.late.retain(|late| keep(&late.topic)));
    }

    /// The session has taken up these topics, and gets their events above `at`.
    pub(crate) fn take_up(&mut self, topics: &[Topic], at: Seq) {
        self.change_rare(|rare| {
            for late in rare.late.iter_mut().filter(|late| late.since.is_none()) {
                if topics.contains(&late.topic) {
                    late.since = Some(at);
                }
            }
        });
    }

    /// The session begins again, with every topic that it has taken up.
    pub(crate) fn restart(&mut self) {
        self.change_rare(|rare| rare.late.retain(|late| late.since.is_none()));
    }

    /// The session goes on at `at`, and keeps what it had over the connection `before`.
    pub(crate) fn go_on_from(&mut self, before: &Self, at: Seq) {
        let since = |topic: &Topic| match before.topics.contains(topic).then(|| before.since(topic)) {
            Some(Since::Beginning) => None,
            Some(Since::After(since)) => Some(Late { topic: topic.clone(), since: Some(since) }),
            Some(Since::Next) | None => Some(Late { topic: topic.clone(), since: Some(at) }),
        };
        let late: Vec<Late> = self.topics.iter().filter_map(since).collect();
        if self.rare.is_some() || !late.is_empty() {
            self.rare.get_or_insert_default().late = late;
        }
        self.change_rare(|_| {});
    }

    /// Takes the log's own names of the same topics, so that each name is in memory once.
    pub(crate) fn share_names(&mut self, names: impl Iterator<Item = Topic>) {
        self.topics = names.collect();
    }

    /// The client asked for these topics too, and is to be told why it does not get them.
    pub(crate) fn refuse(&mut self, refused: Vec<Refused>) {
        if !refused.is_empty() {
            self.rare.get_or_insert_default().refused = refused;
        }
    }

    /// What the client asked for and does not get; from now on it counts as told.
    pub(crate) fn take_refused(&mut self) -> Vec<Refused> {
        let mut refused = Vec::new();
        self.change_rare(|rare| refused = std::mem::take(&mut rare.refused));
        refused
    }

    fn late(&self) -> &[Late] {
        self.rare.as_ref().map_or(&[], |rare| &rare.late)
    }

    fn change_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        if let Some(rare) = &mut self.rare {
            change(rare);
        }
        self.rare.take_if(|rare| rare.late.is_empty() && rare.refused.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Add(Vec<u8>),
        /// A command gives up topics, or a grant shrinks.
        Drop(Vec<u8>),
        TakeUp,
        Restart,
        /// The client comes back with these topics.
        Reconnect(Vec<u8>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let some = || proptest::collection::vec(0..5_u8, 0..4);
        let step = prop_oneof![
            4 => some().prop_map(Step::Add),
            3 => some().prop_map(Step::Drop),
            3 => Just(Step::TakeUp),
            1 => Just(Step::Restart),
            2 => some().prop_map(Step::Reconnect),
        ];
        proptest::collection::vec(step, 1..40)
    }

    fn topics(numbers: &[u8]) -> Vec<Topic> {
        let mut topics: Vec<Topic> = Vec::new();
        for topic in numbers.iter().map(|number| format!("room:{number}").parse().unwrap()) {
            if !topics.contains(&topic) {
                topics.push(topic);
            }
        }
        topics
    }

    proptest! {
        /// Against a plain list, with a reader that follows as a session does.
        #[test]
        fn a_follower_has_the_same_topics_each_since_the_right_event(steps in steps()) {
            let mut subscriptions = Subscriptions::new(topics(&[0, 1]));
            let mut model: Vec<(Topic, Since)> =
                topics(&[0, 1]).into_iter().map(|topic| (topic, Since::Beginning)).collect();
            let mut reader = topics(&[0, 1]);
            for (step, at) in steps.into_iter().zip(1..) {
                let at = Seq::new(at).unwrap();
                match step {
                    Step::Add(added) => {
                        subscriptions.add(&topics(&added));
                        for topic in topics(&added) {
                            if !model.iter().any(|(known, _)| *known == topic) {
                                model.push((topic, Since::Next));
                            }
                        }
                    }
                    Step::Drop(dropped) => {
                        let dropped = topics(&dropped);
                        subscriptions.retain(|topic| !dropped.contains(topic));
                        model.retain(|(topic, _)| !dropped.contains(topic));
                    }
                    Step::TakeUp => {
                        let (kept, added) = subscriptions.topics.split_at(model.len() - subscriptions.added());
                        reader.retain(|topic| kept.contains(topic));
                        reader.extend(added.iter().cloned());
                        let added = added.to_vec();
                        subscriptions.take_up(&added, at);
                        let next = model.iter_mut().filter(|(_, since)| *since == Since::Next);
                        next.for_each(|(_, since)| *since = Since::After(at));
                        prop_assert_eq!(&reader, &subscriptions.topics);
                    }
                    Step::Restart => {
                        subscriptions.restart();
                        let taken = model.iter_mut().filter(|(_, since)| *since != Since::Next);
                        taken.for_each(|(_, since)| *since = Since::Beginning);
                    }
                    Step::Reconnect(wanted) => {
                        let mut next = Subscriptions::new(topics(&wanted));
                        next.go_on_from(&subscriptions, at);
                        subscriptions = next;
                        let before = std::mem::take(&mut model);
                        for topic in topics(&wanted) {
                            let known = before.iter().find(|(known, _)| *known == topic);
                            let since = known.map(|(_, since)| *since).filter(|since| *since != Since::Next);
                            model.push((topic, since.unwrap_or(Since::After(at))));
                        }
                        reader = topics(&wanted);
                    }
                }
                let has: Vec<(Topic, Since)> = subscriptions.topics.iter()
                    .map(|topic| (topic.clone(), subscriptions.since(topic)))
                    .collect();
                prop_assert_eq!(&has, &model);
                let added = model.iter().rev().take_while(|(_, since)| *since == Since::Next).count();
                prop_assert_eq!(subscriptions.added(), added);
                prop_assert_eq!(model.iter().filter(|(_, since)| *since == Since::Next).count(), added);
                prop_assert_eq!(subscriptions.rare.is_some(), has.iter().any(|(_, s)| *s != Since::Beginning));
            }
        }
    }
}
