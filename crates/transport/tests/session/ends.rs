use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};
use transport::{Bye, ByeReason, CloseCode, End, Ended, Line, SseLine};

use super::rig::{Client, Rig, client_frame, ms, poll, sse, ws};
use super::{assert_at, seqs};

async fn assert_bye(rig: &Rig, client: &mut Client, line: &str, reason: &str, after_ms: u64) {
    let batch = rig.plain(&client.batch(line).await);
    let bye = format!(r#","bye":{{"reason":"{reason}","reconnect_after_ms":{after_ms}}},"events":[]}}"#);
    assert!(batch.ends_with(&bye), "{line}: {batch}");
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_ends_a_stream() {
    for line in ["ws", "sse"] {
        let mut rig = Rig::new();
        rig.terms.expiry = Some(Instant::now() + ms(200));
        rig.terms.expiring_before = ms(100);
        let mut client = rig.start(if line == "ws" { ws() } else { sse() });
        if line == "sse" {
            client.head().await;
        }
        client.batch(line).await;
        assert!(client.batch(line).await.contains("expiring"));
        assert_at(&client, 100);
        assert_bye(&rig, &mut client, line, "expired_token", 7).await;
        assert_at(&client, 200);
        rig.publish("all", "not for it any more").await;
        if line == "ws" {
            assert_eq!(client.close_code().await, 4401);
            client.send_frame(0x88, &4401_u16.to_be_bytes()).await;
        } else {
            assert_eq!(client.message().await, None);
        }
        drop(std::mem::replace(&mut client.socket, tokio::io::duplex(1).0));
        assert_eq!(client.closed().await.ended, Ended::Bye(ByeReason::ExpiredToken));
        assert_at(&client, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_to_whoever_comes_with_an_expired_token() {
    let mut rig = Rig::new();
    rig.resume(rig.log.tail_cursor());
    rig.publish("all", "too late").await;
    rig.terms.expiry = Some(Instant::now());
    rig.terms.expiring_before = ms(0);
    for (line, name) in [(ws(), "ws"), (sse(), "sse"), (poll(1000), "poll")] {
        let mut client = rig.start(line);
        match name {
            "ws" => drop(client.text().await),
            "sse" => {
                client.head().await;
                client.message().await;
            }
            _ => {}
        }
        assert_bye(&rig, &mut client, name, "expired_token", 7).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_its_age() {
    for (line, chunked) in [("ws", true), ("sse", true), ("sse", false)] {
        let mut rig = Rig::new();
        rig.terms.age_max = Some(ms(2000));
        let line_of = Line::Sse(SseLine { chunked, pad: 0, headers: "".into() });
        let mut client = rig.start(if line == "ws" { ws() } else { line_of });
        if !chunked {
            while client.receive().await {}
            assert_at(&client, 2000);
            let all = String::from_utf8(std::mem::take(&mut client.received)).unwrap();
            assert!(all.contains("\r\nConnection: close\r\n") && !all.contains("chunked"), "{all}");
            let last = rig.plain(all.trim_end().rsplit("\n\n").next().unwrap());
            let bye = r#""bye":{"reason":"max_age","reconnect_after_ms":7}"#;
            let data = format!(r#"{{"after":"E.0","cursor":"E.0",{bye},"events":[]}}"#);
            assert_eq!(last, format!("retry: 7\ndata: {data}\nid: E.0"));
            assert!(all.ends_with("\n\n"));
            continue;
        }
        if line == "sse" {
            client.head().await;
        }
        client.batch(line).await;
        client.batch(line).await;
        assert_bye(&rig, &mut client, line, "max_age", 7).await;
        assert_at(&client, 2000);
        if line == "ws" {
            assert_eq!(client.close_code().await, 1001);
        } else {
            assert_eq!(client.message().await, None);
        }
        assert_eq!(client.closed().await.ended, Ended::Bye(ByeReason::MaxAge), "the client never closes");
        assert_at(&client, 4000);
    }
}

/// A batch of 100 KB, of which the client takes `piece` bytes every ten seconds.
async fn reads_slowly(line: Line, piece: usize) -> (Ended, u64) {
    let mut rig = Rig::new();
    rig.pipe = 64;
    let poll = matches!(line, Line::Poll(_));
    if poll {
        rig.resume(rig.log.tail_cursor());
    }
    for _ in 0..10 {
        rig.publish("all", &"x".repeat(10_000)).await;
    }
    if !poll {
        rig.start = events::Start::Earliest;
    }
    let mut client = rig.start(line);
    let reads = async {
        loop {
            let mut piece = vec![0; piece];
            if client.socket.read_exact(&mut piece).await.is_err() {
                break;
            }
            sleep(ms(10_000)).await;
        }
    };
    let running = client.running.take().unwrap();
    let since = Instant::now();
    tokio::select! {
        closed = running => (closed.unwrap().ended, since.elapsed().as_secs()),
        () = reads => unreachable!("the session ends first"),
        () = sleep(ms(1_000_000)) => (Ended::Lost, 1_000_000),
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_a_few_bytes_now_and_then_is_too_slow() {
    for line in [ws(), sse(), poll(25_000)] {
        let (ended, seconds) = reads_slowly(line, 100).await;
        assert_eq!(ended, Ended::Bye(ByeReason::Slow));
        assert!(seconds < 60, "{seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_and_steadily_gets_its_batch() {
    let (ended, seconds) = reads_slowly(poll(25_000), 14_000).await;
    assert_eq!(ended, Ended::Answered, "after {seconds} s");
    assert!(seconds > 60, "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_stream_ends_at_its_age_too() {
    for line in ["ws", "sse"] {
        let mut rig = Rig::new();
        rig.terms.age_max = Some(ms(2000));
        let mut client = rig.start(if line == "ws" { ws() } else { sse() });
        if line == "sse" {
            client.head().await;
        }
        let publish = async {
            loop {
                sleep(ms(100)).await;
                rig.publish("all", "x").await;
            }
        };
        let read = async { while !client.batch(line).await.contains(r#""bye":{"reason":"max_age""#) {} };
        tokio::select! {
            () = publish => {}
            () = read => {}
        }
        assert_at(&client, 2000);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_sent_away_is_told_its_slot_and_nothing_after_it() {
    let reasons = [
        (ByeReason::Drain, "drain", 1001),
        (ByeReason::Replaced, "replaced", 4410),
        (ByeReason::Disconnected, "disconnected", 4410),
    ];
    for (reason, word, code) in reasons {
        let rig = Rig::new();
        let mut client = rig.start(ws());
        client.text().await;
        client.handle.end(Bye { reason, reconnect_after: ms(1234) });
        client.handle.end(Bye { reason, reconnect_after: ms(99) });
        assert_bye(&rig, &mut client, "ws", word, 1234).await;
        assert_eq!(client.close_code().await, code);
        rig.publish("all", "x").await;
        rig.application.subscribe("room:1");
        client.send_frame(0x89, b"ping").await;
        client.send_frame(0x81, b"command").await;
        client.quiet(ms(1000)).await;
        client.send_frame(0x88, &code.to_be_bytes()).await;
        assert_eq!(client.frame().await, None);
        assert_eq!(client.closed().await.ended, Ended::Bye(reason));
        assert!(rig.application.commands.lock().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_cut_off_after_its_time() {
    for line in [ws(), sse()] {
        let mut rig = Rig::new();
        rig.pipe = 64;
        let mut client = rig.start(line);
        assert_eq!(client.closed().await.ended, Ended::Bye(ByeReason::Slow));
        assert_at(&client, 17_000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_that_reads_on_in_time_is_told() {
    let mut rig = Rig::new();
    rig.pipe = 64;
    let mut client = rig.start(ws());
    sleep(ms(16_000)).await;
    assert!(client.text().await.contains("hello"));
    assert_bye(&rig, &mut client, "ws", "slow", 7).await;
    assert_eq!(client.close_code().await, 4408);
}

#[tokio::test(start_paused = true)]
async fn half_an_answer_is_followed_by_nothing() {
    let mut rig = Rig::new();
    rig.pipe = 64;
    let mut client = rig.start(poll(0));
    let closed = client.closed().await;
    assert!(closed.reuse.is_none(), "the next answer would begin in the middle of this one");
    assert_eq!(closed.ended, Ended::Bye(ByeReason::Slow));
    assert_at(&client, 15_000);
}

#[tokio::test(start_paused = true)]
async fn a_close_frame_is_answered_in_kind() {
    for (payload, reply) in [(&b""[..], &b""[..]), (b"\x03\xe8bye", b"\x03\xe8"), (b"\x0f\xa0", b"\x0f\xa0")]
    {
        let rig = Rig::new();
        let mut client = rig.start(ws());
        client.text().await;
        client.send_frame(0x88, payload).await;
        let frame = client.frame().await.unwrap();
        assert_eq!((frame.opcode, &*frame.payload), (8, reply));
        assert_eq!(client.frame().await, None);
        assert_eq!(client.closed().await.ended, Ended::Client);
        assert_at(&client, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_rule_closes_and_what_follows_is_not_read() {
    let rig = Rig::new();
    let mut client = rig.start(ws());
    client.text().await;
    client.send(&[0x81, 0x01, b'x']).await;
    assert_eq!(client.close_code().await, 1002);
    assert_eq!(client.frame().await, None, "its half is closed at once");
    for _ in 0..100 {
        client.send(&[0x81; 1000]).await;
    }
    assert!(
        client.running.as_ref().is_some_and(|running| !running.is_finished()),
        "so that the code arrives"
    );
    assert_eq!(client.closed().await.ended, Ended::Violation(CloseCode::PROTOCOL));
    assert_at(&client, 2000);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_is_abuse() {
    let rig = Rig::new();
    let mut client = rig.start(ws());
    client.text().await;
    client.send(&client_frame(0x89, b"?").repeat(201)).await;
    for _ in 0..201 {
        assert_eq!(client.frame().await.unwrap().opcode, 10);
    }
    assert_eq!(client.close_code().await, 4429);
    assert_eq!(client.closed().await.ended, Ended::Violation(CloseCode::RATE_LIMITED));
}

#[tokio::test(start_paused = true)]
async fn pings_at_their_ease_are_answered() {
    let rig = Rig::new();
    let mut client = rig.start(ws());
    for _ in 0..1000 {
        client.send_frame(0x89, b"?").await;
        while client.frame().await.unwrap().opcode != 10 {}
        sleep(ms(51)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_is_noticed_at_once() {
    for line in [ws(), sse(), poll(25_000)] {
        let mut rig = Rig::new();
        rig.resume(rig.log.tail_cursor());
        let mut client = rig.start(line);
        sleep(ms(500)).await;
        client.socket.shutdown().await.unwrap();
        drop(std::mem::replace(&mut client.socket, tokio::io::duplex(1).0));
        let closed = client.closed().await;
        assert_eq!(closed.ended, Ended::Client);
        assert!(closed.reuse.is_none());
        assert_at(&client, 500);
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_that_comes_before_anything_was_written_is_still_an_answer() {
    let rig = Rig::new();
    let mut client = rig.start(sse());
    client.handle.end(End::Close(CloseCode::RATE_LIMITED, "too much"));
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(client.message().await.unwrap().contains("hello"));
    assert_eq!(client.message().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_bye_passes_over_no_event() {
    let rig = Rig::new();
    let mut client = rig.start(ws());
    client.text().await;
    client.text().await;
    rig.publish("all", "x").await;
    client.handle.end(Bye { reason: ByeReason::Drain, reconnect_after: ms(0) });
    let mut cursor = 0;
    loop {
        let batch = client.text().await;
        cursor = seqs(&batch).last().copied().unwrap_or(cursor);
        if batch.contains("bye") {
            assert!(rig.plain(&batch).contains(&format!(r#""cursor":"E.{cursor}""#)), "{batch}");
            break;
        }
    }
}
