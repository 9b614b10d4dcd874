//! Random interleavings of everything that can happen to a log and its readers, held against a plain list.
//!
//! After every step each client has been sent exactly its view, once and in order, or a reset that names the topics
//! that lack something and no other; no cursor went back or passed an event that was not sent; the memory is within
//! its budget. `PROPTEST_CASES` raises the number of lives; a failing one is printed with its seed.

/// Fails the step with a message.
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err(format!($($message)+));
        }
    };
}

mod client;
mod history;
mod ops;
mod state;
mod state_ops;
mod world;

use proptest::test_runner::{Config, FileFailurePersistence};
use proptest::{prop_assert, proptest};

/// What a step came to.
type Step = Result<(), String>;

fn config(cases: u32) -> Config {
    Config {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() { Config::default().cases } else { cases },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/model/failed-seeds.txt"))),
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn every_client_gets_its_view_or_a_reset(life in ops::life()) {
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let outcome = clock.unwrap().block_on(world::live(&life));
        prop_assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn a_snapshot_and_what_follows_is_the_state(life in state_ops::life(true), through_memory in proptest::bool::ANY) {
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let outcome = clock.unwrap().block_on(async {
            state::World::on_memory(&life, through_memory).live().await
        });
        prop_assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn a_snapshot_and_what_follows_is_the_state_on_disk(life in state_ops::life(false)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let outcome = runtime.unwrap().block_on(async { state::World::on_disk(&life).live().await });
        prop_assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
}
