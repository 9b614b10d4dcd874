//! Nobody gets an event outside the grant that is in force when it is delivered: live, replayed or from history.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use support::{Frame, Gateway, Sse, Ws, get, token};

const TOPICS: [&str; 5] = ["room:1", "room:2", "job:1", "job:10", "user:bob"];
/// What a token may list: exact names, and patterns that cover several of them.
const PATTERNS: [&str; 7] = ["room:1", "room:2", "job:1", "job:1*", "room:*", "user:b*", "*"];

#[derive(Clone, Debug)]
enum Step {
    /// An event in one or more topics.
    Publish(Vec<usize>),
    /// Another grant for the same user.
    Refresh(Vec<usize>),
    Subscribe(usize),
    Unsubscribe(usize),
    /// Everything retained, asked for anew on a poll, a stream and as history.
    Replay(Vec<usize>),
    /// Becomes a member, which is an event too.
    Join(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let topics = || prop::collection::vec(0..TOPICS.len(), 1..3);
    prop_oneof![
        4 => topics().prop_map(Step::Publish),
        2 => prop::collection::vec(0..PATTERNS.len(), 0..3).prop_map(Step::Refresh),
        2 => (0..TOPICS.len()).prop_map(Step::Subscribe),
        1 => (0..TOPICS.len()).prop_map(Step::Unsubscribe),
        1 => topics().prop_map(Step::Replay),
        1 => (0..TOPICS.len()).prop_map(Step::Join),
    ]
}

/// What a grant allows, by the words of the protocol alone.
fn allows(patterns: &[usize], topic: &str) -> bool {
    ["user:alice", "all"].contains(&topic)
        || patterns.iter().any(|&at| match PATTERNS[at].strip_suffix('*') {
            Some(prefix) => topic.starts_with(prefix),
            None => topic == PATTERNS[at],
        })
}

struct Run {
    gateway: Gateway,
    ws: Ws,
    /// The grant in force on the WebSocket.
    grant: Vec<usize>,
    token: String,
    subscribed: BTreeSet<String>,
    seen: BTreeSet<u64>,
}

fn token_of(grant: &[usize]) -> String {
    let options: Vec<&str> = grant.iter().flat_map(|&at| ["--subscribe", PATTERNS[at]]).collect();
    token("alice", &options)
}

impl Run {
    async fn start() -> Self {
        let gateway =
            Gateway::serve(&["--commands-per-minute", "0", "--max-connections-per-user", "0"]).await;
        let token = token_of(&[]);
        let mut ws = Ws::open(gateway.address, &format!("token={token}")).await;
        ws.batch().await;
        Self { gateway, ws, grant: Vec::new(), token, subscribed: BTreeSet::new(), seen: BTreeSet::new() }
    }

    /// Takes in a batch of the WebSocket: nothing in it may be outside the grant, or of a topic that was not asked for.
    fn take(&mut self, batch: &Value) {
        for event in batch["events"].as_array().unwrap() {
            let topic = event["topic"].as_str().unwrap();
            assert!(allows(&self.grant, topic), "{topic} under {:?}: {event}", self.grant);
            let is_own = ["user:alice", "all"].contains(&topic);
            assert!(is_own || self.subscribed.contains(topic), "{topic} was not asked for");
            assert!(self.seen.insert(event["seq"].as_u64().unwrap()), "twice: {event}");
        }
    }

    /// What comes before the reply comes under the old grant, what comes after it under the new.
    async fn command(&mut self, command: Value) -> Value {
        self.ws.command(command).await;
        loop {
            match self.ws.next().await {
                Frame::Text(text) if text.get("reply").is_some() => return text,
                Frame::Text(batch) => self.take(&batch),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads until an event of the user's own topic shows that everything before it has been delivered.
    async fn catch_up(&mut self) {
        let mark = self.gateway.publish(json!({"topic": "user:alice", "type": "mark", "data": null})).await;
        while !self.seen.contains(&mark) {
            let batch = self.ws.batch().await;
            self.take(&batch);
        }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Publish(topics) => {
                let topics: Vec<&str> = topics.iter().map(|&at| TOPICS[at]).collect();
                let seq = self.gateway.publish(json!({"topics": topics, "type": "t", "data": topics})).await;
                self.catch_up().await;
                let wanted = topics.iter().any(|topic| self.subscribed.contains(*topic));
                assert_eq!(self.seen.contains(&seq), wanted, "{topics:?} for {:?}", self.subscribed);
            }
            Step::Refresh(grant) => {
                let token = token_of(grant);
                let reply = self.command(json!({"id": 1, "op": "auth", "token": token})).await;
                assert_eq!(reply.get("error"), None);
                self.grant.clone_from(grant);
                self.token = token;
                self.subscribed.retain(|topic| allows(grant, topic));
            }
            Step::Subscribe(at) => {
                let reply = self.command(json!({"id": 1, "op": "subscribe", "topics": [TOPICS[*at]]})).await;
                let allowed = allows(&self.grant, TOPICS[*at]);
                assert_eq!(reply.get("error").is_none(), allowed, "{reply}");
                if allowed {
                    self.subscribed.insert(TOPICS[*at].to_owned());
                }
            }
            Step::Unsubscribe(at) => {
                self.command(json!({"id": 1, "op": "unsubscribe", "topics": [TOPICS[*at]]})).await;
                self.subscribed.remove(TOPICS[*at]);
            }
            Step::Join(at) => {
                let join = json!({"id": 1, "op": "presence", "topic": TOPICS[*at], "status": "online"});
                let reply = self.command(join).await;
                assert_eq!(reply.get("error").is_none(), allows(&self.grant, TOPICS[*at]), "{reply}");
            }
            Step::Replay(topics) => {
                let topics: BTreeSet<&str> = topics.iter().map(|&at| TOPICS[at]).collect();
                let list = topics.iter().copied().collect::<Vec<_>>().join(",");
                let refused = topics.iter().filter(|topic| !allows(&self.grant, topic)).count();
                let query = format!("token={}&topics={list}&after=earliest", self.token);
                let poll = get(self.gateway.address, &format!("/v1/poll?{query}&wait=0")).await;
                assert_eq!(poll.status, 200, "{}", poll.body);
                let poll = poll.json();
                assert_eq!(poll["refused"].as_array().map_or(0, Vec::len), refused, "{poll}");
                self.check(&poll);
                let mut sse = Sse::open(self.gateway.address, &query).await;
                loop {
                    let batch = sse.batch().await.unwrap();
                    self.check(&batch);
                    if batch["live"] == true {
                        break;
                    }
                }
                for topic in topics {
                    let target = |path: &str| format!("/v1/{path}?topic={topic}&token={}", self.token);
                    let history = get(self.gateway.address, &target("history")).await;
                    let presence = get(self.gateway.address, &target("presence")).await;
                    let status = if allows(&self.grant, topic) { 200 } else { 403 };
                    assert_eq!((history.status, presence.status), (status, status), "{topic}");
                    if status == 200 {
                        self.check(&history.json());
                    }
                }
            }
        }
    }

    fn check(&self, batch: &Value) {
        for event in batch["events"].as_array().unwrap() {
            let topic = event["topic"].as_str().unwrap();
            assert!(allows(&self.grant, topic), "{topic} under {:?}: {event}", self.grant);
        }
    }
}

#[test]
fn no_event_outside_the_grant() {
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let steps = prop::collection::vec(step(), 1..40);
    runner
        .run(&steps, |steps| {
            runtime.block_on(async {
                let mut run = Run::start().await;
                for step in &steps {
                    run.step(step).await;
                }
            });
            Ok(())
        })
        .unwrap();
}
