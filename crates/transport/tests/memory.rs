//! What an idle connection costs: every byte that the program asks for, task and socket included,
//! counted.

#![allow(clippy::print_stdout, reason = "the figures are worth more than that they are small enough")]

use std::net::TcpStream as Peer;

use events::{Cursor, Start};
use rig::{Rig, ms, poll, sse, ws};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::net::{TcpListener, TcpStream};
use transport::{Line, Session};

mod rig;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 200;

/// Bytes that an idle connection may cost. Raise it only with a reason.
const BYTES_MAX: usize = 1000;

/// Bytes that the handle of a session may hold on to that has ended.
const ENDED_BYTES_MAX: usize = 100;

#[tokio::test]
async fn an_idle_connection_is_small() {
    println!("a session by itself: {} bytes", size_of::<Session<TcpStream>>());
    for (name, line) in [("ws", ws as fn() -> Line), ("sse", sse), ("poll", || poll(60_000))] {
        // The first round fills what a worker keeps for all its sessions, and lets the topics'
        // tables grow.
        idle(line).await;
        let [bytes, ended] = idle(line).await;
        println!("{name}: {bytes} bytes an idle connection, {ended} once it has ended");
        assert!(bytes <= BYTES_MAX, "{name}: {bytes}");
        assert!(ended <= ENDED_BYTES_MAX, "{name}: {ended}");
    }
}

/// Bytes per connection with [`CONNECTIONS`] of them, each with its `hello` and its second batch
/// behind it, and when all have ended.
async fn idle(line: fn() -> Line) -> [usize; 2] {
    let mut rig = Rig::new();
    let cursor: Cursor = rig.log.tail_cursor();
    rig.start = Start::After(cursor);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peers = Vec::new();
    let mut sockets = Vec::new();
    for _ in 0..CONNECTIONS {
        peers.push(Peer::connect(listener.local_addr().unwrap()).unwrap());
        sockets.push(listener.accept().await.unwrap().0.into_std().unwrap());
    }
    let mut running = Vec::with_capacity(CONNECTIONS);
    let mut handles = Vec::with_capacity(CONNECTIONS);
    let region = Region::new(ALLOCATOR);
    for socket in sockets {
        let socket = TcpStream::from_std(socket).unwrap();
        let (session, handle) = rig.session(socket, line());
        running.push(tokio::spawn(session));
        handles.push(handle);
    }
    tokio::time::sleep(ms(800)).await;
    // What the test itself has noted is no part of a connection.
    drop(std::mem::take(&mut *rig.application.sent.lock()));
    let change = region.change();
    assert!(running.iter().all(|session| !session.is_finished()));
    // Nothing of this round is given back in the next.
    drop(peers);
    for session in running.drain(..) {
        session.await.unwrap();
    }
    let ended = region.change();
    drop(handles);
    // What was there before may be given back too.
    [change, ended]
        .map(|change| change.bytes_allocated.saturating_sub(change.bytes_deallocated) / CONNECTIONS)
}
