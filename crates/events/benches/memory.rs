//! What a topic costs in bytes that the program asked for, beside what the log's budget is charged for it.

#![allow(clippy::disallowed_methods, reason = "benches may ask the system for time and chance")]
#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::sync::Arc;

use events::{Clock, Data, Draft, Epoch, Fact, Log, Options, Reader, Seq, Sequenced, Start, Topic, Topics};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const TOPICS: usize = 1000;

fn main() {
    println!("{:44} {:>10} {:>10}", "bytes", "allocated", "charged");
    for events in [1, 128] {
        let (log, before) = (log(), MEMORY.current_usage());
        fill(&log, events);
        print(&format!("a topic with {events} events of 220 bytes"), before, log.stats().bytes);
    }
    for topics in [1, 3] {
        let log = log();
        fill(&log, 1);
        let charged = log.stats().bytes;
        let before = MEMORY.current_usage();
        let names: Vec<Vec<Topic>> =
            (0..TOPICS).map(|n| (n..n + topics).map(|n| topic(n % TOPICS)).collect()).collect();
        let names_bytes = MEMORY.current_usage() - before;
        let readers: Vec<Reader> =
            names.iter().map(|names| Reader::new(&log, names, None, Start::Latest)).collect();
        print(&format!("a reader of {topics} topics"), before + names_bytes, log.stats().bytes - charged);
        drop(readers);
    }
}

fn print(what: &str, before: usize, charged: usize) {
    let allocated = (MEMORY.current_usage() - before) / TOPICS;
    println!("{what:44} {allocated:>10} {:>10}", charged / TOPICS);
}

fn log() -> Arc<Log> {
    let log = Log::new(&Options::default());
    log.apply(Fact::Epoch { epoch: Epoch::new(1), end: None, start: Seq::ZERO });
    log
}

fn topic(n: usize) -> Topic {
    format!("user:{n:06}").parse().unwrap()
}

fn fill(log: &Log, events: usize) {
    // 220 bytes of JSON, topic, type, seq and time included.
    let data = Data::from_value(&"x".repeat(125)).unwrap();
    for n in 0..TOPICS * events {
        let draft = Draft::new(Topics::one(topic(n % TOPICS)), "progress".parse().unwrap(), data.clone());
        let seq = Some(log.tail().next());
        log.apply(Fact::Events(vec![Sequenced {
            seq,
            time_ms: Clock::system().unix_ms(),
            age_ms: 0,
            draft,
        }]));
    }
}
