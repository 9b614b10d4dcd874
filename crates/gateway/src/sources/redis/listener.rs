//! The connection that listens. It subscribes, sends pings and reconnects.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use events::RedisServers;
use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, Value, cmd};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::interruption::Interruption;
use super::wait::{PATIENCE, REFUSED, backoff};
use super::{glob, servers};
use crate::config::{ConfigError, RedisSourceConfig};
use crate::secret::Secret;
use crate::sources::apply::SourceMessage;
use crate::sources::queue::Ear;
use crate::sources::rule::SourceRule;

/// Interval of pings. A quiet connection may have died unnoticed. The interval also limits the
/// precision with which another gateway knows what a dead lease holder missed.
const PING_EVERY: Duration = Duration::from_millis(500);

/// Listens to the channels of the rules.
pub(in crate::sources) struct Listener {
    servers: RedisServers,
    url: Secret,
    rules: Arc<[Arc<SourceRule>]>,
    ear: Ear,
}

impl Listener {
    /// A listener that has not connected yet.
    ///
    /// # Errors
    /// When the URL or the file with certificates cannot be used.
    pub(in crate::sources) fn open(config: &RedisSourceConfig, ear: Ear) -> Result<Self, ConfigError> {
        let servers = servers::find(config, "")?;
        let rules = config.channels.iter().cloned().map(Arc::new).collect();
        Ok(Self { servers, url: config.url.clone(), rules, ear })
    }

    /// Listens for ever.
    pub(in crate::sources) async fn run(self) {
        let mut failures = 0_u32;
        for turn in 0.. {
            let (was_up, ended) = self.listen(turn).await;
            failures = if was_up { 0 } else { failures.saturating_add(1) };
            self.ear.down(ended.reason, &self.url.scrub(&ended.detail));
            tokio::time::sleep(if ended.is_refusal { REFUSED } else { backoff(failures) }).await;
        }
    }

    /// Connects and listens until the connection ends. Returns whether the source was received
    /// meanwhile.
    async fn listen(&self, turn: usize) -> (bool, Interruption) {
        let (mut connection, gone) = match self.subscribe(turn).await {
            Ok(subscribed) => subscribed,
            Err(ended) => return (false, ended),
        };
        loop {
            tokio::select! {
                () = gone.notified() => {
                    return (true, Interruption::broken("the server has closed the connection"));
                }
                () = tokio::time::sleep(PING_EVERY) => {}
                () = self.ear.asked() => {}
            }
            let asked = Instant::now();
            if let Err(error) = cmd("PING").query_async::<Value>(&mut connection).await {
                return (true, error.into());
            }
            self.ear.confirm(asked);
        }
    }

    async fn subscribe(&self, turn: usize) -> Result<(MultiplexedConnection, Arc<Notify>), Interruption> {
        let server = self.servers.any_master(PATIENCE, turn).await.map_err(Interruption::broken)?;
        let gone = Arc::new(Notify::new());
        let config = {
            let (rules, ear, gone) = (Arc::clone(&self.rules), self.ear.clone(), Arc::clone(&gone));
            AsyncConnectionConfig::new()
                .set_connection_timeout(Some(PATIENCE))
                .set_response_timeout(Some(PATIENCE))
                .set_push_sender(move |push: PushInfo| -> Result<(), SendError> {
                    match message(&rules, push) {
                        Pushed::Message(message) => ear.hear(message),
                        Pushed::Gone => gone.notify_one(),
                        Pushed::Other => {}
                    }
                    Ok(())
                })
        };
        // With RESP3 the library hands over each message immediately. With RESP2 it would collect
        // messages without a bound.
        let info = server.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings))?;
        let subscribing = async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            // This is only a name for CLIENT LIST. A server that refuses it can still be used.
            let _ = cmd("CLIENT")
                .arg("SETNAME")
                .arg("throughline-source")
                .query_async::<Value>(&mut connection)
                .await;
            for rule in &*self.rules {
                connection.psubscribe(&*rule.pattern).await?;
            }
            // Messages received before this call precede the gap, if any, in the queue. They are
            // published like all others.
            self.ear.up();
            Ok(connection)
        };
        let late = |_| Interruption::broken("connecting took too long");
        let connection = tokio::time::timeout(PATIENCE * 2, subscribing).await.map_err(late)?;
        connection.map(|connection| (connection, gone))
    }
}

/// A push that the library hands over.
enum Pushed {
    Message(SourceMessage),
    Gone,
    Other,
}

/// Converts a push. Redis sends one copy for each pattern that matches. Only the copy for the first
/// rule that matches the channel counts.
fn message(rules: &[Arc<SourceRule>], PushInfo { kind, data }: PushInfo) -> Pushed {
    match kind {
        PushKind::Disconnection => return Pushed::Gone,
        PushKind::PMessage => {}
        _ => return Pushed::Other,
    }
    let mut data = data.into_iter().map(|value| match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    });
    let (Some(Some(pattern)), Some(Some(channel)), Some(Some(payload))) =
        (data.next(), data.next(), data.next())
    else {
        return Pushed::Other;
    };
    let is_first = |rule: &&Arc<SourceRule>| glob::matches(rule.pattern.as_bytes(), &channel);
    let Some(rule) = rules.iter().find(is_first).filter(|rule| rule.pattern.as_bytes() == pattern) else {
        return Pushed::Other;
    };
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned().into_boxed_str();
    Pushed::Message(SourceMessage {
        rule: Arc::clone(rule),
        first: glob::first_star(rule.pattern.as_bytes(), &channel).map(lossy),
        channel: lossy(&channel),
        payload: Bytes::from(payload),
        id: None,
    })
}
