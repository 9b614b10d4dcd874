//! What a store owes to readers: facts in order, whole, and for as long as they are kept.

use std::sync::Arc;
use std::time::Duration;

use events::{Data, Draft, Lacking, Limit, Located, Options, Reader, ResetReason, Start};

use super::{Subject, data, draft, json, topic};

pub(crate) async fn what_is_acknowledged_is_read_in_order(open: impl AsyncFn(&Options) -> Subject) {
    const EACH: u64 = 200;
    let subject = Arc::new(open(&Options { ring_events_max: 1000, ..Options::default() }).await);
    let mut reader = Reader::new(&subject.log, &[topic("a"), topic("b")], None, Start::Latest);
    let publishers: Vec<_> = (0..4)
        .map(|publisher| {
            let subject = Arc::clone(&subject);
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0..EACH {
                    let name = if n % 2 == 0 { "a" } else { "b" };
                    let appended = subject.publish(draft(&[name], publisher * EACH + n)).await;
                    acknowledged.push((appended.seq.unwrap(), publisher * EACH + n));
                }
                assert!(acknowledged.is_sorted(), "one publisher's own order is kept");
                acknowledged
            })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for publisher in publishers {
        acknowledged.extend(publisher.await.unwrap());
    }
    acknowledged.sort();
    let end = subject.store.tail().await.unwrap();
    let read = subject.read_to(&mut reader, end).await.unwrap();
    let read: Vec<_> = read.iter().map(|event| (event.seq().unwrap(), data(event))).collect();
    assert_eq!(read, acknowledged);
}

pub(crate) async fn every_part_of_a_draft_arrives(open: impl AsyncFn(&Options) -> Subject) {
    let subject = open(&Options::default()).await;
    let mut reader = Reader::new(&subject.log, &[topic("user:a@b/c-d_e.f")], None, Start::Latest);
    let value = serde_json::json!({"text": "ä \u{2028} \u{1f980} \" \\ \n \0", "numbers": [0, -1.5, 1e100], "deep": [[[null]]]});
    let draft = Draft {
        kind: "schöne \"types\"".parse().unwrap(),
        data: Data::from_value(&value).unwrap(),
        key: Some("key \\ 1".parse().unwrap()),
        id: Some("id:ü".parse().unwrap()),
        ttl_ms: Some(3_600_000),
        ..draft(&["user:a@b/c-d_e.f"], 0)
    };
    let before = subject.log.clock().unix_ms();
    let appended = subject.publish(draft).await;
    let read = subject.read_to(&mut reader, appended.cursor).await.unwrap();
    let event = json(&read[0]);
    assert_eq!(event["data"], value);
    assert_eq!((&event["type"], &event["key"]), (&"schöne \"types\"".into(), &"key \\ 1".into()));
    assert_eq!((&event["id"], &event["topic"]), (&"id:ü".into(), &"user:a@b/c-d_e.f".into()));
    assert_eq!(event["seq"].as_u64(), appended.seq.map(events::Seq::number));
    let format = &time::format_description::well_known::Rfc3339;
    let time = time::OffsetDateTime::parse(event["time"].as_str().unwrap(), format).unwrap();
    let time_ms = u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap();
    // A store may have a clock of its own, but not one of another day.
    assert!(time_ms.abs_diff(before) < 60_000, "{event}");
}

pub(crate) async fn ephemeral_events_take_no_seq_and_are_not_replayed(
    open: impl AsyncFn(&Options) -> Subject,
) {
    let subject = open(&Options::default()).await;
    let mut there = Reader::new(&subject.log, &[topic("a")], None, Start::Latest);
    let before = subject.publish(draft(&["a"], 1)).await;
    let ephemeral = Draft { ephemeral: true, ..draft(&["a"], 2) };
    let appended = subject.publish(ephemeral).await;
    assert_eq!((appended.seq, appended.cursor), (None, before.cursor));
    let after = subject.publish(draft(&["a"], 3)).await;
    assert_eq!(after.seq, before.seq.map(events::Seq::next));

    let mut read: Vec<u64> = Vec::new();
    while read.len() < 3 {
        read.extend(subject.read_to(&mut there, after.cursor).await.unwrap().iter().map(data));
    }
    read.sort_unstable();
    assert_eq!(read, [1, 2, 3]);
    let mut late = Reader::new(&subject.log, &[topic("a")], None, Start::Earliest);
    let read: Vec<u64> = subject.read_to(&mut late, after.cursor).await.unwrap().iter().map(data).collect();
    assert_eq!(read, [1, 3]);
}

