//! One test for each abuse: what it meets, and that nothing of it stays behind.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod connections;
mod frames;
mod heads;
mod readers;
mod secrets;
#[path = "../support/mod.rs"]
mod support;
mod texts;

use std::net::SocketAddr;

use support::{Gateway, Ws, get_with, token};

const KEY: (&str, &str) = ("Authorization", "Bearer key");

fn alice() -> String {
    format!("token={}", token("alice", &["--subscribe", "*"]))
}

async fn connections_of(address: SocketAddr) -> u64 {
    let stats = get_with(address, "/v1/stats", &[KEY]).await.json();
    stats["byTransport"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

/// A WebSocket of alice's that has had its hello.
async fn open_ws(gateway: &Gateway) -> Ws {
    let mut ws = Ws::open(gateway.address, &alice()).await;
    ws.batch().await;
    ws
}
