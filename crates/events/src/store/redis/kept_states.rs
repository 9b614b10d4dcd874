//! The states of topics in Redis: the latest event of each key, for gateways that start after the
//! stream was trimmed.
//!
//! `publish.lua` writes the states together with the events. Each topic has a hash whose fields are
//! users and keys, and a sorted set of its keys by time, so that the oldest keys can be dropped. A
//! gateway reads the states when it reaches the end of the stream, and again after it has missed a
//! part of the stream. Later changes arrive through the stream.

use std::time::Duration;

use redis::{Value, cmd};

use super::connection::Connection;
use super::entry_id::EntryId;
use super::keys::Keys;
use super::reply::{Failure, text};
use super::retention::{duration_ms, unix_ms};
use crate::log::Fact;
use crate::state_map::{KeptState, StateRules};
use crate::store::codec::Fields;
use crate::{Sequenced, Topic};

/// How many fields are read at once.
const COUNT: usize = 1000;

/// The field with the time until which keys may be missing, in milliseconds by the server's clock.
const PARTIAL_FIELD: &[u8] = b"p";
/// The field with the bytes of the state.
const TOTAL_FIELD: &[u8] = b"b";

/// The position of an event relative to a reader of the stream.
pub(super) enum Place {
    /// The event is part of the log, and the reader has read it.
    Read,
    /// The reader has yet to read the event.
    Ahead,
    /// The event is not part of the log.
    Void,
}

/// Reads the states. `place_of` gives the position of an event relative to the reader.
pub(super) async fn load(
    connection: &mut Connection,
    keys: &Keys,
    rules: &StateRules,
    place_of: impl Fn(EntryId) -> Place,
) -> Result<Fact, Failure> {
    let unknown = || Failure::Broken("the states are something else".to_owned());
    let now_ms = unix_ms(&connection.call(&cmd("TIME")).await?).ok_or_else(unknown)?;
    let age_ms = duration_ms(Duration::from_micros(rules.age_us_max()));
    let since_ms = known_since(connection, keys, &rules.to_string(), now_ms).await?;
    let partial_ms = since_ms.saturating_add(age_ms).saturating_sub(now_ms).min(age_ms);
    let partial = Duration::from_millis(if since_ms == 0 { 0 } else { partial_ms });
    let names = connection.call(cmd("ZRANGEBYSCORE").arg(&keys.states).arg(now_ms).arg("+inf")).await?;
    let Value::Array(names) = names else { return Err(unknown()) };
    let mut topics = Vec::new();
    for name in &names {
        let topic: Topic = text(name).and_then(|name| name.parse().ok()).ok_or_else(unknown)?;
        if rules.include(&topic) {
            let reading = Reading { now_ms, age_ms, place_of: &place_of };
            let mut state = reading.read(connection, keys, topic).await?;
            state.partial = state.partial.max(partial);
            topics.push(state);
        }
    }
    Ok(Fact::States { topics, partial })
}

/// The time since which all events of these topics are kept, in milliseconds; 0: since the log
/// began. If the topics differ from the previous ones, they count as kept from now on.
async fn known_since(
    connection: &mut Connection,
    keys: &Keys,
    topics: &str,
    now_ms: u64,
) -> Result<u64, Failure> {
    let held = connection.call(cmd("HMGET").arg(&keys.retention).arg("states").arg("bytes")).await?;
    let Value::Array(held) = &held else {
        return Err(Failure::Broken("the retention is something else".to_owned()));
    };
    let field = |at: usize| held.get(at).and_then(text);
    if let Some((since, of)) = field(0).and_then(|known| known.split_once(' '))
        && of == topics
    {
        return Ok(since.parse().unwrap_or(now_ms));
    }
    let is_new = field(1).is_none_or(|bytes| bytes == "0");
    let since_ms = if is_new { 0 } else { now_ms };
    connection
        .call(cmd("HSET").arg(&keys.retention).arg("states").arg(format!("{since_ms} {topics}")))
        .await?;
    Ok(since_ms)
}

struct Reading<'a, F> {
    now_ms: u64,
    age_ms: u64,
    place_of: &'a F,
}

impl<F: Fn(EntryId) -> Place> Reading<'_, F> {
    async fn read(
        &self,
        connection: &mut Connection,
        keys: &Keys,
        topic: Topic,
    ) -> Result<KeptState, Failure> {
        let unknown = || Failure::Broken("a state is something else".to_owned());
        let hash = keys.state(&topic);
        let mut state = KeptState::empty(topic);
        let mut at = "0".to_owned();
        loop {
            let page = connection.call(cmd("HSCAN").arg(&hash).arg(&at).arg("COUNT").arg(COUNT)).await?;
            let Value::Array(parts) = &page else { return Err(unknown()) };
            let [next, Value::Array(fields)] = &parts[..] else { return Err(unknown()) };
            for pair in fields.chunks_exact(2) {
                let [Value::BulkString(field), Value::BulkString(value)] = pair else {
                    return Err(unknown());
                };
                self.take(&mut state, field, value).ok_or_else(unknown)?;
            }
            at = text(next).ok_or_else(unknown)?.to_owned();
            if at == "0" {
                return Ok(state);
            }
        }
    }

    /// Handles a field. A field that occurs twice does no harm.
    fn take(&self, state: &mut KeptState, field: &[u8], value: &[u8]) -> Option<()> {
        if field == TOTAL_FIELD {
            return Some(());
        }
        if field == PARTIAL_FIELD {
            let until_ms: u64 = str::from_utf8(value).ok()?.parse().ok()?;
            state.partial = state.partial.max(Duration::from_millis(until_ms.saturating_sub(self.now_ms)));
            return Some(());
        }
        let mut parts = value.splitn(3, |byte| *byte == b' ');
        let mut word = || str::from_utf8(parts.next()?).ok();
        let (id, time_ms): (EntryId, u64) = (word()?.parse().ok()?, word()?.parse().ok()?);
        match (self.place_of)(id) {
            Place::Read => {
                let draft = Fields(parts.next()?).draft()?;
                let age_ms = self.now_ms.saturating_sub(time_ms);
                state.events.push(Sequenced { seq: Some(id.seq), time_ms, age_ms, draft });
            }
            Place::Ahead => {}
            // The event that it replaced is lost too.
            Place::Void => state.partial = Duration::from_millis(self.age_ms),
        }
        Some(())
    }
}
