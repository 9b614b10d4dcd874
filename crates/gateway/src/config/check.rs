//! Turns the command line into a [`Config`]: validates each value and the combinations of options.
//!
//! Each error is one line that names the option and the remedy.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use transport::socketio::Pings;

use super::args::{
    AccessArgs, DevArgs, KeyArgs, LimitArgs, ListeningArgs, LogArgs, ServeArgs, SocketIoArgs, StoreArgs,
    StoreKind, StreamArgs, TokenArgs,
};
use super::choices::Eio3;
use super::given::{environment, given, is_redis_url};
use super::sources::sources;
use super::state::state;
use super::{Config, ConfigError, Limits, Logs, RedisConfig, SocketIo, StoreConfig, Streams};
use crate::auth::{AuthConfig, JwksSource, TokenRequest, TopicPattern};
use crate::dialect::Dialect;
use crate::http::address::TrustedProxies;
use crate::http::tls::TlsFiles;
use crate::redact::Rule;
use crate::secret::Secret;

/// The problems of a configuration that were found so far.
#[derive(Default)]
struct Problems(Vec<ConfigError>);

impl Problems {
    /// Returns the value, or records the problem and returns `None`.
    fn note<T>(&mut self, result: Result<T, ConfigError>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }
}

/// The configuration of `gateway dev`.
///
/// # Errors
/// Every problem, each as one line.
pub(super) fn dev(typed: DevArgs) -> Result<Config, Vec<ConfigError>> {
    let mut problems = Problems::default();
    let listen = problems.note(loopback(&typed.listen));
    let redact = problems.note(redact(typed.access.redact));
    let sources = problems.note(sources(typed.sources, (None, None), None));
    let limits = limits(&typed.limits);
    let state = problems.note(state(typed.state));
    let streams_config = streams(&typed.streams);
    let socketio = problems.note(socketio(typed.socketio, Some("/socket.io/")));
    let deployment = problems.note(deployment(typed.streams.deployment));
    let logs = problems.note(logs(typed.logs));
    let (Some(listen), Some(redact), Some(sources), Some(state)) = (listen, redact, sources, state) else {
        return Err(problems.0);
    };
    let (Some(socketio), Some(deployment), Some(logs)) = (socketio, deployment, logs) else {
        return Err(problems.0);
    };
    Ok(Config {
        dev: true,
        listen,
        admin_listen: None,
        tls: None,
        store: StoreConfig::Memory,
        auth: AuthConfig {
            jwt_secrets: vec![Secret::new("dev-secret")],
            publish_keys: vec![Secret::new("dev")],
            user_parameter: true,
            ..AuthConfig::default()
        },
        allow_origins: typed.access.allow_origins,
        trusted_proxies: TrustedProxies::new(typed.access.trusted_proxies),
        redact,
        sources,
        limits,
        state,
        streams: streams_config,
        socketio: socketio.map(|socketio| SocketIo { echo: typed.socketio_echo, ..socketio }),
        deployment,
        logs,
        file: None,
    })
}

/// The configuration of `gateway serve`.
///
/// # Errors
/// Every problem, each as one line.
pub(super) fn serve(typed: ServeArgs) -> Result<Config, Vec<ConfigError>> {
    let mut problems = Problems::default();
    let listening = problems.note(listening(typed.listening));
    let store_in_redis = (typed.store.redis_url.clone(), typed.store.redis_ca.clone());
    let store = problems.note(store(typed.store));
    let log_name =
        if let Some(StoreConfig::Redis(redis)) = &store { Some(redis.log_name.clone()) } else { None };
    let AccessArgs { allow_origins, trusted_proxies, redact: rules } = typed.access;
    let auth = problems.note(keys(typed.keys));
    let redact = problems.note(redact(rules));
    let sources = problems.note(sources(typed.sources, store_in_redis, log_name.as_deref()));
    let limits = limits(&typed.limits);
    let state = problems.note(state(typed.state));
    let streams_config = streams(&typed.streams);
    let socketio = problems.note(socketio(typed.socketio, None));
    let deployment = problems.note(deployment(typed.streams.deployment));
    let logs = problems.note(logs(typed.logs));
    let (Some(Listening { listen, admin_listen, tls }), Some(store), Some(auth), Some(redact), Some(state)) =
        (listening, store, auth, redact, state)
    else {
        return Err(problems.0);
    };
    let (Some(sources), Some(socketio), Some(deployment), Some(logs)) = (sources, socketio, deployment, logs)
    else {
        return Err(problems.0);
    };
    Ok(Config {
        dev: false,
        listen,
        admin_listen,
        tls,
        store,
        auth,
        allow_origins,
        trusted_proxies: TrustedProxies::new(trusted_proxies),
        redact,
        sources,
        limits,
        state,
        streams: streams_config,
        socketio,
        deployment,
        logs,
        file: None,
    })
}

