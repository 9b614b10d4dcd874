//! The task that puts the notices of loss that this node owes into the stream, on a connection of
//! its own so that no publisher waits for it.

use std::sync::Arc;
use std::time::Duration;

use super::backoff::{backoff, random};
use super::connection::Connection;
use super::loss_notice::Notice;
use super::publish_script::{self, Submission};
use super::reply::Failure;
use super::shared::Shared;

/// Tells what is owed.
pub(super) struct LossAnnouncer {
    pub(super) shared: Arc<Shared>,
}

/// How long the server may take.
const RESPONSE: Duration = Duration::from_secs(2);

/// How long others are given to tell the same first, at most: told twice, everybody is reset twice.
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
        let item = Submission::notice(notice);
        let Shared { keys, retention, .. } = &*self.shared;
        let run = publish_script::run(&mut connection, keys, *retention, 0, &[&item]).await?;
        match (run.refusal, run.answers.first()) {
            (Some(refusal), _) => Err(refusal),
            (None, Some(Ok(_))) => Ok(()),
            _ => Err(Failure::Broken("a notice of loss was not taken".to_owned())),
        }
    }
}
