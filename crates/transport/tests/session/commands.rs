use tokio::io::AsyncWriteExt as _;
use tokio::time::{sleep, timeout};
use transport::{Bye, ByeReason, CloseCode, End};

use super::rig::{Rig, client_frame, ms, topic, ws};
use super::{assert_at, seqs};

#[tokio::test(start_paused = true)]
async fn commands_run_one_at_a_time_and_in_order() {
    let rig = Rig::new();
    *rig.application.takes.lock() = ms(50);
    let mut client = rig.start(ws());
    client.text().await;
    for name in ["a", "b", "c"] {
        client.send_frame(0x81, name.as_bytes()).await;
    }
    for (name, at) in [("a", 50), ("b", 100), ("c", 150)] {
        assert_eq!(client.text().await, format!("reply to {name}"));
        assert_at(&client, at);
    }
}

#[tokio::test(start_paused = true)]
async fn events_go_on_while_a_command_runs() {
    let rig = Rig::new();
    *rig.application.takes.lock() = ms(100);
    let mut client = rig.start(ws());
    client.text().await;
    client.send_frame(0x81, b"a").await;
    sleep(ms(10)).await;
    rig.publish("all", "x").await;
    assert_eq!(seqs(&client.text().await), [1]);
    assert_at(&client, 10);
    assert_eq!(client.text().await, "reply to a");
}

#[tokio::test(start_paused = true)]
async fn whoever_sends_faster_than_it_is_served_is_slowed_down() {
    let mut rig = Rig::new();
    rig.pipe = 1024;
    *rig.application.takes.lock() = ms(3_000_000);
    let mut client = rig.start(ws());
    client.text().await;
    let flood = client_frame(0x81, &[b'x'; 900]).repeat(100);
    let sent = timeout(ms(1000), client.socket.write_all(&flood)).await;
    assert!(sent.is_err(), "90 KB do not fit into the pipe, and nobody reads them");
    assert_eq!(rig.application.commands.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_binary_message_is_answered_and_is_no_command() {
    let rig = Rig::new();
    let mut client = rig.start(ws());
    client.text().await;
    client.send_frame(0x82, b"a").await;
    assert_eq!(client.text().await, "not a command");
    assert!(rig.application.commands.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_command_changes_the_session_before_its_reply() {
    let rig = Rig::new();
    *rig.application.adds.lock() = Some(topic("room:1"));
    let mut client = rig.start(ws());
    client.text().await;
    client.send_frame(0x81, b"subscribe").await;
    while client.text().await != "reply to subscribe" {}
    assert_eq!(*rig.application.subscribed.lock(), [(topic("room:1"), rig.log.tail_cursor())]);
    rig.publish("room:1", "x").await;
    assert_eq!(seqs(&client.text().await), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_ends_the_session_is_answered_first() {
    let ends = [
        (End::Bye(Bye { reason: ByeReason::Disconnected, reconnect_after: ms(1) }), 4410),
        (End::Close(CloseCode::RATE_LIMITED, "too many commands"), 4429),
    ];
    for (end, code) in ends {
        let rig = Rig::new();
        *rig.application.end.lock() = Some(end);
        let mut client = rig.start(ws());
        client.text().await;
        client.send_frame(0x81, b"a").await;
        assert_eq!(client.text().await, "reply to a");
        if code == 4410 {
            assert!(client.text().await.contains("bye"));
        }
        assert_eq!(client.close_code().await, code);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_over_the_limit_closes() {
    let rig = Rig::new();
    let mut client = rig.start(ws());
    client.text().await;
    client.send_frame(0x81, &[b'x'; 1001]).await;
    assert_eq!(client.close_code().await, 1009);
}
