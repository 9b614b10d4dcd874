//! `docs/bounds.md` against the code: every bound that is a constant, every period, and every lock is in its table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::for_each_file;

/// How a constant ends that is a bound.
const ENDINGS: [&str; 7] = ["MAX", "BYTES", "PATIENCE", "GRACE", "GRACE_POLL", "LINGER", "WITHIN"];

/// Options among the limits and streams that bound nothing.
const NO_BOUNDS: [&str; 2] = ["--deployment", "--sse-refusals"];

/// The rows of a section of the document: their cells.
fn rows(section: &str) -> Vec<Vec<String>> {
    rows_of("bounds.md", &format!("## {section}"))
}

fn rows_of(document: &str, heading: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(document);
    let text = fs::read_to_string(path).expect("the document can be read");
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).expect("the section is there");
    let section = rest.split("\n## ").next().unwrap_or(rest).split("\n**").next().unwrap_or(rest);
    let cells = |line: &str| {
        let line = line.trim().trim_matches('|');
        line.split(" | ").map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    section.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
}

fn without_spaces(text: &str) -> String {
    text.split_whitespace().collect()
}

/// By file and name: the value.
fn documented(section: &str) -> BTreeMap<(String, String), String> {
    let row = |cells: Vec<String>| match &cells[..] {
        [file, name, value, ..] => ((file.clone(), name.clone()), without_spaces(value)),
        _ => panic!("a row without a value: {cells:?}"),
    };
    rows(section).into_iter().map(row).collect()
}

#[test]
fn every_bound_is_in_the_table_with_its_value() {
    let mut in_code = BTreeMap::new();
    for_each_file(|name, file| {
        for (constant, value) in &file.constants {
            if ENDINGS.iter().any(|ending| constant.ends_with(ending)) {
                in_code.insert((format!("{name}/{}", file.name), constant.clone()), without_spaces(value));
            }
        }
    });
    let mut in_table = documented("Constants");
    in_table.extend(documented("Sizes that are no bounds"));
    let missing: Vec<_> = in_code.iter().filter(|(key, _)| !in_table.contains_key(key)).collect();
    assert!(missing.is_empty(), "not in docs/bounds.md: {missing:#?}");
    for (key, value) in &in_table {
        assert_eq!(in_code.get(key), Some(value), "docs/bounds.md: {key:?}");
    }
}

/// Those that are bounds are among the constants.
#[test]
fn every_period_is_in_the_table_with_its_value() {
    let bounds = documented("Constants");
    let mut in_code = BTreeSet::new();
    for_each_file(|name, file| {
        let file_name = format!("{name}/{}", file.name);
        let periods = file
            .periods
            .iter()
            .map(|(period, value)| (file_name.clone(), period.clone(), without_spaces(value)));
        let is_bound = |(file, period, _): &(String, String, String)| {
            bounds.contains_key(&(file.clone(), period.clone()))
        };
        in_code.extend(periods.filter(|period| !is_bound(period)));
    });
    let row = |cells: Vec<String>| (cells[0].clone(), cells[1].clone(), without_spaces(&cells[2]));
    let in_table: BTreeSet<_> = rows("Periods").into_iter().map(row).collect();
    let missing: Vec<_> = in_code.difference(&in_table).collect();
    let gone: Vec<_> = in_table.difference(&in_code).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "missing in docs/bounds.md: {missing:#?}; gone: {gone:#?}"
    );
}

#[test]
fn every_lock_is_in_the_table() {
    let mut in_code = BTreeSet::new();
    for_each_file(|name, file| {
        in_code.extend(file.locks.iter().map(|lock| (format!("{name}/{}", file.name), lock.clone())));
    });
    let in_table: BTreeSet<_> =
        rows("Locks").into_iter().map(|cells| (cells[0].clone(), cells[1].clone())).collect();
    let missing: Vec<_> = in_code.difference(&in_table).collect();
    let gone: Vec<_> = in_table.difference(&in_code).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "missing in docs/bounds.md: {missing:#?}; gone: {gone:#?}"
    );
}

/// `operating.md` has every option: its tables are made from the command line.
#[test]
fn every_option_that_limits_is_in_the_table() {
    let mut in_code = BTreeSet::new();
    for group in ["**Limits**", "**Streams**"] {
        for cells in rows_of("operating.md", group) {
            in_code.extend(cells[0].split(' ').next().map(str::to_owned));
        }
    }
    in_code.retain(|option| !NO_BOUNDS.contains(&&**option));
    let in_table: BTreeSet<String> = rows("Options")
        .iter()
        .flat_map(|cells| cells[0].split(", ").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(in_table, in_code, "docs/bounds.md against docs/operating.md");
}
