//! The rules of the house that a machine can check.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a source file beyond which it holds two things.
const LINES_MAX: usize = 700;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The normal dependencies that a crate's manifest names.
fn dependencies(name: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
    let table = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap().to_owned();
    let names = table.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| !name.is_empty() && !name.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn crates_depend_downwards_only() {
    let forbidden: [(&str, &[&str]); 3] = [
        (
            "events",
            &[
                "transport",
                "gateway",
                "hyper",
                "http",
                "fastwebsockets",
                "jsonwebtoken",
                "prometheus",
                "clap",
            ],
        ),
        ("transport", &["gateway", "jsonwebtoken", "prometheus", "clap", "tokio-postgres"]),
        ("gateway", &["fastwebsockets", "loadtest"]),
    ];
    for (name, forbidden) in forbidden {
        let dependencies = dependencies(name);
        assert!(dependencies.len() > 3, "{name}: {dependencies:?}");
        for dependency in dependencies {
            assert!(!forbidden.contains(&&*dependency), "{name} must not know {dependency}");
        }
    }
    let loadtest = fs::read_to_string(root().join("loadtest/Cargo.toml")).unwrap();
    assert!(!["events", "transport", "gateway"].iter().any(|ours| loadtest.contains(&format!("\n{ours}."))));
}

#[test]
fn files_are_about_one_thing() {
    let mut found = Vec::new();
    for name in ["events", "transport", "gateway"] {
        sources(&root().join("crates").join(name).join("src"), &mut found);
    }
    assert!(found.len() > 50);
    for path in found {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            !["util", "utils", "helper", "helpers", "common", "misc"].contains(&stem),
            "{}",
            path.display()
        );
        let text = fs::read_to_string(&path).unwrap();
        let is_test =
            path.components().any(|part| part.as_os_str() == "tests.rs") || stem.ends_with("_tests");
        assert!(is_test || text.starts_with("//!"), "{} does not say what it is about", path.display());
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{}: {lines} lines", path.display());
        for (at, line) in text.lines().enumerate() {
            let has_marker = ["TODO", "FIXME", "XXX"].iter().any(|marker| line.contains(marker));
            assert!(!has_marker, "{}:{}: {line}", path.display(), at + 1);
        }
    }
}
