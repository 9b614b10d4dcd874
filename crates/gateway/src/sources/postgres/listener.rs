//! Connections that listen. They are opened, verified and reopened.
//!
//! There are two connections. One listens and does nothing else. The other is a separate session
//! that sends a notification on a random channel to which only the first one listens. No weaker
//! test proves that notifications arrive. Behind a pooler in transaction mode LISTEN succeeds,
//! `pg_listening_channels()` names the channel, and even notifications that the listener sends to
//! itself arrive; only notifications of other sessions do not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use events::Chance;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_postgres::Notification;
use tokio_postgres::types::{ToSql, Type};

use super::connection::{Connector, Failure, PgSession};
use super::pause::Pause;
use super::reason;
use super::table::quoted;
use crate::metrics::Metrics;

/// Interval of liveness probes of the listening connection, and the timeout of their answers. The
/// interval also limits the precision with which another gateway knows what a dead lease holder
/// missed.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval at which the usage of the notification queue is read.
const USAGE_EVERY: Duration = Duration::from_secs(30);
/// A usage above this is worth a warning: some listener of the cluster does not read.
const USAGE_HIGH: f64 = 0.5;
/// The longest pause between two attempts, and the pause after a failed verification. Each failed
/// verification leaves a subscription in the pooler.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE_WITHOUT_PROOF: Duration = Duration::from_secs(30);
/// Most bytes of notifications that are kept between LISTEN and its answer.
const HELD_BYTES_MAX: usize = 8 << 20;

/// Handles notifications. The methods are called from the task that reads the socket and must not
/// wait.
pub(super) trait Hears: Clone + Send + Sync + 'static {
    /// Handles a notification on a channel.
    fn heard(&self, channel: &str, payload: &str);

    /// Begins unbroken reception. Earlier notifications may be missing.
    fn up(&self);

    /// Confirms that all notifications sent until `at` have been received.
    fn confirm(&self, at: Instant);

    /// Ends reception.
    fn down(&self, reason: &'static str, failure: &Failure);
}

/// Listens to channels.
pub(super) struct NotifyListener<H> {
    connector: Connector,
    /// Names exactly as written: `LISTEN` folds unquoted capitals to lower case, `pg_notify` does
    /// not.
    channels: Vec<String>,
    hears: H,
    /// Metrics for the usage of the notification queue, if this listener measures it.
    metrics: Option<Arc<Metrics>>,
}

/// Why listening ended.
struct Ended {
    reason: &'static str,
    failure: Failure,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self { reason: if failure.lasts() { reason::REFUSED } else { reason::AWAY }, failure }
    }
}

impl<H: Hears> NotifyListener<H> {
    /// A listener for these channels.
    pub(super) fn new(
        connector: Connector,
        channels: Vec<String>,
        hears: H,
        metrics: Option<Arc<Metrics>>,
    ) -> Self {
        Self { connector, channels, hears, metrics }
    }

    /// Listens for ever.
    pub(super) async fn run(self) {
        let mut pause = Pause::up_to(PAUSE_MAX);
        loop {
            let ended = match self.open().await {
                Ok((listening, other)) => {
                    pause.reset();
                    self.listen(listening, other).await
                }
                Err(ended) => ended,
            };
            self.hears.down(ended.reason, &ended.failure);
            let rest = if ended.reason == reason::NO_LISTEN { PAUSE_WITHOUT_PROOF } else { pause.next() };
            tokio::time::sleep(rest).await;
        }
    }

    /// Opens both connections, verifies that one receives the other's notification, and subscribes.
    async fn open(&self) -> Result<(PgSession, PgSession), Ended> {
        let gate = Arc::new(Gate::new());
        let (entrance, hears) = (Arc::clone(&gate), self.hears.clone());
        let listening =
            self.connector.connect(move |notification| entrance.take(notification, &hears)).await?;
        // The server must also give up on a listener that takes nothing from its socket. Otherwise
        // a frozen gateway would keep all notifications of the cluster until every transaction with
        // a NOTIFY fails.
        let give_up = format!("set tcp_user_timeout = {}", SERVER_GIVES_UP.as_millis());
        listening.within(ANSWER_TIMEOUT, listening.client().batch_execute(&give_up)).await?;
        let other = self.connector.connect(|_| {}).await?;
        prove(&listening, &other, &gate).await?;
        let mut listen = format!("unlisten {};", quoted(&gate.probe));
        listen.extend(self.channels.iter().map(|channel| format!(" listen {};", quoted(channel))));
        listening.within(ANSWER_TIMEOUT, listening.client().batch_execute(&listen)).await?;
        gate.open(&self.hears)?;
        Ok((listening, other))
    }

