//! The store in Redis, on real servers: the suite of every store, and what is left after each way of losing a server.
//!
//! What has to hold, and where it is shown (`gateway`: in `crates/gateway/tests/redis.rs`, the rest in `redis/` here):
//!
//! | Case | Tests |
//! | --- | --- |
//! | kill -9 five times, all on disk | `restarts::a_restart_that_lost_nothing_resets_nobody` |
//! | a lost tail of 50, then 20 new | `failover::a_lost_tail_is_taken_back_and_told_of` |
//! | two failovers, the third server stale, its generation lower | `failover::two_failovers_the_second_to_a_server_that_saw_nothing_of_the_first`, `failover::back_from_a_master_that_never_had_what_the_next_one_has` |
//! | there and back without a restart or a publish | `failover::there_and_back_without_a_restart_and_without_a_publish_there` |
//! | an old master back as a master for 5 s | `masters::an_old_master_is_back_empty_as_a_master_for_a_while`, `masters::an_old_master_is_back_with_all_it_had_as_a_master_for_a_while` |
//! | two masters for 5 s | `masters::two_masters_at_once_lose_nothing_unsaid`, `masters::two_masters_at_once_that_need_a_replica_to_write_lose_nothing_unsaid`, `masters::two_masters_at_once_lose_nothing_that_was_waited_for`, `masters::who_publishes_and_who_follows_do_not_stay_on_two_masters` |
//! | a connection moved silently | `failover::a_connection_that_is_moved_without_a_word` |
//! | keys deleted, made again or of another type | `changes::a_stream_that_is_gone_is_noticed_and_everyone_is_reset`, `changes::a_fence_that_is_gone_resets_nobody`, `changes::another_stream_in_its_place_gives_no_number_twice`, `changes::a_key_of_another_type_is_refused_until_it_is_gone` |
//! | trimmed under a slow node, across generations, a hole | `restarts::what_was_trimmed_while_a_node_was_cut_off_is_a_reset`, `changes::what_was_trimmed_across_generations_is_a_reset_and_every_cursor_is_known`, `changes::what_is_deleted_in_the_middle_or_at_the_end_is_a_reset` |
//! | NOSCRIPT, READONLY, LOADING, MASTERDOWN, NOREPLICAS, OOM, NOPERM | `gateway::each_refusal_of_redis_is_a_503_with_retry_after_and_passes_in_order`, `gateway::a_redis_that_is_still_loading_is_a_503_with_retry_after_and_passes_in_order`, `refusals::each_refusal_is_told_and_passes_and_the_order_is_kept`, `refusals::a_server_that_is_still_loading_is_waited_for` |
//! | SIGSTOP while reading | `restarts::a_server_that_hangs_is_waited_for_and_nothing_comes_twice`, `restarts::an_answer_that_came_too_late_makes_no_duplicate` |
//! | kill -9 during a script | `refusals::a_server_killed_during_a_script_has_all_of_it_or_nothing`, `refusals::what_is_left_of_half_a_script_is_no_part_of_the_log` |
//! | the same id again across a failover | `failover::a_promotion_that_lost_nothing_resets_nobody`, `masters::a_repeat_after_a_visit_to_an_empty_server` |
//! | a cursor from a faster node | `gateway::a_cursor_from_a_faster_gateway_is_waited_for` |
//! | a replica that is promoted, a master that is demoted | `refusals::nothing_is_written_to_a_replica_that_can_be_written`, `failover::a_master_that_is_demoted_is_left` |
//! | a replica attaches for the first time | `failover::a_replica_that_attaches_resets_nobody` |
//! | a replica that can be written; 300 generations; a clock behind | `refusals::nothing_is_written_to_a_replica_that_can_be_written`, `restarts::more_generations_than_are_remembered`, `failover::a_successor_whose_clock_is_far_behind` |
//! | a slot changes hands, its owner is killed | `cluster::a_log_in_a_cluster_follows_its_slot` |
//! | acknowledged, and known to who did not follow or to who died | `failover::what_was_acknowledged_while_nobody_could_follow_is_told_of`, `failover::what_a_dead_node_published_is_told_of_by_who_has_read_it`, `gateway::who_has_seen_what_died_with_its_gateway_and_its_redis_is_reset_elsewhere` |
//! | a checkpoint and its events | `failover::a_checkpoint_is_lost_with_the_events_that_it_came_with`, `refusals::a_checkpoint_is_refused_with_its_events`, `changes::a_stream_that_is_gone_takes_its_checkpoints_along` |
//! | clocks that differ, of gateways and of servers | `clocks::gateways_whose_clocks_differ_by_a_quarter_of_an_hour_lose_nothing`, `clocks::an_event_of_a_server_whose_clock_was_set_is_no_older_than_the_last_look` |
//! | which node publishes for a source | `leases::a_node_that_heard_all_that_is_not_published_takes_the_lease_at_once`, `leases::of_nodes_that_missed_something_the_one_that_missed_least_takes_the_lease` |
//! | the bounds of the stream, in bytes and in time | `retention::the_stream_stays_within_its_bytes_and_shrinks_with_age`, `retention::what_is_within_the_bounds_stays`, `retention::a_mark_of_another_log_trims_nothing` |
//! | a start on a stream that is longer than what rings hold | `retention::a_start_reads_only_what_rings_may_hold`, `retention::a_start_on_a_log_of_which_all_is_too_old` |
//! | states of topics beyond the stream, their bounds, a failover that takes some back | `states::a_node_that_starts_has_the_states_that_the_stream_does_not_hold_any_more`, `states::a_state_with_too_many_keys_says_so_after_a_start_too`, `states::what_a_failover_took_back_is_in_no_state` |
//! | all of it at random | `chaos::no_client_misses_anything_unawares` |
//!
//! What others got wrong:
//!
//! | Mistake | Tests |
//! | --- | --- |
//! | a counter starts over, nodes wait for ever | `regressions::a_counter_that_starts_over_is_not_waited_for` |
//! | a faster node's cursor: a false reset or duplicates | `gateway::a_cursor_from_a_faster_gateway_is_waited_for` |
//! | a quiet client's cursor expires | `regressions::a_quiet_client_is_not_reset_by_a_busy_neighbour` |
//! | no cursor before the first event | `gateway::who_has_not_had_an_event_yet_has_a_cursor` |
//! | an unknown id taken for a complete recovery | `regressions::a_cursor_that_nobody_knows_is_never_complete` |
//! | a search from the oldest entry that gives up | `regressions::a_place_far_into_a_long_log_is_found` |
//! | a control message past the cursor; XREAD again with `$` | `regressions::what_comes_while_a_connection_is_gone_is_read` |
//! | the new before the missed | `regressions::what_is_new_never_comes_before_what_was_missed` |
//! | a partial restart | `regressions::a_restart_of_one_of_two_servers_resets_nobody`, `failover::a_snapshot_that_lacks_the_last_events` |
//! | everybody resets at once | `gateway::those_who_are_reset_at_once_do_not_all_come_at_once` |

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

