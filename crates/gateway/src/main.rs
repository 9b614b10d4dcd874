//! The binary `gateway`.

use std::io::{self, Write};
use std::process::ExitCode;

use gateway::config::{self, Command, ConfigError, Stop};

/// A wrong or missing option.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let outcome = match config::read(std::env::args_os()) {
        Ok(Command::Token(request)) => request.sign().map(|token| print(&format!("{token}\n"))),
        Ok(Command::Run(_)) => Err(ConfigError::new("this build has no server")),
        Err(Stop::Print(text)) => Ok(print(&text)),
        Err(Stop::Refuse(error)) => Err(error),
    };
    outcome.unwrap_or_else(|error| {
        // Nothing can be done when standard error is closed.
        let _ = writeln!(io::stderr(), "gateway: {error}");
        ExitCode::from(EXIT_USAGE)
    })
}

fn print(text: &str) -> ExitCode {
    if io::stdout().write_all(text.as_bytes()).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
