//! What an orderly restart keeps, what is trimmed, and who may open the directory.

use std::sync::Arc;
use std::time::Duration;

use events::{
    Appended, Chance, Disk, DiskOptions, Draft, Fsync, Lacking, Located, Log, Options, Rejection,
    ResetReason, Seq, SimulatedClock, Start,
};

use super::suite::{Subject, a_token_is_known_for_five_minutes, data, draft, json, once, seq, topic};
use super::{Directory, open, options, read_all};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_epoch_events_cursors_tokens_and_expectations() {
    for fsync in [Fsync::Always, Fsync::Interval, Fsync::Never] {
        let directory = Directory::new();
        let (subject, _) = open(options(&directory.0, fsync));
        let first = subject.publish(once("x", draft(&["a", "b"], 1))).await;
        let ephemeral = Draft { ephemeral: true, ..once("e", draft(&["a"], 2)) };
        let ephemeral = subject.publish(ephemeral).await;
        let second = subject.publish(draft(&["b"], 3)).await;
        let before = read_all(&subject.log, &["a", "b"], Start::Earliest).unwrap();
        drop(subject);

        let (subject, recovered) = open(options(&directory.0, fsync));
        assert_eq!((recovered.events, recovered.epoch_changed, recovered.damage), (2, false, None));
        assert_eq!(subject.store.tail().await, Ok(second.cursor));
        let after = read_all(&subject.log, &["a", "b"], Start::Earliest).unwrap();
        let text = |events: &[events::Event]| events.iter().map(json).collect::<Vec<_>>();
        assert_eq!(text(&after.0), text(&before.0));
        let (events, cursor) = read_all(&subject.log, &["a", "b"], Start::After(first.cursor)).unwrap();
        assert_eq!((events.len(), cursor), (1, second.cursor));
        let repeat = subject.publish(once("x", draft(&["a"], 9))).await;
        assert_eq!(repeat, Appended { duplicate: true, ..first });
        assert_eq!(
            subject.publish(once("e", draft(&["a"], 9))).await,
            Appended { duplicate: true, ..ephemeral }
        );
        let wrong = Draft { expect: Some(Seq::ZERO), ..draft(&["b"], 9) };
        assert_eq!(subject.append_one(wrong).await, Err(Rejection::Conflict { last: seq(2) }));
        let third = subject.publish(Draft { expect: Some(seq(2)), ..draft(&["b"], 4) }).await;
        assert_eq!(third.seq, Some(seq(3)));
    }
}

