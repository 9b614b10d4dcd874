//! What the command line means: [`Command`], and for a running gateway its [`Config`].
//!
//! `args.rs` reads what was typed (options and environment); `check.rs` checks it once and turns it into these plain
//! values, so that nothing behind it sees text, an unset option or a combination that cannot work.
//! Whatever is wrong becomes one [`ConfigError`] of one line.

mod args;
mod check;
pub(crate) mod error;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use args::{Typed, TypedCommand};
use clap::ValueEnum;
use clap::error::ErrorKind;

pub use error::ConfigError;

use crate::auth::{AuthConfig, TokenRequest};
use crate::http::address::TrustedProxies;
use crate::http::origin::Origin;
use crate::redact::Rule;
use crate::secret::Secret;

/// What the user asked the program to do.
#[derive(Debug)]
pub enum Command {
    /// Run a gateway: `gateway dev` or `gateway serve`.
    Run(Box<Config>),
    /// Print a token: `gateway token`.
    Token(TokenRequest),
}

/// Why the program does not go on.
#[derive(Debug)]
pub enum Stop {
    /// The user asked for this text (`--help`, `--version`): standard output, exit code 0.
    Print(String),
    /// Something is wrong or missing: one line on standard error, exit code 2.
    Refuse(ConfigError),
}

/// Everything a running gateway needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether this is `gateway dev`: the page at `/`, `user=` instead of a token, loopback only.
    pub dev: bool,
    /// Where clients connect. Port 0: a free one.
    pub listen: SocketAddr,
    /// Where the backend endpoints and `/metrics` are; `None`: on `listen`.
    pub admin_listen: Option<SocketAddr>,
    /// Where the log lives.
    pub store: StoreConfig,
    /// Which tokens and keys are good.
    pub auth: AuthConfig,
    /// Web origins that may connect beside the gateway's own.
    pub allow_origins: Vec<Origin>,
    /// Whose `X-Forwarded-*` and `Forwarded` headers are believed.
    pub trusted_proxies: TrustedProxies,
    /// What of an event not everybody may see.
    pub redact: Vec<Rule>,
    /// What one client, topic or request may take.
    pub limits: Limits,
    /// How streams live and end.
    pub streams: Streams,
    /// The name told to clients in `hello`: 1 to 64 bytes of `A-Z a-z 0-9 _ . -`.
    pub deployment: String,
    /// How log lines look and which are written.
    pub logs: Logs,
}

/// Where the log lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// In this process.
    Memory,
    /// In files of this machine.
    Disk {
        /// The directory that holds them; made if absent.
        data_dir: PathBuf,
        /// When an acknowledged event is on disk.
        fsync: Fsync,
    },
    /// In Redis.
    Redis(RedisConfig),
}

/// Which log, in which Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// Server, Sentinel or Cluster.
    pub url: Secret,
    /// File with the certificates that are believed where TLS is used; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// Which log: 1 to 64 bytes of `A-Z a-z 0-9 _ . -`.
    pub log_name: String,
    /// Replicas that must have an event before its publisher is answered.
    pub wait_replicas: u32,
    /// What becomes of publishes while Redis cannot be reached.
    pub when_down: RedisDown,
}

/// When an acknowledged event is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Fsync {
    /// Before the publisher gets its answer
    #[default]
    Always,
    /// Up to 200 ms after the answer: a power failure may lose the last events
    Interval,
    /// When the operating system decides
    Never,
}

/// What becomes of publishes while Redis cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RedisDown {
    /// Answer 503 with Retry-After
    #[default]
    Refuse,
    /// Each gateway accepts them alone, in an epoch of its own, until Redis is back
    Local,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// What one client, topic or request may take. `None` means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events kept for replay in each topic.
    pub ring_events: usize,
    /// How long an event is kept for replay.
    pub ring_age: Duration,
    /// Bytes of the whole log in memory.
    pub log_bytes: u64,
    /// Bytes of one event's data.
    pub data_bytes_max: usize,
    /// Bytes of one command.
    pub command_bytes_max: usize,
    /// Bytes of one request body.
    pub body_bytes_max: usize,
    /// Bytes of history that are on their way at once to clients that have come back.
    pub replay_bytes: usize,
    /// Topics of one session, the automatic two included.
    pub topics_per_session_max: usize,
    /// Open connections of this process.
    pub connections_max: usize,
    /// Connections of one user.
    pub connections_per_user_max: Option<usize>,
    /// Connections of one address.
    pub connections_per_ip_max: Option<usize>,
    /// Commands of one user in a minute, publishing left out.
    pub commands_per_minute: Option<u32>,
    /// Events that one user may publish in a minute.
    pub publishes_per_minute: Option<u32>,
    /// Ephemeral events of one user in a second, and batches with them to one reader.
    pub ephemerals_per_second: Option<u32>,
    /// For how long somebody who left a topic is still listed.
    pub presence_ttl: Duration,
    /// In which the head of a request must arrive, from its first byte on, and that first byte of a new connection.
    pub head_timeout: Duration,
    /// For which a connection stays open without a request after it has had one.
    pub keep_alive: Duration,
    /// In which the body of a request must arrive.
    pub body_timeout: Duration,
}

/// How streams live and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    /// For how long writing may block before a reader counts as slow.
    pub write_timeout: Duration,
    /// How long connections are given to leave when the gateway stops; all are told at once.
    pub drain: Duration,
    /// How many of them may come back elsewhere in a second.
    pub reconnects_per_second: NonZeroU32,
    /// After which an SSE stream ends by itself; `None`: never.
    pub sse_age_max: Option<Duration>,
    /// After which a WebSocket ends by itself; `None`: never.
    pub websocket_age_max: Option<Duration>,
}

/// How log lines look and which are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// How they look.
    pub format: LogFormat,
    /// Which are written: a filter in the syntax of `tracing`'s `EnvFilter`, checked.
    pub filter: String,
}

/// Reads the program's arguments (its name first) and the environment.
///
/// # Errors
/// [`Stop::Print`] for `--help` and `--version`; [`Stop::Refuse`] when anything is wrong or missing.
pub fn read<I, T>(arguments: I) -> Result<Command, Stop>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let typed = Typed::read(arguments).map_err(|error| {
        if error.use_stderr() {
            Stop::Refuse(one_line(&error))
        } else {
            Stop::Print(error.render().to_string())
        }
    })?;
    match typed.command {
        TypedCommand::Dev(typed) => check::dev(*typed).map(|config| Command::Run(Box::new(config))),
        TypedCommand::Serve(typed) => check::serve(*typed).map(|config| Command::Run(Box::new(config))),
        TypedCommand::Token(typed) => check::token(typed).map(Command::Token),
    }
    .map_err(Stop::Refuse)
}

/// clap's message as one line: its first paragraphs, without the usage.
fn one_line(error: &clap::Error) -> ConfigError {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return ConfigError::new("a command is missing: use dev, serve or token (see `gateway --help`)");
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

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;
