//! What a store owes to publishers: order, one answer to each draft in its place, nothing twice.

use std::sync::Arc;

use events::{
    Appended, Checkpoint, Data, Draft, Limit, Options, Reader, Rejection, Seq, SimulatedClock, SourceName,
    Start,
};

use super::{Subject, data, draft, once, seq, topic};

fn seqs(answers: &[Result<Appended, Rejection>]) -> Vec<u64> {
    answers.iter().map(|answer| answer.unwrap().seq.unwrap().number()).collect()
}

pub(crate) async fn each_draft_gets_the_next_seq(open: impl AsyncFn(&Options) -> Subject) {
    let subject = open(&Options::default()).await;
    let first = subject.publish(draft(&["a"], 0)).await.seq.unwrap().number();
    let answers = subject.append((1..10).map(|n| draft(&["a", "b"], n)).collect()).await;
    assert_eq!(seqs(&answers), (first + 1..first + 10).collect::<Vec<_>>());
    let last = subject.publish(draft(&["b"], 10)).await;
    assert_eq!(last.seq, Some(seq(first + 10)));
    assert_eq!((last.cursor.seq, last.duplicate), (seq(first + 10), false));
}

pub(crate) async fn an_empty_batch_has_no_answers(open: impl AsyncFn(&Options) -> Subject) {
    let subject = open(&Options::default()).await;
    assert_eq!(subject.append(vec![]).await, vec![]);
}

pub(crate) async fn a_big_batch_stays_whole_and_in_order(open: impl AsyncFn(&Options) -> Subject) {
    const EVENTS: u64 = 5000;
    let subject = open(&Options { ring_events_max: EVENTS as usize, ..Options::default() }).await;
    let mut reader = Reader::new(&subject.log, &[topic("a")], None, Start::Latest);
    let filling = Data::from_value(&"x".repeat(1000)).unwrap();
    let batch = (0..EVENTS).map(|_| Draft { data: filling.clone(), ..draft(&["a"], 0) }).collect();
    let answers = subject.append(batch).await;
    let seqs = seqs(&answers);
    assert!(seqs.is_sorted_by(|a, b| a + 1 == *b) && seqs.len() == EVENTS as usize);
    let end = answers.last().unwrap().unwrap().cursor;
    let read = subject.read_to(&mut reader, end).await.unwrap();
    let read: Vec<u64> = read.iter().map(|event| event.seq().unwrap().number()).collect();
    assert_eq!(read, seqs);
}

pub(crate) async fn bad_drafts_spoil_no_others(open: impl AsyncFn(&Options) -> Subject) {
    let subject = open(&Options::default()).await;
    let mut reader = Reader::new(&subject.log, &[topic("a"), topic("b")], None, Start::Latest);
    let wrong = || Draft { expect: Some(seq(1 << 40)), ..draft(&["a"], 99) };
    let batch =
        vec![wrong(), draft(&["a"], 1), wrong(), once("token", draft(&["b"], 2)), wrong(), draft(&["a"], 3)];
    let answers = subject.append(batch).await;
    let refused: Vec<bool> = answers.iter().map(Result::is_err).collect();
    assert_eq!(refused, [true, false, true, false, true, false]);
    assert_eq!(answers[2], Err(Rejection::Conflict { last: answers[1].unwrap().seq.unwrap() }));
    let end = answers[5].unwrap().cursor;
    let read: Vec<u64> = subject.read_to(&mut reader, end).await.unwrap().iter().map(data).collect();
    assert_eq!(read, [1, 2, 3]);
}

pub(crate) async fn a_token_appends_once(open: impl AsyncFn(&Options) -> Subject) {
    let subject = open(&Options::default()).await;
    let mut reader = Reader::new(&subject.log, &[topic("a")], None, Start::Latest);
    let batch = vec![once("x", draft(&["a"], 1)), once("y", draft(&["a"], 2)), once("x", draft(&["a"], 3))];
    let answers: Vec<Appended> = subject.append(batch).await.into_iter().map(Result::unwrap).collect();
    let repeat = subject.publish(once("x", draft(&["a"], 4))).await;
    assert_eq!(answers[2], Appended { duplicate: true, ..answers[0] });
    assert_eq!(repeat, Appended { duplicate: true, ..answers[0] });
    assert_eq!(answers.iter().map(|answer| answer.duplicate).collect::<Vec<_>>(), [false, false, true]);
    let end = subject.publish(draft(&["a"], 5)).await.cursor;
    let read: Vec<u64> = subject.read_to(&mut reader, end).await.unwrap().iter().map(data).collect();
    assert_eq!(read, [1, 2, 5]);
}

pub(crate) async fn a_token_that_was_refused_is_free(open: impl AsyncFn(&Options) -> Subject) {
    let subject = open(&Options::default()).await;
    let expecting = |expect| once("x", Draft { expect: Some(expect), ..draft(&["a"], 1) });
    let refused = subject.append_one(expecting(seq(7))).await;
    assert_eq!(refused, Err(Rejection::Conflict { last: Seq::ZERO }));
    assert!(!subject.publish(expecting(Seq::ZERO)).await.duplicate);
    assert!(subject.publish(expecting(Seq::ZERO)).await.duplicate, "answered, whatever it expects");
}

