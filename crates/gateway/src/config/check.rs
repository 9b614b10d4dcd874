//! From what was typed to what is meant: checks each value, and which options go together.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use events::Chance;
use tracing_subscriber::EnvFilter;

use super::args::{
    AccessArgs, DevArgs, KeyArgs, LimitArgs, LogArgs, ServeArgs, StoreArgs, StoreKind, StreamArgs, TokenArgs,
};
use super::{Config, ConfigError, Limits, Logs, RedisConfig, StoreConfig, Streams};
use crate::auth::{AuthConfig, JwksSource, TokenRequest, TopicPattern};
use crate::http::address::TrustedProxies;
use crate::redact::Rule;
use crate::secret::Secret;

pub(super) fn dev(typed: DevArgs) -> Result<Config, ConfigError> {
    let listen = address("--listen", &typed.listen)?;
    if !listen.ip().is_loopback() {
        return Err(ConfigError::new(format!(
            "--listen {listen} can be reached from other machines, and `gateway dev` asks nobody for a token: \
             use a loopback address such as 127.0.0.1:8080, or `gateway serve`"
        )));
    }
    Ok(Config {
        dev: true,
        listen,
        admin_listen: None,
        store: StoreConfig::Memory,
        auth: AuthConfig {
            jwt_secret: Some(Secret::new("dev-secret")),
            publish_keys: vec![Secret::new("dev")],
            user_parameter: true,
            ..AuthConfig::default()
        },
        allow_origins: typed.access.allow_origins,
        trusted_proxies: TrustedProxies::new(typed.access.trusted_proxies),
        redact: redact(typed.access.redact)?,
        limits: limits(&typed.limits),
        streams: streams(&typed.streams),
        deployment: deployment(typed.streams.deployment)?,
        logs: logs(typed.logs)?,
    })
}

pub(super) fn serve(typed: ServeArgs) -> Result<Config, ConfigError> {
    let listen = address("--listen", &typed.listening.listen)?;
    let admin_listen = given(typed.listening.admin_listen, String::is_empty)
        .map(|text| address("--admin-listen", &text))
        .transpose()?;
    if admin_listen == Some(listen) && listen.port() != 0 {
        return Err(ConfigError::new("--admin-listen must differ from --listen"));
    }
    if given(typed.store.database_url.clone(), Secret::is_empty).is_some() {
        return Err(ConfigError::new("--database-url: PostgreSQL is no source of events in this build"));
    }
    let AccessArgs { allow_origins, trusted_proxies, redact: rules } = typed.access;
    Ok(Config {
        dev: false,
        listen,
        admin_listen,
        store: store(typed.store)?,
        auth: keys(typed.keys)?,
        allow_origins,
        trusted_proxies: TrustedProxies::new(trusted_proxies),
        redact: redact(rules)?,
        limits: limits(&typed.limits),
        streams: streams(&typed.streams),
        deployment: deployment(typed.streams.deployment)?,
        logs: logs(typed.logs)?,
    })
}

pub(super) fn token(typed: TokenArgs) -> Result<TokenRequest, ConfigError> {
    let patterns = |option: &str, texts: Vec<String>| -> Result<Vec<TopicPattern>, ConfigError> {
        texts
            .iter()
            .map(|text| text.parse().map_err(|error| ConfigError::new(format!("{option} {text:?}: {error}"))))
            .collect()
    };
    if typed.jwt_secret.is_empty() {
        return Err(ConfigError::new("--jwt-secret is empty"));
    }
    events::Topic::of_user(&typed.user).map_err(|error| ConfigError::new(format!("--user: {error}")))?;
    Ok(TokenRequest {
        user: typed.user,
        subscribe: patterns("--subscribe", typed.subscribe)?,
        publish: patterns("--publish", typed.publish)?,
        scopes: typed.scopes,
        ttl: (typed.ttl_seconds > 0).then(|| Duration::from_secs(typed.ttl_seconds)),
        secret: typed.jwt_secret,
    })
}

