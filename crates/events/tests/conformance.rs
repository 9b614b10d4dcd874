//! Every store against the same suite, and what is left of its promises when the store fails.

#[macro_use]
mod suite;

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use events::{
    Appended, Chance, Cursor, Limit, Located, Log, Memory, Options, Reader, Rejection, ResetReason, Seq,
    SimulatedClock, Start, Store, Unavailable,
};
use suite::faulty::{Fault, Faulty};
use suite::{Subject, a_token_is_known_for_five_minutes, data, draft, once, seq, topic};

async fn open_memory(options: &Options) -> Subject {
    let log = Log::new(options);
    let store = Memory::open(Arc::clone(&log));
    Subject { log, store, _keep: Box::new(()) }
}

async fn open_faulty(options: &Options) -> (Subject, Arc<Faulty>) {
    let Subject { log, store, _keep } = open_memory(options).await;
    let faulty = Faulty::new(Arc::clone(&log), store);
    (Subject { log, store: Arc::clone(&faulty) as Arc<dyn Store>, _keep }, faulty)
}

mod memory {
    conformance!(super::open_memory);
    conformance!(super::open_memory: a_checkpoint_is_stored_with_its_events,);
}

#[tokio::test]
async fn memory_knows_a_token_for_five_minutes() {
    let time = SimulatedClock::new(1_800_000_000_000);
    let log = Log::with(&Options::default(), time.clock(), Chance::seeded(1));
    let store = Memory::open(Arc::clone(&log));
    a_token_is_known_for_five_minutes(&Subject { log, store, _keep: Box::new(()) }, &time, 501_000).await;
}

/// The bound is in bytes; what leaves before its time is counted.
#[tokio::test]
async fn tokens_beyond_their_bytes_are_forgotten_and_counted() {
    let log = Log::new(&Options::default());
    let store = Memory::open_with(Arc::clone(&log), 20_000);
    let subject = Subject { log, store, _keep: Box::new(()) };
    for n in 0..1_000 {
        subject.publish(once(&format!("token {n}"), draft(&["a"], n))).await;
    }
    let evicted = subject.store.status().tokens_evicted;
    assert!((800..900).contains(&evicted), "{evicted} of 1,000 evicted");
    assert!(subject.publish(once("token 999", draft(&["a"], 0))).await.duplicate);
    assert!(!subject.publish(once("token 0", draft(&["a"], 0))).await.duplicate);
}

/// On a good day it is a store like any other.
mod faulty {
    async fn open(options: &events::Options) -> crate::suite::Subject {
        super::open_faulty(options).await.0
    }

    conformance!(open);
}

