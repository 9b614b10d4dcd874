//! The meaning of the command line: a [`Command`] and, for a gateway that runs, its [`Config`].
//!
//! `args.rs` reads the options and the environment, and `file.rs` reads a configuration file.
//! `check.rs` validates them once and turns them into plain values, so that later code never sees
//! text, an unset option or an impossible combination. `in_force.rs` prints them. Each error is a
//! [`ConfigError`] of one line.

mod args;
mod changes;
mod check;
mod choices;
pub(crate) mod error;
mod file;
mod given;
mod in_force;
mod postgres;
mod reader;
mod sources;
mod state;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use args::{Typed, TypedCommand, one_line};
use clap::FromArgMatches;
use events::StateOptions;
use file::ConfigFile;
use transport::socketio::{CursorStyle, Pings};

pub use choices::{DiskFsync, LogFormat, RedisDown, SocketIoEcho, SourceGap, SseRefusals};
pub use error::ConfigError;
pub(crate) use postgres::OutboxConfig;
pub use postgres::PostgresConfig;
pub use reader::ConfigReader;
pub use sources::{RedisSourceConfig, SourcesConfig};

use crate::auth::{AuthConfig, TokenRequest};
use crate::dialect::Dialect;
use crate::http::address::TrustedProxies;
use crate::http::origin::Origin;
use crate::http::tls::TlsFiles;
use crate::redact::Rule;
use crate::secret::Secret;
use crate::sources::postgres::sql::OutboxSql;

/// The task of the program.
#[derive(Debug)]
pub enum Command {
    /// Run a gateway: `gateway dev` or `gateway serve`.
    Run(Box<Config>),
    /// Print a text: the result of `gateway check` or `gateway config`.
    Print(String),
    /// Print a token: `gateway token`.
    Token(TokenRequest),
    /// Print the SQL of an outbox: `gateway outbox-sql`.
    OutboxSql(OutboxSql),
}

/// Why the program ends instead of running a command.
#[derive(Debug)]
pub enum Stop {
    /// The text of `--help` or `--version`: for standard output, with exit code 0.
    Print(String),
    /// Options are wrong or missing: a line for each on standard error, with exit code 2.
    Refuse(Vec<ConfigError>),
}

/// The checked configuration of a gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether this is `gateway dev`: the page at `/`, `user=` instead of a token, loopback only.
    pub dev: bool,
    /// Address that clients connect to. Port 0: a free port.
    pub listen: SocketAddr,
    /// Address of the backend endpoints and `/metrics`; `None`: `listen`.
    pub admin_listen: Option<SocketAddr>,
    /// The certificate of both listeners; `None`: they do not use TLS.
    pub tls: Option<TlsFiles>,
    /// Where the event log is kept.
    pub store: StoreConfig,
    /// The tokens and keys that are accepted.
    pub auth: AuthConfig,
    /// Web origins that may connect, in addition to the gateway's own.
    pub allow_origins: Vec<Origin>,
    /// Proxies whose `X-Forwarded-*` and `Forwarded` headers are trusted.
    pub trusted_proxies: TrustedProxies,
    /// Parts of events that only some clients may see.
    pub redact: Vec<Rule>,
    /// Sources of events outside the gateway.
    pub sources: SourcesConfig,
    /// Bounds for clients, topics and requests.
    pub limits: Limits,
    /// The topics that keep their state beyond their rings; `None`: no topic does.
    pub state: Option<StateOptions>,
    /// Timeouts and maximum ages of streams.
    pub streams: Streams,
    /// The endpoint of Socket.IO clients; `None`: there is none.
    pub socketio: Option<SocketIo>,
    /// The name that `hello` gives clients: 1 to 64 bytes of `A-Z a-z 0-9 _ . -`. `None`: a random
    /// name for this process.
    pub deployment: Option<String>,
    /// Format and filter of log lines.
    pub logs: Logs,
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
}

/// Where the event log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// In the memory of this process.
    Memory,
    /// In files of this machine.
    Disk {
        /// The directory of the files; created if absent.
        data_dir: PathBuf,
        /// When an acknowledged event is synced to disk.
        fsync: DiskFsync,
    },
    /// In Redis.
    Redis(RedisConfig),
}

/// A log in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// URL of a server, Sentinel or Cluster.
    pub url: Secret,
    /// File with the CA certificates to trust for TLS; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// Name of the log: 1 to 64 bytes of `A-Z a-z 0-9 _ . -`.
    pub log_name: String,
    /// Replicas that must have an event before it is acknowledged.
    pub wait_replicas: u32,
    /// What happens to publishes while Redis is unreachable.
    pub when_down: RedisDown,
}

/// Bounds for clients, topics and requests. `None` means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events kept for replay per topic.
    pub ring_events: usize,
    /// How long an event is kept for replay.
    pub ring_age: Duration,
    /// Bytes of memory for the whole log.
    pub log_bytes: u64,
    /// Largest `data` of one event, in bytes.
    pub data_bytes_max: usize,
    /// Largest command, in bytes.
    pub command_bytes_max: usize,
    /// Largest request body, in bytes.
    pub body_bytes_max: usize,
    /// Bytes of missed events that may be in flight to returning clients at the same time.
    pub replay_bytes: usize,
    /// Bytes of memory for the ids of publishes. A repeat is recognised by its id.
    pub ids_bytes: usize,
    /// Topics per session, including the user's own topic and `all`.
    pub topics_per_session_max: usize,
    /// Open connections of this process.
    pub connections_max: usize,
    /// Connections per user.
    pub connections_per_user_max: Option<usize>,
    /// Connections per client address.
    pub connections_per_ip_max: Option<usize>,
    /// Commands per user and minute, not counting `publish`.
    pub commands_per_minute: Option<u32>,
    /// Events that a user may publish per minute.
    pub publishes_per_minute: Option<u32>,
    /// Ephemeral events that a user may publish per second, and batches with ephemeral events that
    /// a session gets per second.
    pub ephemerals_per_second: Option<u32>,
    /// How long a user who left a topic is still listed.
    pub presence_ttl: Duration,
    /// Time within which the head of a request must arrive, counted from its first byte. Also the
    /// time within which the first byte of a new connection must arrive.
    pub head_timeout: Duration,
    /// How long a connection stays open without a request after its last one.
    pub keep_alive: Duration,
    /// Time within which the body of a request must arrive.
    pub body_timeout: Duration,
}

