//! Sources of events outside the gateway: what they say becomes events of the log.
//!
//! A source is a task that owns its connection. It joins the gateway's supervised tasks, connects
//! again for as long as the gateway runs, and never ends by itself: an outside that is away is no
//! reason for the gateway to end, or to refuse clients. What a source has in common with the others
//! is not a trait but a way that its messages go:
//!
//! ```text
//! heard -> queue (8 MiB, oldest out, counted) -> rule -> batch of at most 128 drafts or 256 KiB -> store
//! ```
//!
//! * `rule`: what the operator wrote; `apply`: a rule applied to a message;
//! * `queue`: what was heard and waits; [`Ear`](queue::Ear) is its entrance. A source never stops reading its
//!   socket, whatever the store does: a Redis subscriber that does not read is dropped by the
//!   server, and a PostgreSQL listener that does not read makes other transactions fail;
//! * [`Intake`]: the task that takes messages out of the queue, and publishes what the rule makes of
//!   them as [`Author::Source`](crate::publish::Author): an id scope of its own, no rate, no grant;
//! * `takeover`, `hold`: several gateways of one log hear the same, and one of them publishes;
//! * `gap`: who is told that messages may have been missed;
//! * [`SourceStates`]: how each source stands, for `/ready` and the metrics.

#![allow(clippy::disallowed_methods, reason = "chance only spreads what sources do; no simulation has them")]

mod append;
mod apply;
mod gap;
mod hold;
mod intake;
mod parts;
pub(crate) mod postgres;
mod queue;
mod reading;
mod redis;
pub mod rule;
mod states;
mod takeover;

use std::sync::Arc;

pub(crate) use parts::{SourceParts, SourceTask};
pub(crate) use states::SourceStates;

use intake::Intake;

use crate::config::{ConfigError, SourcesConfig};
use crate::metrics::labels::SourceKind;

/// The tasks of all sources that are configured, each with its name.
///
/// # Errors
/// When a source cannot work as it was configured, as one line.
pub(crate) fn open(
    config: &SourcesConfig,
    parts: &SourceParts,
) -> Result<Vec<(&'static str, SourceTask)>, ConfigError> {
    let mut tasks: Vec<(&'static str, SourceTask)> = Vec::new();
    if let Some(config) = config.redis.as_ref().filter(|config| !config.channels.is_empty()) {
        let (ear, intake) = Intake::open(parts.states.add(SourceKind::Redis), parts);
        tasks.push(("redis source", Box::pin(redis::Listener::open(config, ear)?.run())));
        tasks.push(("redis source intake", Box::pin(intake.run())));
    }
    if let Some(config) = config.redis.as_ref().filter(|config| !config.streams.is_empty()) {
        let state = parts.states.add(SourceKind::RedisStream);
        let up = Arc::new(redis::StreamsUp::new(state, config.streams.len()));
        for number in 0..config.streams.len() {
            let reader = redis::StreamReader::open(config, number, Arc::clone(&up), parts)?;
            tasks.push(("redis stream source", Box::pin(reader.run())));
        }
    }
    if let Some(config) = &config.postgres {
        tasks.extend(postgres::open(config, parts)?);
    }
    Ok(tasks)
}
