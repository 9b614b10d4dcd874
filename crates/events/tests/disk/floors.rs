//! After a restart, a cursor is reset for exactly the topics of which it may miss trimmed events.

use std::sync::Arc;

use events::{
    Chance, Clock, Cursor, Disk, DiskOptions, Draft, Fsync, Limit, Log, Options, Reader, ResetReason, Seq,
    Start, Store as _, Topic,
};
use proptest::prelude::*;

use super::suite::{Subject, draft, topic};
use super::{Directory, options};

/// How many entries the store trims at once at least.
const RUN: usize = 512;

const TOPICS: usize = 8;

fn name(topic: usize) -> String {
    format!("room:{topic}")
}

/// The store that a process opens. Its chance is seeded, so that no two of the topics ever share a floor.
fn open(directory: &Directory, events_max: u64) -> (Subject, u64) {
    let log = Log::with(
        &Options { ring_events_max: 1 << 20, ..Options::default() },
        Clock::system(),
        Chance::seeded(7),
    );
    let bounded = DiskOptions { events_max, ..options(&directory.0, Fsync::Never) };
    let (store, recovered) = Disk::open(Arc::clone(&log), bounded).unwrap();
    assert_eq!((recovered.epoch_changed, recovered.damage), (false, None));
    (Subject { log, store, _keep: Box::new(()) }, recovered.events)
}

/// The topics that a session with all of them is told to be incomplete.
fn reset_topics(subject: &Subject, after: u64) -> Vec<Topic> {
    let topics: Vec<Topic> = (0..TOPICS).map(|at| topic(&name(at))).collect();
    let cursor = Cursor { seq: Seq::new(after).unwrap(), ..subject.log.tail_cursor() };
    let mut reader = Reader::new(&subject.log, &topics, None, Start::After(cursor));
    match reader.read(Limit { events: 1, bytes: 1 << 20 }, &mut Vec::new()) {
        Ok(_) => Vec::new(),
        Err(reset) => {
            assert_eq!(reset.reason, ResetReason::Expired);
            reset.topics
        }
    }
}

/// What is published between two restarts: how many runs, and to which topics.
#[derive(Clone, Debug)]
struct Round {
    runs: usize,
    topics: Vec<usize>,
    pattern: u64,
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let topics = prop::sample::subsequence((0..TOPICS).collect::<Vec<_>>(), 1..=3);
    let round = (0..5_usize, topics, any::<u64>());
    let round = round.prop_map(|(runs, topics, pattern)| Round { runs, topics, pattern });
    prop::collection::vec(round, 2..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_restart_resets_a_cursor_for_exactly_the_topics_with_trimmed_events_behind_it(rounds in rounds()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(rounds))?;
    }
}

async fn live(rounds: Vec<Round>) -> Result<(), TestCaseError> {
    const EVENTS_MAX: u64 = 2 * RUN as u64;
    let directory = Directory::new();
    // The topics of event `n` stand at `n - 1`.
    let mut published: Vec<Vec<usize>> = Vec::new();
    for round in rounds {
        let (subject, retained) = open(&directory, EVENTS_MAX);
        let through = published.len() - retained as usize;
        for after in (0..=published.len()).step_by(61).chain([through.saturating_sub(1), through]) {
            let lost = published.get(after..through).unwrap_or_default().concat();
            let lost: Vec<Topic> =
                (0..TOPICS).filter(|at| lost.contains(at)).map(|at| topic(&name(at))).collect();
            prop_assert_eq!(reset_topics(&subject, after as u64), lost, "after {} of {}", after, through);
        }
        let mut pattern = round.pattern;
        for _ in 0..round.runs {
            let mut drafts = Vec::with_capacity(RUN);
            for _ in 0..RUN {
                pattern = pattern.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let first = round.topics[(pattern >> 33) as usize % round.topics.len()];
                let second = (pattern >> 60 == 0).then_some((pattern >> 40) as usize % TOPICS);
                let topics: Vec<usize> =
                    [first].into_iter().chain(second.filter(|at| *at != first)).collect();
                let names: Vec<String> = topics.iter().copied().map(name).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                drafts.push(draft(&names, published.len() as u64));
                published.push(topics);
            }
            let answers = subject.append(drafts).await;
            prop_assert!(answers.iter().all(Result::is_ok));
        }
    }
    Ok(())
}

/// Two hours later, a client that was away all the time is told about the room that had events, and about no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_never_had_an_event_is_not_named_after_two_restarts() {
    let directory = Directory::new();
    let (subject, _) = open(&directory, RUN as u64);
    for _ in 0..4 {
        subject.append((0..RUN as u64).map(|n| draft(&[&name(1)], n)).collect()).await;
    }
    drop(subject);
    for _ in 0..2 {
        let (subject, _) = open(&directory, RUN as u64);
        assert_eq!(reset_topics(&subject, 1), [topic(&name(1))]);
    }
}

/// A member who changes state again and again leaves many trimmed events, and readers miss none of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trimmed_event_that_a_later_one_replaced_is_no_loss_after_a_restart() {
    let directory = Directory::new();
    let told = |user: &str, n| Draft {
        kind: "presence.update".parse().unwrap(),
        key: Some(user.parse().unwrap()),
        ..draft(&[&name(2)], n)
    };
    let (subject, _) = open(&directory, 2 * RUN as u64);
    subject.publish(told("bob", 0)).await;
    for run in 0..8 {
        let mut drafts: Vec<Draft> = (1..RUN as u64).map(|n| draft(&[&name(1)], n)).collect();
        drafts.push(told("alice", run));
        subject.append(drafts).await;
    }
    drop(subject);
    let (subject, _) = open(&directory, 2 * RUN as u64);
    assert_eq!(reset_topics(&subject, 1), [topic(&name(1))], "alice's last change is there");
    assert_eq!(reset_topics(&subject, 0), [topic(&name(1)), topic(&name(2))], "bob's only one is not");
}

/// Damage may have taken the floor of a topic with it, and no one could tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_damage_a_cursor_below_what_was_trimmed_is_reset_for_every_topic() {
    let directory = Directory::new();
    let log = Log::new(&Options::default());
    let bounded = DiskOptions { events_max: RUN as u64, ..options(&directory.0, Fsync::Never) };
    let (store, _) = Disk::open(Arc::clone(&log), bounded).unwrap();
    let value = ("a".to_owned(), Some(b"a value to damage".to_vec()));
    for _ in 0..4 {
        store.append((0..RUN as u64).map(|n| draft(&[&name(1)], n)).collect()).await;
    }
    store.append_and_keep(Vec::new(), vec![value]).await.unwrap();
    drop(store);
    let path = directory.0.join("log");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(17).rposition(|window| window == b"a value to damage").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let log = Log::new(&Options::default());
    let (store, recovered) = Disk::open(Arc::clone(&log), options(&directory.0, Fsync::Never)).unwrap();
    assert!(recovered.damage.is_some() && !recovered.epoch_changed, "{recovered:?}");
    let subject = Subject { log, store, _keep: Box::new(()) };
    assert_eq!(reset_topics(&subject, 1).len(), TOPICS);
    assert!(reset_topics(&subject, 4 * RUN as u64).is_empty());
}