#[macro_use]
#[allow(dead_code, reason = "the suite serves other stores too")]
mod suite;

#[path = "redis/access.rs"]
mod access;
#[path = "redis/board.rs"]
mod board;
#[path = "redis/changes.rs"]
mod changes;
#[path = "redis/chaos.rs"]
mod chaos;
#[path = "redis/clocks.rs"]
mod clocks;
#[path = "redis/cluster.rs"]
mod cluster;
#[path = "redis/failover.rs"]
mod failover;
#[path = "redis/given.rs"]
mod given;
#[path = "redis/leases.rs"]
mod leases;
#[path = "redis/masters.rs"]
mod masters;
#[path = "redis/refusals.rs"]
mod refusals;
#[path = "redis/regressions.rs"]
mod regressions;
#[path = "redis/restarts.rs"]
mod restarts;
#[path = "redis/retention.rs"]
mod retention;
#[path = "redis/sentinel.rs"]
mod sentinel;
#[path = "redis/server.rs"]
mod server;
#[path = "redis/states.rs"]
mod states;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use events::{Cursor, Event, Limit, Located, Log, Options, Reader, Redis, RedisOptions, Reset, Start, Store};
use server::Server;
use suite::{Subject, topic};

fn redis_options(url: &str) -> RedisOptions {
    RedisOptions {
        url: url.to_owned(),
        authorities: None,
        log_name: "log".to_owned(),
        wait_replicas: 0,
        bytes_max: 1 << 30,
        age_max: Duration::from_secs(600),
        alone_when_down: false,
    }
}

