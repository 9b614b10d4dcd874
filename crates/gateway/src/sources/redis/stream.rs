//! A Redis stream as a source, at least once. An entry is acknowledged when the store has its
//! event. The event has an idempotency token of its own, so the store recognises an entry that
//! arrives twice.
//!
//! The consumer group has one consumer. Of several gateways of a log, only the one with the lease
//! reads, so the order of the stream is kept. A new reader starts with the entries that its
//! predecessor took and did not acknowledge.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use events::{Chance, Lease, LeaseAnswer, RedisServers, SourceLeases, SourceName};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Value, cmd};
use ring::digest::{SHA256, digest};
use tokio::sync::watch;
use tokio::time::Instant;

use super::interruption::Interruption;
use super::servers;
use super::streams_up::StreamsUp;
use super::wait::{PATIENCE, REFUSED, backoff};
use crate::config::{ConfigError, RedisSourceConfig};
use crate::metrics::Metrics;
use crate::metrics::labels::SourceKind;
use crate::publish::Publishing;
use crate::secret::Secret;
use crate::sources::append::append_until_taken;
use crate::sources::apply::SourceMessage;
use crate::sources::parts::SourceParts;
use crate::sources::reading::{BATCH_DRAFTS, Reading};
use crate::sources::rule::SourceRule;

/// The name of the one consumer of the group.
const CONSUMER: &str = "throughline";
/// How long one read waits for an entry.
const BLOCK: Duration = Duration::from_secs(1);
/// Interval at which the lease is tried or renewed.
const LEASE_EVERY: Duration = Duration::from_secs(1);
/// Idle time without an acknowledgement after which an entry of another consumer in the group is
/// claimed.
const CLAIM_AFTER: Duration = Duration::from_secs(60);
/// In an entry with several fields, the field that holds the payload.
const FIELD: &[u8] = b"data";

/// Reads one stream.
pub(in crate::sources) struct StreamReader {
    servers: RedisServers,
    url: Secret,
    rule: Arc<SourceRule>,
    group: String,
    reading: Reading,
    publishing: Arc<Publishing>,
    metrics: Arc<Metrics>,
    up: Arc<StreamsUp>,
    /// Index of the stream in the configuration.
    number: usize,
    leases: Option<(Arc<SourceLeases>, SourceName)>,
    draining: watch::Receiver<bool>,
}

/// An entry of a stream: its id, and its payload unless the entry was deleted.
struct StreamItem {
    id: String,
    payload: Option<Bytes>,
}

impl StreamReader {
    /// A reader that has not connected yet.
    ///
    /// # Errors
    /// When the URL or the file with certificates cannot be used.
    pub(in crate::sources) fn open(
        config: &RedisSourceConfig,
        number: usize,
        up: Arc<StreamsUp>,
        parts: &SourceParts,
    ) -> Result<Self, ConfigError> {
        let rule = Arc::new(config.streams[number].clone());
        let hash = digest(&SHA256, rule.pattern.as_bytes());
        let name: String = hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let name: Option<SourceName> = format!("stream-{name}").parse().ok();
        let kind = SourceKind::RedisStream;
        Ok(Self {
            servers: servers::find(config, &rule.pattern)?,
            url: config.url.clone(),
            rule,
            group: config.group.clone(),
            reading: Reading::new(kind, Arc::clone(&parts.publishing), Arc::clone(&parts.metrics)),
            publishing: Arc::clone(&parts.publishing),
            metrics: Arc::clone(&parts.metrics),
            up,
            number,
            leases: parts.leases.clone().zip(name),
            draining: parts.draining.clone(),
        })
    }

