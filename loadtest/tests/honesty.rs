//! The generator's own counts, tested on a server that is known to deliver rightly, and to deliver wrongly.

use std::path::Path;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> (Output, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_loadtest")).args(arguments).output().expect("loadtest runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

/// The numbers below the headers `lost`, `twice` and `out of order`.
fn wrong(table: &str) -> [u64; 3] {
    let row = table.lines().filter(|line| line.starts_with('|')).nth(2).expect("a row");
    let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
    let last = &cells[cells.len() - 3..];
    [0, 1, 2].map(|index| last[index].parse().expect("a count"))
}

fn with_fault(name: &str) -> (bool, [u64; 3]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/faults/{name}.toml"));
    let (output, text) = run(&["run", path.to_str().expect("a path"), "--targets", "floor"]);
    (output.status.success(), wrong(&text))
}

#[test]
fn right_deliveries_are_found_right() {
    let (output, text) =
        run(&["run", "fan-out", "per-user", "publish", "latency", "--targets", "floor", "--smoke"]);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(wrong(&text), [0, 0, 0], "{text}");
}

#[test]
fn losses_are_found() {
    let (right, [lost, twice, out_of_order]) = with_fault("lose");
    assert!(!right && lost > 0 && twice == 0 && out_of_order == 0, "{lost} {twice} {out_of_order}");
}

#[test]
fn duplicates_are_found() {
    let (right, [lost, twice, out_of_order]) = with_fault("repeat");
    assert!(!right && lost == 0 && twice > 0 && out_of_order == 0, "{lost} {twice} {out_of_order}");
}

#[test]
fn reorders_are_found() {
    let (right, [_, twice, out_of_order]) = with_fault("swap");
    assert!(!right && twice == 0 && out_of_order > 0, "{twice} {out_of_order}");
}

#[test]
fn a_missing_gateway_and_an_unknown_scenario_are_one_clear_line() {
    for (arguments, words) in [
        (&["run", "idle", "--server", "/nowhere/gateway"][..], "there is no gateway at /nowhere/gateway"),
        (&["run", "nonsense", "--targets", "floor"], "cannot read"),
    ] {
        let (output, _) = run(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(2) && error.contains(words) && error.lines().count() == 1,
            "{error}"
        );
    }
}
