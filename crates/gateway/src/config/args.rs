//! What was typed: the options as clap reads them. What they mean is decided in [`super::check`].

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use super::LogFormat;
use crate::http::origin::Origin;
use crate::redact::Rule;
use crate::secret::Secret;

/// Everything that can be typed after `gateway`.
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
        about = "Run for development on this machine: memory store, `user=` accepted, publish key \"dev\", \
                 JWT secret \"dev-secret\", loopback addresses only"
    )]
    Dev(Box<DevArgs>),
    #[command(about = "Run the gateway")]
    Serve(Box<ServeArgs>),
    #[command(about = "Print a JWT that a gateway with the same secret accepts")]
    Token(TokenArgs),
}

impl Typed {
    /// Reads the arguments, the program's name first, and the environment.
    pub(super) fn read<I, T>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<std::ffi::OsString> + Clone,
    {
        Self::from_arg_matches(&Self::clap().try_get_matches_from(arguments)?)
    }

    /// The command line for clap. No value from the environment is ever printed in the help: it may be a secret.
    pub(super) fn clap() -> clap::Command {
        Self::command().mut_subcommands(|command| command.mut_args(|arg| arg.hide_env_values(true)))
    }
}

#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// Loopback address and port to listen on; port 0 takes a free one
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
    pub(super) limits: LimitArgs,
    #[command(flatten)]
    pub(super) streams: StreamArgs,
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
    pub(super) limits: LimitArgs,
    #[command(flatten)]
    pub(super) streams: StreamArgs,
    #[command(flatten)]
    pub(super) logs: LogArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Listening")]
pub(super) struct ListeningArgs {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, env = "GATEWAY_LISTEN", value_name = "ADDR")]
    pub(super) listen: String,
    /// A listener of its own for publishing, statistics and /metrics [default: all on --listen]
    #[arg(long, env = "GATEWAY_ADMIN_LISTEN", value_name = "ADDR")]
    pub(super) admin_listen: Option<String>,
}

/// Where the log lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum StoreKind {
    /// In this process: gone when it ends
    Memory,
    /// In files under --data-dir: survives a crash of this machine's gateway
    Disk,
    /// In Redis: one log for many gateways
    Redis,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Store")]
