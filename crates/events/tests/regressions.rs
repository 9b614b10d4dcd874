//! What once went wrong, each test named after the bug.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use events::{
    Cursor, Data, Draft, Epoch, Event, Fact, Limit, Located, Log, Options, Reader, Reset, ResetReason, Seq,
    Sequenced, Start, Topic, Topics, unix_ms,
};

const ALL: Limit = Limit { events: 1000, bytes: 1 << 20 };

fn topic(name: &str) -> Topic {
    name.parse().unwrap()
}

fn seq(number: u64) -> Seq {
    Seq::new(number).unwrap()
}

fn draft(name: &str) -> Draft {
    Draft {
        topics: Topics::one(topic(name)),
        kind: "t".parse().unwrap(),
        data: Data::null(),
        key: None,
        id: None,
        once: None,
        ttl_ms: None,
        ephemeral: false,
        expect: None,
    }
}

/// A log in its first epoch.
fn log(options: &Options) -> Arc<Log> {
    let log = Log::new(options);
    epoch(&log, 1, None, 0);
    log
}

fn epoch(log: &Log, number: u64, end: Option<u64>, start: u64) {
    log.apply(Fact::Epoch { epoch: Epoch::new(number), end: end.map(seq), start: seq(start) });
}

/// Appends one event to each of the topics.
fn push(log: &Log, names: &[&str]) {
    for name in names {
        let next = log.tail().next();
        log.apply(Fact::Events(vec![Sequenced { seq: Some(next), time_ms: unix_ms(), draft: draft(name) }]));
    }
}

fn read(reader: &mut Reader) -> Result<Vec<u64>, Reset> {
    let mut out: Vec<Arc<Event>> = Vec::new();
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
