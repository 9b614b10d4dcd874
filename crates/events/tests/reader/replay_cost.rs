//! The replay of many full topics costs what is sent: the CPU per byte does not grow with the number of topics.
//!
//! Counted in instructions by callgrind, which a busy machine does not change. Without valgrind nothing is counted
//! here; the unit tests of `merge` count the looks into rings everywhere.

#![allow(clippy::print_stdout, reason = "the figures are worth more than that they are small enough")]

use std::process::Command;
use std::sync::Arc;

use events::{Data, Draft, Epoch, Fact, Limit, Log, Options, Reader, Seq, Sequenced, Start, Topic, Topics};

/// Events of each topic. A full topic has 256 of them; an eighth shows the same in an eighth of the time.
const EVENTS: usize = 32;

/// Data of an event, so that a full topic has 1 MiB.
const DATA_BYTES: usize = 4096;

/// What the gateway puts into one message of a stream at most.
const MESSAGE: Limit = Limit { events: 1000, bytes: 32 << 10 };

/// How much more a byte of 62 topics may cost than a byte of 16.
const RATIO_MAX: f64 = 1.3;

fn full(topics: &[Topic]) -> Arc<Log> {
    let log = Log::new(&Options::default());
    log.apply(Fact::Epoch { epoch: Epoch::new(1), end: None, start: Seq::ZERO });
    let data = Data::from_value(&"x".repeat(DATA_BYTES)).unwrap();
    let mut seq = Seq::ZERO;
    for _ in 0..EVENTS {
        let events = topics.iter().map(|topic| {
            seq = seq.next();
            let draft = Draft::new(Topics::one(topic.clone()), "t".parse().unwrap(), data.clone());
            Sequenced { seq: Some(seq), time_ms: 0, age_ms: 0, draft }
        });
        log.apply(Fact::Events(events.collect()));
    }
    log
}

/// Reads all that there is, a message at a time, into one buffer as a session does. How many bytes.
fn read_all(reader: &mut Reader) -> usize {
    let (mut bytes, mut out, mut buffer) = (0, Vec::new(), Vec::with_capacity(1 << 20));
    loop {
        out.clear();
        buffer.clear();
        let more = reader.read(MESSAGE, &mut out).expect("nothing is missing").more;
        out.iter().for_each(|event| buffer.extend_from_slice(event.json()));
        bytes += buffer.len();
        if !more {
            return bytes;
        }
    }
}

#[test]
#[ignore = "run by the test below under callgrind"]
fn replay() {
    let number = |name: &str| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let topics: Vec<Topic> =
        (0..number("REPLAY_TOPICS")).map(|topic| format!("room:{topic}").parse().unwrap()).collect();
    let log = full(&topics);
    let mut bytes = 0;
    for _ in 0..number("REPLAY_TIMES") {
        bytes += read_all(&mut Reader::new(&log, &topics, None, Start::Earliest));
    }
    println!("bytes {bytes}.");
}

/// Instructions of a process that fills so many topics and reads them so often, and the bytes that it read.
fn instructions(topics: usize, times: usize) -> (f64, f64) {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "replay_cost::replay", "--ignored", "--nocapture", "--test-threads", "1"])
        .env("REPLAY_TOPICS", topics.to_string())
        .env("REPLAY_TIMES", times.to_string())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let number = |text: &str, before: &str| {
        let (_, rest) = text.split_once(before)?;
        rest.split(|byte: char| !byte.is_ascii_digit()).next()?.parse::<f64>().ok()
    };
    let found = number(&err, "Collected : ").zip(number(&out, "bytes "));
    found.unwrap_or_else(|| panic!("{out}\n{err}"))
}

/// Instructions per byte of a replay of so many topics.
fn instructions_per_byte(topics: usize) -> f64 {
    let ((filled, _), (filled_and_read, bytes)) = (instructions(topics, 0), instructions(topics, 2));
    (filled_and_read - filled) / bytes
}

#[test]
fn a_byte_of_62_full_topics_costs_what_a_byte_of_16_costs() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: valgrind is not installed");
        return;
    }
    let [few, many] = [16, 62].map(instructions_per_byte);
    println!("{few:.3} instructions a byte with 16 topics, {many:.3} with 62");
    assert!(few > 0.0 && many > 0.0);
    assert!(many <= RATIO_MAX * few, "{few} instructions a byte with 16 topics, {many} with 62");
}
