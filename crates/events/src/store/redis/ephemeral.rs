//! Events without a seq, between nodes by pub/sub: for whoever is there now, so nothing is made up for.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::Client;

use super::Keys;
use crate::log::Fact;
use crate::store::codec::Fields;
use crate::{Log, Sequenced};

pub(super) struct Ephemeral {
    pub(super) log: Arc<Log>,
    pub(super) clients: Arc<[Client]>,
    pub(super) keys: Arc<Keys>,
}

const CONNECT: Duration = Duration::from_secs(2);

/// After so long without a message the connection is made anew: one that died without a word looks the same.
const SILENCE: Duration = Duration::from_secs(30);

impl Ephemeral {
    /// Listens for ever, to each server in turn: a replica hears what its master is told.
    pub(super) async fn run(self) {
        let mut failures = 0;
        loop {
            for client in self.clients.iter() {
                let listen = async {
                    let mut listening = client.get_async_pubsub().await.ok()?;
                    listening.subscribe(&self.keys.ephemeral).await.ok().map(|()| listening)
                };
                let Ok(Some(listening)) = tokio::time::timeout(CONNECT, listen).await else { continue };
                failures = 0;
                let mut messages = listening.into_on_message();
                while let Ok(Some(message)) = tokio::time::timeout(SILENCE, messages.next()).await {
                    if let Some((time_ms, draft)) = Fields(message.get_payload_bytes()).draft()
                        && draft.ephemeral
                    {
                        self.log.apply(Fact::Events(vec![Sequenced { seq: None, time_ms, draft }]));
                    }
                }
            }
            failures += 1;
            tokio::time::sleep(super::backoff(failures)).await;
        }
    }
}
