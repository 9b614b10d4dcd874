//! What once went wrong, each test named after the bug.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use events::{
    Cursor, Data, Draft, Epoch, Event, Fact, Limit, Located, Log, Options, Reader, Reset, ResetReason, Seq,
    Sequenced, Start, Topic, Topics,
};

const ALL: Limit = Limit { events: 1000, bytes: 1 << 20 };

fn topic(name: &str) -> Topic {
    name.parse().unwrap()
}

fn seq(number: u64) -> Seq {
    Seq::new(number).unwrap()
}

fn draft(name: &str) -> Draft {
    Draft::new(Topics::one(topic(name)), "t".parse().unwrap(), Data::null())
}

/// A log in its first epoch.
fn log(options: &Options) -> Arc<Log> {
    let log = Log::new(options);
    epoch(&log, 1, None, 0);
    log
}

/// The point of the first epoch with this seq.
fn at(number: u64) -> Cursor {
    Cursor { epoch: Epoch::new(1), seq: seq(number) }
}

fn epoch(log: &Log, number: u64, end: Option<u64>, start: u64) {
    log.apply(Fact::Epoch { epoch: Epoch::new(number), end: end.map(seq), start: seq(start) });
}

/// Appends one event to each of the topics.
fn push(log: &Log, names: &[&str]) {
    for name in names {
        let next = log.tail().next();
        log.apply(Fact::Events(vec![Sequenced {
            seq: Some(next),
            time_ms: 0,
            age_ms: 0,
            draft: draft(name),
        }]));
    }
}

fn read(reader: &mut Reader) -> Result<Vec<u64>, Reset> {
    let mut out: Vec<Event> = Vec::new();
    reader.read(ALL, &mut out)?;
    Ok(out.iter().map(|event| event.seq().map_or(0, Seq::number)).collect())
}

