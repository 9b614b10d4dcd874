//! The binary `gateway`.

use std::io::{self, Write};
use std::process::ExitCode;

use events::Clock;
use gateway::config::{self, Command, Config, ConfigError, ConfigReader, Stop};
use gateway::{Bound, telemetry};
use tikv_jemallocator::Jemalloc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Events of all sizes come and go in any order, at which the C library's allocator is slow and keeps holes.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// A wrong or missing option.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let outcome = match config::read(std::env::args_os()) {
        Ok(Command::Token(request)) => request.sign(&clock()).map(|token| print(&format!("{token}\n"))),
        Ok(Command::OutboxSql(outbox)) => Ok(print(&outbox.script())),
        Ok(Command::Run(config)) => run(*config),
        Ok(Command::Print(text)) | Err(Stop::Print(text)) => Ok(print(&text)),
        Err(Stop::Refuse(errors)) => return refuse(&errors),
    };
    outcome.unwrap_or_else(|error| refuse(&[error]))
}

/// A line for each problem.
fn refuse(errors: &[ConfigError]) -> ExitCode {
    for error in errors {
        // Nothing can be done when standard error is closed.
        let _ = writeln!(io::stderr(), "gateway: {error}");
    }
    ExitCode::from(EXIT_USAGE)
}

#[expect(clippy::disallowed_methods, reason = "the root of the command line")]
fn clock() -> Clock {
    Clock::system()
}

fn run(config: Config) -> Result<ExitCode, ConfigError> {
    let filter = telemetry::start(&config.logs)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| ConfigError::new(format!("cannot start threads: {error}")))?;
    let is_dev = config.dev;
    runtime.block_on(async {
        // Listened for before anyone learns that the gateway runs: until then a signal just kills the process.
        let signals = Signals::listen()?;
        let reader = ConfigReader::new(read_again, move |text| filter.set(text), hangups()?);
        gateway::run(config, reader, |bound| announce(bound, is_dev), signals.asked_to_stop()).await
    })?;
    // Connections that outlived the drain end here, with the runtime.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// Reads the configuration of this process anew.
fn read_again() -> Result<Config, Vec<ConfigError>> {
    match config::read(std::env::args_os()) {
        Ok(Command::Run(config)) => Ok(*config),
        Err(Stop::Refuse(errors)) => Err(errors),
        // The arguments are those of the start.
        Ok(_) | Err(Stop::Print(_)) => Err(vec![ConfigError::new("the command runs no gateway")]),
    }
}

/// A message for each SIGHUP from now on. One that comes while another waits is the same.
fn hangups() -> Result<mpsc::Receiver<()>, ConfigError> {
    let mut hangup = signal(SignalKind::hangup())
        .map_err(|error| ConfigError::new(format!("cannot listen for signals: {error}")))?;
    let (ask, asked) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let _ = ask.try_send(());
        }
    });
    Ok(asked)
}

/// The signals that ask a process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes over SIGTERM and SIGINT from now on.
    fn listen() -> Result<Self, ConfigError> {
        let listen = |kind| {
            signal(kind).map_err(|error| ConfigError::new(format!("cannot listen for signals: {error}")))
        };
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Ready at the first signal; a second one ends the process at once.
    async fn asked_to_stop(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(1);
        });
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Says where the gateway is, and in `gateway dev` what to try.
fn announce(Bound { clients, admin, has_tls }: Bound, is_dev: bool) {
    let scheme = if has_tls { "https" } else { "http" };
    let mut text = format!("listening on {scheme}://{clients}\n");
    if let Some(admin) = admin {
        text += &format!("admin on {scheme}://{admin}\n");
    }
    if is_dev {
        text += &format!(
            "\nOpen http://{clients}/ in a browser, or paste:\n\n\
             \x20 # listen as alice\n\
             \x20 curl -N 'http://{clients}/v1/sse?user=alice'\n\n\
             \x20 # publish to her\n\
             \x20 curl 'http://{clients}/v1/publish' -H 'Authorization: Bearer dev' \\\n\
             \x20   -d '{{\"topic\":\"user:alice\",\"type\":\"progress\",\"data\":{{\"jobId\":\"7\",\"progress\":45}}}}'\n\n\
             \x20 # poll instead: the answer's cursor is the next request's after\n\
             \x20 curl 'http://{clients}/v1/poll?user=alice&after=earliest'\n\n"
        );
    }
    print(&text);
}

fn print(text: &str) -> ExitCode {
    let mut out = io::stdout();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
