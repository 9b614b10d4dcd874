//! A subscription to a channel of the server, with a buffer of messages that its reader has not
//! taken yet. The buffer is bounded in bytes. Beyond the bound the oldest messages are dropped, and
//! the reader is told their number.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, Value, cmd};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::reply::Failure;
use super::servers::CONNECT;

/// The next item of a subscription.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    Message(Vec<u8>),
    /// This many messages were dropped before the next one.
    Missed(u64),
}

/// A subscribed channel.
pub(super) struct Subscription {
    waiting: Arc<Waiting>,
    /// The task that owns the connection. It ends with the subscription.
    _watch: JoinSet<()>,
}

#[derive(Default)]
struct Waiting {
    inner: Mutex<Buffered>,
    more: Notify,
}

#[derive(Default)]
struct Buffered {
    messages: VecDeque<Vec<u8>>,
    /// Bytes of the messages, [`COST`] for each included.
    bytes: usize,
    missed: u64,
    /// Number of messages that have arrived so far.
    came: u64,
    /// Whether the connection has ended.
    is_over: bool,
}

/// Interval of probes of the connection. A quiet channel may have no messages for a long time.
const WATCH: Duration = Duration::from_secs(1);
/// The bound of the buffer, in bytes.
const BYTES_MAX: usize = 8 << 20;
/// Bytes that a message counts for in addition to its own.
const COST: usize = 64;

impl Subscription {
    /// Subscribes on a connection of its own, in RESP3. With RESP3 the client library hands over
    /// each message immediately. With RESP2 it would collect them without a bound.
    pub(super) async fn open(client: &Client, channel: &str, patience: Duration) -> Result<Self, Failure> {
        let waiting = Arc::new(Waiting::default());
        let heard = Arc::clone(&waiting);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(patience))
            .set_push_sender(move |push| -> Result<(), redis::aio::SendError> {
                heard.take_in(push);
                Ok(())
            });
        let info = client.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings))?;
        let listen = async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            connection.subscribe(channel).await?;
            let mut watch = JoinSet::new();
            watch.spawn(Arc::clone(&waiting).watch(connection));
            Ok(Self { waiting, _watch: watch })
        };
        let late = |_| Failure::Broken("listening took too long".to_owned());
        tokio::time::timeout(patience, listen).await.map_err(late)?
    }

    /// The next message; `None`: the connection has ended. For one reader. The future is
    /// cancel-safe: no message is lost.
    pub(super) async fn next(&self) -> Option<Received> {
        loop {
            if let Some(next) = self.waiting.next() {
                return next;
            }
            self.waiting.more.notified().await;
        }
    }
}

impl Waiting {
    fn take_in(&self, PushInfo { kind, data }: PushInfo) {
        match kind {
            PushKind::Message => {
                if let Some(Value::BulkString(message)) = data.into_iter().nth(1) {
                    self.add(message);
                }
            }
            PushKind::Disconnection => self.end(),
            _ => {}
        }
    }

    /// Ends the subscription once the connection is dead. It may have died without a FIN.
    async fn watch(self: Arc<Self>, mut connection: MultiplexedConnection) {
        loop {
            tokio::time::sleep(WATCH).await;
            let came = self.inner.lock().came;
            let answer = cmd("PING").query_async::<Value>(&mut connection).await.map_err(Failure::from);
            // The answer may be late because many messages precede it.
            if matches!(answer, Err(Failure::Broken(_))) && self.inner.lock().came == came {
                return self.end();
            }
        }
    }

    fn end(&self) {
        self.inner.lock().is_over = true;
        self.more.notify_one();
    }

    fn add(&self, message: Vec<u8>) {
        let mut inner = self.inner.lock();
        inner.came += 1;
        inner.bytes += message.len() + COST;
        inner.messages.push_back(message);
        while inner.bytes > BYTES_MAX
            && let Some(oldest) = inner.messages.pop_front()
        {
            inner.bytes -= oldest.len() + COST;
            inner.missed += 1;
        }
        self.more.notify_one();
    }

