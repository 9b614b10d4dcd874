//! The binary `gateway`.

use std::io::{self, Write};
use std::process::ExitCode;

use gateway::config::{self, Command, Config, ConfigError, Stop};
use gateway::{Bound, telemetry};
use tokio::signal::unix::{SignalKind, signal};

/// A wrong or missing option.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let outcome = match config::read(std::env::args_os()) {
        Ok(Command::Token(request)) => request.sign().map(|token| print(&format!("{token}\n"))),
        Ok(Command::Run(config)) => run(*config),
        Err(Stop::Print(text)) => Ok(print(&text)),
        Err(Stop::Refuse(error)) => Err(error),
    };
    outcome.unwrap_or_else(|error| {
        // Nothing can be done when standard error is closed.
        let _ = writeln!(io::stderr(), "gateway: {error}");
        ExitCode::from(EXIT_USAGE)
    })
}

fn run(config: Config) -> Result<ExitCode, ConfigError> {
    telemetry::start(&config.logs)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| ConfigError::new(format!("cannot start threads: {error}")))?;
    let is_dev = config.dev;
    runtime.block_on(async {
        // Before anyone is told that the gateway runs, so that no signal comes too early to be heard.
        let stop = asked_to_stop();
        gateway::run(config, |bound| announce(bound, is_dev), stop).await
    })?;
    // Connections that outlived the drain end here, with the runtime.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// Ready at the first SIGTERM or SIGINT; a second one ends the process at once.
fn asked_to_stop() -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async {
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            tracing::error!("cannot listen for signals: only SIGKILL stops this process");
            return std::future::pending().await;
        };
        let mut either = async move || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        either().await;
        tokio::spawn(async move {
            either().await;
            std::process::exit(1);
        });
    }
}

/// Says where the gateway is, and in `gateway dev` what to try.
fn announce(Bound { clients, admin }: Bound, is_dev: bool) {
    let mut text = format!("listening on http://{clients}\n");
    if let Some(admin) = admin {
        text += &format!("admin on http://{admin}\n");
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
