//! Everything that a session does by the clock, on each transport, over a pipe in memory and with
//! the clock in hand.

mod access;
mod commands;
mod cuts;
mod ends;
mod messages;
mod pings;
mod polls;
mod streams;

#[path = "../rig/mod.rs"]
mod rig;

use rig::Client;
use serde_json::Value;

/// A batch without events at this seq.
fn empty(seq: u64) -> String {
    format!(r#"{{"after":"E.{seq}","cursor":"E.{seq}","events":[]}}"#)
}

/// The seqs of a batch.
fn seqs(batch: &str) -> Vec<u64> {
    let batch: Value = serde_json::from_str(batch).unwrap();
    batch["events"].as_array().unwrap().iter().filter_map(|event| event["seq"].as_u64()).collect()
}

/// It is so many milliseconds since the session began; the clock of a test ticks in whole ones.
#[track_caller]
fn assert_at(client: &Client, ms: u64) {
    let now = client.now_ms();
    assert!((ms..=ms + 2).contains(&now), "due at {ms}, and it is {now}");
}
