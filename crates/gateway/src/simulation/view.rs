//! What a client has, what it is owed, and what it must not get.

use std::collections::{BTreeMap, BTreeSet};

use events::{Cursor, Seq};
use serde_json::Value;

use super::world::ROOMS;
use crate::app::App;
use crate::registry::Connection;

#[derive(Default)]
pub(super) struct View {
    /// The rooms that it subscribes to when it connects.
    pub(super) wanted: BTreeSet<String>,
    /// Who is in which room, as far as it knows.
    pub(super) known: BTreeSet<(String, String)>,
    pub(super) received: Vec<u8>,
    cursor: Option<Cursor>,
    /// The topics of the connection, each with the seq above which its events are owed.
    owed: BTreeMap<String, u64>,
    /// Topics that were taken away beside the connection, each with the log's tail at that moment.
    /// What lies above it must not come.
    left: BTreeMap<String, u64>,
    /// Up to where the list of members is newer than the events.
    listed: BTreeMap<String, u64>,
}

impl View {
    pub(super) fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    pub(super) fn has(&self, topic: &str) -> bool {
        self.owed.contains_key(topic)
    }

    /// A connection begins at the client's cursor.
    pub(super) fn connect(&mut self, app: &App, connection: &Connection) {
        self.received.clear();
        self.left.clear();
        let from = self.cursor.map_or(u64::MAX, |cursor| cursor.seq.number());
        let topics = connection.held.lock().subscriptions.topics().to_vec();
        self.owed = topics.iter().map(|topic| (topic.to_string(), from)).collect();
        self.known.clear();
        topics.iter().for_each(|topic| self.list(topic.as_str(), app));
    }

    /// The session has this topic too.
    pub(super) fn join(&mut self, topic: &str, app: &App, connection: &Connection) {
        if !self.has(topic) {
            let since = connection.has_since(&topic.parse().unwrap());
            self.owed.insert(topic.to_owned(), since.number());
            self.wanted.insert(topic.to_owned());
            self.left.remove(topic);
            self.list(topic, app);
        }
    }

    /// The session does not have this topic any more: nothing of it comes behind the reply.
    pub(super) fn leave(&mut self, topic: &str) {
        self.owed.remove(topic);
        self.left.remove(topic);
        self.wanted.remove(topic);
        self.known.retain(|(room, _)| room != topic);
    }

    /// The same, done beside the connection: what was published before may still be under way.
    pub(super) fn leave_at(&mut self, topic: &str, tail: Seq) {
        self.leave(topic);
        self.left.insert(topic.to_owned(), tail.number());
    }

    /// Asks for the members, as a client does that has just subscribed.
    fn list(&mut self, topic: &str, app: &App) {
        if !ROOMS.contains(&topic) {
            return;
        }
        self.known.retain(|(room, _)| room != topic);
        let listing = app.presence.list(&topic.parse().unwrap(), usize::MAX);
        let present = listing.members.iter().filter(|member| member.sessions > 0);
        self.known.extend(present.map(|member| (topic.to_owned(), member.user.to_string())));
        self.listed.insert(topic.to_owned(), app.log.tail().number());
    }

    /// Checks a batch and takes it in. `published` lies in its range.
    pub(super) fn take(
        &mut self,
        batch: &Value,
        after: Cursor,
        cursor: Cursor,
        published: &[(u64, String)],
        app: &App,
    ) {
        let reset = batch["reset"]["reason"].as_str();
        match self.cursor {
            Some(own) if matches!(reset, None | Some("expired")) => {
                assert_eq!(after, own, "a gap between batches: {batch}");
            }
            Some(_) => {}
            None => assert!(!batch["hello"].is_null(), "the first batch says hello: {batch}"),
        }
        if self.cursor.is_none() || reset.is_some() {
            // What is missing before is said, or was never the client's.
            self.owed.values_mut().for_each(|above| *above = cursor.seq.number());
            let topics: Vec<String> = self.owed.keys().cloned().collect();
            topics.iter().for_each(|topic| self.list(topic, app));
        }
        let mut last = after.seq.number();
        let mut came = BTreeSet::new();
        for event in batch["events"].as_array().unwrap() {
            let (seq, topic) = (event["seq"].as_u64().unwrap(), event["topic"].as_str().unwrap());
            assert!(seq > last && seq <= cursor.seq.number(), "twice, or out of order: {batch}");
            let may_come = self.has(topic) || self.left.get(topic).is_some_and(|tail| seq <= *tail);
            assert!(may_come, "{topic} was taken away, and {seq} comes: {batch}; {:?}", self.left);
            last = seq;
            came.insert(seq);
            self.take_presence(event, seq, topic);
        }
        for (seq, topic) in published {
            let is_owed = self.owed.get(topic).is_some_and(|above| seq > above);
            assert!(!is_owed || came.contains(seq), "{seq} of {topic} is lost: {batch}");
        }
        self.cursor = Some(cursor);
    }

    fn take_presence(&mut self, event: &Value, seq: u64, topic: &str) {
        let is_old = self.listed.get(topic).is_some_and(|listed| seq <= *listed);
        let Some(user) = event["data"]["user"].as_str().filter(|_| !is_old && self.has(topic)) else {
            return;
        };
        let known = (topic.to_owned(), user.to_owned());
        if event["type"] == "presence.leave" {
            self.known.remove(&known)
        } else {
            self.known.insert(known)
        };
    }
}
