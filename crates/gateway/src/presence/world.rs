//! A gateway's presence without sockets, for tests under paused time: sessions, a log, and the
//! knowledge of readers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use events::{
    BoxFuture, Data, Draft, Event, Limit, Log, Options, Reader, Start, Store, Topic, Topics, Unavailable,
};
use parking_lot::Mutex;
use serde_json::Value;
use transport::Transport;

use super::keep::{Answers, Keep, Kept, KeptMember, Loaded};
use super::{Presence, Status, TellOnly};
use crate::auth::Grant;
use crate::registry::{Caps, Connection, Registration, Registry, WantedSession};

const LIMIT: Limit = Limit { events: 1000, bytes: 256 << 10 };
const CAPS: Caps = Caps { per_user: None, per_address: None };

pub(super) struct World {
    pub(super) log: Arc<Log>,
    pub(super) store: Arc<dyn Store>,
    pub(super) presence: Arc<Presence>,
    pub(super) registry: Arc<Registry>,
}

/// A session and the knowledge of its client.
pub(super) struct TestMember {
    pub(super) registration: Option<Registration>,
    pub(super) topic: Topic,
    pub(super) reader: Reader,
    /// The members, according to the events.
    pub(super) known: BTreeMap<String, String>,
    pub(super) count: u64,
    pub(super) messages: u64,
    pub(super) last_seq: u64,
}

/// A small disk: a commit takes time, some fail, and the records are remembered.
pub(super) struct Slow {
    pub(super) store: Arc<dyn Store>,
    pub(super) commits: AtomicUsize,
    pub(super) fails: fn(usize) -> bool,
    pub(super) kept: Mutex<BTreeMap<(String, String), KeptMember>>,
}

impl Keep for Slow {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, Unavailable>> {
        Box::pin(std::future::ready(Ok(Loaded::default())))
    }

    fn tell(&self, drafts: Vec<Draft>, members: Vec<Kept>) -> BoxFuture<'_, Result<Answers, Unavailable>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if (self.fails)(self.commits.fetch_add(1, Ordering::Relaxed)) {
                return Err(Unavailable("the disk is full"));
            }
            for Kept { topic, user, member, .. } in members {
                let name = (topic.to_string(), user.to_string());
                match member {
                    Some(member) => self.kept.lock().insert(name, member),
                    None => self.kept.lock().remove(&name),
                };
            }
            Ok(self.store.append(drafts).await)
        })
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(|store| Arc::new(TellOnly(store)))
    }

    pub(super) fn with(keep: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Keep>) -> Self {
        let log = Log::new(&Options { ring_events_max: 64, ..Options::default() });
        let store: Arc<dyn Store> = events::Memory::open(Arc::clone(&log));
        let presence =
            Arc::new(Presence::new(Duration::from_secs(1800), keep(Arc::clone(&store)), log.clock()));
        tokio::spawn({
            let presence = Arc::clone(&presence);
            async move { presence.tell().await }
        });
        let registry = Arc::new(Registry::new(Arc::clone(&presence), log.chance().clone()));
        Self { log, store, presence, registry }
    }

    pub(super) fn guest(&self, user: usize, room: &str) -> TestMember {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let grant = Arc::new(Grant::of_developer(&format!("u{user:04}")).unwrap());
        let connection = Connection::new(grant, Vec::new(), None, address);
        let (registration, _) =
            self.registry.register(connection, WantedSession::New, Transport::Ws, CAPS).unwrap();
        let topic: Topic = room.parse().unwrap();
        TestMember {
            registration: Some(registration),
            reader: Reader::new(&self.log, std::slice::from_ref(&topic), None, Start::Latest),
            topic,
            known: BTreeMap::new(),
            count: 0,
            messages: 0,
            last_seq: 0,
        }
    }

    pub(super) fn set(&self, guest: &TestMember, status: Status) {
        self.show(guest, status, Data::null());
    }

    pub(super) fn show(&self, guest: &TestMember, status: Status, info: Data) {
        let connection = &guest.registration.as_ref().expect("connected").connection;
        self.registry.set_presence(connection, &guest.topic, status, info, 64).unwrap();
    }

    pub(super) async fn say(&self, room: &str) {
        let draft =
            Draft::new(Topics::one(room.parse().unwrap()), "room_message".parse().unwrap(), Data::null());
        assert!(self.store.append(vec![draft]).await[0].is_ok());
    }

    /// Lets the task run until it has no event left to append.
    pub(super) async fn settle(&self) {
        while self.presence.rosters.lock().has_news() {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
    }
}

impl TestMember {
    pub(super) fn read(&mut self) {
        loop {
            let mut events: Vec<Event> = Vec::new();
            let span = self.reader.read(LIMIT, &mut events).expect("nobody falls behind");
            for event in &events {
                assert!(event.json().len() < 256, "what a join tells does not grow with the room");
                let event: Value = serde_json::from_slice(event.json()).unwrap();
                let seq = event["seq"].as_u64().unwrap();
                assert!(seq > self.last_seq, "in the log's order");
                self.last_seq = seq;
                let data = &event["data"];
                match event["type"].as_str().unwrap() {
                    "room_message" => self.messages += 1,
                    "presence.leave" => {
                        self.known.remove(data["user"].as_str().unwrap());
                        self.count = data["count"].as_u64().unwrap();
                    }
                    _ => {
                        let status = data["status"].as_str().unwrap().to_owned();
                        self.known.insert(data["user"].as_str().unwrap().to_owned(), status);
                        self.count = data["count"].as_u64().unwrap();
                    }
                }
            }
            if !span.more {
                return;
            }
        }
    }

    pub(super) fn knows(&mut self, world: &World, messages: u64) {
        self.read();
        assert_eq!(self.messages, messages);
        let listing = world.presence.list(&self.topic, usize::MAX);
        let there = listing.members.iter().filter(|member| member.status != Status::Offline);
        let there: BTreeMap<String, String> =
            there.map(|member| (member.user.to_string(), member.status.as_str().to_owned())).collect();
        assert_eq!(self.known, there);
        assert_eq!((self.count, listing.count), (there.len() as u64, there.len()));
    }
}
