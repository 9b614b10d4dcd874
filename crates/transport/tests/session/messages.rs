//! How long a message on a stream is, and that the short ones travel together.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use events::{Draft, Store as _};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::rig::{Client, Rig, draft, ms, poll, sse, ws};
use super::{assert_at, seqs};

const MESSAGE_BYTES: usize = 32 << 10;

/// A rig whose client missed events of these sizes.
async fn missed(sizes: &[usize]) -> Rig {
    let mut rig = Rig::new();
    rig.resume(rig.log.tail_cursor());
    rig.terms.limit.bytes = MESSAGE_BYTES;
    for size in sizes {
        rig.publish("all", &"x".repeat(*size)).await;
    }
    rig
}

/// The next message, and its batch.
async fn message(client: &mut Client, line: &str) -> (usize, String) {
    if line == "ws" {
        let text = client.text().await;
        return (text.len(), text);
    }
    let block = client.message().await.expect("a message");
    let data = block.lines().find_map(|line| line.strip_prefix("data: ")).expect("data").to_owned();
    (block.len() + "\n\n".len(), data)
}

async fn start(rig: &Rig, line: &str) -> Client {
    let mut client = rig.start(if line == "ws" { ws() } else { sse() });
    if line == "sse" {
        client.head().await;
    }
    message(&mut client, line).await;
    client
}

#[tokio::test(start_paused = true)]
async fn no_message_is_longer_than_its_limit_and_all_follow_at_once() {
    let sizes: Vec<usize> = (0..250).map(|n| [10, 700, 6_000, 90, 3_000][n % 5]).collect();
    for line in ["ws", "sse"] {
        let mut rig = missed(&sizes).await;
        rig.terms.interval = ms(60_000);
        let mut client = start(&rig, line).await;
        let (mut seen, mut after, mut longest) = (Vec::new(), "E.0".to_owned(), 0);
        // The interval is for bursts, of up to 256 KiB each.
        let mut bursts = [0; 3];
        while seen.len() < 250 {
            let (bytes, batch) = message(&mut client, line).await;
            let batch = rig.plain(&batch);
            assert!(bytes <= MESSAGE_BYTES, "{line}: {bytes} bytes");
            assert!(batch.starts_with(&format!(r#"{{"after":"{after}""#)), "{batch:.60}");
            after = batch.split('"').nth(7).unwrap().to_owned();
            seen.extend(seqs(&batch));
            longest = longest.max(bytes);
            assert_eq!(batch.contains(r#""live":true"#), seen.len() == 250);
            let burst = client.now_ms() / 60_000;
            assert_at(&client, burst * 60_000);
            bursts[burst as usize] += bytes;
        }
        assert!(bursts[0] > 220 << 10 && bursts.iter().all(|bytes| *bytes <= 256 << 10), "{bursts:?}");
        assert_eq!(seen, (1..=250).collect::<Vec<_>>(), "{line}");
        assert!(longest > MESSAGE_BYTES - 7_000, "messages are filled: {longest}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_longer_than_a_message_is_alone_in_its_own() {
    for line in ["ws", "sse"] {
        let rig = missed(&[10, 50_000, 10, 10]).await;
        let mut client = start(&rig, line).await;
        for expected in [vec![1], vec![2], vec![3, 4]] {
            let (bytes, batch) = message(&mut client, line).await;
            assert_eq!(seqs(&batch), expected, "{line}");
            assert_eq!(bytes > MESSAGE_BYTES, expected == [2], "{line}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ephemeral_events_that_do_not_fit_follow_in_messages_of_their_own() {
    for line in ["ws", "sse"] {
        let rig = missed(&[]).await;
        let mut client = start(&rig, line).await;
        message(&mut client, line).await;
        let mut drafts = vec![draft("all", &"x".repeat(20_000))];
        let ephemeral = |_| Draft { ephemeral: true, ..draft("all", &"y".repeat(9_000)) };
        drafts.extend((0..8).map(ephemeral));
        assert!(rig.store.append(drafts).await.iter().all(Result::is_ok));
        let mut events = 0;
        while events < 9 {
            let (bytes, batch) = message(&mut client, line).await;
            assert!(bytes <= MESSAGE_BYTES, "{line}: {bytes} bytes");
            let batch = rig.plain(&batch);
            let after = if events == 0 { 0 } else { 1 };
            let head = format!(r#"{{"after":"E.{after}","cursor":"E.1","#);
            assert!(batch.starts_with(&head), "{line}: {batch:.60}");
            events += batch.matches(r#""topic""#).count();
            assert_at(&client, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_poll_is_as_long_as_before() {
    let mut rig = missed(&[6_000; 20]).await;
    rig.terms.limit.bytes = 256 << 10;
    let mut client = rig.start(poll(0));
    assert_eq!(seqs(&client.answer().await.1).len(), 20);
}

/// Takes everything, and keeps what each write brought.
#[derive(Clone, Default)]
struct Writes(Arc<Mutex<Vec<usize>>>);

impl AsyncRead for Writes {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Writes {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.lock().push(bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn one_write_takes_many_messages_and_never_more_than_a_client_may_hold() {
    let rig = missed(&[6_000; 100]).await;
    let writes = Writes::default();
    let (session, _) = rig.session(writes.clone(), ws());
    let running = tokio::spawn(session);
    tokio::time::sleep(ms(100)).await;
    running.abort();
    let writes = std::mem::take(&mut *writes.0.lock());
    // `hello`, and 600 KB in pieces of 256 KiB.
    assert_eq!(writes.len(), 4, "{writes:?}");
    assert!(writes.iter().all(|bytes| *bytes <= 256 << 10), "{writes:?}");
}
