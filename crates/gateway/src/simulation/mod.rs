//! The gateway without its sockets, on one seeded clock and one seeded network: admission,
//! sessions, commands, grants, presence, the log and its store, under cuts and restarts.
//!
//! A run that fails prints its seed. `SEED=n` repeats that run; `SEEDS=n` makes so many.

#![allow(clippy::print_stderr, reason = "a run that fails tells its seed")]

mod client;
mod keep;
#[path = "../../../transport/tests/simulation/messages.rs"]
mod messages;
#[path = "../../../transport/tests/simulation/network.rs"]
mod network;
mod view;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use events::{Chance, SimulatedClock};

use world::{Outcome, World};

/// Runs unless `SEEDS` says otherwise.
const SEEDS: u64 = 12;

#[test]
fn clients_have_what_their_grants_allow_and_know_who_is_there() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("SEEDS").unwrap_or(SEEDS) + 1,
    };
    let mut sum = Outcome::default();
    for seed in seeds.clone() {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed))).unwrap_or_else(|panic| {
            eprintln!("the seed is {seed}: SEED={seed} cargo test -p gateway --lib simulation");
            resume_unwind(panic)
        });
        sum.add(&outcome);
    }
    let runs = (seeds.end - seeds.start) as usize;
    assert!(sum.events > 50 * runs && sum.commands > 5 * runs, "too little happened: {sum:?}");
    assert!(runs < 10 || (sum.restarts > 0 && sum.shrunk > 0 && sum.resets > 0), "{sum:?}");
}

#[test]
fn a_seed_gives_the_same_run_again() {
    assert_eq!(run(1), run(1));
}

fn run(seed: u64) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let chance = Chance::seeded(seed);
        let time = SimulatedClock::new(1_800_000_000_000 + chance.below(1 << 40));
        World::live(time, chance).await
    })
}
