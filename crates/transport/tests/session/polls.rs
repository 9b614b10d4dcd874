use events::{Epoch, Fact, Options, Seq, Start};
use tokio::io::{AsyncReadExt as _, BufStream};
use tokio::time::{Instant, sleep};
use transport::{Bye, ByeReason, Ended, Line, PollLine};

use super::rig::{Rig, draft, ms, poll, poll_line, topic};
use super::{assert_at, seqs};

/// A rig whose clients come with the cursor of the tail.
fn resumed() -> Rig {
    let mut rig = Rig::new();
    rig.resume(rig.log.tail_cursor());
    rig
}

#[tokio::test(start_paused = true)]
async fn a_poll_without_a_cursor_is_answered_at_once() {
    let rig = Rig::new();
    rig.publish("all", "x").await;
    let headers = "Vary: Origin\r\n".into();
    let mut client = rig.start(Line::Poll(PollLine { hello: true, headers, ..poll_line(25_000) }));
    let (head, body) = client.answer().await;
    assert!(head.contains("\r\nConnection: keep-alive\r\nVary: Origin\r\n\r\n"), "{head}");
    assert!(rig.plain(&body).starts_with(r#"{"after":"E.1","cursor":"E.1","hello":{"session":"#), "{body}");
    assert!(client.closed().await.reuse.is_some());
    assert_at(&client, 0);
}

/// A session that was ended while its client was away is told so by its next poll, whatever the poll asks for.
#[tokio::test(start_paused = true)]
async fn a_poll_without_a_cursor_of_an_ended_session_says_bye() {
    let rig = Rig::new();
    let mut client = rig.start(Line::Poll(PollLine { hello: true, ..poll_line(25_000) }));
    client.handle.end(Bye { reason: ByeReason::Disconnected, reconnect_after: ms(5) });
    let (_, body) = client.answer().await;
    let bye = r#""user":"alice","bye":{"reason":"disconnected","reconnect_after_ms":5},"events":[]}"#;
    assert!(body.ends_with(bye), "{body}");
    assert!(client.handle.has_said_disconnected());
}

/// A socket may take bytes and keep them, as TLS does: the answer is over only once they have left it.
#[tokio::test(start_paused = true)]
async fn an_answer_is_over_when_the_socket_has_let_go_of_it() {
    let mut rig = resumed();
    rig.terms.write_timeout = ms(5_000);
    rig.publish("all", &"x".repeat(2_000)).await;
    let (near, mut far) = tokio::io::duplex(100);
    let (session, _) = rig.session(BufStream::with_capacity(16, 16 << 10, near), poll(25_000));
    let ended = tokio::spawn(session);
    sleep(ms(1_000)).await;
    assert!(!ended.is_finished(), "most of the answer is still in the socket");
    let mut received = Vec::new();
    while !received.ends_with(b"}]}") {
        assert!(far.read_buf(&mut received).await.unwrap() > 0);
    }
    assert_eq!(ended.await.unwrap(), Ended::Answered);

    let (near, _far) = tokio::io::duplex(100);
    let (mut session, _) = rig.session(BufStream::with_capacity(16, 16 << 10, near), poll(25_000));
    assert_eq!((&mut session).await, Ended::Bye(ByeReason::Slow), "nobody reads it");
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_answered_at_once_up_to_the_limit() {
    let mut rig = resumed();
    for _ in 0..3 {
        rig.publish("all", "x").await;
    }
    rig.terms.limit.events = 2;
    let mut client = rig.start(poll(25_000));
    let (_, body) = client.answer().await;
    assert!(
        rig.plain(&body)
            .starts_with(r#"{"after":"E.0","cursor":"E.2","user":"alice","more":true,"events":["#),
        "{body}"
    );
    assert!(!body.contains("live"), "a poll says no live");
    assert_at(&client, 0);
    let Start::After(cursor) = rig.start else { unreachable!() };
    rig.resume(events::Cursor { seq: Seq::new(2).unwrap(), ..cursor });
    let (_, body) = rig.start(poll(25_000)).answer().await;
    assert!(
        rig.plain(&body).starts_with(r#"{"after":"E.2","cursor":"E.3","user":"alice","events":["#),
        "{body}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_poll_waits_for_its_time_and_no_longer() {
    for wait in [0, 2000] {
        let rig = resumed();
        let mut client = rig.start(poll(wait));
        rig.publish("user:bob", "not mine").await;
        let (_, body) = client.answer().await;
        let body = rig.plain(&body);
        assert!(body.starts_with(r#"{"after":"E.0","cursor":"E."#) && seqs(&body).is_empty(), "{body}");
        assert_at(&client, wait);
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_poll_is_answered_when_something_comes() {
    let rig = resumed();
    let mut client = rig.start(poll(25_000));
    client.quiet(ms(1000)).await;
    rig.publish("all", "x").await;
    let (_, body) = client.answer().await;
    assert_eq!(seqs(&body), [1]);
    assert_at(&client, 1000);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_poll_gets_an_ephemeral_event() {
    let rig = resumed();
    let mut client = rig.start(poll(25_000));
    client.quiet(ms(1000)).await;
    rig.append(events::Draft { ephemeral: true, ..draft("all", "now") }).await;
    let (_, body) = client.answer().await;
    let body = rig.plain(&body);
    assert!(
        body.starts_with(r#"{"after":"E.0","cursor":"E.0","user":"alice","events":[{"topic":"all""#),
        "{body}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_came_behind_a_poll_is_kept_for_the_next_request() {
    let rig = resumed();
    let mut line = poll(25_000);
    if let Line::Poll(poll) = &mut line {
        poll.pipelined.extend_from_slice(b"GET /v1");
    }
    let mut client = rig.start(line);
    sleep(ms(10)).await;
    client.send(b"/poll HTTP/1.1\r\n\r\n").await;
    sleep(ms(10)).await;
    rig.publish("all", "x").await;
    client.answer().await;
    let closed = client.closed().await;
    assert_eq!(closed.ended, Ended::Answered);
    let (_, pipelined) = closed.reuse.expect("the connection can be used again");
    assert_eq!(pipelined, b"GET /v1/poll HTTP/1.1\r\n\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_kept_is_closed() {
    let rig = resumed();
    let mut client = rig.start(Line::Poll(PollLine { keep_alive: false, ..poll_line(0) }));
    assert!(client.answer().await.0.contains("\r\nConnection: close\r\n"));
    assert!(!client.receive().await);
    assert!(client.closed().await.reuse.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_waiting_poll_is_told_of_the_end() {
    for (reason, word) in [(ByeReason::Drain, "drain"), (ByeReason::Disconnected, "disconnected")] {
        let rig = resumed();
        let mut client = rig.start(poll(25_000));
        rig.publish("user:bob", "not mine").await;
        client.quiet(ms(1000)).await;
        client.handle.end(Bye { reason, reconnect_after: ms(5) });
        let (head, body) = client.answer().await;
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        assert!(rig.plain(&body).starts_with(r#"{"after":"E.0","cursor":"E."#), "{body}");
        let bye = format!(r#","bye":{{"reason":"{word}","reconnect_after_ms":5}},"events":[]}}"#);
        assert!(body.ends_with(&bye), "{body}");
        assert!(!client.receive().await);
        assert_at(&client, 1000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_whose_token_ends_is_told_before_and_then() {
    let mut rig = resumed();
    rig.terms.expiry = Some(Instant::now() + ms(10_000));
    rig.terms.expiring_before = ms(5_000);
    let mut client = rig.start(poll(25_000));
    let (_, body) = client.answer().await;
    assert!(body.contains(r#""expiring":{"expires_at":"2026-01-01T00:00:00Z"}"#), "{body}");
    assert_at(&client, 5000);
}

#[tokio::test(start_paused = true)]
async fn a_poll_of_a_client_that_was_told_waits_for_the_end_of_its_token() {
    let mut rig = resumed();
    rig.terms.expiry = Some(Instant::now() + ms(10_000));
    rig.terms.expiring_before = ms(0);
    let mut client = rig.start(poll(25_000));
    let (_, body) = client.answer().await;
    assert!(!body.contains("expiring\":") && body.contains("expired_token"), "{body}");
    assert_at(&client, 10_000);
}

#[tokio::test(start_paused = true)]
async fn an_old_cursor_is_reset_and_answered_in_one() {
    let mut rig = Rig::with(&Options { ring_events_max: 2, ..Options::default() });
    rig.publish("all", "x").await;
    rig.resume(rig.log.tail_cursor());
    for _ in 0..4 {
        rig.publish("all", "x").await;
    }
    let (_, body) = rig.start(poll(25_000)).answer().await;
    let body = rig.plain(&body);
    let reset =
        r#"{"after":"E.1","cursor":"E.5","user":"alice","reset":{"reason":"expired","topics":["all"],"#;
    assert!(body.starts_with(reset), "{body}");
    assert_eq!(seqs(&body), [4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_history_behind_the_ring_is_told_whole() {
    let mut rig = Rig::with(&Options { ring_events_max: 2, ..Options::default() });
    rig.publish("all", "x").await;
    let shared = rig.log.tail_cursor();
    for _ in 0..4 {
        rig.publish("all", "x").await;
    }
    // The client was in an epoch that ended at `shared`; the ring of one topic has moved on since.
    rig.resume(shared);
    rig.start = Start::Broken(events::ResetReason::Epoch, shared);
    let (_, body) = rig.start(poll(25_000)).answer().await;
    let body = rig.plain(&body);
    let reset = r#"{"after":"E.1","cursor":"E.5","user":"alice","reset":{"reason":"epoch","topics":["user:alice","all"],"#;
    assert!(body.starts_with(reset), "the narrower reset must not hide the wider: {body}");
    assert_eq!(seqs(&body), [4, 5]);
    assert_eq!(rig.application.resets.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_poll_learns_of_lost_history() {
    let rig = resumed();
    let mut client = rig.start(poll(25_000));
    client.quiet(ms(100)).await;
    rig.log.apply(Fact::Epoch { epoch: Epoch::new(7), end: None, start: Seq::new(5).unwrap() });
    let (_, body) = client.answer().await;
    let reset = r#"{"after":"7.5","cursor":"7.5","user":"alice","reset":{"reason":"epoch","topics":["user:alice","all"],"#;
    assert!(body.starts_with(reset), "{body}");
    assert_at(&client, 100);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_poll_can_be_given_a_topic() {
    let rig = resumed();
    let mut client = rig.start(poll(25_000));
    client.quiet(ms(100)).await;
    rig.application.subscribe("room:1");
    client.quiet(ms(100)).await;
    rig.publish("room:1", "x").await;
    assert_eq!(seqs(&client.answer().await.1), [1]);
}

/// A waiting poll has read past its cursor without saying so, even into the next epoch. Only the
/// client's own cursor tells it that this answer follows the one before.
#[tokio::test(start_paused = true)]
async fn a_reset_of_a_waiting_poll_starts_from_the_cursor_that_the_client_sent() {
    for ends in [false, true] {
        let mut rig = Rig::new();
        rig.publish("all", "x").await;
        let sent = rig.log.tail_cursor();
        rig.resume(sent);
        let mut client = rig.start(poll(25_000));
        client.quiet(ms(100)).await;
        let (end, start) = (Seq::new(1), Seq::new(8).unwrap());
        rig.log.apply(Fact::Epoch { epoch: Epoch::new(7), end, start });
        client.quiet(ms(100)).await;
        if ends {
            client.handle.end(Bye { reason: ByeReason::Drain, reconnect_after: ms(5) });
        }
        rig.log.apply(Fact::Lost { topics: vec![topic("all")], through: Seq::new(9).unwrap() });
        let (_, body) = client.answer().await;
        let cursor = if ends { "7.8" } else { "7.9" };
        assert!(
            body.starts_with(&format!(r#"{{"after":"{sent}","cursor":"{cursor}","user":"alice","reset":"#)),
            "{body}"
        );
        assert!(body.contains(r#""reset":{"reason":"expired","topics":["all"],"#), "{body}");
    }
}
