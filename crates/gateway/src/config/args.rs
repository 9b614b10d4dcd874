//! The command line as clap parses it: text and numbers. [`super::check`] interprets them.

use std::ffi::OsString;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use super::ConfigError;
use super::choices::{DiskFsync, Eio3, LogFormat, RedisDown, SocketIoCursor, SocketIoEcho, SseRefusals};
use super::postgres::OutboxSqlArgs;
use super::sources::SourceArgs;
use super::state::StateArgs;
use crate::http::origin::Origin;
use crate::redact::Rule;
use crate::secret::Secret;

/// The commands of `gateway` with their options.
#[derive(Debug, Parser)]
#[command(
    name = "gateway",
    version,
    about = "Throughline: one event log, delivered over WebSocket, Server-Sent Events or long-polling.",
    after_help = "Every option can also be given as an environment variable: GATEWAY_ and the option's name in capitals.",
    disable_help_subcommand = true
)]
pub(super) struct Typed {
    #[command(subcommand)]
    pub(super) command: TypedCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum TypedCommand {
    #[command(
        about = "Run a gateway for development: memory store, `user=NAME` instead of a token, publish key \"dev\", \
                 JWT secret \"dev-secret\", loopback addresses only"
    )]
    Dev(Box<DevArgs>),
    #[command(about = "Run a gateway for production")]
    Serve(Box<ServeArgs>),
    #[command(
        about = "Check a configuration for `gateway serve` without running it: a line for each problem"
    )]
    Check(Box<ServeArgs>),
    #[command(about = "Print the configuration for `gateway serve` that is in force, with secrets hidden")]
    Config(Box<ServeArgs>),
    #[command(about = "Print a JWT that a gateway with the same secret accepts")]
    Token(TokenArgs),
    #[command(about = "Print the SQL that creates an outbox table for --source-outbox")]
    OutboxSql(OutboxSqlArgs),
}

impl Typed {
    /// The command line for clap. The help never prints a value from the environment, because it may
    /// be a secret.
    pub(super) fn clap() -> clap::Command {
        Self::command().mut_subcommands(|command| {
            let command =
                if RUNS.contains(&command.get_name()) { command.arg(config_file()) } else { command };
            command.mut_args(|arg| {
                let takes_value = arg.get_action().takes_values();
                arg.hide_env_values(true).allow_negative_numbers(takes_value)
            })
        })
    }

    /// The command line for reading. An empty variable counts as unset, because compose files leave
    /// unset variables empty.
    pub(super) fn for_reading() -> clap::Command {
        let is_empty =
            |arg: &Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        Self::clap().mut_subcommands(|command| {
            command.mut_args(|arg| if is_empty(&arg) { arg.env(None::<&str>) } else { arg })
        })
    }

    /// The command and its configuration file, if the arguments give one; `None`: they give none,
    /// or are wrong.
    pub(super) fn config_file(arguments: &[OsString]) -> Option<(String, PathBuf)> {
        // Required options may be in the file.
        let lenient =
            Self::for_reading().mut_subcommands(|command| command.mut_args(|arg| arg.required(false)));
        let matches = lenient.try_get_matches_from(arguments).ok()?;
        let (name, matches) = matches.subcommand()?;
        let path = matches.try_get_one::<PathBuf>(CONFIG).ok().flatten()?;
        (!path.as_os_str().is_empty()).then(|| (name.to_owned(), path.clone()))
    }
}

/// The commands that are configured by a file.
const RUNS: [&str; 4] = ["dev", "serve", "check", "config"];
/// The option that names the file.
const CONFIG: &str = "config";

/// Whether an option may be given more than once.
pub(super) fn takes_several(option: &Arg) -> bool {
    matches!(option.get_action(), ArgAction::Append)
}

fn config_file() -> Arg {
    Arg::new(CONFIG)
        .long(CONFIG)
        .env("GATEWAY_CONFIG")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help_heading("Configuration")
        .help(
            "TOML file with options by their names, such as `ring-events = 1000`; an option or an environment \
             variable wins over the file",
        )
}

