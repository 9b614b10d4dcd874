//! Sends ephemeral events between nodes by pub/sub. A node without a connection misses them, and
//! they are not replayed.

use std::sync::Arc;
use std::time::Duration;

use super::backoff::backoff;
use super::connection::Connection;
use super::pubsub::Received;
use super::reply::Failure;
use super::shared::Shared;
use crate::log::Fact;
use crate::store::codec::Fields;
use crate::{Draft, Sequenced};

pub(super) struct Ephemeral {
    pub(super) shared: Arc<Shared>,
}

const PATIENCE: Duration = Duration::from_secs(2);

impl Ephemeral {
    /// Listens until the store is closed. The tailer notices when the server is no longer the
    /// master.
    pub(super) async fn run(self) {
        let mut failures = 0;
        loop {
            if self.listen().await.is_ok() {
                failures = 0;
            }
            failures += 1;
            tokio::time::sleep(backoff(failures)).await;
        }
    }

    /// Listens until the connection ends or the log is lost. An error means that listening could
    /// not start.
    async fn listen(&self) -> Result<(), Failure> {
        let connection = Connection::to_master(&self.shared.servers, PATIENCE).await?;
        let messages = connection.listen(&self.shared.keys.ephemeral, PATIENCE).await?;
        drop(connection);
        let mut state = self.shared.health.state();
        state.mark_unchanged();
        loop {
            tokio::select! {
                message = messages.next() => {
                    let message = match message {
                        Some(Received::Message(message)) => message,
                        // This node does not keep up. The newest events matter most.
                        Some(Received::Missed(_)) => continue,
                        None => return Ok(()),
                    };
                    if let Some((time_ms, draft)) = parse(&message)
                        && draft.ephemeral
                    {
                        self.shared.log.apply(Fact::Events(vec![Sequenced { seq: None, time_ms, age_ms: 0, draft }]));
                    }
                }
                _ = state.changed() => if state.borrow_and_update().is_err() { return Ok(()) },
            }
        }
    }
}

/// The time at which the server forwarded a draft, in milliseconds since 1970, and the draft.
fn parse(message: &[u8]) -> Option<(u64, Draft)> {
    let space = message.iter().position(|byte| *byte == b' ')?;
    let time_ms = str::from_utf8(&message[..space]).ok()?.parse().ok()?;
    Some((time_ms, Fields(&message[space + 1..]).draft()?))
}