pub(crate) async fn what_outlived_its_time_is_not_replayed(open: impl AsyncFn(&Options) -> Subject) {
    let subject = open(&Options::default()).await;
    let start = subject.publish(draft(&["a"], 0)).await.cursor;
    subject.publish(Draft { ttl_ms: Some(20), ..draft(&["a"], 1) }).await;
    subject.publish(Draft { ttl_ms: Some(60_000), ..draft(&["a"], 2) }).await;
    let end = subject.publish(draft(&["a"], 3)).await.cursor;
    tokio::time::sleep(Duration::from_millis(60)).await;
    let mut reader = Reader::new(&subject.log, &[topic("a")], None, Start::Latest);
    subject.read_to(&mut reader, end).await.unwrap();
    let mut reader = Reader::new(&subject.log, &[topic("a")], None, Start::After(start));
    let read: Vec<u64> = subject.read_to(&mut reader, end).await.unwrap().iter().map(data).collect();
    assert_eq!(read, [2, 3]);
}

pub(crate) async fn a_cursor_goes_on_where_it_was(open: impl AsyncFn(&Options) -> Subject) {
    let subject = open(&Options::default()).await;
    let mut cursors = Vec::new();
    for n in 0..20 {
        cursors.push(subject.publish(draft(&[["a", "b", "c"][n as usize % 3]], n)).await.cursor);
    }
    let end = cursors[19];
    let mut wait = Reader::new(&subject.log, &[topic("a"), topic("b")], None, Start::Latest);
    if wait.cursor() != end {
        subject.read_to(&mut wait, end).await.unwrap();
    }
    for (n, &cursor) in cursors.iter().enumerate() {
        assert_eq!(subject.log.locate(cursor), Located::Here(cursor));
        let mut reader = Reader::new(&subject.log, &[topic("a"), topic("b")], None, Start::After(cursor));
        let mut out = Vec::new();
        while reader.read(Limit { events: 3, bytes: 1 << 20 }, &mut out).unwrap().more {}
        let read: Vec<usize> = out.iter().map(|event| data(event) as usize).collect();
        assert_eq!(read, (n + 1..20).filter(|n| n % 3 != 2).collect::<Vec<_>>());
    }
    let ahead = events::Cursor { seq: end.seq.next(), ..end };
    assert_eq!(subject.log.locate(ahead), Located::Ahead);
}

/// Also those that have read everything, and those that come later with an older cursor. Nobody else.
pub(crate) async fn what_is_lacking_resets_the_readers_of_its_topics(
    open: impl AsyncFn(&Options) -> Subject,
) {
    let subject = open(&Options::default()).await;
    let before = subject.publish(draft(&["a", "b"], 1)).await.cursor;
    let reader = |name: &str, start| Reader::new(&subject.log, &[topic(name)], None, start);
    // A log that follows its store knows a cursor only once it has come that far.
    let mut wait = reader("a", Start::Latest);
    if wait.cursor() != before {
        subject.read_to(&mut wait, before).await.unwrap();
    }
    let (mut of_a, mut of_b) = (reader("a", Start::After(before)), reader("b", Start::After(before)));
    for reader in [&mut of_a, &mut of_b] {
        subject.read_to(reader, before).await.unwrap();
    }
    subject.store.tell_lacking(Lacking::Topics(vec![topic("a")])).await.unwrap();
    let after = subject.publish(draft(&["a", "b"], 2)).await.cursor;
    assert_eq!(subject.read_to(&mut of_b, after).await.unwrap().len(), 1);
    let mut late = reader("a", Start::After(before));
    for reader in [&mut of_a, &mut late] {
        let reset = subject.read_to(reader, after).await.unwrap_err();
        assert_eq!((reset.topics, reset.reason), (vec![topic("a")], ResetReason::Expired));
    }
    subject.store.tell_lacking(Lacking::All).await.unwrap();
    let end = subject.publish(draft(&["c"], 3)).await.cursor;
    assert!(subject.read_to(&mut of_b, end).await.is_err(), "nobody knows which topics");
}
