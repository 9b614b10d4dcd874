//! A running session with a socket that takes everything: what one event costs from the ring to the
//! socket.

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use events::{Data, Draft, Limit, Log, Memory, Options, Reader, Start, Store as _, Topic, Topics};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use transport::{Handle, Host, Line, Session, Terms};

use super::quiet_host::{self, QuietHost, sse, ws};

const ROUNDS: u32 = 5;
const EVENTS: u32 = 2_000;

/// Events that a client has missed.
const MISSED: usize = 20_000;

/// Nanoseconds for each event, appended and sent one at a time over a WebSocket and over
/// server-sent events, of which the append is part, and for each event of a long replay.
pub(crate) async fn measure() {
    for (name, line) in [("ws", ws as fn() -> Line), ("sse", sse)] {
        run(name, line()).await;
        replay(name, line).await;
    }
}

/// A session that comes back with [`MISSED`] events to get, and how many writes that takes.
async fn replay(name: &str, line: fn() -> Line) {
    let log = Log::new(&Options { ring_events_max: MISSED, ..Options::default() });
    let store = Memory::open(Arc::clone(&log));
    for _ in 0..MISSED / 1000 {
        store.append(vec![draft(); 1000]).await;
    }
    let host = host();
    let (mut fastest, mut writes) = (f64::INFINITY, 0);
    for _ in 0..ROUNDS {
        let reader = Reader::new(&log, &[Topic::all()], None, Start::Earliest);
        let terms = Terms { resumed: true, ..terms() };
        let sink = Sink::default();
        let counted = Arc::clone(&sink.0);
        let session = Session::new(sink, line(), reader, Arc::clone(&host), Handle::default(), terms);
        let mut session = pin!(session);
        let start = Instant::now();
        poll_fn(|cx| {
            assert!(session.as_mut().poll(cx).is_pending(), "the session goes on");
            Poll::Ready(())
        })
        .await;
        fastest = fastest.min(start.elapsed().as_nanos() as f64 / MISSED as f64);
        writes = counted.load(Ordering::Relaxed);
    }
    println!("replay  {name:4} {fastest:8.1} ns an event, {writes} writes");
}

async fn run(name: &str, line: Line) {
    let log = Log::new(&Options::default());
    let store = Memory::open(Arc::clone(&log));
    let reader = Reader::new(&log, &[Topic::all()], None, Start::Latest);
    let host = host();
    let sink = Sink::default();
    let mut session = pin!(Session::new(sink, line, reader, host, Handle::default(), terms()));
    let draft = draft();
    let mut fastest = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..EVENTS {
            store.append(vec![draft.clone()]).await;
            poll_fn(|cx| {
                assert!(session.as_mut().poll(cx).is_pending(), "the session goes on");
                Poll::Ready(())
            })
            .await;
        }
        fastest = fastest.min(start.elapsed().as_nanos() as f64 / f64::from(EVENTS));
    }
    println!("session {name:4} {fastest:8.1} ns an event");
}

/// An event with 200 bytes of data.
fn draft() -> Draft {
    Draft::new(
        Topics::one(Topic::all()),
        "progress".parse().expect("a type"),
        Data::from_value(&"x".repeat(200)).expect("data"),
    )
}

/// The terms of the sessions that are measured.
fn terms() -> Terms {
    let limit = Limit { events: 1000, bytes: 32 << 10 };
    Terms { heartbeat: Duration::from_secs(60), limit, ..quiet_host::terms() }
}

/// The application around a session that is measured.
fn host() -> Arc<dyn Host> {
    Arc::new(QuietHost::new(vec![Topic::all()], Arc::default(), Box::new(|_, _| {})))
}

/// Takes what is written, counts the writes and never says anything.
#[derive(Default)]
struct Sink(Arc<AtomicUsize>);

impl AsyncRead for Sink {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Sink {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
