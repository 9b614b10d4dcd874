//! The source `outbox`: takes turns at the table for as long as the gateway runs.

use std::sync::Arc;
use std::time::Duration;

use events::{Chance, Clock};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::connection::{Connector, Failure, PgSession};
use super::listener::{Hears, NotifyListener};
use super::pause::Pause;
use super::reason;
use super::sql::WAKE_UP_CHANNEL;
use super::table::OutboxTable;
use super::turn::{Turn, Turns};
use crate::sources::parts::SourceParts;
use crate::sources::states::SourceState;

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Interval between checks for the trigger that wakes gateways up.
const LOOK_FOR_WAKE_UP_EVERY: Duration = Duration::from_secs(60);

/// Publishes the rows of an outbox.
pub(crate) struct Outbox {
    connector: Connector,
    turns: Turns,
    state: SourceState,
    /// How long to sleep while no row waits.
    poll: Duration,
    clock: Clock,
    wake_up: Arc<Notify>,
    /// Listens for wake-ups, once the table has the trigger.
    waker: Option<Waker>,
    looked_for_wake_up: Option<Instant>,
}

impl Outbox {
    /// The outbox in this table.
    pub(crate) fn new(
        connector: Connector,
        table: &OutboxTable,
        poll: Duration,
        parts: SourceParts,
        state: SourceState,
    ) -> Self {
        let clock = parts.clock.clone();
        let turns = Turns::new(table, parts);
        let wake_up = Arc::new(Notify::new());
        Self { connector, turns, state, poll, clock, wake_up, waker: None, looked_for_wake_up: None }
    }

    /// Takes turns for ever.
    pub(crate) async fn run(mut self) {
        let mut pause = Pause::up_to(PAUSE_MAX);
        loop {
            let failure = match self.connector.connect(|_| {}).await {
                Ok(session) => self.take_turns(session, &mut pause).await,
                Err(failure) => failure,
            };
            self.state.down(if failure.lasts() { reason::REFUSED } else { reason::AWAY }, &failure);
            tokio::time::sleep(pause.next()).await;
        }
    }

    /// Takes turns on one connection until it fails.
    async fn take_turns(&mut self, mut session: PgSession, pause: &mut Pause) -> Failure {
        let mut refusals = Pause::up_to(PAUSE_MAX);
        loop {
            if let Err(failure) = self.look_for_wake_up(&session).await {
                return failure;
            }
            let rest = match self.turns.take(&session).await {
                Ok(Turn::Refused(why)) => {
                    tracing::debug!("the store takes no rows of the outbox: {why}");
                    refusals.next()
                }
                Ok(turn) => {
                    refusals.reset();
                    if turn == Turn::More { Duration::ZERO } else { self.poll_jittered() }
                }
                Err(failure) => return failure,
            };
            pause.reset();
            self.state.up();
            if rest.is_zero() {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.wake_up.notified() => {}
                failure = session.ended() => return failure,
            }
        }
    }

    /// The poll interval, shortened at random by up to a tenth, so that several gateways do not
    /// poll at the same moment.
    fn poll_jittered(&self) -> Duration {
        self.poll.mul_f64(1.0 - Chance::system().below(100) as f64 / 1000.0)
    }

    /// Listens for wake-ups once the table has the trigger. Listening earlier could do harm: LISTEN
    /// through a pooler in transaction mode would leave a subscription on a connection that other
    /// clients use.
    async fn look_for_wake_up(&mut self, session: &PgSession) -> Result<(), Failure> {
        let is_time = |at: Instant| at.elapsed() >= LOOK_FOR_WAKE_UP_EVERY;
        if self.waker.is_some() || !self.looked_for_wake_up.is_none_or(is_time) {
            return Ok(());
        }
        self.looked_for_wake_up = Some(self.clock.now());
        if self.turns.wakes(session).await? {
            let hears = WakesUp(Arc::clone(&self.wake_up));
            let channels = vec![WAKE_UP_CHANNEL.to_owned()];
            let listener = NotifyListener::new(self.connector.clone(), channels, hears, None);
            self.waker = Some(Waker(tokio::spawn(listener.run())));
        }
        Ok(())
    }
}

/// The task that listens for wake-ups. It ends with the outbox.
struct Waker(JoinHandle<()>);

impl Drop for Waker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Handles wake-ups. Without them the poll finds the rows.
#[derive(Clone)]
struct WakesUp(Arc<Notify>);

impl Hears for WakesUp {
    fn heard(&self, _: &str, _: &str) {
        self.0.notify_one();
    }

    fn up(&self) {
        tracing::info!("the outbox is woken up by its trigger");
        self.0.notify_one();
    }

    fn confirm(&self, _: Instant) {}

    fn down(&self, reason: &'static str, failure: &Failure) {
        tracing::info!(error = %failure, "no wake-ups of the outbox, which is polled: {reason}");
    }
}
