//! Pings of a WebSocket: a client that has gone without a word is noticed.

use transport::{ByeReason, Ended};

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

#[tokio::test(start_paused = true)]
async fn server_sent_events_have_no_pings() {
    let rig = Rig::new();
    let mut client = rig.start(sse());
    client.head().await;
    while client.now_ms() < 200_000 {
        assert!(client.message().await.unwrap().contains("data: "));
    }
}