fn is_awake(reader: &Reader) -> bool {
    reader.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn trimmed_left_readers_asleep() {
    let log = log(&Options::default());
    let mut reader = Reader::new(&log, &[topic("a")], None, Start::Latest);
    log.apply(Fact::Trimmed { through: seq(7) });
    assert!(is_awake(&reader));
    assert_eq!(read(&mut reader).unwrap_err().reason, ResetReason::Expired);
}

#[test]
fn doubt_above_a_fork_outlived_it() {
    let log = log(&Options { topic_idle_max: Duration::ZERO, log_bytes_max: 0, ..Options::default() });
    push(&log, &["a", "b", "a"]);
    log.sweep(1000);
    log.apply(Fact::Trimmed { through: seq(3) });
    epoch(&log, 2, Some(0), 0);
    push(&log, &["c"]);
    for name in ["a", "b"] {
        let mut reader = Reader::new(&log, &[topic(name)], None, Start::After(at(0)));
        assert_eq!(read(&mut reader), Ok(vec![]), "nothing ever was in {name}");
    }
}

#[test]
fn a_fork_below_the_epoch_left_the_one_before_it_whole() {
    let log = log(&Options::default());
    push(&log, &["a"; 4]);
    let cursor = log.tail_cursor();
    epoch(&log, 2, Some(4), 4);
    epoch(&log, 3, Some(2), 2);
    let end = Cursor { epoch: Epoch::new(3), seq: seq(2) };
    assert_eq!(log.locate(cursor), Located::Phantom { end });
    assert_eq!(log.locate(Cursor { epoch: Epoch::new(2), seq: seq(4) }), Located::Phantom { end });
}

#[test]
fn a_hole_of_the_new_epoch_counted_as_told_in_the_old_one() {
    let log = log(&Options { ring_events_max: 1, ..Options::default() });
    push(&log, &["a"; 9]);
    let mut reader = Reader::new(&log, &[topic("a")], None, Start::Earliest);
    epoch(&log, 2, None, 0);
    assert_eq!(read(&mut reader).unwrap_err().reason, ResetReason::Epoch);
    push(&log, &["a"; 3]);
    assert_eq!(read(&mut reader).unwrap_err().reason, ResetReason::Expired);
    assert_eq!(read(&mut reader), Ok(vec![3]));
}

#[test]
fn what_was_told_of_a_hole_was_forgotten_at_a_fork_that_lost_nothing() {
    let log = log(&Options { ring_events_max: 1, ..Options::default() });
    let mut reader = Reader::new(&log, &[topic("a")], None, Start::Latest);
    push(&log, &["a"; 9]);
    assert_eq!(read(&mut reader).unwrap_err().reason, ResetReason::Expired);
    epoch(&log, 2, Some(9), 9);
    assert_eq!(read(&mut reader), Ok(vec![9]));
}

#[test]
fn a_full_budget_evicted_what_came_last() {
    let log = log(&Options { log_bytes_max: 20_000, ..Options::default() });
    for n in 0..1000 {
        push(&log, &[&format!("job:{n}")]);
    }
    let name = topic("job:new");
    let mut reader = Reader::new(&log, std::slice::from_ref(&name), None, Start::Latest);
    push(&log, &[name.as_str()]);
    assert_eq!(read(&mut reader), Ok(vec![1001]));
    assert!(log.stats().bytes <= 20_000, "{:?}", log.stats());
}

#[test]
fn one_who_only_looks_could_evict_everything() {
    let log = log(&Options { log_bytes_max: 20_000, ..Options::default() });
    push(&log, &["user:quiet"; 3]);
    for n in 0..1000 {
        drop(Reader::new(&log, &[topic(&format!("room:{n}"))], None, Start::Latest));
    }
    push(&log, &["user:other"]);
    let mut quiet = Reader::new(&log, &[topic("user:quiet")], None, Start::After(at(0)));
    assert_eq!(read(&mut quiet), Ok(vec![1, 2, 3]));
}

#[test]
fn read_topics_that_are_empty_kept_others_over_the_budget() {
    let log = log(&Options { log_bytes_max: 10_000, ..Options::default() });
    push(&log, &["a", "b", "c", "d", "e", "f", "g", "h"]);
    let names: Vec<Topic> = (0..50).map(|n| topic(&format!("room:{n}"))).collect();
    let _readers = Reader::new(&log, &names, None, Start::Latest);
    push(&log, &["i"]);
    let stats = log.stats();
    assert!(stats.bytes <= 10_000 || stats.events == 0, "{stats:?}");
}

#[test]
fn a_limit_of_no_events_skipped_them() {
    let log = log(&Options::default());
    let mut reader = Reader::new(&log, &[topic("a")], None, Start::Latest);
    push(&log, &["a"; 2]);
    let mut out = Vec::new();
    let span = reader.read(Limit { events: 0, bytes: 0 }, &mut out).unwrap();
    assert_eq!((out.len(), span.cursor.seq.number(), span.more), (1, 1, true));
}

#[test]
fn an_ephemeral_event_for_nobody_made_a_topic() {
    let log = log(&Options::default());
    let draft = Draft { ephemeral: true, ..draft("nobody") };
    log.apply(Fact::Events(vec![Sequenced { seq: None, time_ms: 0, age_ms: 0, draft }]));
    assert_eq!(log.stats().topics, 0);
}

#[test]
fn a_start_that_was_located_in_the_epoch_before_skipped_events() {
    let log = log(&Options::default());
    push(&log, &["a"; 9]);
    let Located::Here(start) = log.locate(at(9)) else { panic!("it is the tail") };
    epoch(&log, 2, None, 0);
    push(&log, &["a"; 3]);
    let mut reader = Reader::new(&log, &[topic("a")], None, Start::After(start));
    assert_eq!(read(&mut reader).unwrap_err().reason, ResetReason::Epoch);
    push(&log, &["a"]);
    assert_eq!(read(&mut reader), Ok(vec![4]));
}
