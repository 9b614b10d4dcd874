//! The house rules of the three crates, which `make check` and `make test` keep: no circle of imports, rooms of the
//! gateway that import downwards only, short files and functions, one name for one type.
//!
//! A rule that must be broken somewhere has its reason beside the exception, here.

mod bounds;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use source::SourceFile;

const CRATES: [&str; 3] = ["events", "transport", "gateway"];

/// The rooms of the gateway from the top floor down: a folder, or a file. Each imports only from rooms below it, and
/// within itself. A file is in the room with the longest name that fits.
const ROOMS: &[&str] = &[
    "lib.rs",
    "simulation/",
    "server.rs",
    "dispatch.rs",
    "socketio/",
    "endpoints/",
    "session/",
    "reload.rs",
    "app.rs",
    "sources/",
    "store.rs",
    "cluster/",
    "registry/",
    "presence/",
    "publish/",
    "limits/",
    "engineio/",
    "telemetry.rs",
    "config/",
    "http/",
    "redact.rs",
    "sources/rule.rs",
    "sources/postgres/sql.rs",
    "sources/postgres/target.rs",
    "sources/postgres/table.rs",
    "metrics/",
    "problem.rs",
    "auth/",
    "loggable.rs",
    "audit.rs",
    "session_key.rs",
    "tasks.rs",
    "config/error.rs",
    "dialect/",
    "object.rs",
    "json_pointer.rs",
    "secret.rs",
    "current.rs",
    "time.rs",
];

/// Lines that a file may have.
const FILE_LINES_MAX: usize = 500;
/// Files that are longer, each with the reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// Lines that a function may have.
const FUNCTION_LINES_MAX: usize = 60;
/// Functions that are longer, each with the reason.
const LONG_FUNCTIONS: [(&str, &str, &str); 0] = [];

/// Files that import each other in a circle, each circle with the reason.
const CIRCLES: [(&str, &[&str], &str); 0] = [];

/// Names that several types bear, each with the reason.
const SHARED_NAMES: [(&str, &str); 0] = [];

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut found = Vec::new();
    for name in CRATES {
        let files = source::files(name);
        let imports: BTreeMap<&str, &BTreeSet<String>> =
            files.iter().map(|file| (&*file.name, &file.imports)).collect();
        for circle in circles(&imports) {
            let is_known = |(known, files, _): &(&str, &[&str], &str)| *known == name && *files == circle;
            if !CIRCLES.iter().any(is_known) {
                let arrows = circle.iter().flat_map(|from| {
                    let to = imports[from].iter().filter(|to| circle.contains(&&***to));
                    to.map(move |to| format!("\n    {from} -> {to}"))
                });
                found.push(format!("{name}: {}", arrows.collect::<String>()));
            }
        }
    }
    assert!(found.is_empty(), "circles of imports:\n{}", found.join("\n"));
}

#[test]
fn rooms_of_the_gateway_import_downwards_only() {
    let room_of = |file: &str| {
        let fits =
            |(_, room): &(usize, &&str)| file == **room || (room.ends_with('/') && file.starts_with(**room));
        let room = ROOMS.iter().enumerate().filter(fits).max_by_key(|(_, room)| room.len());
        room.unwrap_or_else(|| panic!("{file} is in no room: add it to ROOMS")).0
    };
    let mut upwards = Vec::new();
    for file in source::files("gateway") {
        let from = room_of(&file.name);
        let wrong = file.imports.iter().filter(|to| room_of(to) < from);
        upwards.extend(wrong.map(|to| format!("{} -> {to}", file.name)));
    }
    assert!(upwards.is_empty(), "imports that point upwards:\n{}", upwards.join("\n"));
    for room in ROOMS {
        let path = source::directory("gateway").join("src").join(room);
        assert!(path.exists(), "ROOMS names {room}, which is not there");
    }
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for name in CRATES {
        for part in ["src", "tests", "benches"] {
            let directory = source::directory(name).join(part);
            let mut paths = Vec::new();
            source::walk(&directory, &mut paths);
            for path in paths {
                let shown = Path::new(name).join(part).join(path.strip_prefix(&directory).expect("below"));
                let shown = shown.to_str().expect("UTF-8").to_owned();
                let lines = fs::read_to_string(&path).expect("a source can be read").lines().count();
                if lines > FILE_LINES_MAX && !LONG_FILES.iter().any(|(file, _)| *file == shown) {
                    long.push(format!("{shown}: {lines} lines"));
                }
            }
        }
    }
    assert!(long.is_empty(), "more than {FILE_LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for_each_file(|name, file| {
        for (function, line, lines) in &file.functions {
            let shown = format!("{name}/src/{}", file.name);
            let is_known = |(at, known, _): &(&str, &str, &str)| *at == shown && *known == function;
            if *lines > FUNCTION_LINES_MAX && !LONG_FUNCTIONS.iter().any(is_known) {
                long.push(format!("{shown}:{line} {function}: {lines} lines"));
            }
        }
    });
    assert!(long.is_empty(), "more than {FUNCTION_LINES_MAX} lines:\n{}", long.join("\n"));
}

/// Within a crate, and between a crate and what those below it export.
#[test]
fn a_name_is_borne_by_one_type() {
    let mut bearers: BTreeMap<String, Vec<(String, String, bool)>> = BTreeMap::new();
    for_each_file(|name, file| {
        for (kind, is_for_all) in &file.types {
            let bearer = (name.to_owned(), format!("{name}/src/{}", file.name), *is_for_all);
            bearers.entry(kind.clone()).or_default().push(bearer);
        }
    });
    let mut shared = Vec::new();
    for (kind, bearers) in &bearers {
        let clashes = bearers.iter().enumerate().any(|(at, (name, _, _))| {
            bearers[..at].iter().any(|(other, _, is_for_all)| name == other || *is_for_all)
        });
        if clashes && !SHARED_NAMES.iter().any(|(known, _)| known == kind) {
            let files: Vec<&str> = bearers.iter().map(|(_, file, _)| &**file).collect();
            shared.push(format!("{kind}: {}", files.join(", ")));
        }
    }
    assert!(shared.is_empty(), "one name for several types:\n{}", shared.join("\n"));
}

fn for_each_file(mut look: impl FnMut(&str, &SourceFile)) {
    for name in CRATES {
        source::files(name).iter().for_each(|file| look(name, file));
    }
}

/// The strongly connected components with more than one member, each in order.
fn circles<'a>(imports: &BTreeMap<&'a str, &'a BTreeSet<String>>) -> Vec<Vec<&'a str>> {
    let reachable = |from: &'a str| {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            for to in imports[at] {
                if seen.insert(to) {
                    open.push(to);
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&'a str, BTreeSet<&'a str>> =
        imports.keys().map(|from| (*from, reachable(from))).collect();
    let mut circles: BTreeSet<Vec<&'a str>> = BTreeSet::new();
    for (from, seen) in &reach {
        let circle: Vec<&'a str> = seen.iter().copied().filter(|to| reach[to].contains(from)).collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}
