//! Storms: many join, leave and vanish at once, and every reader ends with what is true.

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
use crate::scope::Scope;
use crate::sessions::{Caps, Registration, Sessions, Who};

const LIMIT: Limit = Limit { events: 1000, bytes: 256 << 10 };
const CAPS: Caps = Caps { per_user: None, per_address: None };

struct World {
    log: Arc<Log>,
    store: Arc<dyn Store>,
    presence: Arc<Presence>,
    sessions: Arc<Sessions>,
}

/// A session and what its client knows.
struct Guest {
    registration: Option<Registration>,
    topic: Topic,
    reader: Reader,
    /// Who is there, by what was told.
    known: BTreeMap<String, String>,
    count: u64,
    messages: u64,
    last_seq: u64,
}

/// A disk in small: a commit takes its time, some fail, and it remembers what is kept.
struct Slow {
    store: Arc<dyn Store>,
    commits: AtomicUsize,
    fails: fn(usize) -> bool,
    kept: Mutex<BTreeMap<(String, String), KeptMember>>,
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
    fn new() -> Self {
        Self::with(|store| Arc::new(TellOnly(store)))
    }

    fn with(keep: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Keep>) -> Self {
        let log = Log::new(&Options { ring_events_max: 64, ..Options::default() });
        let store: Arc<dyn Store> = events::Memory::open(Arc::clone(&log));
        let presence = Arc::new(Presence::new(Duration::from_secs(1800), keep(Arc::clone(&store))));
        tokio::spawn({
            let presence = Arc::clone(&presence);
            async move { presence.tell().await }
        });
        let sessions = Arc::new(Sessions::new(Arc::clone(&presence)));
        Self { log, store, presence, sessions }
    }

    fn guest(&self, user: usize, room: &str) -> Guest {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let grant = Arc::new(Grant::of_developer(&format!("u{user:04}")).unwrap());
        let scope = Scope::new(grant, Vec::new(), None);
        let registered = self.sessions.register(scope, Who::New, address, Transport::Ws, CAPS).unwrap();
        let topic: Topic = room.parse().unwrap();
        Guest {
            registration: Some(registered),
            reader: Reader::new(&self.log, std::slice::from_ref(&topic), None, Start::Latest),
            topic,
            known: BTreeMap::new(),
            count: 0,
            messages: 0,
            last_seq: 0,
        }
    }

    fn set(&self, guest: &Guest, status: Status) {
        let key = guest.registration.as_ref().unwrap().key();
        self.sessions.set_presence(key, &guest.topic, status, Data::null(), 64).unwrap();
    }

    async fn say(&self, room: &str) {
        let draft = Draft {
            topics: Topics::one(room.parse().unwrap()),
            kind: "room_message".parse().unwrap(),
            data: Data::null(),
            key: None,
            id: None,
            once: None,
            ttl_ms: None,
            ephemeral: false,
            expect: None,
        };
        assert!(self.store.append(vec![draft]).await[0].is_ok());
    }