#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// Loopback address and port to listen on; port 0 picks a free port
    #[arg(
        long,
        env = "GATEWAY_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:8080",
        help_heading = "Listening"
    )]
    pub(super) listen: String,
    #[command(flatten)]
    pub(super) access: AccessArgs,
    #[command(flatten)]
    pub(super) sources: SourceArgs,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
    #[command(flatten)]
    pub(super) state: StateArgs,
    #[command(flatten)]
    pub(super) streams: StreamArgs,
    #[command(flatten)]
    pub(super) socketio: SocketIoArgs,
    /// Socket.IO clients get back what they send: for the test suites of the protocols
    #[arg(long, env = "GATEWAY_SOCKETIO_ECHO", value_enum, hide = true, help_heading = "Socket.IO")]
    pub(super) socketio_echo: Option<SocketIoEcho>,
    #[command(flatten)]
    pub(super) logs: LogArgs,
}

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub(super) listening: ListeningArgs,
    #[command(flatten)]
    pub(super) store: StoreArgs,
    #[command(flatten)]
    pub(super) keys: KeyArgs,
    #[command(flatten)]
    pub(super) access: AccessArgs,
    #[command(flatten)]
    pub(super) sources: SourceArgs,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
    #[command(flatten)]
    pub(super) state: StateArgs,
    #[command(flatten)]
    pub(super) streams: StreamArgs,
    #[command(flatten)]
    pub(super) socketio: SocketIoArgs,
    #[command(flatten)]
    pub(super) logs: LogArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Listening")]
pub(super) struct ListeningArgs {
    /// Address and port to listen on; port 0 picks a free port
    #[arg(long, env = "GATEWAY_LISTEN", value_name = "ADDR")]
    pub(super) listen: String,
    /// Separate listener for publishing, statistics and /metrics [default: all on --listen]
    #[arg(long, env = "GATEWAY_ADMIN_LISTEN", value_name = "ADDR")]
    pub(super) admin_listen: Option<String>,
    /// PEM file with the certificate for TLS on both listeners, the server's own first [default: no TLS]
    #[arg(long, env = "GATEWAY_TLS_CERT", value_name = "FILE")]
    pub(super) tls_cert: Option<PathBuf>,
    /// PEM file with the private key of the certificate
    #[arg(long, env = "GATEWAY_TLS_KEY", value_name = "FILE")]
    pub(super) tls_key: Option<PathBuf>,
}

/// Where the event log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum StoreKind {
    /// In the memory of this process: lost when it ends
    Memory,
    /// In files under --data-dir: survives a crash and a restart
    Disk,
    /// In Redis: one log shared by many gateways
    Redis,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Store")]