fn store(typed: StoreArgs) -> Result<StoreConfig, ConfigError> {
    let only_for =
        |kind: StoreKind, options: &[(&str, bool)]| match options.iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) if typed.store != kind => {
                let kind = if kind == StoreKind::Disk { "disk" } else { "redis" };
                Err(ConfigError::new(format!("{option} needs --store {kind}")))
            }
            _ => Ok(()),
        };
    only_for(
        StoreKind::Disk,
        &[("--data-dir", typed.data_dir.is_some()), ("--fsync", typed.fsync.is_some())],
    )?;
    only_for(
        StoreKind::Redis,
        &[
            ("--redis-ca", typed.redis_ca.is_some()),
            ("--log-name", typed.log_name.is_some()),
            ("--redis-wait", typed.redis_wait.is_some()),
            ("--redis-down", typed.redis_down.is_some()),
        ],
    )?;
    match typed.store {
        StoreKind::Memory => Ok(StoreConfig::Memory),
        StoreKind::Disk => {
            let data_dir = typed
                .data_dir
                .filter(|dir| !dir.as_os_str().is_empty())
                .ok_or_else(|| ConfigError::new("--store disk needs --data-dir"))?;
            Ok(StoreConfig::Disk { data_dir, fsync: typed.fsync.unwrap_or_default() })
        }
        StoreKind::Redis => {
            let url = given(typed.redis_url, Secret::is_empty)
                .or_else(|| environment("REDIS_URL"))
                .ok_or_else(|| ConfigError::new("--store redis needs --redis-url or REDIS_URL"))?;
            if !is_redis_url(url.expose()) {
                return Err(ConfigError::new(
                    "--redis-url is not a URL of Redis, such as redis://HOST:6379 or rediss://HOST:6380",
                ));
            }
            let log_name = typed.log_name.unwrap_or_else(|| "throughline".to_owned());
            Ok(StoreConfig::Redis(RedisConfig {
                url,
                ca: typed.redis_ca.filter(|path| !path.as_os_str().is_empty()),
                log_name: name("--log-name", log_name)?,
                wait_replicas: typed.redis_wait.unwrap_or(0),
                when_down: typed.redis_down.unwrap_or_default(),
            }))
        }
    }
}

fn is_redis_url(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && (scheme == "unix" || scheme.starts_with("redis") || scheme.starts_with("valkey"))
            && scheme.bytes().all(|b| b.is_ascii_lowercase() || b"+-".contains(&b))
    })
}

fn keys(typed: KeyArgs) -> Result<AuthConfig, ConfigError> {
    let file = typed.jwt_secret_file.filter(|path| !path.as_os_str().is_empty());
    let jwt_secret = match (given(typed.jwt_secret, Secret::is_empty), file) {
        (Some(_), Some(_)) => {
            return Err(ConfigError::new("--jwt-secret and --jwt-secret-file cannot both be given"));
        }
        (Some(secret), None) => Some(secret),
        (None, Some(path)) => Some(secret_in(&path)?),
        (None, None) => None,
    };
    let auth = AuthConfig {
        jwt_secret,
        jwt_public_key: typed.jwt_public_key.filter(|path| !path.as_os_str().is_empty()),
        jwks: given(typed.jwks, String::is_empty).map(|text| text.parse::<JwksSource>()).transpose()?,
        issuer: given(typed.jwt_issuer, String::is_empty),
        audience: given(typed.jwt_audience, String::is_empty),
        publish_keys: typed.publish_keys.into_iter().filter(|key| !key.is_empty()).collect(),
        user_parameter: false,
    };
    if !auth.verifies_tokens() && auth.publish_keys.is_empty() {
        return Err(ConfigError::new(
            "no key: give --jwt-secret, --jwt-secret-file, --jwt-public-key, --jwks or --publish-key, \
             or use `gateway dev`",
        ));
    }
    if !auth.verifies_tokens() && (auth.issuer.is_some() || auth.audience.is_some()) {
        return Err(ConfigError::new("--jwt-issuer and --jwt-audience need a key that verifies tokens"));
    }
    Ok(auth)
}

fn redact(rules: Vec<Rule>) -> Result<Vec<Rule>, ConfigError> {
    if rules.len() > Rule::MAX {
        return Err(ConfigError::new(format!("--redact: at most {} rules", Rule::MAX)));
    }
    Ok(rules)
}