    /// Lets the telling task run until it has nothing more to tell.
    async fn settle(&self) {
        while self.presence.rosters.lock().has_news() {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
    }
}

impl Guest {
    fn read(&mut self) {
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

    fn knows(&mut self, world: &World, messages: u64) {
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

#[tokio::test(start_paused = true)]
async fn a_room_of_5000() {
    const GUESTS: usize = 5000;
    let world = World::new();
    let mut guests: Vec<Guest> = (0..GUESTS).map(|user| world.guest(user, "room:1")).collect();
    // Everybody reads; some of them are asked what they know. Each reads at a pace of its own.
    let asked = [0, 1, 17, 2500, 2501, GUESTS - 1];
    for at in 0..GUESTS {
        world.set(&guests[at], Status::Online);
        if at % 100 == 0 {
            world.say("room:1").await;
            world.settle().await;
            guests[asked[at / 100 % asked.len()]].read();
        }
    }
    world.settle().await;
    for at in asked {
        guests[at].knows(&world, 50);
        assert_eq!(guests[at].count, GUESTS as u64);
    }

    // Half of them look away, some come back at once, and a third leaves.
    for (at, guest) in guests.iter().enumerate() {
        world.set(guest, if at % 2 == 0 { Status::Away } else { Status::Online });
        if at % 3 == 2 {
            world.set(guest, Status::Offline);
        }
        if at % 1000 == 0 {
            world.settle().await;
        }
    }
    world.say("room:1").await;
    world.settle().await;
    for at in asked {
        guests[at].knows(&world, 51);
    }

    // All but the last hundred vanish. Before the grace is over nobody has left.
    let before = guests[GUESTS - 1].count;
    guests[..GUESTS - 100].iter_mut().for_each(|guest| drop(guest.registration.take()));
    tokio::time::sleep(Duration::from_secs(9)).await;
    world.sessions.sweep();
    world.settle().await;
    guests[GUESTS - 1].knows(&world, 51);
    assert_eq!(guests[GUESTS - 1].count, before);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.sessions.sweep();
    world.settle().await;
    for at in asked {
        guests[at].knows(&world, 51);
    }
    assert_eq!(guests[GUESTS - 1].known.len(), 67);

    // In the end nothing is left behind.
    guests.iter_mut().for_each(|guest| drop(guest.registration.take()));
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.sessions.sweep();
    world.settle().await;
    guests[0].knows(&world, 51);
    assert!(guests[0].known.is_empty());
    tokio::time::sleep(Duration::from_secs(1799)).await;
    world.presence.sweep();
    assert!(
        !world.presence.list(&guests[0].topic, 1).members.is_empty(),
        "those who left last are still listed"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.presence.sweep();
    world.settle().await;
    assert!(world.presence.rosters.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_rooms_of_5() {
    const ROOMS: usize = 1000;
    let world = World::new();
    let room = |at: usize| format!("room:{}", at % ROOMS);
    let mut guests: Vec<Guest> = (0..5 * ROOMS).map(|user| world.guest(user, &room(user))).collect();
    for (at, guest) in guests.iter().enumerate() {
        world.set(guest, Status::Online);
        if at % 5 == 0 {
            world.say(&room(at)).await;
        }
    }
    world.settle().await;
    for (at, guest) in guests.iter_mut().enumerate() {
        guest.knows(&world, if at % 5 == 0 { 5 } else { 0 });
        assert_eq!(guest.count, 5);
    }
    for guest in guests.iter_mut().skip(4 * ROOMS) {
        drop(guest.registration.take());
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.sessions.sweep();
    world.settle().await;
    for (at, guest) in guests.iter_mut().enumerate() {
        guest.knows(&world, if at % 5 == 0 { 5 } else { 0 });
        assert_eq!(guest.count, 4);
    }
    drop(guests);
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.sessions.sweep();
    world.settle().await;
    tokio::time::sleep(Duration::from_secs(1800)).await;
    world.presence.sweep();
    world.settle().await;
    assert!(world.presence.rosters.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_storm_takes_few_commits_and_nothing_is_told_that_is_not_kept() {
    const GUESTS: usize = 2000;
    for fails in [|_| false, |commit| commit % 3 != 2] as [fn(usize) -> bool; 2] {
        let mut slow = None;
        let world = World::with(|store| {
            let keep = Slow { store, commits: AtomicUsize::new(0), fails, kept: Mutex::default() };
            Arc::clone(slow.insert(Arc::new(keep))) as _
        });
        let slow = slow.unwrap();
        let room = "room:1".parse().unwrap();
        let agrees = || {
            let listing = world.presence.list(&room, usize::MAX);
            let kept = slow.kept.lock();
            assert_eq!(kept.len(), listing.members.len());
            for member in listing.members {
                let kept = &kept[&("room:1".to_owned(), member.user.to_string())];
                assert_eq!((kept.sessions.len(), kept.since_ms), (member.sessions, member.since_ms));
                let status = kept.sessions.iter().map(|session| session.status).max();
                assert_eq!(status.unwrap_or(Status::Offline), member.status);
            }
        };
        let mut guests: Vec<Guest> = (0..GUESTS).map(|user| world.guest(user, "room:1")).collect();
        for some in guests.chunks(20) {
            some.iter().for_each(|guest| world.set(guest, Status::Online));
            // They come while commits are under way.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        world.settle().await;
        guests[0].knows(&world, 0);
        assert_eq!(guests[0].known.len(), GUESTS);
        agrees();
        let commits = slow.commits.load(Ordering::Relaxed);
        assert!(commits < 60, "{commits} commits for {GUESTS} joins");

        guests.iter_mut().skip(1).for_each(|guest| drop(guest.registration.take()));
        tokio::time::sleep(Duration::from_secs(10)).await;
        world.sessions.sweep();
        tokio::time::sleep(Duration::from_secs(20)).await;
        guests[0].knows(&world, 0);
        assert_eq!((guests[0].known.len(), guests[0].count), (1, 1));
        agrees();
        assert_eq!(slow.kept.lock().len(), GUESTS);
        tokio::time::sleep(Duration::from_secs(1800)).await;
        world.presence.sweep();
        tokio::time::sleep(Duration::from_secs(20)).await;
        agrees();
        assert_eq!(slow.kept.lock().len(), 1, "what is forgotten is kept no longer");
    }
}
