//! What a reader sees, step by step.

use std::sync::Arc;
use std::task::{Context, Waker};

use events::{
    Chance, Data, Draft, Epoch, Event, Fact, Limit, Log, Memory, Options, Reader, Reset, ResetReason, Seq,
    Sequenced, SimulatedClock, Span, Start, Store, Topic, Topics,
};

#[path = "reader/replay_cost.rs"]
mod replay_cost;

const ALL: Limit = Limit { events: 1000, bytes: 1 << 20 };

fn topic(name: &str) -> Topic {
    name.parse().unwrap()
}

fn draft(topics: &[&str]) -> Draft {
    Draft::new(
        Topics::new(topics.iter().map(|name| topic(name))).unwrap(),
        "t".parse().unwrap(),
        Data::null(),
    )
}

fn log(options: &Options) -> (Arc<Log>, Arc<Memory>) {
    let log = Log::new(options);
    let store = Memory::open(Arc::clone(&log));
    (log, store)
}

async fn publish(store: &Memory, draft: Draft) -> u64 {
    store.append(vec![draft]).await[0].unwrap().seq.map_or(0, Seq::number)
}

fn read(reader: &mut Reader) -> Result<(Span, Vec<u64>), Reset> {
    let mut out = Vec::new();
    let span = reader.read(ALL, &mut out)?;
    Ok((span, seqs(&out)))
}

fn seqs(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.seq().map_or(0, Seq::number)).collect()
}

#[tokio::test]
async fn one_cursor_reads_many_topics_in_order() {
    let (log, store) = log(&Options::default());
    let mut reader = Reader::new(&log, &[topic("a"), topic("b")], None, Start::Latest);
    for topics in [&["a"][..], &["b"], &["c"], &["a", "b"], &["b", "a", "c"]] {
        publish(&store, draft(topics)).await;
    }
    let (span, seqs) = read(&mut reader).unwrap();
    assert_eq!(seqs, [1, 2, 4, 5]);
    assert_eq!((span.after.seq.number(), span.cursor.seq.number(), span.more), (0, 5, false));
    let (span, seqs) = read(&mut reader).unwrap();
    assert_eq!((seqs.len(), span.after, span.cursor), (0, reader.cursor(), reader.cursor()));
}