pub(super) struct StoreArgs {
    /// Where the log lives
    #[arg(long, env = "GATEWAY_STORE", value_enum, default_value = "memory")]
    pub(super) store: StoreKind,
    /// Directory of the disk store
    #[arg(long, env = "GATEWAY_DATA_DIR", value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// When an acknowledged event is on disk [default: always]
    #[arg(long, env = "GATEWAY_FSYNC", value_enum)]
    pub(super) fsync: Option<super::Fsync>,
    /// Redis server, Sentinel or Cluster; REDIS_URL is read too
    #[arg(long, env = "GATEWAY_REDIS_URL", value_name = "URL")]
    pub(super) redis_url: Option<Secret>,
    /// PEM file with the certificates that are believed at rediss:// [default: the system's]
    #[arg(long, env = "GATEWAY_REDIS_CA", value_name = "FILE")]
    pub(super) redis_ca: Option<PathBuf>,
    /// Name of the log in Redis [default: throughline]
    #[arg(long, env = "GATEWAY_LOG_NAME", value_name = "NAME")]
    pub(super) log_name: Option<String>,
    /// Replicas that must have an event before its publisher is answered [default: 0]
    #[arg(long, env = "GATEWAY_REDIS_WAIT", value_name = "N")]
    pub(super) redis_wait: Option<u32>,
    /// What becomes of publishes while Redis cannot be reached [default: refuse]
    #[arg(long, env = "GATEWAY_REDIS_DOWN", value_enum)]
    pub(super) redis_down: Option<super::RedisDown>,
    /// Refused: this build has no source of events but its endpoints
    #[arg(long, env = "GATEWAY_DATABASE_URL", value_name = "URL", hide = true)]
    pub(super) database_url: Option<Secret>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Who may")]
pub(super) struct KeyArgs {
    /// Secret of tokens signed with HS256 (at least 32 bytes are advised)
    #[arg(long, env = "GATEWAY_JWT_SECRET", value_name = "S")]
    pub(super) jwt_secret: Option<Secret>,
    /// File that holds the secret; a line end after it is not part of it
    #[arg(long, env = "GATEWAY_JWT_SECRET_FILE", value_name = "FILE")]
    pub(super) jwt_secret_file: Option<PathBuf>,
    /// PEM file with the public key of tokens signed with RS256, ES256 or EdDSA
    #[arg(long, env = "GATEWAY_JWT_PUBLIC_KEY", value_name = "FILE")]
    pub(super) jwt_public_key: Option<PathBuf>,
    /// JSON Web Key Set, read again every 5 minutes and when a token names a new key
    #[arg(long, env = "GATEWAY_JWKS", value_name = "FILE-OR-URL")]
    pub(super) jwks: Option<String>,
    /// `iss` that every token must have [default: any]
    #[arg(long, env = "GATEWAY_JWT_ISSUER", value_name = "ISS")]
    pub(super) jwt_issuer: Option<String>,
    /// `aud` that every token must have [default: any]
    #[arg(long, env = "GATEWAY_JWT_AUDIENCE", value_name = "AUD")]
    pub(super) jwt_audience: Option<String>,
    /// Key with which backends may publish; repeatable, or separated by commas
    #[arg(long = "publish-key", env = "GATEWAY_PUBLISH_KEY", value_name = "K", value_delimiter = ',')]
    pub(super) publish_keys: Vec<Secret>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Who may")]
pub(super) struct AccessArgs {
    /// Web origin that may connect, such as `https://app.example`; repeatable [default: the gateway's own]
    #[arg(
        long = "allow-origin",
        env = "GATEWAY_ALLOW_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = origin
    )]
    pub(super) allow_origins: Vec<Origin>,
    /// Part of an event's data that only clients whose token has the scope see, such as `job:*=/cost,staff`; without a scope
    /// no client does; repeatable
    #[arg(long, env = "GATEWAY_REDACT", value_name = "TOPICS=POINTER,SCOPE", value_delimiter = ';', value_parser = rule)]
    pub(super) redact: Vec<Rule>,
    /// Proxy whose X-Forwarded-* or Forwarded headers are believed: an address or a CIDR; repeatable
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
    /// Events kept for replay in each topic
    #[arg(long, env = "GATEWAY_RING_EVENTS", value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) ring_events: u32,
    /// Seconds for which an event is kept for replay
    #[arg(long, env = "GATEWAY_RING_SECONDS", value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) ring_seconds: u64,
    /// Bytes of the whole log in memory
    #[arg(long, env = "GATEWAY_LOG_BYTES", value_name = "N", default_value_t = 1 << 30, value_parser = clap::value_parser!(u64).range(1 << 16..))]
    pub(super) log_bytes: u64,
    /// Bytes of one event's data
    #[arg(long, env = "GATEWAY_MAX_DATA_BYTES", value_name = "N", default_value_t = 10 * 1024, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub(super) max_data_bytes: u32,
    /// Bytes of one command of a client
    #[arg(long, env = "GATEWAY_MAX_COMMAND_BYTES", value_name = "N", default_value_t = 16 * 1024, value_parser = clap::value_parser!(u32).range(64..=1 << 24))]
    pub(super) max_command_bytes: u32,
    /// Bytes of one request body: a batch of events to publish
    #[arg(long, env = "GATEWAY_MAX_BODY_BYTES", value_name = "N", default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(64..=1 << 30))]
    pub(super) max_body_bytes: u32,
    /// Bytes of history on their way at once to clients that have come back
    #[arg(long, env = "GATEWAY_REPLAY_BYTES", value_name = "N", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1 << 16..))]
    pub(super) replay_bytes: u64,
    /// Topics of one session, its own user's and `all` included
    #[arg(long, env = "GATEWAY_MAX_TOPICS_PER_SESSION", value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=4096))]
    pub(super) max_topics_per_session: u32,
    /// Open connections of the whole gateway
    #[arg(long, env = "GATEWAY_MAX_CONNECTIONS", value_name = "N", default_value_t = 16_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_connections: u32,
    /// Connections of one user; 0: no limit
    #[arg(long, env = "GATEWAY_MAX_CONNECTIONS_PER_USER", value_name = "N", default_value_t = 20)]
    pub(super) max_connections_per_user: u32,
    /// Connections of one address; 0: no limit
    #[arg(long, env = "GATEWAY_MAX_CONNECTIONS_PER_IP", value_name = "N", default_value_t = 0)]
    pub(super) max_connections_per_ip: u32,
    /// Commands of one user in a minute, publishing left out; 0: no limit
    #[arg(long, env = "GATEWAY_COMMANDS_PER_MINUTE", value_name = "N", default_value_t = 60)]
    pub(super) commands_per_minute: u32,
    /// Events that one user may publish in a minute; 0: no limit
    #[arg(long, env = "GATEWAY_PUBLISHES_PER_MINUTE", value_name = "N", default_value_t = 60)]
    pub(super) publishes_per_minute: u32,
    /// Ephemeral events of one user in a second, and batches with them to one reader; 0: no limit
    #[arg(long, env = "GATEWAY_EPHEMERALS_PER_SECOND", value_name = "N", default_value_t = 10)]
    pub(super) ephemerals_per_second: u32,
    /// Seconds for which somebody who left a topic is still listed, as offline
    #[arg(long, env = "GATEWAY_PRESENCE_TTL_SECONDS", value_name = "N", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(0..=2_592_000))]
    pub(super) presence_ttl_seconds: u64,
    /// Seconds in which the head of a request must arrive
    #[arg(long, env = "GATEWAY_HEAD_TIMEOUT_SECONDS", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) head_timeout_seconds: u64,
    /// Seconds in which the body of a request must arrive
    #[arg(long, env = "GATEWAY_BODY_TIMEOUT_SECONDS", value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) body_timeout_seconds: u64,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Streams")]
pub(super) struct StreamArgs {
    /// Seconds for which writing may block before a reader counts as slow
    #[arg(long, env = "GATEWAY_WRITE_TIMEOUT_SECONDS", value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) write_timeout_seconds: u64,
    /// Seconds that connections are given to leave when the gateway stops
    #[arg(long, env = "GATEWAY_DRAIN_SECONDS", value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(super) drain_seconds: u64,
    /// Clients that a stopping gateway sends elsewhere in a second
    #[arg(long, env = "GATEWAY_RECONNECTS_PER_SECOND", value_name = "N", default_value = "1000")]
    pub(super) reconnects_per_second: NonZeroU32,
    /// Seconds after which a stream ends by itself; 0: never [default: 300 for SSE, never for WebSocket]
    #[arg(long, env = "GATEWAY_MAX_STREAM_SECONDS", value_name = "N", value_parser = clap::value_parser!(u64).range(0..=31_536_000))]
    pub(super) max_stream_seconds: Option<u64>,
    /// Name of this release or group of processes, told to clients [default: random at each start]
    #[arg(long, env = "GATEWAY_DEPLOYMENT", value_name = "NAME")]
    pub(super) deployment: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Logs")]
pub(super) struct LogArgs {
    /// How log lines on standard error look
    #[arg(long, env = "GATEWAY_LOG_FORMAT", value_enum, default_value = "text")]
    pub(super) log_format: LogFormat,
    /// What is logged, such as `debug` or `info,gateway::auth=debug`; RUST_LOG is read too [default: info]
    #[arg(long, env = "GATEWAY_LOG", value_name = "FILTER")]
    pub(super) log: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// Whose token it is: the `sub` claim
    #[arg(long, env = "GATEWAY_USER", value_name = "NAME")]
    pub(super) user: String,
    /// Topic that the user may subscribe to, exact or with a trailing `*`; repeatable
    #[arg(long, env = "GATEWAY_SUBSCRIBE", value_name = "T", value_delimiter = ',')]
    pub(super) subscribe: Vec<String>,
    /// Topic that the user may publish to, exact or with a trailing `*`; repeatable
    #[arg(long, env = "GATEWAY_PUBLISH", value_name = "T", value_delimiter = ',')]
    pub(super) publish: Vec<String>,
    /// Scope that shows what --redact hides; repeatable
    #[arg(long = "scope", env = "GATEWAY_SCOPE", value_name = "S", value_delimiter = ',')]
    pub(super) scopes: Vec<String>,
    /// Seconds for which the token is good; 0: for ever
    #[arg(long, env = "GATEWAY_TTL_SECONDS", value_name = "N", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(0..=3_153_600_000))]
    pub(super) ttl_seconds: u64,
    /// Secret that the gateway has too
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