/// Validates the files themselves: whether keys and certificates can be read.
///
/// # Errors
/// Every problem, each as one line.
pub(super) fn files(config: &Config) -> Result<(), Vec<ConfigError>> {
    let mut problems = config.auth.problems();
    problems.extend(config.tls.as_ref().and_then(|tls| tls.open().err()));
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn loopback(text: &str) -> Result<SocketAddr, ConfigError> {
    let listen = address("--listen", text)?;
    if listen.ip().is_loopback() {
        return Ok(listen);
    }
    Err(ConfigError::new(format!(
        "--listen {listen} is not a loopback address, and `gateway dev` needs no token: \
         use 127.0.0.1:8080, or `gateway serve`"
    )))
}

/// The addresses of a gateway's listeners, and its certificate.
struct Listening {
    listen: SocketAddr,
    admin_listen: Option<SocketAddr>,
    tls: Option<TlsFiles>,
}

fn listening(typed: ListeningArgs) -> Result<Listening, ConfigError> {
    let listen = address("--listen", &typed.listen)?;
    let admin_listen = given(typed.admin_listen, String::is_empty)
        .map(|text| address("--admin-listen", &text))
        .transpose()?;
    if admin_listen == Some(listen) && listen.port() != 0 {
        return Err(ConfigError::new(
            "--admin-listen and --listen are the same address: use another port for one of them",
        ));
    }
    let is_empty = |path: &PathBuf| path.as_os_str().is_empty();
    let tls = match (given(typed.tls_cert, is_empty), given(typed.tls_key, is_empty)) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (None, None) => None,
        (Some(_), None) => return Err(ConfigError::new("--tls-cert needs --tls-key FILE: add it")),
        (None, Some(_)) => return Err(ConfigError::new("--tls-key needs --tls-cert FILE: add it")),
    };
    Ok(Listening { listen, admin_listen, tls })
}

/// The endpoint of Socket.IO clients. `default`: the path if none is given.
fn socketio(typed: SocketIoArgs, default: Option<&str>) -> Result<Option<SocketIo>, ConfigError> {
    let path = given(typed.socketio, String::is_empty).or_else(|| default.map(str::to_owned));
    let file = typed.socketio_dialect.filter(|path| !path.as_os_str().is_empty());
    let Some(path) = path else {
        return match file {
            Some(_) => Err(ConfigError::new(
                "--socketio-dialect needs --socketio PATH: add --socketio /socket.io/, or remove it",
            )),
            None => Ok(None),
        };
    };
    let dialect = file.as_deref().map(Dialect::read).transpose();
    let dialect =
        dialect.map_err(|error| ConfigError::new(format!("--socketio-dialect: {error}")))?.map(Arc::new);
    let is_plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    let is_taken = ["/v1/", "/health/", "/ready/", "/metrics/"].iter().any(|own| path.starts_with(own));
    if !is_plain || is_taken || path.len() < 3 || !path.starts_with('/') || !path.ends_with('/') {
        return Err(ConfigError::new(format!(
            "--socketio {path:?} is no path for Socket.IO clients: use /socket.io/, or another that begins and ends with a slash"
        )));
    }
    Ok(Some(SocketIo {
        path,
        pings: Pings {
            interval: Duration::from_secs(typed.socketio_ping_interval),
            timeout: Duration::from_secs(typed.socketio_ping_timeout),
        },
        cursor: typed.socketio_cursor.into(),
        dialect,
        eio3: typed.socketio_eio3 == Eio3::On,
        echo: None,
    }))
}