    /// The next item. `None`: no message yet; `Some(None)`: no more messages.
    fn next(&self) -> Option<Option<Received>> {
        let mut inner = self.inner.lock();
        if inner.missed > 0 {
            return Some(Some(Received::Missed(std::mem::take(&mut inner.missed))));
        }
        match inner.messages.pop_front() {
            Some(message) => {
                inner.bytes -= message.len() + COST;
                Some(Some(Received::Message(message)))
            }
            None => inner.is_over.then_some(None),
        }
    }
}

#[cfg(test)]
#[path = "../../../tests/redis/server.rs"]
#[allow(dead_code, reason = "the store's own tests use the rest")]
mod server;

#[cfg(test)]
mod tests {
    use super::server::{Path, Server};
    use super::*;

    async fn listen(url: String) -> Subscription {
        let client = Client::open(url).unwrap();
        Subscription::open(&client, "c", Duration::from_secs(2)).await.unwrap()
    }

    async fn next(channel: &Subscription) -> Option<Received> {
        tokio::time::timeout(Duration::from_secs(60), channel.next()).await.expect("in time")
    }

    async fn number(channel: &Subscription) -> u64 {
        match next(channel).await {
            Some(Received::Message(message)) => {
                String::from_utf8(message).unwrap().trim_end_matches('.').parse().unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Publishes the numbers of a range, each as a message of a kilobyte.
    fn publish(server: &Server, first: u64, last: u64) {
        const SCRIPT: &str =
            "for n = ARGV[1], ARGV[2] do redis.call('PUBLISH', 'c', n .. string.rep('.', 1000)) end";
        server.cli(&["EVAL", SCRIPT, "0", &first.to_string(), &last.to_string()]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_is_slow_to_listen_keeps_the_newest_and_is_told_how_many_it_missed() {
        let server = Server::start(&[]).await;
        let channel = listen(server.url()).await;
        publish(&server, 1, 10);
        for n in 1..=10 {
            assert_eq!(number(&channel).await, n);
        }
        // The reader takes none of these messages until all have arrived. The server would
        // disconnect such a slow reader.
        server.cli(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0"]);
        const LAST: u64 = 20_000;
        publish(&server, 11, LAST);
        let state = || {
            let inner = channel.waiting.inner.lock();
            (inner.bytes, inner.messages.len() as u64, inner.missed)
        };
        let arrived = async {
            loop {
                let (bytes, kept, missed) = state();
                assert!(bytes <= BYTES_MAX, "{bytes} bytes");
                if kept + missed == LAST - 10 {
                    return kept;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let kept = tokio::time::timeout(Duration::from_secs(300), arrived).await.expect("all come");
        assert!(kept > 7_000, "{kept}");
        assert_eq!(next(&channel).await, Some(Received::Missed(LAST - 10 - kept)));
        for n in LAST - kept + 1..=LAST {
            assert_eq!(number(&channel).await, n);
        }
        publish(&server, 7, 7);
        assert_eq!(number(&channel).await, 7);
        assert_eq!(channel.waiting.inner.lock().bytes, 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_heard_before_the_end_is_taken_first() {
        let mut server = Server::start(&[]).await;
        let channel = listen(server.url()).await;
        publish(&server, 1, 2);
        while channel.waiting.inner.lock().messages.len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.kill();
        assert_eq!((number(&channel).await, number(&channel).await), (1, 2));
        assert_eq!(next(&channel).await, None);
    }
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_connection_that_dies_without_a_word_has_ended() {
        let server = Server::start(&[]).await;
        let path = Path::to(&server).await;
        let channel = listen(path.url()).await;
        // A channel may stay quiet for longer than the probe interval.
        let quiet = tokio::time::timeout(WATCH * 5 / 2, channel.next()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        publish(&server, 1, 1);
        assert_eq!(number(&channel).await, 1);
        path.cut();
        assert_eq!(next(&channel).await, None);
    }
}
