//! Pings of a WebSocket: a client that has gone without a word is noticed.

use transport::socketio::{CursorStyle, Pings, Revision, Settings};
use transport::ws::Decoder;
use transport::{ByeReason, Ended, Line, SocketIoLine, SocketIoStart};

use super::assert_at;
use super::rig::{Rig, ms, sse, ws};

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_stays_and_costs_no_wake_up_of_its_own() {
    let rig = Rig::new();
    let mut client = rig.start(ws());
    client.text().await;
    client.text().await;
    for (pings, at) in [(1, 15_300), (2, 30_300), (3, 45_300), (4, 60_300)] {
        client.text().await;
        assert_eq!(client.pings, pings, "with the heartbeat");
        assert_at(&client, at);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_two_pings_unanswered_has_gone() {
    let rig = Rig::new();
    let mut client = rig.start(ws());
    client.answers_pings = false;
    while !client.text().await.contains(r#""bye":{"reason":"silent""#) {}
    assert_at(&client, 45_300);
    assert_eq!((client.pings, client.close_code().await), (2, 4408));
    assert_eq!(client.closed().await.ended, Ended::Bye(ByeReason::Silent));
}

#[tokio::test(start_paused = true)]
async fn anything_that_a_client_says_is_an_answer() {
    let rig = Rig::new();
    let mut client = rig.start(ws());
    client.answers_pings = false;
    for _ in 0..20 {
        tokio::time::sleep(ms(29_000)).await;
        client.send_frame(0x81, b"x").await;
        while !client.text().await.starts_with("reply") {}
    }
    assert!(client.pings > 10);
}

#[tokio::test(start_paused = true)]
async fn a_busy_stream_is_pinged_too() {
    let rig = Rig::new();
    let mut client = rig.start(ws());
    client.answers_pings = false;
    client.text().await;
    let publishing = async {
        loop {
            rig.publish("all", "x").await;
            tokio::time::sleep(ms(1000)).await;
        }
    };
    let reading = async { while !client.text().await.contains(r#""bye":{"reason":"silent""#) {} };
    tokio::select! {
        () = publishing => {}
        () = reading => {}
    }
    assert!((45_000..47_000).contains(&client.now_ms()), "{}", client.now_ms());
}

/// The WebSocket of a Socket.IO client that goes on after an upgrade. The rig has a heartbeat of
/// 15 s.
fn socketio(revision: Revision) -> Line {
    let pings = Pings { interval: ms(15_000), timeout: ms(4_000) };
    let settings = Settings::new(pings, CursorStyle::Event, None).into();
    let start = SocketIoStart { greeting: None, revision, own_tag: "".into(), has_more_topics: false };
    Line::SocketIo(Box::new(SocketIoLine::new(Decoder::new(1000), settings, start)))
}

#[tokio::test(start_paused = true)]
async fn a_silent_socketio_client_ends_after_interval_and_timeout() {
    let rig = Rig::new();
    let mut client = rig.start(socketio(Revision::Four));
    assert_eq!(client.text().await, "2");
    assert_at(&client, 15_000);
    assert_eq!(client.text().await, "1");
    assert!((19_000..=19_200).contains(&client.now_ms()), "{}", client.now_ms());
    assert_eq!(client.closed().await.ended, Ended::Bye(ByeReason::Silent));
}

#[tokio::test(start_paused = true)]
async fn a_socketio_client_that_answers_in_time_stays() {
    let rig = Rig::new();
    let mut client = rig.start(socketio(Revision::Four));
    for round in 1..=20 {
        assert_eq!(client.text().await, "2");
        assert_at(&client, round * 15_000);
        tokio::time::sleep(ms(3_900)).await;
        client.send_frame(0x81, b"3").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_of_revision_3_pings_by_itself() {
    let rig = Rig::new();
    let mut client = rig.start(socketio(Revision::Three));
    for _ in 0..20 {
        tokio::time::sleep(ms(15_000)).await;
        client.send_frame(0x81, b"2").await;
        assert_eq!(client.text().await, "3");
    }
    let silent_since = client.now_ms();
    assert_eq!(client.text().await, "1");
    let silence = client.now_ms() - silent_since;
    assert!((19_000..=34_200).contains(&silence), "{silence}");
}

#[tokio::test(start_paused = true)]
async fn server_sent_events_have_no_pings() {
    let rig = Rig::new();
    let mut client = rig.start(sse());
    client.head().await;
    while client.now_ms() < 200_000 {
        assert!(client.message().await.unwrap().contains("data: "));
    }
}