pub(super) fn token(typed: TokenArgs) -> Result<TokenRequest, ConfigError> {
    let patterns = |option: &str, texts: Vec<String>| -> Result<Vec<TopicPattern>, ConfigError> {
        texts
            .iter()
            .map(|text| text.parse().map_err(|error| ConfigError::new(format!("{option} {text:?}: {error}"))))
            .collect()
    };
    if typed.jwt_secret.is_empty() {
        return Err(ConfigError::new(
            "--jwt-secret is empty: give the secret that the gateway verifies with",
        ));
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
                Err(ConfigError::new(format!("{option} needs --store {kind}: add it, or remove {option}")))
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
                .ok_or_else(|| ConfigError::new("--store disk needs --data-dir DIR"))?;
            Ok(StoreConfig::Disk { data_dir, fsync: typed.fsync.unwrap_or_default() })
        }
        StoreKind::Redis => {
            let url =
                given(typed.redis_url, Secret::is_empty).or_else(|| environment("REDIS_URL")).ok_or_else(
                    || ConfigError::new("--store redis needs --redis-url URL, or the variable REDIS_URL"),
                )?;
            if !is_redis_url(url.expose()) {
                return Err(ConfigError::new(
                    "--redis-url is not a URL of Redis: expected redis://HOST:6379, rediss://HOST:6379, \
                     redis-sentinel://HOST:26379/NAME or redis-cluster://HOST:7000",
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

fn keys(typed: KeyArgs) -> Result<AuthConfig, ConfigError> {
    let files: Vec<PathBuf> =
        typed.jwt_secret_files.into_iter().filter(|path| !path.as_os_str().is_empty()).collect();
    let mut jwt_secrets: Vec<Secret> =
        typed.jwt_secrets.into_iter().filter(|secret| !secret.is_empty()).collect();
    if !jwt_secrets.is_empty() && !files.is_empty() {
        return Err(ConfigError::new("--jwt-secret and --jwt-secret-file are both set: use one of them"));
    }
    for path in &files {
        jwt_secrets.push(secret_in(path)?);
    }
    let auth = AuthConfig {
        jwt_secrets,
        jwt_secret_files: files,
        jwt_public_key: typed.jwt_public_key.filter(|path| !path.as_os_str().is_empty()),
        jwks: given(typed.jwks, String::is_empty).map(|text| text.parse::<JwksSource>()).transpose()?,
        issuer: given(typed.jwt_issuer, String::is_empty),
        audience: given(typed.jwt_audience, String::is_empty),
        publish_keys: typed.publish_keys.into_iter().filter(|key| !key.is_empty()).collect(),
        user_parameter: false,
    };
    if !auth.verifies_tokens() && auth.publish_keys.is_empty() {
        return Err(ConfigError::new(
            "no key is set: add --publish-key for backends, and --jwt-secret, --jwt-secret-file, \
             --jwt-public-key or --jwks for clients; or use `gateway dev`",
        ));
    }
    if !auth.verifies_tokens() && (auth.issuer.is_some() || auth.audience.is_some()) {
        return Err(ConfigError::new(
            "--jwt-issuer and --jwt-audience need a key that verifies tokens: add --jwt-secret, \
             --jwt-secret-file, --jwt-public-key or --jwks",
        ));
    }
    Ok(auth)
}

fn redact(rules: Vec<Rule>) -> Result<Vec<Rule>, ConfigError> {
    if rules.len() > Rule::MAX {
        return Err(ConfigError::new(format!(
            "--redact is set too often: at most {} rules are possible",
            Rule::MAX
        )));
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
        ids_bytes: usize::try_from(typed.ids_bytes).unwrap_or(usize::MAX),
        topics_per_session_max: count(typed.max_topics_per_session),
        connections_max: count(typed.max_connections),
        connections_per_user_max: limit(typed.max_connections_per_user),
        connections_per_ip_max: limit(typed.max_connections_per_ip),
        commands_per_minute: (typed.commands_per_minute > 0).then_some(typed.commands_per_minute),
        publishes_per_minute: (typed.publishes_per_minute > 0).then_some(typed.publishes_per_minute),
        ephemerals_per_second: (typed.ephemerals_per_second > 0).then_some(typed.ephemerals_per_second),
        presence_ttl: Duration::from_secs(typed.presence_ttl_seconds),
        head_timeout: Duration::from_secs(typed.head_timeout_seconds),
        keep_alive: Duration::from_secs(typed.keep_alive_seconds),
        body_timeout: Duration::from_secs(typed.body_timeout_seconds),
    }
}

/// `--max-stream-seconds` applies to both kinds of stream. Without it, only SSE streams have a
/// maximum age, because some intermediaries keep an upstream open long after the client has gone.
fn streams(typed: &StreamArgs) -> Streams {
    let age = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
    Streams {
        write_timeout: Duration::from_secs(typed.write_timeout_seconds),
        message_bytes_max: usize::try_from(typed.max_message_bytes).unwrap_or(usize::MAX),
        sse_refusals: typed.sse_refusals,
        drain: Duration::from_secs(typed.drain_seconds),
        reconnects_per_second: typed.reconnects_per_second,
        sse_age_max: age(typed.max_stream_seconds.unwrap_or(300)),
        websocket_age_max: age(typed.max_stream_seconds.unwrap_or(0)),
    }
}

fn deployment(typed: Option<String>) -> Result<Option<String>, ConfigError> {
    given(typed, String::is_empty).map(|text| name("--deployment", text)).transpose()
}

fn logs(typed: LogArgs) -> Result<Logs, ConfigError> {
    let filter = given(typed.log, String::is_empty)
        .or_else(|| environment("RUST_LOG").map(|filter| filter.expose().to_owned()))
        .unwrap_or_else(|| "info".to_owned());
    EnvFilter::try_new(&filter).map_err(|error| ConfigError::new(format!("--log {filter:?}: {error}")))?;
    Ok(Logs { format: typed.log_format, filter })
}

/// Checks a name that is used in keys, headers and JSON.
fn name(option: &str, text: String) -> Result<String, ConfigError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
        return Err(ConfigError::new(format!("{option} must be 1 to 64 bytes of A-Z a-z 0-9 _ . -")));
    }
    Ok(text)
}

/// Reads an address and port. A host name is resolved once, and its first address is used.
fn address(option: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let wrong =
        || ConfigError::new(format!("{option} {text:?}: expected ADDRESS:PORT, such as 127.0.0.1:8080"));
    text.to_socket_addrs().map_err(|_| wrong())?.next().ok_or_else(wrong)
}