pub(crate) async fn concurrent_repeats_append_once(open: impl AsyncFn(&Options) -> Subject) {
    let subject = Arc::new(open(&Options::default()).await);
    let mut reader = Reader::new(&subject.log, &[topic("a")], None, Start::Latest);
    for round in 0..20 {
        let token = format!("token {round}");
        let repeats: Vec<_> = (0..8)
            .map(|_| {
                let (subject, draft) = (Arc::clone(&subject), once(&token, draft(&["a"], round)));
                tokio::spawn(async move { subject.publish(draft).await })
            })
            .collect();
        let mut answers = Vec::new();
        for repeat in repeats {
            answers.push(repeat.await.unwrap());
        }
        assert!(answers.iter().all(|answer| answer.seq == answers[0].seq), "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| !answer.duplicate).count(), 1, "{answers:?}");
        let read = subject.read_to(&mut reader, answers[0].cursor).await.unwrap();
        assert_eq!(read.len(), 1);
    }
}

pub(crate) async fn what_is_kept_apart_is_in_order_and_not_expected(open: impl AsyncFn(&Options) -> Subject) {
    let subject = open(&Options { ring_events_max: 4, ..Options::default() }).await;
    let told = |kind: &str, user: &str, n| Draft {
        kind: format!("presence.{kind}").parse().unwrap(),
        key: Some(user.parse().unwrap()),
        ..draft(&["a"], n)
    };
    let mut reader = Reader::new(&subject.log, &[topic("a")], None, Start::Latest);
    let first = subject.publish(draft(&["a"], 1)).await.seq.unwrap();
    for n in 10..20 {
        subject.publish(told("join", &format!("u{n}"), n)).await;
    }
    subject.publish(told("leave", "u12", 20)).await;
    let expecting = Draft { expect: Some(first), ..draft(&["a"], 2) };
    let second = subject.append_one(expecting).await.unwrap();
    let end = subject.publish(told("join", "u12", 21)).await.cursor;
    let read = subject.read_to(&mut reader, end).await.expect("a ring of four lost nothing");
    assert_eq!(subject.log.last(&topic("a")), second.seq.unwrap());
    let read: Vec<u64> = read.iter().map(data).collect();
    // Whoever read in between may have met u12 earlier too.
    let latest: Vec<u64> = read.iter().copied().filter(|n| ![12, 20].contains(n)).collect();
    assert_eq!(latest, [1, 10, 11, 13, 14, 15, 16, 17, 18, 19, 2, 21]);
    let mut history = Reader::of_rings(&subject.log, &[topic("a")], Start::Earliest);
    let ring: Vec<u64> = subject.read_to(&mut history, end).await.unwrap().iter().map(data).collect();
    assert_eq!(ring, [1, 2]);
}

pub(crate) async fn expect_holds_or_names_the_last(open: impl AsyncFn(&Options) -> Subject) {
    let subject = open(&Options::default()).await;
    let expecting = |expect| Draft { expect: Some(expect), ..draft(&["a"], 0) };
    let first = subject.publish(expecting(Seq::ZERO)).await.seq.unwrap();
    let other = subject.publish(draft(&["b"], 0)).await.seq.unwrap();
    for wrong in [Seq::ZERO, other] {
        assert_eq!(subject.append_one(expecting(wrong)).await, Err(Rejection::Conflict { last: first }));
    }
    // What comes earlier in a batch counts, and what is ephemeral does not.
    let ephemeral = Draft { ephemeral: true, ..draft(&["a"], 0) };
    let both = draft(&["b", "a"], 0);
    let batch = vec![ephemeral, expecting(first), both, expecting(first)];
    let answers = subject.append(batch).await;
    let last = answers[2].unwrap().seq.unwrap();
    assert!(answers[1].is_ok() && answers[3] == Err(Rejection::Conflict { last }), "{answers:?}");
}

pub(crate) async fn one_of_those_who_expect_the_same_wins(open: impl AsyncFn(&Options) -> Subject) {
    let subject = Arc::new(open(&Options::default()).await);
    let mut last = Seq::ZERO;
    for round in 0..30 {
        let editors: Vec<_> = (0..6)
            .map(|_| {
                let draft = Draft { expect: Some(last), ..draft(&["doc"], round) };
                let subject = Arc::clone(&subject);
                tokio::spawn(async move { subject.append_one(draft).await })
            })
            .collect();
        let mut winners = Vec::new();
        let mut losers = Vec::new();
        for editor in editors {
            match editor.await.unwrap() {
                Ok(appended) => winners.push(appended.seq.unwrap()),
                Err(rejection) => losers.push(rejection),
            }
        }
        assert_eq!(winners.len(), 1);
        last = winners[0];
        assert!(losers.iter().all(|loser| *loser == Rejection::Conflict { last }), "{losers:?}");
    }
}

pub(crate) async fn an_event_in_several_topics_is_one(open: impl AsyncFn(&Options) -> Subject) {
    let subject = open(&Options::default()).await;
    let reader = |names: &[&str]| {
        let topics: Vec<_> = names.iter().map(|name| topic(name)).collect();
        Reader::new(&subject.log, &topics, None, Start::Latest)
    };
    let mut readers = [reader(&["b", "a"]), reader(&["a"]), reader(&["b"]), reader(&["c"])];
    let end = subject.publish(draft(&["a", "b"], 1)).await.cursor;
    let mut topics = Vec::new();
    for reader in &mut readers[..3] {
        let read = subject.read_to(reader, end).await.unwrap();
        topics.extend(read.iter().map(|event| super::json(event)["topic"].as_str().unwrap().to_owned()));
    }
    assert_eq!(topics, ["b", "a", "b"], "each reader has it once, by the first of its topics");
    let mut out = Vec::new();
    readers[3].read(Limit { events: 9, bytes: 1 << 20 }, &mut out).unwrap();
    assert!(out.is_empty());
}

pub(crate) async fn the_tail_is_the_last_acknowledged(open: impl AsyncFn(&Options) -> Subject) {
    let subject = open(&Options::default()).await;
    for n in 0..5 {
        let appended = subject.publish(draft(&["a"], n)).await;
        assert_eq!(subject.store.tail().await, Ok(appended.cursor));
    }
}

pub(crate) async fn an_epoch_is_one_life(open: impl AsyncFn(&Options) -> Subject) {
    let (one, other) = (open(&Options::default()).await, open(&Options::default()).await);
    let epochs = [one.publish(draft(&["a"], 0)).await, one.publish(draft(&["b"], 0)).await];
    assert_eq!(epochs[0].cursor.epoch, epochs[1].cursor.epoch);
    assert_ne!(epochs[0].cursor.epoch, other.publish(draft(&["a"], 0)).await.cursor.epoch);
    assert_eq!(other.log.locate(epochs[0].cursor), events::Located::Unknown);
}

pub(crate) async fn a_store_that_is_open_is_ready(open: impl AsyncFn(&Options) -> Subject) {
    let subject = open(&Options::default()).await;
    assert_eq!(subject.store.ready(), Ok(()));
}

fn source(name: &str) -> SourceName {
    name.parse().unwrap()
}

/// Each source has a checkpoint of its own, and a draft that is kept out does not hold it up.
pub(crate) async fn a_checkpoint_is_stored_with_its_events(open: impl AsyncFn(&Options) -> Subject) {
    let subject = open(&Options::default()).await;
    let position = async |name: &str| {
        let position = subject.store.checkpoint(&source(name)).await.unwrap();
        position.map(|position| String::from_utf8(position.into()).unwrap())
    };
    let store = async |drafts, name: &str, position: &str| {
        let checkpoint = Checkpoint::new(source(name), position.as_bytes()).unwrap();
        subject.store.append_and_checkpoint(drafts, checkpoint).await.unwrap()
    };
    let mut reader = Reader::new(&subject.log, &[topic("a")], None, Start::Latest);
    assert_eq!(position("outbox").await, None);
    let stale = Draft { expect: Some(seq(1 << 40)), ..draft(&["a"], 9) };
    let answers =
        store(vec![once("1", draft(&["a"], 1)), stale, draft(&["a"], 2)], "outbox", "0/16B3748").await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!((position("outbox").await, position("stream").await), (Some("0/16B3748".to_owned()), None));
    // A source that did not hear the answer hands in the same again.
    let again = store(vec![once("1", draft(&["a"], 1))], "outbox", "0/16B3748").await;
    assert_eq!(again[0], Ok(Appended { duplicate: true, ..answers[0].unwrap() }));
    // Nothing of what was read was for anybody.
    assert_eq!(store(Vec::new(), "stream", "1-0").await, Vec::new());
    let end = store(vec![draft(&["a"], 3)], "outbox", "").await[0].unwrap().cursor;
    assert_eq!(
        (position("outbox").await, position("stream").await),
        (Some(String::new()), Some("1-0".to_owned()))
    );
    let read: Vec<u64> = subject.read_to(&mut reader, end).await.unwrap().iter().map(data).collect();
    assert_eq!(read, [1, 2, 3]);
    assert!(Checkpoint::new(source("outbox"), vec![0; Checkpoint::POSITION_BYTES_MAX + 1]).is_err());
}

/// Whatever the wall clock is set to meanwhile, and however many other tokens come within the time.
pub(crate) async fn a_token_is_known_for_five_minutes(subject: &Subject, time: &SimulatedClock, others: u64) {
    let first = subject.publish(once("first", draft(&["a"], 0))).await;
    for batch in 0..others / 1_000 {
        let other = |n| once(&format!("other {batch} {n}"), Draft { ephemeral: true, ..draft(&["a"], n) });
        subject.append((0..1_000).map(other).collect()).await;
    }
    for jump_ms in [3_600_000, -7_200_000] {
        time.jump(jump_ms);
        let repeat = subject.publish(once("first", draft(&["a"], 0))).await;
        assert_eq!(repeat, Appended { duplicate: true, ..first }, "the wall clock was moved by {jump_ms} ms");
    }
    assert_eq!(subject.store.status().tokens_evicted, 0);
}
