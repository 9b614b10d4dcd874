//! What batches and messages cost: nanoseconds to frame a batch for each transport with 1 and with
//! 16 events, to decode a small WebSocket message out of a full read, and to take one event, and
//! a long replay, through a running session. `cargo bench -p transport`.

#![allow(clippy::disallowed_methods, reason = "what it measures is real time")]
#![allow(clippy::print_stdout, reason = "the figures are the output")]

#[allow(dead_code, unreachable_pub, reason = "the tests use the rest")]
#[path = "../../tests/rig/quiet_host.rs"]
mod quiet_host;
mod session;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use events::{Data, Draft, Event, Limit, Log, Memory, Options, Reader, Start, Store as _, Topic, Topics};
use transport::Batch;
use transport::ws::Decoder;

const ROUNDS: u32 = 15;
const BATCHES: u32 = 20_000;
/// Reads of a round of [`decode`].
const READS: u32 = 20;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts");
    for count in [1, 16] {
        let (events, after, cursor) = runtime.block_on(events(count));
        let batch = Batch::new(after, cursor, &events);
        let mut out = Vec::with_capacity(64 << 10);
        measure("ws", count, &mut out, |out| batch.write_ws(out));
        measure("sse", count, &mut out, |out| batch.write_sse(0, true, out));
        measure("poll", count, &mut out, |out| batch.write_json(out));
    }
    decode();
    runtime.block_on(session::measure());
}

/// Decodes what one read of 16 KiB brings when a client sends small messages as fast as it can.
fn decode() {
    let message = b"{\"op\":\"ping\",\"id\":\"1\"}";
    let head = [0x81, 0x80 | message.len() as u8, 0, 0, 0, 0];
    let frame = [&head[..], message].concat();
    let count = (16 << 10) / frame.len();
    let received = frame.repeat(count);
    let mut decoder = Decoder::new(16 << 10);
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        for _ in 0..READS {
            decoder.feed(black_box(&received));
            for _ in 0..count {
                black_box(decoder.message()).expect("the rules are kept").expect("a message");
            }
        }
        start.elapsed().as_nanos() as f64 / (f64::from(READS) * count as f64)
    });
    let ns = rounds.fold(f64::INFINITY, f64::min);
    println!("decode {count:4} messages {:6} bytes {ns:8.1} ns a message", received.len());
}

/// The fastest of several rounds, per batch: what others do on the machine only adds.
fn measure(name: &str, count: usize, out: &mut Vec<u8>, write: impl Fn(&mut Vec<u8>)) {
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        for _ in 0..BATCHES {
            out.clear();
            write(black_box(out));
        }
        start.elapsed().as_nanos() as f64 / f64::from(BATCHES)
    });
    let ns = rounds.fold(f64::INFINITY, f64::min);
    println!("{name:5} {count:3} events {:6} bytes {ns:8.1} ns", out.len());
}

/// Events with 200 bytes of data, as a log has them.
async fn events(count: usize) -> (Vec<Event>, events::Cursor, events::Cursor) {
    let log = Log::new(&Options::default());
    let store = Memory::open(Arc::clone(&log));
    let mut reader = Reader::new(&log, &[Topic::all()], None, Start::Latest);
    let draft = Draft::new(
        Topics::one(Topic::all()),
        "progress".parse().expect("a type"),
        Data::from_value(&"x".repeat(200)).expect("data"),
    );
    let answers = store.append(vec![draft; count]).await;
    assert!(answers.iter().all(Result::is_ok));
    let mut events = Vec::new();
    let span = reader.read(Limit { events: count, bytes: usize::MAX }, &mut events).expect("nothing is lost");
    (events, span.after, span.cursor)
}
