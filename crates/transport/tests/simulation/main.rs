//! The real session, log and memory store on one seeded clock and one seeded network.
//!
//! Clients change transports, are cut off at any byte, stall and come back with their cursors, while others publish. Every
//! event must come once and in order, or be covered by a reset that had to be. `SEEDS` says how many runs there are, `SEED`
//! repeats one, and a run that fails prints its seed.

mod client;
mod messages;
mod network;
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest")]
#[path = "../rig/quiet_host.rs"]
mod quiet_host;
mod truth;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use client::{Client, TOPICS};
use events::{Chance, Data, Draft, Log, Memory, Options, SimulatedClock, Store as _, Topics};
use parking_lot::Mutex;
use tokio::time::Instant;
use transport::UnsentBytes;
use truth::{RING_AGE, RING_EVENTS, Truth, View};

const CLIENTS: usize = 4;
const LENGTH: Duration = Duration::from_secs(120);

/// What became of a run: the same seed must give the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outcome {
    published: u64,
    received: Vec<usize>,
    resets: Vec<usize>,
    cursors: Vec<String>,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
#[expect(clippy::print_stderr, reason = "how a run that fails is repeated")]
fn every_client_gets_every_event_once_in_order_or_a_reset() {
    let seeds = number("SEED").map_or(0..number("SEEDS").unwrap_or(60), |seed| seed..seed + 1);
    let (mut received, mut resets) = (0, 0);
    for seed in seeds.clone() {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed))).unwrap_or_else(|panic| {
            eprintln!("failed; to repeat it: SEED={seed} cargo test -p transport --test simulation");
            resume_unwind(panic)
        });
        received += outcome.received.iter().sum::<usize>();
        resets += outcome.resets.iter().sum::<usize>();
    }
    let runs = seeds.count();
    assert!(runs < 20 || (received > 200 * runs && resets > runs), "{received} events, {resets} resets");
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in [1, 2] {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

fn run(seed: u64) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(simulate(seed))
}

async fn simulate(seed: u64) -> Outcome {
    let chance = Chance::seeded(seed);
    let time = SimulatedClock::new(1_800_000_000_000 + chance.below(1 << 40));
    let options = Options {
        ring_events_max: RING_EVENTS,
        ring_age_max: RING_AGE,
        log_bytes_max: 8 << 20,
        ..Options::default()
    };
    let log = Log::with(&options, time.clock(), chance.clone());
    let store = Memory::open(Arc::clone(&log));
    let truth = Arc::new(Mutex::new(Truth::default()));
    let unsent = Arc::new(UnsentBytes::default());
    let until = Instant::now() + LENGTH;
    let views: Vec<_> =
        (0..CLIENTS).map(|n| Arc::new(Mutex::new(View::of(TOPICS[..=n].iter().copied())))).collect();
    let clients: Vec<_> = views
        .iter()
        .map(|view| {
            let client = Client {
                log: Arc::clone(&log),
                chance: chance.clone(),
                truth: Arc::clone(&truth),
                view: Arc::clone(view),
                unsent: Arc::clone(&unsent),
            };
            tokio::spawn(client.live(until))
        })
        .collect();
    let mut published = 0;
    while Instant::now() < until {
        // Bursts, and now and then silence.
        let pause = [0, 3, 40, 700, 4_000][chance.below(5) as usize];
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if chance.below(50) == 0 {
            time.jump(chance.below(7_200_000) as i64 - 3_600_000);
        }
        log.sweep(100);
        let drafts: Vec<Draft> = (0..=chance.below(4)).map(|n| draft(&chance, published + n)).collect();
        for (draft, answer) in drafts.iter().zip(store.append(drafts.clone()).await) {
            truth.lock().add(answer.unwrap().seq.unwrap().number(), draft, published);
            published += 1;
        }
    }
    for client in clients {
        client.await.unwrap();
    }
    let of_each = |what: fn(&View) -> usize| views.iter().map(|view| what(&view.lock())).collect();
    Outcome {
        published,
        received: of_each(|view| view.received),
        resets: of_each(|view| view.resets),
        cursors: views
            .iter()
            .filter_map(|view| view.lock().cursor())
            .map(|cursor| cursor.to_string())
            .collect(),
    }
}

fn draft(chance: &Chance, data: u64) -> Draft {
    let topics =
        (0..=chance.below(2)).map(|_| TOPICS[chance.below(TOPICS.len() as u64) as usize].parse().unwrap());
    Draft {
        key: (chance.below(5) == 0).then(|| format!("key{}", chance.below(3)).parse().unwrap()),
        ttl_ms: (chance.below(6) == 0).then(|| 50 + chance.below(5_000)),
        ..Draft::new(Topics::new(topics).unwrap(), "t".parse().unwrap(), Data::from_value(&data).unwrap())
    }
}
