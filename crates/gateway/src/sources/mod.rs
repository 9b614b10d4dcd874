//! Sources of events outside the gateway. Their messages become events of the log.
//!
//! A source is a task that owns its connection. It joins the gateway's supervised tasks, reconnects
//! for as long as the gateway runs, and never ends by itself: an unavailable source is no reason
//! for the gateway to end or to refuse clients. Sources share no trait. They share the path of
//! their messages:
//!
//! ```text
//! heard -> queue (8 MiB, oldest out, counted) -> rule
//!   -> batch of at most 128 drafts or 256 KiB -> store
//! ```
//!
//! * `rule`: the parsed rule that the operator wrote; `apply`: applies a rule to a message;
//! * `queue`: received messages that wait; `Ear` is its entrance. A source never
//!   stops reading its socket, even if the store is slow or away: Redis disconnects a subscriber
//!   that does not read, and a PostgreSQL listener that does not read makes other transactions
//!   fail;
//! * `Intake`: the task that takes messages out of the queue, applies the rule and publishes the
//!   drafts as `Author::Source`, with an id scope of its own and without
//!   a rate limit or a grant;
//! * `takeover`, `hold`: several gateways of one log receive the same messages, and one publishes
//!   them;
//! * `gap`: selects the readers that are told of possibly missed messages;
//! * `SourceStates`: the state of each source, for `/ready` and the metrics.

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

/// The tasks of all configured sources, each with its name.
///
/// # Errors
/// One line, when the configuration of a source cannot be used.
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