pub(super) struct StoreArgs {
    /// Where the event log is kept
    #[arg(long, env = "GATEWAY_STORE", value_enum, default_value = "memory")]
    pub(super) store: StoreKind,
    /// Directory of the disk store; created if it does not exist
    #[arg(long, env = "GATEWAY_DATA_DIR", value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// When the disk store syncs an acknowledged event to disk [default: always]
    #[arg(long, env = "GATEWAY_FSYNC", value_enum)]
    pub(super) fsync: Option<DiskFsync>,
    /// URL of a Redis server, Sentinel or Cluster; the variable REDIS_URL works too
    #[arg(long, env = "GATEWAY_REDIS_URL", value_name = "URL")]
    pub(super) redis_url: Option<Secret>,
    /// PEM file with the CA certificates to trust for rediss:// [default: the system's]
    #[arg(long, env = "GATEWAY_REDIS_CA", value_name = "FILE")]
    pub(super) redis_ca: Option<PathBuf>,
    /// Name of the log in Redis; gateways that use the same name share one log [default: throughline]
    #[arg(long, env = "GATEWAY_LOG_NAME", value_name = "NAME")]
    pub(super) log_name: Option<String>,
    /// Redis replicas that must have an event before it is acknowledged [default: 0]
    #[arg(long, env = "GATEWAY_REDIS_WAIT", value_name = "N")]
    pub(super) redis_wait: Option<u32>,
    /// What happens to publishes while Redis is unreachable [default: refuse]
    #[arg(long, env = "GATEWAY_REDIS_DOWN", value_enum)]
    pub(super) redis_down: Option<RedisDown>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub(super) struct KeyArgs {
    /// Secret that verifies HS256 tokens; use at least 32 bytes; repeatable, so that one can follow another
    #[arg(long = "jwt-secret", env = "GATEWAY_JWT_SECRET", value_name = "S")]
    pub(super) jwt_secrets: Vec<Secret>,
    /// File that contains an HS256 secret; one trailing line break is ignored; repeatable
    #[arg(long = "jwt-secret-file", env = "GATEWAY_JWT_SECRET_FILE", value_name = "FILE")]
    pub(super) jwt_secret_files: Vec<PathBuf>,
    /// PEM file with the public key that verifies RS256, ES256 or EdDSA tokens
    #[arg(long, env = "GATEWAY_JWT_PUBLIC_KEY", value_name = "FILE")]
    pub(super) jwt_public_key: Option<PathBuf>,
    /// JSON Web Key Set; read again every 5 minutes and when a token names an unknown key
    #[arg(long, env = "GATEWAY_JWKS", value_name = "FILE-OR-URL")]
    pub(super) jwks: Option<String>,
    /// Required `iss` claim of every token [default: any]
    #[arg(long, env = "GATEWAY_JWT_ISSUER", value_name = "ISS")]
    pub(super) jwt_issuer: Option<String>,
    /// Required `aud` claim of every token [default: any]
    #[arg(long, env = "GATEWAY_JWT_AUDIENCE", value_name = "AUD")]
    pub(super) jwt_audience: Option<String>,
    /// Key that lets a backend publish; repeatable, or separated by commas
    #[arg(long = "publish-key", env = "GATEWAY_PUBLISH_KEY", value_name = "K", value_delimiter = ',')]
    pub(super) publish_keys: Vec<Secret>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub(super) struct AccessArgs {
    /// Web origin that may connect, such as `https://app.example`; repeatable, or separated by commas
    /// [default: the gateway's own]
    #[arg(
        long = "allow-origin",
        env = "GATEWAY_ALLOW_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = origin
    )]
    pub(super) allow_origins: Vec<Origin>,
    /// Part of the data of events that only clients whose token has the scope see, such as
    /// `job:*=/cost,staff`; without a scope, no client sees it; repeatable, or separated by semicolons
    #[arg(long, env = "GATEWAY_REDACT", value_name = "TOPICS=POINTER,SCOPE", value_delimiter = ';', value_parser = rule)]
    pub(super) redact: Vec<Rule>,
    /// Proxy whose X-Forwarded-* and Forwarded headers are trusted: an address or a network; repeatable,
    /// or separated by commas
    #[arg(
        long = "trusted-proxy",
        env = "GATEWAY_TRUSTED_PROXY",
        value_name = "CIDR",
        value_delimiter = ',',
        value_parser = network
    )]
    pub(super) trusted_proxies: Vec<IpNet>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitArgs {
    /// Events kept for replay per topic
    #[arg(long, env = "GATEWAY_RING_EVENTS", value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) ring_events: u32,
    /// Seconds that an event is kept for replay
    #[arg(long, env = "GATEWAY_RING_SECONDS", value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) ring_seconds: u64,
    /// Bytes of memory for the whole log; beyond it, the largest topics lose their oldest events first
    #[arg(long, env = "GATEWAY_LOG_BYTES", value_name = "N", default_value_t = 1 << 30, value_parser = clap::value_parser!(u64).range(1 << 16..))]
    pub(super) log_bytes: u64,
    /// Largest `data` of one event, in bytes
    #[arg(long, env = "GATEWAY_MAX_DATA_BYTES", value_name = "N", default_value_t = 10 * 1024, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub(super) max_data_bytes: u32,
    /// Largest command of a client, in bytes
    #[arg(long, env = "GATEWAY_MAX_COMMAND_BYTES", value_name = "N", default_value_t = 16 * 1024, value_parser = clap::value_parser!(u32).range(64..=1 << 24))]
    pub(super) max_command_bytes: u32,
    /// Largest request body, in bytes: this bounds a batch of events to publish
    #[arg(long, env = "GATEWAY_MAX_BODY_BYTES", value_name = "N", default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(64..=1 << 30))]
    pub(super) max_body_bytes: u32,
    /// Bytes of missed events that may be in flight to returning clients at the same time
    #[arg(long, env = "GATEWAY_REPLAY_BYTES", value_name = "N", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1 << 16..))]
    pub(super) replay_bytes: u64,
    /// Bytes of memory for the ids of publishes, by which a repeat is recognised for 5 minutes; beyond it, the oldest are forgotten first. With `--store redis` the ids are in Redis
    #[arg(long, env = "GATEWAY_IDS_BYTES", value_name = "N", default_value_t = 128 << 20, value_parser = clap::value_parser!(u64).range(1 << 16..))]
    pub(super) ids_bytes: u64,
    /// Topics per session, including the user's own topic and `all`
    #[arg(long, env = "GATEWAY_MAX_TOPICS_PER_SESSION", value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=4096))]
    pub(super) max_topics_per_session: u32,
    /// Open connections of this gateway
    #[arg(long, env = "GATEWAY_MAX_CONNECTIONS", value_name = "N", default_value_t = 16_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_connections: u32,
    /// Connections per user; 0: no limit
    #[arg(long, env = "GATEWAY_MAX_CONNECTIONS_PER_USER", value_name = "N", default_value_t = 20)]
    pub(super) max_connections_per_user: u32,
    /// Connections per client address; 0: no limit
    #[arg(long, env = "GATEWAY_MAX_CONNECTIONS_PER_IP", value_name = "N", default_value_t = 0)]
    pub(super) max_connections_per_ip: u32,
    /// Commands per user and minute, `publish` not counted; 0: no limit
    #[arg(long, env = "GATEWAY_COMMANDS_PER_MINUTE", value_name = "N", default_value_t = 60)]
    pub(super) commands_per_minute: u32,
    /// Events that a user may publish per minute; 0: no limit
    #[arg(long, env = "GATEWAY_PUBLISHES_PER_MINUTE", value_name = "N", default_value_t = 60)]
    pub(super) publishes_per_minute: u32,
    /// Ephemeral events that a user may publish per second, and batches with ephemeral events that a
    /// session gets per second; 0: no limit
    #[arg(long, env = "GATEWAY_EPHEMERALS_PER_SECOND", value_name = "N", default_value_t = 10)]
    pub(super) ephemerals_per_second: u32,
    /// Seconds that a user who left a topic is still listed, as offline
    #[arg(long, env = "GATEWAY_PRESENCE_TTL_SECONDS", value_name = "N", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(0..=2_592_000))]
    pub(super) presence_ttl_seconds: u64,
    /// Seconds within which the head of a request must arrive, and the first request of a connection
    #[arg(long, env = "GATEWAY_HEAD_TIMEOUT_SECONDS", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) head_timeout_seconds: u64,
    /// Seconds that an idle connection stays open after a request
    #[arg(long, env = "GATEWAY_KEEP_ALIVE_SECONDS", value_name = "N", default_value_t = 75, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) keep_alive_seconds: u64,
    /// Seconds within which the body of a request must arrive
    #[arg(long, env = "GATEWAY_BODY_TIMEOUT_SECONDS", value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) body_timeout_seconds: u64,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Streams")]
pub(super) struct StreamArgs {
    /// Seconds that a write may block before the session is ended as a slow reader
    #[arg(long, env = "GATEWAY_WRITE_TIMEOUT_SECONDS", value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) write_timeout_seconds: u64,
    /// Largest message on a stream, in bytes; a larger event is alone in its message. Clients may ask
    /// for another bound with `batch=`
    #[arg(long, env = "GATEWAY_MAX_MESSAGE_BYTES", value_name = "N", default_value_t = 32 * 1024, value_parser = clap::value_parser!(u32).range(4096..=262_144))]
    pub(super) max_message_bytes: u32,
    /// Seconds that connections get to close when the gateway stops
    #[arg(long, env = "GATEWAY_DRAIN_SECONDS", value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(super) drain_seconds: u64,
    /// Clients per second that a stopping gateway tells to reconnect
    #[arg(long, env = "GATEWAY_RECONNECTS_PER_SECOND", value_name = "N", default_value = "1000")]
    pub(super) reconnects_per_second: NonZeroU32,
    /// Seconds after which the gateway ends a stream; 0: never
    /// [default: 300 for SSE, never for WebSocket]
    #[arg(long, env = "GATEWAY_MAX_STREAM_SECONDS", value_name = "N", value_parser = clap::value_parser!(u64).range(0..=31_536_000))]
    pub(super) max_stream_seconds: Option<u64>,
    /// How a request for server-sent events is refused while the gateway drains, is behind, or has too
    /// many
    #[arg(long, env = "GATEWAY_SSE_REFUSALS", value_enum, default_value = "bye")]
    pub(super) sse_refusals: SseRefusals,
    /// Name of this release or group of gateways, sent to clients [default: random at each start]
    #[arg(long, env = "GATEWAY_DEPLOYMENT", value_name = "NAME")]
    pub(super) deployment: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Socket.IO")]
pub(super) struct SocketIoArgs {
    /// Path at which Socket.IO clients connect, such as /socket.io/
    /// [default: /socket.io/ for `gateway dev`, none for `gateway serve`]
    #[arg(long, env = "GATEWAY_SOCKETIO", value_name = "PATH")]
    pub(super) socketio: Option<String>,
    /// Seconds between two pings to a Socket.IO client
    #[arg(long, env = "GATEWAY_SOCKETIO_PING_INTERVAL", value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(super) socketio_ping_interval: u64,
    /// Seconds that a Socket.IO client may take to answer a ping
    #[arg(long, env = "GATEWAY_SOCKETIO_PING_TIMEOUT", value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(super) socketio_ping_timeout: u64,
    /// How Socket.IO clients get the cursor that they send back as their offset
    #[arg(long, env = "GATEWAY_SOCKETIO_CURSOR", value_enum, default_value = "event")]
    pub(super) socketio_cursor: SocketIoCursor,
    /// JSON file with the application's own names for the events of Socket.IO clients
    #[arg(long, env = "GATEWAY_SOCKETIO_DIALECT", value_name = "FILE")]
    pub(super) socketio_dialect: Option<PathBuf>,
    /// Whether clients may speak Engine.IO 3, as version 2 of the client for JavaScript does
    #[arg(long, env = "GATEWAY_SOCKETIO_EIO3", value_enum, num_args = 0..=1, default_value = "off", default_missing_value = "on")]
    pub(super) socketio_eio3: Eio3,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Logs")]
pub(super) struct LogArgs {
    /// Format of the log lines on standard error
    #[arg(long, env = "GATEWAY_LOG_FORMAT", value_enum, default_value = "text")]
    pub(super) log_format: LogFormat,
    /// Log filter, such as `debug` or `info,gateway::auth=debug`; the variable RUST_LOG works too
    /// [default: info]
    #[arg(long, env = "GATEWAY_LOG", value_name = "FILTER")]
    pub(super) log: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// User that the token is for: the `sub` claim
    #[arg(long, env = "GATEWAY_USER", value_name = "NAME")]
    pub(super) user: String,
    /// Topic that the user may subscribe to, exact or with a trailing `*`; repeatable, or separated by commas
    #[arg(long, env = "GATEWAY_SUBSCRIBE", value_name = "T", value_delimiter = ',')]
    pub(super) subscribe: Vec<String>,
    /// Topic that the user may publish to, exact or with a trailing `*`; repeatable, or separated by commas
    #[arg(long, env = "GATEWAY_PUBLISH", value_name = "T", value_delimiter = ',')]
    pub(super) publish: Vec<String>,
    /// Scope that reveals what --redact hides; repeatable, or separated by commas
    #[arg(long = "scope", env = "GATEWAY_SCOPE", value_name = "S", value_delimiter = ',')]
    pub(super) scopes: Vec<String>,
    /// Seconds until the token expires; 0: never
    #[arg(long, env = "GATEWAY_TTL_SECONDS", value_name = "N", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(0..=3_153_600_000))]
    pub(super) ttl_seconds: u64,
    /// Secret to sign with: the one that the gateway verifies with
    #[arg(long, env = "GATEWAY_JWT_SECRET", value_name = "S")]
    pub(super) jwt_secret: Secret,
}

fn origin(text: &str) -> Result<Origin, crate::http::origin::OriginError> {
    text.trim().parse()
}

fn rule(text: &str) -> Result<Rule, crate::redact::RuleError> {
    text.trim().parse()
}

fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map(|network| network.trunc())
        .map_err(|_| "expected an address or a network such as 10.0.0.0/8".to_owned())
}

/// clap's message as one line: its first paragraphs, without the usage.
pub(super) fn one_line(error: &clap::Error) -> ConfigError {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return ConfigError::new(
            "a command is missing: use dev, serve, check, config, token or outbox-sql (see `gateway --help`)",
        );
    }
    let text = error.render().to_string();
    let text = text.replace("invalid digit found in string", "expected a whole number");
    let mut line = String::new();
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty()) {
        if part.starts_with("Usage:") || part.starts_with("For more information") {
            break;
        }
        if !line.is_empty() {
            line.push_str(if part.starts_with("tip:") { "; " } else { " " });
        }
        line.push_str(part.strip_prefix("error: ").unwrap_or(part));
    }
    if matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument) {
        line.push_str(" (see `gateway --help`)");
    }
    ConfigError::new(line)
}
