//! Load generator. It speaks only the wire protocol and imports none of the gateway's crates, so that what it finds is what a client finds.
//!
//! # Layout
//!
//! * `scenario` is what a file says; `compare` plays its cases on several servers in turn; `order` is how it talks to the process of each side.
//! * `side` is one server with its sessions and its publisher; `play` is what is done with them, one file a kind of scenario.
//! * `crowd`, `session`, `publisher` are the clients; `dialect` is what they say to each kind of server; `net` is the bytes underneath.
//! * `payload` and `ledger` are the numbers in the events and what was made of them.
//! * `target` and `server` start what is measured; `floor` is the least that a server can do; `measure` reads /proc; `report` writes it all down.

#![allow(clippy::disallowed_methods, reason = "the load generator measures real time")]

mod compare;
mod crowd;
mod dialect;
mod floor;
mod ledger;
mod measure;
mod net;
mod order;
mod payload;
mod peers;
mod play;
mod publisher;
mod report;
mod scenario;
mod server;
mod session;
mod side;
mod target;
mod topic;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::compare::Finding;
use crate::measure::machine;
use crate::report::Provenance;
use crate::scenario::Scenario;
use crate::target::{Programs, Target};

/// Puts Throughline's gateway, and what others would use instead, under load.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play scenarios and report
    Run(Run),
    /// List the scenarios
    List,
    /// Serve as the floor: a bare epoll loop with one write a delivery
    Floor(floor::Options),
    /// One side of a comparison; started by `run`
    #[command(hide = true)]
    Side,
}

#[derive(Args)]
struct Run {
    /// Names of scenarios, or paths of their files; `all` for every one
    #[arg(required = true)]
    scenarios: Vec<String>,
    /// The gateway's program [default: beside this one]
    #[arg(long)]
    server: Option<PathBuf>,
    /// The folder of the peers' programs [default: target/peers]
    #[arg(long)]
    peers: Option<PathBuf>,
    /// Leave out what is not installed
    #[arg(long)]
    skip_missing: bool,
    /// What to compare
    #[arg(long, value_delimiter = ',', default_value = "gateway,floor")]
    targets: Vec<Target>,
    /// Multiply the numbers of sessions and topics
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Measured seconds a round
    #[arg(long)]
    seconds: Option<f64>,
    /// Rounds of a case
    #[arg(long)]
    rounds: Option<usize>,
    /// One short round of each scenario's first case, whatever the other options say
    #[arg(long)]
    smoke: bool,
    /// Only the cases whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Write RESULTS.md, pictures and figures into this folder
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(run) => play(&run),
        Command::List => list().map(|()| true),
        Command::Floor(options) => floor::serve(options).map(|()| true),
        Command::Side => order::obey().map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "loadtest: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Answers whether every delivery was right.
fn play(run: &Run) -> Result<bool> {
    if !(run.scale > 0.0 && run.scale <= 1.0) {
        bail!("--scale must be above 0 and at most 1");
    }
    let programs = Programs::new(run.server.clone(), run.peers.clone());
    let mut targets = run.targets.clone();
    if run.skip_missing {
        targets.retain(|target| target.missing(&programs).is_none());
    } else if let Some(missing) = targets.iter().find_map(|target| target.missing(&programs)) {
        bail!(
            "{missing}: build or install it, name its place with --server or --peers, or leave it out with --targets"
        );
    }
    let versions: Vec<_> = targets.iter().filter_map(|target| target.version(&programs)).collect();
    let command =
        std::iter::once("loadtest".to_owned()).chain(std::env::args().skip(1)).collect::<Vec<_>>().join(" ");
    let provenance = Provenance { command, load_before: machine::load(), versions };
    let mut right = true;
    let mut stdout = std::io::stdout();
    for path in scenario_files(&run.scenarios)? {
        let mut scenario = Scenario::read(&path)?;
        if run.smoke {
            scenario.shrink_to_smoke();
        } else {
            scenario.shrink(run.scale, run.seconds, run.rounds);
        }
        let mut findings = Vec::new();
        for case in
            scenario.cases.iter().filter(|case| run.only.as_ref().is_none_or(|only| case.name.contains(only)))
        {
            findings.extend(compare::compare(scenario.kind, case, &targets, &programs)?);
        }
        writeln!(
            stdout,
            "{}\n\n{}",
            scenario.name,
            report::table::table(scenario.kind, &findings).markdown()
        )?;
        right &= findings.iter().all(|finding| is_right(finding, &mut stdout));
        if let Some(folder) = &run.report {
            report::write(folder, &scenario, &findings, &provenance)?;
        }
    }
    Ok(right)
}

fn is_right(finding: &Finding, out: &mut impl Write) -> bool {
    let Some(verdict) = &finding.verdict else { return false };
    if !verdict.is_clean() {
        // The table has been written; the details are for whoever reads on.
        let _ = writeln!(out, "{} on {}: {verdict:?}\n", finding.case, finding.target.name());
    }
    verdict.is_clean()
}

fn list() -> Result<()> {
    let mut stdout = std::io::stdout();
    for path in scenario_files(&["all".to_owned()])? {
        let scenario = Scenario::read(&path)?;
        let about = scenario.about.lines().next().unwrap_or_default();
        writeln!(stdout, "{:<12} {about}", scenario.name)?;
    }
    Ok(())
}

fn scenario_files(names: &[String]) -> Result<Vec<PathBuf>> {
    let here = Path::new("loadtest/scenarios");
    let folder =
        if here.is_dir() { here.to_owned() } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios") };
    let mut files = Vec::new();
    for name in names {
        if name == "all" {
            let entries =
                std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
            let mut all: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
            all.sort();
            files.extend(all);
        } else if name.ends_with(".toml") {
            files.push(PathBuf::from(name));
        } else {
            files.push(folder.join(format!("{name}.toml")));
        }
    }
    Ok(files)
}