#[tokio::test]
async fn events_keep_their_age() {
    let directory = Directory::new();
    let (subject, _) = open(options(&directory.0, Fsync::Never));
    subject.publish(draft(&["a"], 1)).await;
    subject.publish(Draft { ttl_ms: Some(300), ..draft(&["a"], 2) }).await;
    drop(subject);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let log = Log::new(&Options { ring_age_max: Duration::from_millis(350), ..Options::default() });
    let _store = Disk::open(Arc::clone(&log), options(&directory.0, Fsync::Never)).unwrap();
    let (events, _) = read_all(&log, &["a"], Start::Earliest).unwrap();
    assert_eq!(events.iter().map(data).collect::<Vec<_>>(), [1], "its time to live is over");
    log.sweep(1000);
    assert_eq!(read_all(&log, &["a"], Start::Earliest).unwrap().0.len(), 0, "too old for the ring");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_is_trimmed_and_never_silently() {
    let directory = Directory::new();
    let bounded = || DiskOptions { events_max: 2000, ..options(&directory.0, Fsync::Never) };
    let (subject, _) = open(bounded());
    let early = subject.publish(once("early", draft(&["quiet"], 0))).await;
    let start = subject.publish(draft(&["a"], 1)).await.cursor;
    let mut last = start;
    for batch in 0..50 {
        let drafts = (0..200).map(|n| draft(&["a"], batch * 200 + n)).collect();
        last = subject.append(drafts).await.pop().unwrap().unwrap().cursor;
    }
    drop(subject);

    let (subject, recovered) = open(bounded());
    assert!((1400..=3000).contains(&recovered.events), "{recovered:?}");
    assert_eq!((recovered.epoch_changed, recovered.damage), (false, None));
    assert_eq!(subject.store.tail().await, Ok(last));
    let reset = read_all(&subject.log, &["a"], Start::After(start)).unwrap_err();
    assert_eq!(reset.reason, ResetReason::Expired);
    assert_eq!(subject.log.locate(start), Located::Here(start));
    assert_eq!(read_all(&subject.log, &["a"], Start::Earliest).unwrap().0.len() as u64, recovered.events);
    // What was trimmed still counts for repeats and for `expect`.
    assert_eq!(
        subject.publish(once("early", draft(&["quiet"], 9))).await,
        Appended { duplicate: true, ..early }
    );
    let wrong = Draft { expect: Some(Seq::ZERO), ..draft(&["quiet"], 9) };
    assert_eq!(subject.append_one(wrong).await, Err(Rejection::Conflict { last: early.seq.unwrap() }));
    drop(subject);

    let bytes = std::fs::metadata(directory.0.join("log")).unwrap().len();
    assert!(bytes < 4 << 20, "the file has {bytes} bytes");
}

#[test]
fn the_second_process_is_refused() {
    let directory = Directory::new();
    let open = || Disk::open(Log::new(&Options::default()), options(&directory.0, Fsync::Always));
    let first = open().unwrap();
    let error = open().err().unwrap().to_string();
    assert!(error.ends_with("lock: another process has this directory"), "{error}");
    assert_eq!(error.lines().count(), 1);
    drop(first);
    open().unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_of_one_line() {
    let directory = Directory::new();
    std::fs::write(directory.0.join("file"), "").unwrap();
    let error =
        Disk::open(Log::new(&Options::default()), options(&directory.0.join("file/x"), Fsync::Always));
    let error = error.err().unwrap().to_string();
    assert!(error.contains("file/x: ") && error.lines().count() == 1, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_publishers_share_one_sync() {
    const PUBLISHERS: u64 = 64;
    let directory = Directory::new();
    let (subject, _) = open(options(&directory.0, Fsync::Always));
    let subject = Arc::new(subject);
    let alone = std::time::Instant::now();
    for n in 0..20 {
        subject.publish(draft(&["a"], n)).await;
    }
    let alone = alone.elapsed() / 20;
    let together = std::time::Instant::now();
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|n| {
            let subject = Arc::clone(&subject);
            tokio::spawn(async move { subject.publish(draft(&["a", &format!("t{n}")], n)).await })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let together = together.elapsed();
    assert!(together < alone * 32 + Duration::from_millis(50), "{together:?} for 64, {alone:?} for one");
    assert_eq!(read_all(&subject.log, &[topic("a").as_str()], Start::Earliest).unwrap().0.len(), 84);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_is_set_makes_nothing_old() {
    let directory = Directory::new();
    let time = SimulatedClock::new(1_800_000_000_000);
    let log = Log::with(&Options::default(), time.clock(), Chance::system());
    let (store, _) = Disk::open(Arc::clone(&log), options(&directory.0, Fsync::Never)).unwrap();
    let subject = Subject { log, store, _keep: Box::new(()) };
    a_token_is_known_for_five_minutes(&subject, &time, 2_000).await;
}

/// Its seq is not given again, and a client that was away meanwhile is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lacking_is_known_after_a_restart() {
    let directory = Directory::new();
    let (subject, _) = open(options(&directory.0, Fsync::Always));
    let before = subject.publish(draft(&["a", "b"], 1)).await;
    subject.store.tell_lacking(Lacking::Topics(vec![topic("a")])).await.unwrap();
    let tail = subject.store.tail().await.unwrap();
    drop(subject);

    let (subject, recovered) = open(options(&directory.0, Fsync::Always));
    assert_eq!((recovered.epoch_changed, recovered.damage), (false, None));
    assert_eq!(subject.store.tail().await, Ok(tail));
    assert!(subject.publish(draft(&["a"], 2)).await.seq > Some(tail.seq));
    assert!(read_all(&subject.log, &["a"], Start::After(before.cursor)).is_err());
    assert!(read_all(&subject.log, &["b"], Start::After(before.cursor)).is_ok());
}
