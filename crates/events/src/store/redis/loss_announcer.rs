//! The task that puts this node's owed loss notices into the stream. It has a connection of its
//! own, so no publisher waits for it.

use std::sync::Arc;
use std::time::Duration;

use super::backoff::{backoff, random};
use super::connection::Connection;
use super::loss_notice::{Lost, Notice};
use super::publish_script::{self, Submission};
use super::reply::Failure;
use super::shared::Shared;
use crate::Lacking;

/// Announces owed notices.
pub(super) struct LossAnnouncer {
    pub(super) shared: Arc<Shared>,
}

/// Timeout of the server's replies.
const RESPONSE: Duration = Duration::from_secs(2);

/// Longest delay that gives other nodes time to announce the same loss first: a loss that is
/// announced twice resets readers twice.
const LEAD_MS: u64 = 50;

impl LossAnnouncer {
    pub(super) async fn run(self) {
        let mut failures = 0;
        loop {
            self.shared.owed.news.notified().await;
            tokio::time::sleep(Duration::from_millis(u64::from(random()) * LEAD_MS / 1024)).await;
            while let Some(notice) = self.shared.owed.first() {
                match self.tell(&notice).await {
                    Ok(()) => {
                        failures = 0;
                        self.shared.owed.told(&notice);
                    }
                    Err(error) => {
                        failures += 1;
                        self.shared.health.set_failed(&error);
                        tokio::time::sleep(backoff(failures)).await;
                    }
                }
            }
        }
    }

    async fn tell(&self, notice: &Notice) -> Result<(), Failure> {
        let mut connection = Connection::to_master(&self.shared.servers, RESPONSE).await?;
        append(&self.shared, &mut connection, notice).await
    }
}

/// Announces missing events that never reached the log, in several notices if there are many
/// topics.
pub(super) async fn tell_lacking(shared: &Shared, lacking: Lacking) -> Result<(), Failure> {
    if shared.alone.has_begun() {
        return Err(Failure::Broken("this node operates alone".to_owned()));
    }
    let mut connection = Connection::to_master(&shared.servers, RESPONSE).await?;
    let parts: Vec<Lost> = match lacking {
        Lacking::All => vec![Lost::Everything],
        Lacking::Topics(topics) => topics
            .chunks(Lost::TOPICS_MAX)
            .map(|topics| {
                let mut lost = Lost::default();
                lost.add(topics);
                lost
            })
            .collect(),
    };
    for lost in parts {
        // The position makes the notice different from an earlier one about the same topics.
        let of = connection.open_log(&shared.keys).await?.last.unwrap_or_default();
        append(shared, &mut connection, &Notice { of, lost }).await?;
    }
    Ok(())
}

async fn append(shared: &Shared, connection: &mut Connection, notice: &Notice) -> Result<(), Failure> {
    let item = Submission::notice(notice);
    let run = publish_script::run(connection, &shared.keys, shared.retention, 0, &[&item]).await?;
    match (run.refusal, run.answers.first()) {
        (Some(refusal), _) => Err(refusal),
        (None, Some(Ok(_))) => Ok(()),
        _ => Err(Failure::Broken("a notice of loss was not taken".to_owned())),
    }
}