#[tokio::test]
async fn what_was_refused_is_not_there() {
    let (subject, faulty) = open_faulty(&Options::default()).await;
    let mut reader = Reader::new(&subject.log, &[topic("a")], None, Start::Latest);
    faulty.inject(Fault::Refuse);
    let refused = subject.append(vec![draft(&["a"], 1), once("x", draft(&["a"], 2))]).await;
    assert_eq!(refused, vec![Err(Rejection::Unavailable(Unavailable("refused"))); 2]);
    let end = subject.publish(once("x", draft(&["a"], 3))).await;
    assert_eq!((end.duplicate, end.seq), (false, Some(seq(1))));
    let read = subject.read_to(&mut reader, end.cursor).await.unwrap();
    assert_eq!(read.iter().map(data).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn a_lost_answer_and_a_repeat_append_once() {
    let (subject, faulty) = open_faulty(&Options::default()).await;
    let mut reader = Reader::new(&subject.log, &[topic("a")], None, Start::Latest);
    faulty.inject(Fault::LoseAnswers);
    let unknown = subject.append_one(once("x", draft(&["a"], 1))).await;
    assert!(matches!(unknown, Err(Rejection::Unavailable(_))));
    let repeat = subject.publish(once("x", draft(&["a"], 1))).await;
    assert!(repeat.duplicate);
    assert_eq!(subject.read_to(&mut reader, repeat.cursor).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_fork_resets_who_was_above_it_and_who_is_owed_what_it_lost() {
    let (subject, faulty) = open_faulty(&Options::default()).await;
    let new = |name: &str| Reader::new(&subject.log, &[topic(name)], None, Start::Latest);
    let mut below = [new("a"), new("b")];
    subject.publish(draft(&["b"], 1)).await;
    let end = subject.publish(draft(&["a"], 2)).await.cursor;
    below.iter_mut().for_each(|reader| drop(reader.read(Limit { events: 9, bytes: 999 }, &mut vec![])));
    faulty.inject(Fault::Fork { back: 2 });
    let answers = subject.append(vec![draft(&["a"], 3), draft(&["a"], 4)]).await;
    let phantom = answers[1].unwrap().cursor;
    assert_eq!(subject.log.locate(phantom), Located::Phantom { end });

    let mut above = Reader::new(&subject.log, &[topic("b")], None, Start::After(phantom));
    let reset = above.read(Limit { events: 9, bytes: 999 }, &mut vec![]).unwrap_err();
    assert_eq!((reset.reason, reset.at), (ResetReason::Epoch, end));
    let [mut a, mut b] = below;
    let reset = a.read(Limit { events: 9, bytes: 999 }, &mut vec![]).unwrap_err();
    assert_eq!((reset.reason, reset.topics), (ResetReason::Expired, vec![topic("a")]));
    let after = subject.publish(draft(&["a", "b"], 5)).await.cursor;
    assert_eq!(subject.read_to(&mut a, after).await.unwrap().len(), 1);
    assert_eq!(subject.read_to(&mut b, after).await.unwrap().len(), 1, "nothing of its topics was lost");
}

/// What a reader was given, in order.
enum Given {
    Event(u64),
    /// Told when the log was at `tail`, so not of anything above it.
    Reset {
        topics: Vec<String>,
        tail: Seq,
    },
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_without_a_reset() {
    const TOPICS: [&str; 4] = ["a", "b", "c", "d"];
    const EACH: u64 = 400;
    let (subject, faulty) = open_faulty(&Options { ring_events_max: 50, ..Options::default() }).await;
    let subject = Arc::new(subject);
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|n| {
            let (log, over) = (Arc::clone(&subject.log), Arc::clone(&over));
            // Each of another pair of topics; the last reads them all.
            let topics = if n == 3 { TOPICS.to_vec() } else { vec![TOPICS[n], TOPICS[n + 1]] };
            let start = log.tail_cursor();
            tokio::spawn(async move { (topics.clone(), follow(log, &topics, start, over).await) })
        })
        .collect();

    let publishers: Vec<_> = (0..3)
        .map(|n| {
            let (subject, faulty) = (Arc::clone(&subject), Arc::clone(&faulty));
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for id in n * EACH..(n + 1) * EACH {
                    match id.wrapping_mul(0x9e37_79b9) >> 3 & 63 {
                        0 => faulty.inject(Fault::Fork { back: id % 7 }),
                        1 | 2 => faulty.inject(Fault::LoseAnswers),
                        3 | 4 => faulty.inject(Fault::Refuse),
                        5 => faulty.inject(Fault::Trim),
                        6..12 => faulty.inject(Fault::Delay(Duration::from_micros(id % 900))),
                        _ => {}
                    }
                    let name = TOPICS[(id % 4) as usize];
                    let appended = publish_until_acknowledged(&subject, name, id).await;
                    acknowledged.push((appended.seq.unwrap(), id, name));
                }
                acknowledged
            })
        })
        .collect();
    let mut acknowledged: Vec<(Seq, u64, &str)> = Vec::new();
    for publisher in publishers {
        acknowledged.extend(publisher.await.unwrap());
    }
    faulty.behave();
    let last = subject.publish(draft(&TOPICS, u64::MAX)).await;
    over.store(true, Ordering::Release);
    // Wakes who read the last event before it was over.
    subject.publish(draft(&TOPICS, u64::MAX - 1)).await;
    acknowledged.extend(TOPICS.map(|name| (last.seq.unwrap(), u64::MAX, name)));
    acknowledged.sort();

    for reader in readers {
        let (topics, given) = reader.await.unwrap();
        let mut ids = HashSet::new();
        let twice = given.iter().any(|given| matches!(given, Given::Event(id) if !ids.insert(*id)));
        assert!(!twice, "an event came twice");
        for name in topics {
            check_topic(name, &acknowledged, &given);
        }
    }
}

async fn publish_until_acknowledged(subject: &Subject, name: &str, id: u64) -> Appended {
    loop {
        match subject.append_one(once(&format!("token {id}"), draft(&[name], id))).await {
            Ok(appended) => return appended,
            Err(Rejection::Unavailable(_)) => tokio::task::yield_now().await,
            Err(conflict) => panic!("{conflict}"),
        }
    }
}

/// Reads and now and then breaks and comes back, until the log is over.
async fn follow(log: Arc<Log>, names: &[&str], start: Cursor, over: Arc<AtomicBool>) -> Vec<Given> {
    let topics: Vec<_> = names.iter().map(|name| topic(name)).collect();
    let mut given = Vec::new();
    let mut cursor = start;
    loop {
        let mut reader = Reader::new(&log, &topics, None, Start::After(cursor));
        for limit in 1..20 {
            let mut out = Vec::new();
            match reader.read(Limit { events: limit, bytes: 1 << 20 }, &mut out) {
                Err(reset) => {
                    let topics = reset.topics.iter().map(ToString::to_string).collect();
                    given.push(Given::Reset { topics, tail: log.tail() });
                }
                Ok(span) => {
                    given.extend(out.iter().map(|event| Given::Event(data(event))));
                    if !span.more && over.load(Ordering::Acquire) && span.cursor.seq == log.tail() {
                        return given;
                    }
                    if !span.more {
                        let ready = poll_fn(|cx| reader.poll_ready(cx));
                        tokio::time::timeout(Duration::from_secs(180), ready).await.expect("woken");
                    }
                }
            }
        }
        cursor = reader.cursor();
    }
}

/// Between two events of a topic that came, none is missing of which no reset told before.
fn check_topic(name: &str, acknowledged: &[(Seq, u64, &str)], given: &[Given]) {
    let owed: Vec<(Seq, u64)> =
        acknowledged.iter().filter(|(_, _, of)| *of == name).map(|&(seq, id, _)| (seq, id)).collect();
    let mut told = Seq::ZERO;
    let mut next = 0;
    for one in given {
        match one {
            Given::Reset { topics, tail } if topics.iter().any(|topic| topic == name) => told = *tail,
            Given::Reset { .. } => {}
            Given::Event(id) => {
                let Some(at) = owed.iter().position(|(_, owed)| owed == id) else { continue };
                assert!(at >= next, "{name}: {id} is out of order");
                let lost = owed[next..at].iter().find(|(seq, _)| *seq > told);
                assert_eq!(lost, None, "{name}: lost before {id}, and no reset");
                next = at + 1;
            }
        }
    }
    assert_eq!(next, owed.len(), "{name}: the last event came");
}