/// Timeouts and maximum ages of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    /// How long a write may block before the session ends as a slow reader.
    pub write_timeout: Duration,
    /// Largest message, in bytes, unless the client asked for another bound.
    pub message_bytes_max: usize,
    /// The form of a temporary refusal of a request for server-sent events.
    pub sse_refusals: SseRefusals,
    /// How long connections get to close when the gateway stops. All clients are told of the stop
    /// at the same moment.
    pub drain: Duration,
    /// How many of these clients reconnect per second: each is told a delay of its own.
    pub reconnects_per_second: NonZeroU32,
    /// Maximum age of an SSE stream; `None`: no maximum.
    pub sse_age_max: Option<Duration>,
    /// Maximum age of a WebSocket; `None`: no maximum.
    pub websocket_age_max: Option<Duration>,
}

/// The endpoint of Socket.IO clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketIo {
    /// The path. It begins and ends with a slash.
    pub path: String,
    /// The interval of pings, and the timeout of their answers.
    pub pings: Pings,
    /// The form in which clients get the cursor.
    pub cursor: CursorStyle,
    /// The application's own names; `None`: those of the protocol.
    pub dialect: Option<Arc<Dialect>>,
    /// Whether clients may speak Engine.IO 3 as well.
    pub eio3: bool,
    /// Whether clients get back what they send, instead of events of the log. For the test suites
    /// of the protocols.
    pub echo: Option<SocketIoEcho>,
}

impl SocketIo {
    /// Whether this is the path of the endpoint, with or without the last slash.
    #[must_use]
    pub fn is_at(&self, path: &str) -> bool {
        self.path
            .strip_suffix('/')
            .and_then(|own| path.strip_prefix(own))
            .is_some_and(|rest| matches!(rest, "" | "/"))
    }
}

/// Format and filter of log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// The format.
    pub format: LogFormat,
    /// A validated filter in the syntax of `tracing`'s `EnvFilter`.
    pub filter: String,
}

/// The subcommand with this name, which must exist.
fn command_of<'a>(clap: &'a clap::Command, name: &str) -> &'a clap::Command {
    clap.find_subcommand(name).unwrap_or(clap)
}

/// Reads the arguments of the program (the first is its name), the environment and the
/// configuration file. An option takes precedence over its environment variable, and the variable
/// over the file.
///
/// # Errors
/// [`Stop::Print`] for `--help` and `--version`; [`Stop::Refuse`] if an option is wrong or missing.
pub fn read<I, T>(arguments: I) -> Result<Command, Stop>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString>,
{
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let mut clap = Typed::for_reading();
    let file = match Typed::config_file(&arguments) {
        Some((name, path)) => {
            Some((ConfigFile::read(&path, command_of(&clap, &name)).map_err(Stop::Refuse)?, name))
        }
        None => None,
    };
    if let Some((file, name)) = &file {
        clap = clap.mut_subcommand(name, |command| file.defaults(command));
    }
    let refused = |error: ConfigError| match &file {
        Some((file, _)) => file.locate(error),
        None => error,
    };
    let stop = |error: clap::Error| {
        if error.use_stderr() {
            Stop::Refuse(vec![refused(one_line(&error))])
        } else {
            Stop::Print(error.render().to_string())
        }
    };
    let matches = clap.try_get_matches_from(arguments).map_err(stop)?;
    let typed = Typed::from_arg_matches(&matches).map_err(stop)?;
    let located = |errors: Vec<ConfigError>| Stop::Refuse(errors.into_iter().map(refused).collect());
    let path = file.as_ref().map(|(file, _)| file.path().to_owned());
    let run = |config: Config| Command::Run(Box::new(Config { file: path.clone(), ..config }));
    match typed.command {
        TypedCommand::Dev(typed) => check::dev(*typed).map(run).map_err(located),
        TypedCommand::Serve(typed) => check::serve(*typed).map(run).map_err(located),
        TypedCommand::Check(typed) => check::serve(*typed)
            .and_then(|config| check::files(&config))
            .map_err(located)
            .map(|()| Command::Print("no problem was found\n".to_owned())),
        TypedCommand::Config(typed) => {
            check::serve(*typed).map_err(located)?;
            let sources = file.as_ref().map(|(file, _)| file);
            Ok(Command::Print(in_force::text(command_of(&Typed::clap(), "config"), &matches, sources)))
        }
        TypedCommand::Token(typed) => {
            check::token(typed).map(Command::Token).map_err(|error| located(vec![error]))
        }
        TypedCommand::OutboxSql(typed) => {
            typed.check().map(Command::OutboxSql).map_err(|error| located(vec![error]))
        }
    }
}

#[cfg(test)]
mod documented;
#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod tests;
