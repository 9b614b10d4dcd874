//! The gateway that runs, what outlives it, and what is true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use events::{Chance, Cursor, Data, Draft, Log, Memory, Options, SimulatedClock, Store, Topic, Topics};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::client::Client;
use super::keep::{Disk, SmallDisk};
use crate::app::App;
use crate::config::{self, Command, Config, ConfigReader};
use crate::store::Opened;

/// The topics that clients may have beside their own and `all`.
pub(super) const ROOMS: [&str; 3] = ["room:1", "room:2", "room:3"];
/// How many clients there are, each a user with one session.
const CLIENTS: usize = 3;
/// How long clients are cut off and gateways end.
const CHAOS: Duration = Duration::from_secs(90);
/// Longer than any session without a connection is remembered.
const GRACE: Duration = Duration::from_secs(90);

/// What happened in a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) events: usize,
    pub(super) commands: usize,
    pub(super) shrunk: usize,
    pub(super) resets: usize,
    pub(super) restarts: usize,
}

impl Outcome {
    pub(super) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.commands += other.commands;
        self.shrunk += other.shrunk;
        self.resets += other.resets;
        self.restarts += other.restarts;
    }
}

/// One gateway, until it ends.
struct Node {
    app: Arc<App>,
    /// Its background tasks and its sessions. They end with it.
    tasks: JoinSet<()>,
}

/// Everything that the clients share.
pub(super) struct World {
    pub(super) chance: Chance,
    time: SimulatedClock,
    disk: Arc<Mutex<Disk>>,
    node: Mutex<Node>,
    /// The topic of each event that was published with its own data, by the text of its cursor.
    published: Mutex<BTreeMap<(String, u64), String>>,
    pub(super) outcome: Mutex<Outcome>,
}

impl World {
    /// Lives through all of it, and checks the end.
    pub(super) async fn live(time: SimulatedClock, chance: Chance) -> Outcome {
        let disk = Arc::default();
        let node = Mutex::new(start(&time, &chance, &disk).await);
        let world = Arc::new(Self {
            chance,
            time,
            disk,
            node,
            published: Mutex::default(),
            outcome: Mutex::default(),
        });
        let until = Instant::now() + CHAOS;
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = Client::new(&world, number);
            clients.spawn(client.live(until));
        }
        while Instant::now() < until {
            world.step().await;
        }
        // Nothing is cut any more. Members whose sessions did not come back are gone after this.
        tokio::time::sleep(GRACE).await;
        let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut known = Vec::new();
        while let Some(client) = clients.join_next().await {
            let (user, rooms, knows, connection) = client.unwrap();
            rooms.into_iter().for_each(|room| shown.entry(room).or_default().push(user.clone()));
            known.push((user, knows, connection));
        }
        for room in ROOMS {
            let mut expected = shown.remove(room).unwrap_or_default();
            expected.sort();
            assert_eq!(world.members(room), expected, "the members of {room}");
            for (user, knows, _) in &known {
                let knows: Vec<String> =
                    knows.iter().filter(|(known, _)| known == room).map(|(_, user)| user.clone()).collect();
                assert_eq!(knows, expected, "what {user} knows of {room}");
            }
        }
        std::mem::take(&mut *world.outcome.lock())
    }

    /// The gateway that runs now.
    pub(super) fn app(&self) -> Arc<App> {
        Arc::clone(&self.node.lock().app)
    }

    /// Runs a session on the gateway until either ends.
    pub(super) fn spawn(&self, app: &Arc<App>, session: impl Future<Output = ()> + Send + 'static) {
        let mut node = self.node.lock();
        if Arc::ptr_eq(&node.app, app) {
            node.tasks.spawn(session);
        }
    }

    /// The users who are listed as present, in order.
    pub(super) fn members(&self, room: &str) -> Vec<String> {
        let listing = self.app().presence.list(&room.parse().unwrap(), usize::MAX);
        let present = listing.members.iter().filter(|member| member.sessions > 0);
        let mut users: Vec<String> = present.map(|member| member.user.to_string()).collect();
        users.sort();
        users
    }

    /// Topics of the events of an epoch in a range of seqs.
    pub(super) fn published(&self, after: Cursor, upto: Cursor) -> Vec<(u64, String)> {
        let published = self.published.lock();
        let epoch = upto.epoch.to_string();
        let range = (epoch.clone(), after.seq.number() + 1)..=(epoch, upto.seq.number());
        if range.is_empty() {
            return Vec::new();
        }
        published.range(range).map(|((_, seq), topic)| (*seq, topic.clone())).collect()
    }

    async fn step(&self) {
        let pause = [1, 30, 400, 2_000][self.chance.below(4) as usize];
        tokio::time::sleep(Duration::from_millis(pause)).await;
        match self.chance.below(60) {
            0 => self.restart().await,
            1 => self.time.jump(self.chance.below(7_200_000) as i64 - 3_600_000),
            _ => self.publish().await,
        }
        self.app().registry.assert_granted();
    }

    async fn publish(&self) {
        let app = self.app();
        let topics = ["all", "user:u0", "user:u1", ROOMS[0], ROOMS[1], ROOMS[2]];
        let name = topics[self.chance.below(topics.len() as u64) as usize];
        let topic: Topic = name.parse().unwrap();
        let draft = Draft::new(Topics::one(topic), "said".parse().unwrap(), Data::null());
        for appended in app.store.append(vec![draft]).await {
            let cursor = appended.unwrap().cursor;
            let at = (cursor.epoch.to_string(), cursor.seq.number());
            self.published.lock().insert(at, name.to_owned());
        }
    }

    /// The gateway ends, with a word to its store or without, and another one begins in its place.
    async fn restart(&self) {
        self.outcome.lock().restarts += 1;
        let app = self.app();
        if self.chance.below(2) == 0 {
            app.presence.end().await;
        }
        let mut tasks = std::mem::take(&mut self.node.lock().tasks);
        tasks.shutdown().await;
        let node = start(&self.time, &self.chance, &self.disk).await;
        *self.node.lock() = node;
    }
}

async fn start(time: &SimulatedClock, chance: &Chance, disk: &Arc<Mutex<Disk>>) -> Node {
    let config = configured();
    let log = Log::with(&Options::default(), time.clock(), chance.clone());
    let store: Arc<dyn Store> = Memory::open(Arc::clone(&log));
    let keep = Arc::new(SmallDisk {
        disk: Arc::clone(disk),
        store: Arc::clone(&store),
        chance: chance.clone(),
        clock: time.clock(),
    });
    let reader = ConfigReader::of(&config);
    let app = App::on(config, reader, log, Opened { store, keep, board: None, leases: None }).unwrap();
    app.restore_presence().await;
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&app).tidy());
    tasks.spawn(Arc::clone(&app).tell_presence());
    Node { app, tasks }
}

fn configured() -> Config {
    let options = "gateway dev --commands-per-minute 0 --publishes-per-minute 0 --deployment simulated";
    match config::read(options.split(' ')) {
        Ok(Command::Run(config)) => *config,
        _ => panic!("these options are good"),
    }
}
