//! The options of the sources in PostgreSQL, and their meaning.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::error::ConfigError;
use super::given::given;
use crate::secret::Secret;
use crate::sources::postgres::sql::OutboxSql;
use crate::sources::postgres::table::{NAME_BYTES_MAX, OutboxTable};
use crate::sources::postgres::target::Target;
use crate::sources::rule::SourceRule;

#[derive(Debug, Args)]
#[command(next_help_heading = "Sources")]
pub(super) struct PostgresArgs {
    /// URL of the PostgreSQL for --source-notify and --source-outbox; several hosts separated by commas
    #[arg(long, env = "GATEWAY_DATABASE_URL", value_name = "URL")]
    database_url: Option<Secret>,
    /// PEM file with the CA certificates to trust for PostgreSQL [default: the system's]
    #[arg(long, env = "GATEWAY_DATABASE_CA", value_name = "FILE")]
    database_ca: Option<PathBuf>,
    /// Channel of NOTIFY whose payloads become events, such as `jobs => draft`; repeatable, or separated by semicolons
    #[arg(
        long = "source-notify",
        env = "GATEWAY_SOURCE_NOTIFY",
        value_name = "CHANNEL => RULE",
        value_delimiter = ';'
    )]
    source_notify: Vec<String>,
    /// Outbox table whose rows become events, such as `throughline_outbox`; see `gateway outbox-sql`
    #[arg(long, env = "GATEWAY_SOURCE_OUTBOX", value_name = "TABLE")]
    source_outbox: Option<String>,
    /// Milliseconds between two looks at an outbox that is empty [default: 250]
    #[arg(long, env = "GATEWAY_OUTBOX_POLL_MS", value_name = "N", value_parser = clap::value_parser!(u64).range(10..=60_000))]
    outbox_poll_ms: Option<u64>,
}

/// How long to sleep while an outbox is empty, in milliseconds.
const OUTBOX_POLL_MS: u64 = 250;

#[derive(Debug, Args)]
pub(super) struct OutboxSqlArgs {
    /// Name of the table, with or without its schema
    #[arg(value_name = "TABLE", default_value = "throughline_outbox")]
    table: String,
    /// Role that the gateway connects as: grants it what it needs
    #[arg(long, env = "GATEWAY_ROLE", value_name = "ROLE")]
    role: Option<String>,
    /// Adds a trigger that wakes the gateway up at each commit, at the price of commits one after the other
    #[arg(long, env = "GATEWAY_WAKE_UP")]
    wake_up: bool,
}

/// The sources in PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresConfig {
    /// The servers.
    pub(crate) target: Target,
    /// Channels of NOTIFY, each named by one rule.
    pub(crate) notify: Vec<SourceRule>,
    /// The outbox.
    pub(crate) outbox: Option<OutboxConfig>,
}

/// An outbox table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutboxConfig {
    /// The table.
    pub(crate) table: OutboxTable,
    /// How long to sleep while the table is empty.
    pub(crate) poll: Duration,
}

impl PostgresArgs {
    /// Validates the options; `None`: no source in PostgreSQL is configured.
    pub(super) fn check(self) -> Result<Option<PostgresConfig>, ConfigError> {
        let rules = self.source_notify.iter().filter(|text| !text.trim().is_empty());
        let notify = rules.map(|text| notify_rule(text)).collect::<Result<Vec<_>, _>>()?;
        if let Some(rule) = notify.iter().enumerate().find_map(|(at, rule)| {
            notify[..at].iter().any(|other| other.pattern == rule.pattern).then_some(rule)
        }) {
            return Err(ConfigError::new(format!(
                "--source-notify names the channel {:?} twice: give it one rule",
                rule.pattern
            )));
        }
        let table = given(self.source_outbox, String::is_empty).map(|text| table("--source-outbox", &text));
        let poll = Duration::from_millis(self.outbox_poll_ms.unwrap_or(OUTBOX_POLL_MS));
        let outbox = table.transpose()?.map(|table| OutboxConfig { table, poll });
        let ca = given(self.database_ca, |path| path.as_os_str().is_empty());
        if outbox.is_none() && self.outbox_poll_ms.is_some() {
            return Err(ConfigError::new(
                "--outbox-poll-ms needs --source-outbox: add it, or remove the option",
            ));
        }
        match given(self.database_url, Secret::is_empty) {
            None if notify.is_empty() && outbox.is_none() && ca.is_some() => {
                Err(ConfigError::new("--database-ca needs --database-url: add it, or remove the option"))
            }
            None if notify.is_empty() && outbox.is_none() => Ok(None),
            None => Err(ConfigError::new("--source-notify and --source-outbox need --database-url URL")),
            Some(_) if notify.is_empty() && outbox.is_none() => Err(ConfigError::new(
                "--database-url is for sources: add --source-notify or --source-outbox, or remove it",
            )),
            Some(url) => Ok(Some(PostgresConfig { target: Target::new(&url, ca)?, notify, outbox })),
        }
    }
}

impl OutboxSqlArgs {
    pub(super) fn check(self) -> Result<OutboxSql, ConfigError> {
        let table = table("TABLE", &self.table)?;
        Ok(OutboxSql { table, gateway_role: given(self.role, String::is_empty), wake_up: self.wake_up })
    }
}

fn notify_rule(text: &str) -> Result<SourceRule, ConfigError> {
    let rule: SourceRule =
        text.parse().map_err(|error| ConfigError::new(format!("--source-notify {text:?}: {error}")))?;
    if rule.pattern.len() > NAME_BYTES_MAX {
        return Err(ConfigError::new(format!(
            "--source-notify {:?}: a channel has at most {NAME_BYTES_MAX} bytes",
            rule.pattern
        )));
    }
    Ok(rule)
}

fn table(option: &str, text: &str) -> Result<OutboxTable, ConfigError> {
    text.parse().map_err(|error| ConfigError::new(format!("{option} {text:?}: {error}")))
}
