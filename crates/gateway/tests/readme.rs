//! The README tells the truth: its examples run as they stand, and its table of options is the program's.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

const README: &str = include_str!("../../../README.md");
const ADDRESS: &str = "127.0.0.1:8080";

/// The README's address is there once.
static ADDRESS_TAKEN: Mutex<()> = Mutex::new(());

struct Dev(Child, #[expect(dead_code, reason = "held for its end")] MutexGuard<'static, ()>);

impl Drop for Dev {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// `gateway dev` where the README says it is, or elsewhere if something else is there already.
fn dev() -> (Dev, String) {
    let guard = ADDRESS_TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let address = match TcpListener::bind(ADDRESS) {
        Ok(_) => ADDRESS,
        Err(_) => "127.0.0.1:0",
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(["dev", "--listen", address]).stdout(Stdio::piped()).env_clear();
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address =
        line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}")).to_owned();
    (Dev(child, guard), address)
}

fn shell_blocks() -> Vec<&'static str> {
    README.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn every_shell_example_runs_as_it_stands() {
    let (_dev, address) = dev();
    let blocks = shell_blocks();
    assert!(blocks.len() >= 5, "the examples are there");
    for block in blocks {
        let script = block.replace(ADDRESS, &address);
        let output = Command::new("bash").args(["-u", "-o", "pipefail", "-c", &script]).output().unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // A stream is ended by curl's own time limit.
        assert!(matches!(output.status.code(), Some(0 | 28)), "{script}\n{out}\n{error}");
        assert!(!out.trim().is_empty(), "{script}\nprints nothing\n{error}");
        assert!(!out.contains("urn:throughline:problem") && !out.contains("\"error\":"), "{script}\n{out}");
    }
}

#[test]
fn what_was_missed_comes_over_both_transports() {
    let (_dev, address) = dev();
    let block = shell_blocks().into_iter().find(|block| block.contains("while you were away")).unwrap();
    let output = Command::new("bash").args(["-c", &block.replace(ADDRESS, &address)]).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(out.matches("while you were away").count(), 2, "{out}");
}

#[test]
fn the_table_of_options_is_the_programs() {
    let help = Command::new(env!("CARGO_BIN_EXE_gateway")).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let word = |line: &str| line.trim_start().split([' ', '`']).next().unwrap_or_default().to_owned();
    let mut offered: Vec<String> =
        help.lines().filter(|line| line.trim_start().starts_with("--")).map(word).collect();
    let mut documented: Vec<String> = README
        .lines()
        .filter_map(|line| line.strip_prefix("| `--"))
        .map(|rest| word(&format!("--{rest}")))
        .collect();
    offered.sort();
    documented.sort();
    assert_eq!(documented, offered);
}
