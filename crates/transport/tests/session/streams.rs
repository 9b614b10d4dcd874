use std::time::Duration;

use events::{Epoch, Fact, Options, ResetReason, Seq, Start, TypeFilter};
use tokio::time::{Instant, sleep};
use transport::{Line, SseLine};

use super::rig::{Client, Rig, draft, ms, sse, topic, ws};
use super::{assert_at, empty, seqs};

/// Starts a stream and reads up to `hello`.
pub(crate) async fn start(rig: &Rig, line: &str) -> (Client, String) {
    let mut client = match line {
        "ws" => rig.start(ws()),
        _ => {
            let mut client = rig.start(sse());
            client.head().await;
            client
        }
    };
    let hello = client.batch(line).await;
    assert_at(&client, 0);
    let hello = rig.plain(&hello);
    assert!(hello.contains(r#""hello":{"session":"0123456789abcdefghijkl","user":"alice","#), "{hello}");
    (client, hello)
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_is_probed_once_and_then_beats() {
    for line in ["ws", "sse"] {
        let rig = Rig::new();
        let (mut client, hello) = start(&rig, line).await;
        assert!(hello.starts_with(r#"{"after":"E.0","cursor":"E.0","hello""#), "{hello}");
        for at in [300, 15_300, 30_300] {
            assert_eq!(rig.plain(&client.batch(line).await), empty(0), "{line}");
            assert_at(&client, at);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_batch_follows_a_burst() {
    for line in ["ws", "sse"] {
        let rig = Rig::new();
        let (mut client, _) = start(&rig, line).await;
        client.batch(line).await;
        sleep(ms(700)).await;
        for (at, seq) in [(1000, 1), (1100, 2)] {
            rig.publish("all", "x").await;
            assert_eq!(seqs(&client.batch(line).await), [seq]);
            assert_at(&client, at);
            client.quiet(ms(100)).await;
        }
        assert_eq!(rig.plain(&client.batch(line).await), empty(2), "{line}");
        assert_at(&client, 1350);
        assert_eq!(
            rig.plain(&client.batch(line).await),
            empty(2),
            "the heartbeat starts anew with every batch"
        );
        assert_at(&client, 16_350);
    }
}

#[tokio::test(start_paused = true)]
async fn an_interval_spaces_batches_save_the_second() {
    for line in ["ws", "sse"] {
        let mut rig = Rig::new();
        rig.terms.interval = ms(1000);
        let (mut client, _) = start(&rig, line).await;
        sleep(ms(100)).await;
        rig.publish("all", "at once: the second batch").await;
        assert_eq!(seqs(&client.batch(line).await), [1]);
        assert_at(&client, 100);
        rig.publish("all", "later").await;
        sleep(ms(500)).await;
        rig.publish("all", "with the one before").await;
        assert_eq!(seqs(&client.batch(line).await), [2, 3]);
        assert_at(&client, 1100);
        assert_eq!(rig.plain(&client.batch(line).await), empty(3));
        assert_at(&client, 2100);
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_does_not_undercut_the_interval() {
    let mut rig = Rig::new();
    (rig.terms.interval, rig.terms.heartbeat) = (ms(5000), ms(2000));
    let (mut client, _) = start(&rig, "ws").await;
    for at in [300, 5300, 10_300] {
        client.text().await;
        assert_at(&client, at);
    }
}

#[tokio::test(start_paused = true)]
async fn live_is_said_with_the_tail_and_never_before() {
    for line in ["ws", "sse"] {
        let mut rig = Rig::new();
        let tail = rig.log.tail_cursor();
        for _ in 0..5 {
            rig.publish("all", "x").await;
        }
        rig.resume(tail);
        rig.terms.limit.events = 2;
        let (mut client, hello) = start(&rig, line).await;
        assert!(hello.starts_with(r#"{"after":"E.0","cursor":"E.0","#), "hello overshoots nothing: {hello}");
        for (some, live) in [(vec![1, 2], false), (vec![3, 4], false), (vec![5], true)] {
            let batch = client.batch(line).await;
            assert_eq!((seqs(&batch), batch.contains(r#""live":true"#)), (some, live), "{line}");
            assert!(!batch.contains(r#""more""#), "more is a poll's");
            assert_at(&client, 0);
        }
        rig.publish("all", "x").await;
        assert!(!client.batch(line).await.contains("live"), "live is said once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resumed_stream_with_nothing_missed_is_live_at_once() {
    for start_at in [None, Some(Start::Earliest)] {
        let mut rig = Rig::new();
        rig.resume(rig.log.tail_cursor());
        rig.start = start_at.unwrap_or(rig.start);
        let (mut client, _) = start(&rig, "ws").await;
        assert_eq!(
            rig.plain(&client.text().await),
            r#"{"after":"E.0","cursor":"E.0","live":true,"events":[]}"#
        );
        assert_at(&client, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_below_the_ring_is_reset_with_hello() {
    for line in ["ws", "sse"] {
        let mut rig = Rig::with(&Options { ring_events_max: 2, ..Options::default() });
        rig.publish("user:alice", "x").await;
        rig.resume(rig.log.tail_cursor());
        for _ in 0..4 {
            rig.publish("user:alice", "x").await;
        }
        let (mut client, hello) = start(&rig, line).await;
        assert!(hello.starts_with(r#"{"after":"E.1","cursor":"E.1","hello""#), "{hello}");
        let reset = r#""reset":{"reason":"expired","topics":["user:alice"],"refetch_after_ms":11}"#;
        assert!(hello.contains(reset), "{hello}");
        let batch = rig.plain(&client.batch(line).await);
        assert!(batch.starts_with(r#"{"after":"E.1","cursor":"E.5","live":true,"#), "{batch}");
        assert_eq!(seqs(&batch), [4, 5]);
        assert_eq!(*rig.application.resets.lock(), [ResetReason::Expired]);
    }
}

#[tokio::test(start_paused = true)]
async fn lost_history_is_a_second_hello() {
    for line in ["ws", "sse"] {
        let rig = Rig::new();
        rig.publish("all", "x").await;
        let (mut client, _) = start(&rig, line).await;
        client.batch(line).await;
        sleep(ms(700)).await;
        rig.log.apply(Fact::Epoch { epoch: Epoch::new(7), end: None, start: Seq::new(5).unwrap() });
        let hello = client.batch(line).await;
        assert!(hello.starts_with(r#"{"after":"7.5","cursor":"7.5","hello":{"session":"#), "{hello}");
        let reset = r#""reset":{"reason":"epoch","topics":["user:alice","all"],"refetch_after_ms":11}"#;
        assert!(hello.contains(reset), "{hello}");
        assert_eq!(client.batch(line).await, r#"{"after":"7.5","cursor":"7.5","live":true,"events":[]}"#);
        assert_at(&client, 1000);
        client.batch(line).await;
        assert_at(&client, 1300);
    }
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_event_moves_no_cursor_and_is_not_replayed() {
    for line in ["ws", "sse"] {
        let mut rig = Rig::new();
        let (mut client, _) = start(&rig, line).await;
        rig.append(events::Draft { ephemeral: true, ..draft("all", "now") }).await;
        let batch = rig.plain(&client.batch(line).await);
        assert!(batch.starts_with(r#"{"after":"E.0","cursor":"E.0","events":[{"topic":"all","#), "{batch}");
        rig.resume(rig.log.tail_cursor());
        let (mut late, _) = start(&rig, line).await;
        assert_eq!(seqs(&late.batch(line).await), [0_u64; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ends_is_announced_and_can_be_refreshed() {
    let mut rig = Rig::new();
    let expiry = |at_ms| Some(Instant::now() + ms(at_ms));
    rig.terms.heartbeat = Duration::from_secs(3600);
    rig.terms.expiry = expiry(200_000);
    let (mut client, hello) = start(&rig, "ws").await;
    assert!(hello.contains(r#""expires_at":"2026-01-01T00:00:00Z""#), "{hello}");
    client.text().await;
    let expiring =
        r#"{"after":"E.0","cursor":"E.0","expiring":{"expires_at":"2026-01-01T00:00:00Z"},"events":[]}"#;
    assert_eq!(rig.plain(&client.text().await), expiring);
    assert_at(&client, 140_000);
    client.quiet(ms(10_000)).await;
    rig.application.revise(|access| {
        (access.expiry, access.expiring_before) = (expiry(100_000), ms(50_000));
    });
    assert_eq!(rig.plain(&client.text().await), expiring);
    assert_at(&client, 200_000);
    rig.application.revise(|access| access.expiry = None);
    client.quiet(ms(1_000_000)).await;
}

#[tokio::test(start_paused = true)]
async fn a_padded_stream_begins_with_a_comment() {
    let rig = Rig::new();
    for pad in [1, 70_000] {
        let mut client =
            rig.start(Line::Sse(SseLine { chunked: true, pad, headers: "Vary: Origin\r\n".into() }));
        let head = client.head().await;
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\nDate: ") && head.ends_with("Vary: Origin\r\n\r\n"),
            "{head}"
        );
        let first = client.message().await.unwrap();
        let rest = first.strip_prefix(&format!(":{}\nretry: 1500\ndata: ", " ".repeat(pad)));
        let (hello, id) = rest.expect("one block").split_once("\nid: ").expect("the id comes last");
        assert!(hello.contains(&format!("\"cursor\":\"{id}\"")), "{first}");
        let second = client.message().await.unwrap();
        assert!(second.starts_with("data: ") && second.ends_with(&format!("\nid: {id}")), "{second}");
    }
}

#[tokio::test(start_paused = true)]
async fn topics_come_and_go_through_the_handle() {
    for line in ["ws", "sse"] {
        let rig = Rig::new();
        rig.publish("room:1", "before").await;
        let (mut client, _) = start(&rig, line).await;
        client.batch(line).await;
        rig.publish("room:1", "still not mine").await;
        rig.application.subscribe("room:1");
        let batch = rig.plain(&client.batch(line).await);
        assert_eq!(
            batch, r#"{"after":"E.1","cursor":"E.2","events":[]}"#,
            "the new topic begins at the tail"
        );
        rig.publish("room:1", "mine").await;
        while {
            let batch = client.batch(line).await;
            assert!(seqs(&batch).is_empty() || seqs(&batch) == [3], "{batch}");
            seqs(&batch).is_empty()
        } {}
        rig.application.revise(|access| access.topics.retain(|topic| topic.as_str() != "room:1"));
        tokio::task::yield_now().await;
        rig.publish("room:1", "no more").await;
        let batch = rig.plain(&client.batch(line).await);
        assert_eq!(batch, r#"{"after":"E.3","cursor":"E.4","events":[]}"#);
    }
}

#[tokio::test(start_paused = true)]
async fn events_that_are_not_wanted_cause_no_batch() {
    for line in ["ws", "sse"] {
        let mut rig = Rig::new();
        rig.types = Some(TypeFilter::parse("wanted").unwrap());
        let (mut client, _) = start(&rig, line).await;
        client.batch(line).await;
        for _ in 0..10 {
            rig.publish("all", "x").await;
            client.quiet(ms(10)).await;
        }
        rig.append(events::Draft { kind: "wanted".parse().unwrap(), ..draft("all", "x") }).await;
        let batch = rig.plain(&client.batch(line).await);
        assert!(batch.starts_with(r#"{"after":"E.0","cursor":"E.11","events":[{"seq":11,"#), "{batch}");
        assert_at(&client, 400);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_in_the_middle_begins_at_the_cursor_that_the_client_knows() {
    let rig = Rig::new();
    let (mut client, _) = start(&rig, "ws").await;
    client.batch("ws").await;
    rig.publish("all", "x").await;
    client.batch("ws").await;
    client.batch("ws").await;
    let through = Seq::new(5).unwrap();
    rig.log.apply(Fact::Lost { topics: vec![topic("all")], through });
    let hello = rig.plain(&client.batch("ws").await);
    assert!(hello.starts_with(r#"{"after":"E.1","cursor":"E.1","hello""#), "{hello}");
    assert!(hello.contains(r#""reset":{"reason":"expired","topics":["all"]"#), "{hello}");
    assert_eq!(
        rig.plain(&client.batch("ws").await),
        r#"{"after":"E.1","cursor":"E.5","live":true,"events":[]}"#
    );
}