    /// Watches the connections until the listening one fails.
    async fn listen(&self, mut listening: PgSession, other: PgSession) -> Ended {
        let mut other = Some(other);
        let mut probes = interval(PROBE_EVERY);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut measured: Option<Instant> = None;
        loop {
            tokio::select! {
                failure = listening.ended() => return failure.into(),
                _ = probes.tick() => {}
            }
            let asked = Instant::now();
            let alive = listening.within(ANSWER_TIMEOUT, listening.client().batch_execute("select 1"));
            if let Err(failure) = alive.await {
                return failure.into();
            }
            self.hears.confirm(asked);
            if let Some(metrics) = &self.metrics
                && measured.is_none_or(|at| at.elapsed() >= USAGE_EVERY)
            {
                measured = Some(Instant::now());
                // The loss of this session is no gap.
                let measuring = match other.take() {
                    Some(other) => Ok(other),
                    None => self.connector.connect(|_| {}).await,
                };
                if let Ok(session) = measuring
                    && let Ok(usage) = queue_usage(&session).await
                {
                    metrics.sources.set_notify_queue_usage(usage);
                    if usage > USAGE_HIGH {
                        tracing::warn!(
                            usage,
                            "PostgreSQL's notification queue fills up: some listener does not read"
                        );
                    }
                    other = Some(session);
                }
            }
        }
    }
}

/// How long the server waits for a listener that takes nothing from its socket.
const SERVER_GIVES_UP: Duration = Duration::from_secs(20);

/// The result of `pg_notification_queue_usage()`: 0 to 1.
async fn queue_usage(session: &PgSession) -> Result<f64, Failure> {
    let row = session.client().query_typed_one("select pg_notification_queue_usage()", &[]);
    session.within(ANSWER_TIMEOUT, async { row.await?.try_get(0) }).await
}

/// Makes the other session send a notification while the listening one is idle.
async fn prove(listening: &PgSession, other: &PgSession, gate: &Gate) -> Result<(), Ended> {
    let listen = format!("listen {}", quoted(&gate.probe));
    listening.within(ANSWER_TIMEOUT, listening.client().batch_execute(&listen)).await?;
    let probe: (&(dyn ToSql + Sync), Type) = (&gate.probe, Type::TEXT);
    let say = other.client().query_typed("select pg_notify($1, '')", std::slice::from_ref(&probe));
    other.within(ANSWER_TIMEOUT, say).await?;
    if timeout(ANSWER_TIMEOUT, gate.proved.notified()).await.is_ok() {
        return Ok(());
    }
    // The subscription may be on a server connection that other clients now use.
    drop(listening.within(ANSWER_TIMEOUT, listening.client().batch_execute("unlisten *")).await);
    Err(Ended { reason: reason::NO_LISTEN, failure: Failure::new("a pooler in transaction mode?") })
}

/// Sits between the socket and the handler. It holds back notifications until LISTEN was answered,
/// so that the handler gets them after [`Hears::up`].
struct Gate {
    probe: String,
    proved: Notify,
    held: Mutex<Held>,
}

enum Held {
    Back { notifications: VecDeque<(String, String)>, bytes: usize },
    Open,
}

impl Gate {
    fn new() -> Self {
        let probe = format!("throughline_probe_{:016x}", Chance::system().number());
        let held = Mutex::new(Held::Back { notifications: VecDeque::new(), bytes: 0 });
        Self { probe, proved: Notify::new(), held }
    }

    /// Handles a notification that was read from the socket.
    fn take(&self, notification: Notification, hears: &impl Hears) {
        let (channel, payload) = (notification.channel(), notification.payload());
        if channel == self.probe {
            return self.proved.notify_one();
        }
        match &mut *self.held.lock() {
            Held::Back { notifications, bytes } => {
                *bytes += channel.len() + payload.len() + 64;
                if *bytes <= HELD_BYTES_MAX {
                    notifications.push_back((channel.to_owned(), payload.to_owned()));
                }
            }
            Held::Open => hears.heard(channel, payload),
        }
    }

    /// Opens the gate, after the answer to LISTEN.
    fn open(&self, hears: &impl Hears) -> Result<(), Failure> {
        let mut held = self.held.lock();
        let Held::Back { notifications, bytes } = std::mem::replace(&mut *held, Held::Open) else {
            return Ok(());
        };
        if bytes > HELD_BYTES_MAX {
            return Err(Failure::new("more was said before LISTEN was answered than can be kept"));
        }
        hears.up();
        notifications.iter().for_each(|(channel, payload)| hears.heard(channel, payload));
        Ok(())
    }
}