#[tokio::test]
async fn a_limited_read_says_that_there_is_more() {
    let (log, store) = log(&Options::default());
    let mut reader = Reader::new(&log, &[topic("a"), topic("b")], None, Start::Latest);
    for n in 0..10 {
        publish(&store, draft(&[if n % 2 == 0 { "a" } else { "b" }])).await;
    }
    let mut seen = Vec::new();
    loop {
        let span = reader.read(Limit { events: 3, bytes: 1 << 20 }, &mut seen).unwrap();
        if !span.more {
            break;
        }
    }
    assert_eq!(seqs(&seen), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
}

#[tokio::test]
async fn a_reader_below_the_floor_gets_one_reset_and_the_rest() {
    let (log, store) = log(&Options { ring_events_max: 2, ..Options::default() });
    let mut reader = Reader::new(&log, &[topic("a"), topic("b")], None, Start::Latest);
    publish(&store, draft(&["b"])).await;
    for _ in 0..4 {
        publish(&store, draft(&["a"])).await;
    }
    let reset = read(&mut reader).unwrap_err();
    assert_eq!((reset.reason, reset.topics), (ResetReason::Expired, vec![topic("a")]));
    assert_eq!(read(&mut reader).unwrap().1, [1, 4, 5]);
    let mut earliest = Reader::new(&log, &[topic("a"), topic("b")], None, Start::Earliest);
    assert_eq!(read(&mut earliest).unwrap().1, [1, 4, 5]);
}

#[tokio::test]
async fn keys_conflate_within_one_read() {
    let (log, store) = log(&Options::default());
    let mut reader = Reader::new(&log, &[topic("a")], None, Start::Latest);
    let keyed = |key: &str| Draft { key: Some(key.parse().unwrap()), ..draft(&["a"]) };
    for draft in [keyed("x"), keyed("y"), draft(&["a"]), keyed("x"), draft(&["a"])] {
        publish(&store, draft).await;
    }
    assert_eq!(read(&mut reader).unwrap().1, [2, 3, 4, 5]);
}

fn texts(events: &[Event]) -> Vec<String> {
    let value = |event: &Event| serde_json::from_slice::<serde_json::Value>(event.json()).unwrap();
    events.iter().map(value).map(|json| format!("{} {}", json["topic"], json["topics"])).collect()
}

#[tokio::test]
async fn an_event_names_those_of_its_topics_that_its_reader_has() {
    let (log, store) = log(&Options::default());
    let topics = |names: &[&str]| names.iter().map(|name| topic(name)).collect::<Vec<_>>();
    let mut of_two = Reader::new(&log, &topics(&["b", "a"]), None, Start::Latest);
    let mut of_one = Reader::new(&log, &topics(&["c"]), None, Start::Latest);
    for topics in [&["a", "c", "b"][..], &["a"], &["c", "a"]] {
        publish(&store, draft(topics)).await;
        publish(&store, Draft { ephemeral: true, ..draft(topics) }).await;
    }
    // One at a time: what a batch leaves behind must not be taken for another topic's.
    let (mut by_two, mut by_one) = (Vec::new(), Vec::new());
    while of_two.read(Limit { events: 1, ..ALL }, &mut by_two).unwrap().more {}
    of_one.read(ALL, &mut by_one).unwrap();
    let expected = [r#""b" ["b","a"]"#, r#""a" null"#, r#""a" null"#];
    assert_eq!(texts(&by_two), [expected, expected].concat());
    assert_eq!(texts(&by_one), [r#""c" null"#; 4]);
}

/// A listener for one of the topics would miss its latest.
#[tokio::test]
async fn an_event_of_fewer_topics_replaces_none_of_more() {
    let (log, store) = log(&Options::default());
    let mut reader = Reader::new(&log, &[topic("a"), topic("b")], None, Start::Latest);
    let keyed = |topics: &[&str]| Draft { key: Some("x".parse().unwrap()), ..draft(topics) };
    for topics in [&["a", "b"][..], &["b", "a"], &["a"], &["a", "c"]] {
        publish(&store, keyed(topics)).await;
    }
    assert_eq!(read(&mut reader).unwrap().1, [2, 4]);
}

/// The names count for the limit, whatever it is.
#[tokio::test]
async fn the_names_of_an_events_topics_keep_to_the_limit() {
    let (log, store) = log(&Options::default());
    let names: Vec<String> = (0..64).map(|n| format!("room:{n:0>100}")).collect();
    let topics: Vec<Topic> = names.iter().map(|name| topic(name)).collect();
    let mut reader = Reader::new(&log, &topics, None, Start::Latest);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for n in 0..40 {
        publish(&store, draft(&names[n..])).await;
    }
    let (limit, mut batches) = (Limit { events: 1000, bytes: 32 << 10 }, 0);
    loop {
        let mut out = Vec::new();
        let more = reader.read(limit, &mut out).unwrap().more;
        let bytes: usize = out.iter().map(|event| event.json().len() + 1).sum();
        assert!(bytes <= limit.bytes, "{bytes} bytes");
        batches += 1;
        if !more {
            break;
        }
    }
    assert!(batches < 20, "{batches} batches of one event each");
}

#[tokio::test]
async fn a_replay_gives_what_comes_while_it_goes_on() {
    let (log, store) = log(&Options::default());
    let mut reader = Reader::new(&log, &[topic("a"), topic("b")], None, Start::Latest);
    for n in 0..6 {
        publish(&store, draft(&[["a", "b"][n % 2]])).await;
    }
    let mut seen = Vec::new();
    for n in 0..20 {
        let span = reader.read(Limit { events: 2, ..ALL }, &mut seen).unwrap();
        assert_eq!(span.cursor.seq.number(), seen.len() as u64);
        if !span.more {
            break;
        }
        publish(&store, draft(&[["b", "a"][n % 2]])).await;
    }
    assert_eq!(seqs(&seen), (1..=10).collect::<Vec<_>>());
}

/// What a batch has already taken is given, and only what lies behind it is missing.
#[tokio::test]
async fn what_was_taken_before_an_eviction_is_given_before_its_reset() {
    let (log, store) = log(&Options { ring_events_max: 2, ..Options::default() });
    let mut reader = Reader::new(&log, &[topic("a"), topic("b")], None, Start::Latest);
    for name in ["a", "a", "b"] {
        publish(&store, draft(&[name])).await;
    }
    let mut seen = Vec::new();
    assert!(reader.read(Limit { events: 1, ..ALL }, &mut seen).unwrap().more);
    for _ in 0..2 {
        publish(&store, draft(&["b"])).await;
    }
    let (span, seqs_given) = read(&mut reader).unwrap();
    assert_eq!((seqs(&seen), seqs_given, span.more), (vec![1], vec![2], true));
    let reset = read(&mut reader).unwrap_err();
    assert_eq!((reset.topics, reset.at.seq.number()), (vec![topic("b")], 2));
    assert_eq!(read(&mut reader).unwrap().1, [4, 5]);
}

/// The event would be named without the topic that no longer has it, and nothing would say that this topic lacks one.
#[tokio::test]
async fn an_event_that_left_one_of_its_topics_comes_behind_the_reset_of_that_topic() {
    let (log, store) = log(&Options { ring_events_max: 2, ..Options::default() });
    let mut reader = Reader::new(&log, &[topic("a"), topic("b")], None, Start::Latest);
    for topics in [&["a"][..], &["a", "b"]] {
        publish(&store, draft(topics)).await;
    }
    let mut seen = Vec::new();
    assert!(reader.read(Limit { events: 1, ..ALL }, &mut seen).unwrap().more);
    for _ in 0..2 {
        publish(&store, draft(&["b"])).await;
    }
    let reset = read(&mut reader).unwrap_err();
    assert_eq!((reset.topics, reset.at.seq.number()), (vec![topic("b")], 1));
    seen.clear();
    reader.read(ALL, &mut seen).unwrap();
    assert_eq!(seqs(&seen), [2, 3, 4]);
    assert_eq!(texts(&seen)[0], r#""a" null"#);
}

/// The new topic may hold an event above the reader's cursor, and no later event may ever come to wake the reader.
#[tokio::test]
async fn a_new_topic_wakes_a_sleeping_reader() {
    let (log, store) = log(&Options::default());
    let mut reader = Reader::new(&log, &[topic("a")], None, Start::Latest);
    let is_awake = |reader: &Reader| reader.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready();
    assert_eq!(read(&mut reader).unwrap().1, [0; 0]);
    publish(&store, draft(&["b"])).await;
    assert!(!is_awake(&reader), "it does not read b");
    reader.subscribe(&[topic("b")]);
    assert!(is_awake(&reader));
    assert_eq!(read(&mut reader).unwrap().1, [1]);
}

#[tokio::test]
async fn an_ephemeral_event_reaches_who_is_there() {
    let (log, store) = log(&Options::default());
    let mut reader = Reader::new(&log, &[topic("a"), topic("b")], None, Start::Latest);
    let ephemeral = Draft { ephemeral: true, ..draft(&["a", "b"]) };
    publish(&store, ephemeral).await;
    publish(&store, draft(&["a"])).await;
    let mut late = Reader::new(&log, &[topic("a")], None, Start::Earliest);
    assert_eq!(read(&mut reader).unwrap().1, [1, 0]);
    assert_eq!(read(&mut reader).unwrap().1, [0; 0]);
    assert_eq!(read(&mut late).unwrap().1, [1]);
}

#[tokio::test(start_paused = true)]
async fn what_outlived_its_time_is_not_replayed_and_no_reset() {
    let (log, store) = log(&Options::default());
    let start = Reader::new(&log, &[topic("a")], None, Start::Latest).cursor();
    publish(&store, Draft { ttl_ms: Some(1000), ..draft(&["a"]) }).await;
    publish(&store, draft(&["a"])).await;
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    let mut reader = Reader::new(&log, &[topic("a")], None, Start::After(start));
    assert_eq!(read(&mut reader).unwrap().1, [2]);
}

#[tokio::test(start_paused = true)]
async fn what_outlived_its_time_may_be_evicted_without_a_reset() {
    let (log, store) = log(&Options { ring_events_max: 1, ..Options::default() });
    let mut reader = Reader::new(&log, &[topic("a")], None, Start::Latest);
    publish(&store, Draft { ttl_ms: Some(1000), ..draft(&["a"]) }).await;
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    publish(&store, draft(&["a"])).await;
    assert_eq!(read(&mut reader).unwrap().1, [2]);
}

/// A node hears of an event that another node accepted, whose wall clock differs by as much as this.
#[tokio::test(start_paused = true)]
async fn the_wall_clock_of_another_machine_ages_no_event() {
    const TTL_MS: u64 = 5_000;
    let time = SimulatedClock::new(1_800_000_000_000);
    for behind_ms in [-900_000, -10_000, 0, 10_000, 900_000_i64] {
        let log = Log::with(&Options::default(), time.clock(), Chance::seeded(1));
        log.apply(Fact::Epoch { epoch: Epoch::new(1), end: None, start: Seq::ZERO });
        let mut reader = Reader::new(&log, &[topic("a")], None, Start::Latest);
        let time_ms = time.clock().unix_ms().saturating_add_signed(-behind_ms);
        let apply = |age_ms| {
            let draft = Draft { ttl_ms: Some(TTL_MS), ..draft(&["a"]) };
            let seq = Some(log.tail().next());
            log.apply(Fact::Events(vec![Sequenced { seq, time_ms, age_ms, draft }]));
        };
        apply(0);
        assert_eq!(read(&mut reader).unwrap().1, [1], "{behind_ms} ms behind");
        apply(TTL_MS - 1);
        apply(TTL_MS);
        assert_eq!(read(&mut reader).unwrap().1, [2], "what is old by the store's clock has expired");
        // This machine's own wall clock may be set too.
        apply(0);
        time.jump(3_600_000);
        assert_eq!(read(&mut reader).unwrap().1, [4]);
        time.jump(-7_200_000);
        let mut late = Reader::new(&log, &[topic("a")], None, Start::Earliest);
        assert_eq!(read(&mut late).unwrap().1, [1, 2, 4]);
        tokio::time::advance(std::time::Duration::from_millis(TTL_MS)).await;
        let mut late = Reader::new(&log, &[topic("a")], None, Start::Earliest);
        assert_eq!(read(&mut late).unwrap().1, [0; 0]);
    }
}

#[tokio::test]
async fn expect_decides_between_two_editors() {
    let (_log, store) = log(&Options::default());
    let expecting = |seq| Draft { expect: Seq::new(seq), ..draft(&["a"]) };
    let answers = store.append(vec![expecting(0), expecting(0), expecting(1)]).await;
    let seqs: Vec<_> =
        answers.iter().map(|answer| answer.map(|appended| appended.seq.unwrap().number())).collect();
    assert_eq!(seqs[0], Ok(1));
    assert_eq!(seqs[1], Err(events::Rejection::Conflict { last: Seq::new(1).unwrap() }));
    assert_eq!(seqs[2], Ok(2));
}

#[tokio::test]
async fn a_token_appends_once() {
    let (log, store) = log(&Options::default());
    let once = || Draft { once: Some("k:1".into()), ..draft(&["a"]) };
    let answers = store.append(vec![once(), draft(&["a"]), once()]).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers[0].seq, answers[2].seq);
    assert_eq!((answers[0].duplicate, answers[2].duplicate), (false, true));
    assert_eq!(log.tail().number(), 2);
}

#[tokio::test]
async fn an_event_is_found_in_each_topic_that_retains_it() {
    let (log, store) = log(&Options { ring_events_max: 2, ..Options::default() });
    let found = |number| {
        let found = log.find(Seq::new(number).unwrap()).into_iter();
        let told = found.map(|found| (found.topic.to_string(), found.replaced_by.map(Seq::number)));
        let mut told: Vec<_> = told.collect();
        told.sort();
        told
    };
    let keyed = |topics| Draft { key: Some("k".parse().unwrap()), ..draft(topics) };
    publish(&store, keyed(&["a", "b"])).await;
    publish(&store, draft(&["b"])).await;
    assert_eq!(found(1), [("a".to_owned(), None), ("b".to_owned(), None)]);
    assert_eq!(found(2), [("b".to_owned(), None)]);
    assert_eq!(found(3), []);
    publish(&store, keyed(&["a"])).await;
    publish(&store, draft(&["b"])).await;
    assert_eq!(found(1), [("a".to_owned(), Some(3))], "gone from one of its topics, replaced in the other");
}
