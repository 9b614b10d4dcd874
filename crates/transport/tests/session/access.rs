//! A session follows its access at every moment, whatever happens at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use events::{Event, Lens, Seq};

use super::rig::{Application, Rig, ms, poll, topic, ws};
use super::seqs;
use super::streams::start;

/// Takes a topic from the session as soon as it has read an event, before it sends it.
#[derive(Clone)]
struct Shrinking {
    application: Arc<Application>,
    is_done: Arc<AtomicBool>,
}

impl std::fmt::Debug for Shrinking {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Shrinking")
    }
}

impl Lens for Shrinking {
    fn see(&self, event: &Event) -> Event {
        if !self.is_done.swap(true, Ordering::Relaxed) {
            self.application.revise(|access| access.topics.retain(|topic| topic.as_str() != "room:1"));
        }
        event.clone()
    }
}

fn shrinking(rig: &Rig) -> Arc<AtomicBool> {
    let is_done = Arc::new(AtomicBool::new(false));
    let lens = Shrinking { application: Arc::clone(&rig.application), is_done: Arc::clone(&is_done) };
    rig.application.revise(|access| access.lens = Some(Arc::new(lens)));
    is_done
}

#[tokio::test(start_paused = true)]
async fn an_event_that_was_read_before_its_topic_was_taken_away_is_not_sent() {
    for line in ["ws", "sse"] {
        let mut rig = Rig::new();
        rig.topics.push(topic("room:1"));
        let (mut client, _) = start(&rig, line).await;
        client.batch(line).await;
        let is_done = shrinking(&rig);
        rig.publish("room:1", "secret").await;
        rig.publish("all", "x").await;
        let batch = rig.plain(&client.batch(line).await);
        assert!(is_done.load(Ordering::Relaxed));
        assert!(batch.starts_with(r#"{"after":"E.0","cursor":"E.2","#) && seqs(&batch) == [2], "{batch}");
        rig.publish("all", "y").await;
        while seqs(&client.batch(line).await) != [3] {}
    }
}

/// A poll has one answer, so a reset that it read before is not lost with the events.
#[tokio::test(start_paused = true)]
async fn a_poll_that_loses_a_topic_while_it_reads_still_tells_its_reset() {
    let mut rig = Rig::new();
    rig.topics.push(topic("room:1"));
    rig.publish("all", "x").await;
    let cursor = rig.log.tail_cursor();
    rig.resume(cursor);
    rig.publish("all", "lost").await;
    rig.log.apply(events::Fact::Lost { topics: vec![topic("all")], through: Seq::new(2).unwrap() });
    rig.publish("room:1", "secret").await;
    rig.publish("all", "y").await;
    let mut client = rig.start(poll(1000));
    let is_done = shrinking(&rig);
    let (_, body) = client.answer().await;
    assert!(is_done.load(Ordering::Relaxed));
    assert!(body.contains(r#""reset":{"reason":"expired","topics":["all"]"#), "{body}");
    assert_eq!(seqs(&body), [4], "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_goes_and_comes_between_two_steps_begins_anew() {
    let mut rig = Rig::new();
    rig.topics.push(topic("room:1"));
    let (mut client, _) = start(&rig, "ws").await;
    client.batch("ws").await;
    rig.publish("room:1", "while it is away").await;
    rig.application.access.lock().topics.retain(|topic| topic.as_str() != "room:1");
    rig.application.subscribe("room:1");
    let batch = rig.plain(&client.batch("ws").await);
    assert_eq!(batch, r#"{"after":"E.0","cursor":"E.1","events":[]}"#);
    rig.publish("room:1", "again").await;
    while seqs(&client.batch("ws").await) != [2] {}
    assert_eq!(rig.application.subscribed.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_comes_while_a_session_ends_does_not_keep_it_busy() {
    let rig = Rig::new();
    let mut client = rig.start(ws());
    client.text().await;
    client.handle.end(transport::End::Close(transport::CloseCode::RATE_LIMITED, "too much"));
    tokio::task::yield_now().await;
    rig.application.subscribe("room:1");
    assert_eq!(client.close_code().await, 4429);
    client.quiet(ms(100)).await;
    drop(client.socket);
}