fn secret_in(path: &PathBuf) -> Result<Secret, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::new(format!("--jwt-secret-file {}: {error}", path.display())))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(ConfigError::new(format!("--jwt-secret-file {}: the file is empty", path.display())));
    }
    Ok(Secret::new(text))
}

fn limits(typed: &LimitArgs) -> Limits {
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let limit = |number: u32| (number > 0).then(|| count(number));
    Limits {
        ring_events: count(typed.ring_events),
        ring_age: Duration::from_secs(typed.ring_seconds),
        log_bytes: typed.log_bytes,
        data_bytes_max: count(typed.max_data_bytes),
        command_bytes_max: count(typed.max_command_bytes),
        body_bytes_max: count(typed.max_body_bytes),
        replay_bytes: usize::try_from(typed.replay_bytes).unwrap_or(usize::MAX),
        topics_per_session_max: count(typed.max_topics_per_session),
        connections_max: count(typed.max_connections),
        connections_per_user_max: limit(typed.max_connections_per_user),
        connections_per_ip_max: limit(typed.max_connections_per_ip),
        commands_per_minute: (typed.commands_per_minute > 0).then_some(typed.commands_per_minute),
        publishes_per_minute: (typed.publishes_per_minute > 0).then_some(typed.publishes_per_minute),
        ephemerals_per_second: (typed.ephemerals_per_second > 0).then_some(typed.ephemerals_per_second),
        presence_ttl: Duration::from_secs(typed.presence_ttl_seconds),
        head_timeout: Duration::from_secs(typed.head_timeout_seconds),
        body_timeout: Duration::from_secs(typed.body_timeout_seconds),
    }
}

/// `--max-stream-seconds` holds for both kinds of stream; left out, only SSE ends by itself, because some
/// intermediaries keep an upstream open long after the client has gone.
fn streams(typed: &StreamArgs) -> Streams {
    let age = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
    Streams {
        write_timeout: Duration::from_secs(typed.write_timeout_seconds),
        drain: Duration::from_secs(typed.drain_seconds),
        reconnects_per_second: typed.reconnects_per_second,
        sse_age_max: age(typed.max_stream_seconds.unwrap_or(300)),
        websocket_age_max: age(typed.max_stream_seconds.unwrap_or(0)),
    }
}

fn deployment(typed: Option<String>) -> Result<String, ConfigError> {
    if let Some(text) = given(typed, String::is_empty) {
        return name("--deployment", text);
    }
    let mut random = [0; 5];
    Chance::system().fill(&mut random).map_err(|error| ConfigError::new(error.to_string()))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn logs(typed: LogArgs) -> Result<Logs, ConfigError> {
    let filter = given(typed.log, String::is_empty)
        .or_else(|| environment("RUST_LOG").map(|filter| filter.expose().to_owned()))
        .unwrap_or_else(|| "info".to_owned());
    EnvFilter::try_new(&filter).map_err(|error| ConfigError::new(format!("--log {filter:?}: {error}")))?;
    Ok(Logs { format: typed.log_format, filter })
}

/// A name that is safe in keys, headers and JSON.
fn name(option: &str, text: String) -> Result<String, ConfigError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
        return Err(ConfigError::new(format!("{option} must be 1 to 64 bytes of A-Z a-z 0-9 _ . -")));
    }
    Ok(text)
}

/// An address and port; a host name counts if it has an address now, and its first is taken.
fn address(option: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let wrong = || {
        let hint =
            if text.parse::<IpAddr>().is_ok() || text.parse::<u16>().is_ok() { ", with both" } else { "" };
        ConfigError::new(format!("{option} {text:?} is not ADDRESS:PORT such as 127.0.0.1:8080{hint}"))
    };
    text.to_socket_addrs().map_err(|_| wrong())?.next().ok_or_else(wrong)
}

/// An option that was left empty, as compose files do with unset variables, was not given.
fn given<T>(option: Option<T>, is_empty: fn(&T) -> bool) -> Option<T> {
    option.filter(|value| !is_empty(value))
}

fn environment(name: &str) -> Option<Secret> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(Secret::new)
}
