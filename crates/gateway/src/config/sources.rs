//! The options of sources of events outside the gateway, as clap parses them, and their meaning.

use std::path::PathBuf;

use clap::Args;

use super::ConfigError;
use super::choices::SourceGap;
use super::given::{environment, given, is_redis_url};
use super::postgres::{PostgresArgs, PostgresConfig};
use crate::secret::Secret;
use crate::sources::rule::{SourceRule, SourceRuleError};

/// The options.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sources")]
pub(super) struct SourceArgs {
    /// Redis pub/sub channels and what becomes of their messages, such as
    /// `job:* => topics=user:{/userId} type=progress`; repeatable, or separated by semicolons
    #[arg(long, env = "GATEWAY_SOURCE_REDIS", value_name = "PATTERN => RULE", value_delimiter = ';', value_parser = rule)]
    source_redis: Vec<SourceRule>,
    /// Redis stream and what becomes of its entries, such as `orders => draft`: read with a consumer
    /// group, at least once; repeatable, or separated by semicolons
    #[arg(long, env = "GATEWAY_SOURCE_REDIS_STREAM", value_name = "KEY => RULE", value_delimiter = ';', value_parser = rule)]
    source_redis_stream: Vec<SourceRule>,
    /// URL of the Redis server, Sentinel or Cluster of the sources [default: --redis-url, REDIS_URL]
    #[arg(long, env = "GATEWAY_SOURCE_REDIS_URL", value_name = "URL")]
    source_redis_url: Option<Secret>,
    /// PEM file with the CA certificates to trust for a rediss:// of --source-redis-url [default: --redis-ca]
    #[arg(long, env = "GATEWAY_SOURCE_REDIS_CA", value_name = "FILE")]
    source_redis_ca: Option<PathBuf>,
    /// What readers are told when messages of Redis pub/sub or NOTIFY may be missing
    #[arg(long, env = "GATEWAY_SOURCE_GAP", value_enum, default_value = "reset")]
    source_gap: SourceGap,
    #[command(flatten)]
    postgres: PostgresArgs,
}

/// The sources of events outside the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourcesConfig {
    /// Redis; `None`: not configured.
    pub redis: Option<RedisSourceConfig>,
    /// PostgreSQL; `None`: not configured.
    pub postgres: Option<PostgresConfig>,
    /// The report that readers get about gaps.
    pub gap: SourceGap,
}

/// Redis as a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSourceConfig {
    /// URL of a server, Sentinel or Cluster.
    pub url: Secret,
    /// File with the CA certificates to trust for TLS; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// Patterns of channels and their rules. The first rule that matches a channel applies.
    pub channels: Vec<SourceRule>,
    /// Keys of streams and their rules.
    pub streams: Vec<SourceRule>,
    /// The consumer group of the streams: one for each log.
    pub group: String,
}

/// Validates the options. `store`: the URL and the CA file of the store in Redis, which are the
/// defaults. `log_name`: the name of the log, if it is in Redis.
pub(super) fn sources(
    typed: SourceArgs,
    store: (Option<Secret>, Option<PathBuf>),
    log_name: Option<&str>,
) -> Result<SourcesConfig, ConfigError> {
    let url = given(typed.source_redis_url, Secret::is_empty);
    let ca = given(typed.source_redis_ca, |path| path.as_os_str().is_empty());
    if typed.source_redis.is_empty() && typed.source_redis_stream.is_empty() {
        if url.is_some() || ca.is_some() {
            return Err(ConfigError::new(
                "--source-redis-url and --source-redis-ca need --source-redis or --source-redis-stream: add one, \
                 or remove them",
            ));
        }
        return Ok(SourcesConfig { redis: None, postgres: typed.postgres.check()?, gap: typed.source_gap });
    }
    for (option, rules) in
        [("--source-redis", &typed.source_redis), ("--source-redis-stream", &typed.source_redis_stream)]
    {
        if rules.len() > SourceRule::RULES_MAX {
            return Err(ConfigError::new(format!(
                "{option} is set too often: at most {} rules are possible",
                SourceRule::RULES_MAX
            )));
        }
    }
    check_patterns(&typed.source_redis)?;
    check_keys(&typed.source_redis_stream)?;
    let (store_url, store_ca) = store;
    let url = url.or(given(store_url, Secret::is_empty)).or_else(|| environment("REDIS_URL"));
    let url = url.ok_or_else(|| {
        ConfigError::new(
            "a source in Redis needs --source-redis-url URL, --redis-url, or the variable REDIS_URL",
        )
    })?;
    if !is_redis_url(url.expose()) {
        return Err(ConfigError::new(
            "--source-redis-url is not a URL of Redis: expected redis://HOST:6379, rediss://HOST:6379, \
             redis-sentinel://HOST:26379/NAME or redis-cluster://HOST:7000",
        ));
    }
    let ca = ca.or(given(store_ca, |path| path.as_os_str().is_empty()));
    let redis = RedisSourceConfig {
        url,
        ca,
        channels: typed.source_redis,
        streams: typed.source_redis_stream,
        group: log_name.map_or_else(|| "throughline".to_owned(), |name| format!("throughline:{name}")),
    };
    Ok(SourcesConfig { redis: Some(redis), postgres: typed.postgres.check()?, gap: typed.source_gap })
}

/// Refuses two rules for one pattern: the second would never apply.
fn check_patterns(rules: &[SourceRule]) -> Result<(), ConfigError> {
    match twice(rules) {
        Some(rule) => {
            Err(ConfigError::new(format!("--source-redis names {:?} twice: give it one rule", rule.pattern)))
        }
        None => Ok(()),
    }
}

/// A rule whose pattern an earlier rule has too.
fn twice(rules: &[SourceRule]) -> Option<&SourceRule> {
    rules
        .iter()
        .enumerate()
        .find_map(|(at, rule)| rules[..at].iter().any(|other| other.pattern == rule.pattern).then_some(rule))
}

/// Refuses two rules for one key, and patterns in place of keys.
fn check_keys(rules: &[SourceRule]) -> Result<(), ConfigError> {
    if let Some(rule) = twice(rules) {
        return Err(ConfigError::new(format!(
            "--source-redis-stream names {:?} twice: a stream has one rule",
            rule.pattern
        )));
    }
    for rule in rules {
        if rule.pattern.contains('*') {
            return Err(ConfigError::new(format!(
                "--source-redis-stream {:?}: a stream is named by its key, not by a pattern",
                rule.pattern
            )));
        }
    }
    Ok(())
}

fn rule(text: &str) -> Result<SourceRule, SourceRuleError> {
    text.trim().parse()
}