    /// Reads for ever.
    pub(in crate::sources) async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            let (was_up, ended) = self.connect_and_read().await;
            failures = if was_up { 0 } else { failures.saturating_add(1) };
            self.up.down(self.number, ended.reason, &self.url.scrub(&ended.detail));
            tokio::time::sleep(if ended.is_refusal { REFUSED } else { backoff(failures) }).await;
        }
    }

    async fn connect_and_read(&mut self) -> (bool, Interruption) {
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(ended) => return (false, ended),
        };
        self.up.up(self.number);
        loop {
            let lease = match self.take_lease().await {
                Some(lease) => lease,
                None => {
                    if let Err(error) = cmd("PING").query_async::<Value>(&mut connection).await {
                        return (true, error.into());
                    }
                    continue;
                }
            };
            let read = self.read(&mut connection, lease.as_ref()).await;
            if let (Some((leases, _)), Some(lease)) = (&self.leases, &lease) {
                // If the release fails, the lease expires by itself.
                let _ = leases.release(lease, Duration::ZERO).await;
            }
            if let Err(ended) = read {
                return (true, ended);
            }
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Interruption> {
        let server = self.servers.master(PATIENCE).await.map_err(Interruption::broken)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE + BLOCK));
        let mut connection = server.get_multiplexed_async_connection_with_config(&config).await?;
        let mut create = cmd("XGROUP");
        create.arg("CREATE").arg(&*self.rule.pattern).arg(&self.group).arg("0").arg("MKSTREAM");
        match create.query_async::<Value>(&mut connection).await {
            Err(error) if error.code() != Some("BUSYGROUP") => Err(error.into()),
            _ => Ok(connection),
        }
    }

    /// Takes the lease. `Some(None)`: there is no other gateway. `None`: another gateway has the
    /// lease, this gateway is draining, or the attempt failed.
    async fn take_lease(&mut self) -> Option<Option<Lease>> {
        let is_draining = *self.draining.borrow();
        if is_draining {
            tokio::time::sleep(LEASE_EVERY).await;
            return None;
        }
        let Some((leases, source)) = &self.leases else { return Some(None) };
        let token = format!("{:x}", Chance::system().number());
        let lease = Lease { source: source.clone(), token: token.into() };
        // A stream has no gap, regardless of which gateway read it before.
        match leases.take(&lease, None, Duration::MAX, true).await {
            Ok(LeaseAnswer::Taken | LeaseAnswer::TakenWithGap) => Some(Some(lease)),
            Ok(LeaseAnswer::Held | LeaseAnswer::Left) | Err(_) => {
                tokio::time::sleep(LEASE_EVERY).await;
                None
            }
        }
    }

    /// Reads for as long as the lease lasts. Entries that were taken and not acknowledged come
    /// first.
    async fn read(
        &mut self,
        connection: &mut MultiplexedConnection,
        lease: Option<&Lease>,
    ) -> Result<(), Interruption> {
        let mut is_pending = true;
        let mut renewed = Instant::now();
        let mut claimed: Option<Instant> = None;
        loop {
            if *self.draining.borrow() {
                return Ok(());
            }
            if let (Some((leases, _)), Some(lease)) = (&self.leases, lease)
                && renewed.elapsed() >= LEASE_EVERY
            {
                if leases.renew(lease, Duration::ZERO).await != Ok(true) {
                    return Ok(());
                }
                renewed = Instant::now();
            }
            if !is_pending && claimed.is_none_or(|at| at.elapsed() >= CLAIM_AFTER) {
                claimed = Some(Instant::now());
                self.claim(connection).await?;
                is_pending = true;
            }
            let items = self.next(connection, is_pending).await?;
            is_pending = is_pending && !items.is_empty();
            self.take_over(connection, items).await?;
        }
    }

    /// Claims entries of other consumers in the group, so that they are read as this consumer's
    /// own.
    async fn claim(&self, connection: &mut MultiplexedConnection) -> Result<(), Interruption> {
        let mut call = cmd("XAUTOCLAIM");
        call.arg(&*self.rule.pattern).arg(&self.group).arg(CONSUMER);
        call.arg(CLAIM_AFTER.as_millis() as u64).arg("0-0").arg("COUNT").arg(1000).arg("JUSTID");
        match call.query_async::<Value>(connection).await {
            // Redis before 6.2 lacks this command, so its error is ignored.
            Err(error) if error.is_io_error() => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn next(
        &self,
        connection: &mut MultiplexedConnection,
        is_pending: bool,
    ) -> Result<Vec<StreamItem>, Interruption> {
        let mut call = cmd("XREADGROUP");
        call.arg("GROUP").arg(&self.group).arg(CONSUMER).arg("COUNT").arg(BATCH_DRAFTS);
        if !is_pending {
            call.arg("BLOCK").arg(BLOCK.as_millis() as u64);
        }
        call.arg("STREAMS").arg(&*self.rule.pattern).arg(if is_pending { "0" } else { ">" });
        let answer = call.query_async::<Value>(connection).await?;
        items(answer).ok_or_else(|| Interruption::broken("XREADGROUP answered something else"))
    }

    /// Publishes the entries and acknowledges them when the store has the events. An entry that
    /// became no event is acknowledged too: it would become none the next time either.
    async fn take_over(
        &mut self,
        connection: &mut MultiplexedConnection,
        items: Vec<StreamItem>,
    ) -> Result<(), Interruption> {
        if items.is_empty() {
            return Ok(());
        }
        self.metrics.sources.received(SourceKind::RedisStream, items.len() as u64);
        let mut acknowledge = cmd("XACK");
        acknowledge.arg(&*self.rule.pattern).arg(&self.group);
        let messages: Vec<SourceMessage> = items
            .into_iter()
            .filter_map(|StreamItem { id, payload }| {
                acknowledge.arg(&id);
                Some(SourceMessage {
                    rule: Arc::clone(&self.rule),
                    channel: self.rule.pattern.clone(),
                    first: None,
                    payload: payload?,
                    id: Some(format!("rs:{}:{id}", self.rule.pattern).into()),
                })
            })
            .collect();
        let drafts = self.reading.drafts(&messages);
        append_until_taken(&self.publishing, &self.metrics, SourceKind::RedisStream, drafts).await;
        acknowledge.query_async::<Value>(connection).await?;
        Ok(())
    }
}

/// Parses `[[stream, [[id, [field, value, …]], …]]]`, or nil.
fn items(answer: Value) -> Option<Vec<StreamItem>> {
    let Value::Array(streams) = answer else {
        return matches!(answer, Value::Nil).then(Vec::new);
    };
    let Some(Value::Array(stream)) = streams.into_iter().next() else { return Some(Vec::new()) };
    let Some(Value::Array(entries)) = stream.into_iter().nth(1) else { return None };
    entries
        .into_iter()
        .map(|entry| {
            let Value::Array(entry) = entry else { return None };
            let mut parts = entry.into_iter();
            let id = String::from_utf8(bytes(parts.next()?)?).ok()?;
            let payload = match parts.next()? {
                Value::Array(fields) => Some(payload(fields.into_iter().map(bytes).collect::<Option<_>>()?)),
                _ => None,
            };
            Some(StreamItem { id, payload })
        })
        .collect()
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

/// The payload of an entry: its field `data`, its only field, or an object of all its fields.
fn payload(fields: Vec<Vec<u8>>) -> Bytes {
    let pairs: Vec<(&[u8], &[u8])> = fields.chunks_exact(2).map(|pair| (&*pair[0], &*pair[1])).collect();
    let named = pairs.iter().find(|(name, _)| *name == FIELD).or(match &pairs[..] {
        [only] => Some(only),
        _ => None,
    });
    if let Some((_, value)) = named {
        return Bytes::copy_from_slice(value);
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let object: serde_json::Map<String, serde_json::Value> =
        pairs.into_iter().map(|(name, value)| (text(name), text(value).into())).collect();
    serde_json::Value::Object(object).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_of_an_entry_is_its_data_or_all_of_it() {
        let of = |fields: &[&str]| payload(fields.iter().map(|field| field.as_bytes().to_vec()).collect());
        assert_eq!(of(&["a", "1", "data", "{}"]), "{}");
        assert_eq!(of(&["json", "[1]"]), "[1]");
        assert_eq!(of(&["a", "1", "b", "x"]), r#"{"a":"1","b":"x"}"#);
    }
}
