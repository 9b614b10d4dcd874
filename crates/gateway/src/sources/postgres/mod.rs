//! Sources in PostgreSQL: NOTIFY and an outbox table.
//!
//! * `target`, `connection`: the servers, and one connection to them with errors that show no
//!   secret;
//! * `listener`: a verified LISTEN; `notify`: the source that uses it;
//! * `table`, `sql`: the outbox as a table, and all SQL about it;
//! * `turn`: one turn of a gateway at the outbox; `floor`: the id from which a turn looks;
//!   `outbox`: the loop of turns.
//!
//! NOTIFY is delivered at most once, and gaps are reported. The outbox loses nothing: its rows are
//! part of the application's transactions and are deleted when the store has them.

mod connection;
mod floor;
mod listener;
mod notify;
mod outbox;
mod pause;
mod reason;
pub(crate) mod sql;
pub(crate) mod table;
pub(crate) mod target;
mod turn;

use std::sync::Arc;

use connection::Connector;
use outbox::Outbox;

use super::intake::Intake;
use super::parts::{SourceParts, SourceTask};
use crate::config::error::ConfigError;
use crate::config::{OutboxConfig, PostgresConfig};
use crate::metrics::labels::SourceKind;

/// The tasks of the configured sources in PostgreSQL, each with its name.
///
/// # Errors
/// One line, when certificates cannot be read. An unavailable server is no error.
pub(super) fn open(
    config: &PostgresConfig,
    parts: &SourceParts,
) -> Result<Vec<(&'static str, SourceTask)>, ConfigError> {
    let connector = Connector::new(config.target.clone())?;
    let mut tasks: Vec<(&'static str, SourceTask)> = Vec::new();
    if !config.notify.is_empty() {
        let (ear, intake) = Intake::open(parts.states.add(SourceKind::Notify), parts);
        let metrics = Arc::clone(&parts.metrics);
        let listening = notify::run(connector.clone(), config.notify.clone(), ear, metrics);
        tasks.push(("notify source", Box::pin(listening)));
        tasks.push(("notify source intake", Box::pin(intake.run())));
    }
    if let Some(OutboxConfig { table, poll }) = &config.outbox {
        let state = parts.states.add(SourceKind::Outbox);
        let outbox = Outbox::new(connector, table, *poll, parts.clone(), state);
        tasks.push(("outbox source", Box::pin(outbox.run())));
    }
    Ok(tasks)
}