/// A node of its own on these servers, once it has followed the log to its end.
async fn node(options: &RedisOptions) -> Subject {
    node_keeping(options, &Options { ring_events_max: 1 << 16, ..Options::default() }, Box::new(())).await
}

async fn node_keeping(options: &RedisOptions, log: &Options, keep: Box<dyn Any + Send + Sync>) -> Subject {
    node_on(options, Log::new(log), keep).await
}

async fn node_on(options: &RedisOptions, log: Arc<Log>, keep: Box<dyn Any + Send + Sync>) -> Subject {
    let store = Redis::open(Arc::clone(&log), options).unwrap();
    let followed = tokio::time::timeout(Duration::from_secs(60), store.followed()).await;
    assert!(followed.is_ok(), "not followed: {:?}", store.last_error());
    Subject { log, store: store as Arc<dyn Store>, _keep: keep }
}

async fn open(options: &Options) -> Subject {
    let server = Server::start(&[]).await;
    let url = server.url();
    node_keeping(&redis_options(&url), options, Box::new(server)).await
}

/// Waits until the node's log has come to `cursor`.
async fn reach(node: &Subject, cursor: Cursor) {
    for _ in 0..500 {
        if node.log.locate(cursor) == Located::Here(cursor) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("at {}, not at {cursor}: {:?}", node.log.tail_cursor(), node.store.ready());
}

/// Waits until the node is where the store is, and says where that is.
async fn settle(node: &Subject) -> Cursor {
    for _ in 0..500 {
        if let Ok(tail) = node.store.tail().await
            && node.store.ready().is_ok()
            && node.log.tail_cursor() == tail
        {
            return tail;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("at {}, the store at {:?}", node.log.tail_cursor(), node.store.tail().await);
}

/// Reads what there is now for a topic after a cursor.
fn read_after(node: &Subject, name: &str, cursor: Cursor) -> Result<Vec<Event>, Reset> {
    let mut reader = Reader::new(&node.log, &[topic(name)], None, Start::After(cursor));
    let mut out = Vec::new();
    while reader.read(Limit { events: 1000, bytes: 1 << 20 }, &mut out)?.more {}
    Ok(out)
}

/// Waits until who reads a topic after a cursor is told that something is missing: somebody has to tell of it first.
async fn told_of_loss(node: &Subject, name: &str, cursor: Cursor) -> Reset {
    for _ in 0..6_000 {
        if let Err(reset) = read_after(node, name, cursor) {
            return reset;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody was told of what {name} lost");
}

/// Waits until what has no seq comes from one node to another.
async fn hears_ephemeral(from: &Subject, to: &Subject) {
    let mut reader = Reader::new(&to.log, &[topic("a")], None, Start::Latest);
    let mut out = Vec::new();
    for _ in 0..3_000 {
        from.publish(events::Draft { ephemeral: true, ..suite::draft(&["a"], 1) }).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        reader.read(Limit { events: 10, bytes: 1 << 20 }, &mut out).unwrap();
        if !out.is_empty() {
            return;
        }
    }
    panic!("never heard");
}

/// Waits until something holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not in time: {what}");
}

/// Publishes until it is taken.
async fn publish_at_last(node: &Subject, draft: events::Draft) -> events::Appended {
    let until = std::time::Instant::now() + Duration::from_secs(120);
    loop {
        match node.append_one(draft.clone()).await {
            Ok(appended) => return appended,
            Err(rejection) => assert!(std::time::Instant::now() < until, "never taken: {rejection}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

mod conformance {
    conformance!(super::open);
    conformance!(super::open: a_checkpoint_is_stored_with_its_events,);
}

/// The tables at the top of this file name tests that there are.
#[test]
fn every_test_in_the_tables_exists() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for line in include_str!("redis.rs").lines().filter(|line| line.starts_with("//! | ")) {
        for (module, test) in line.split('`').filter_map(|text| text.split_once("::")) {
            let file = match module {
                "gateway" => dir.join("../gateway/tests/redis.rs"),
                module => dir.join(format!("tests/redis/{module}.rs")),
            };
            let source = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(source.contains(&format!("async fn {test}()")), "{module}::{test}");
            named += 1;
        }
    }
    assert!(named > 40, "{named}");
}
