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
const LONG_FUNCTIONS: [(&str, &str, &str); 13] = [
    ("events/tests/redis/chaos.rs", "no_client_misses_anything_unawares", SCENARIO),
    ("gateway/benches/gateways.rs", "succession", SCENARIO),
    ("gateway/src/presence/storm_tests.rs", "a_room_of_5000", SCENARIO),
    ("gateway/tests/chaos/client.rs", "visit", SCENARIO),
    ("gateway/tests/hardening/heads.rs", "ambiguous_heads", "a table"),
    ("gateway/tests/isolation.rs", "step", "a table of steps"),
    ("gateway/tests/kills.rs", "every_acknowledged_event_comes_once_and_in_order", SCENARIO),
    ("gateway/tests/replays.rs", "a_replay_waits_its_turn_and_is_told_to_come_again", SCENARIO),
    ("gateway/tests/restart.rs", "members_hold_their_places_over_kill_9", SCENARIO),
    ("gateway/tests/rooms.rs", "the_song_editors_sequence_runs_over_each_transport", SCENARIO),
    ("gateway/tests/schemas/answers.rs", "publishing_answers_by_the_schemas", "a table of requests"),
    ("gateway/tests/schemas/answers.rs", "every_kind_of_batch_fits_the_schema", "a table of batches"),
    ("transport/tests/golden.rs", "step", "a table of steps"),
];
/// Why a test is longer.
const SCENARIO: &str = "one scenario, told in the order in which it happens";

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
    let (mut long, mut known) = (Vec::new(), Vec::new());
    for (shown, text) in all_files() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            match LONG_FILES.iter().find(|(file, _)| *file == shown) {
                Some(exception) => known.push(exception),
                None => long.push(format!("{shown}: {lines} lines")),
            }
        }
    }
    assert!(long.is_empty(), "more than {FILE_LINES_MAX} lines:\n{}", long.join("\n"));
    assert_eq!(known.len(), LONG_FILES.len(), "LONG_FILES names a file that is short: {known:?} are long");
}

#[test]
fn functions_are_short() {
    let (mut long, mut known) = (Vec::new(), Vec::new());
    for (shown, text) in all_files() {
        for (function, line, lines) in source::functions(&text) {
            if lines > FUNCTION_LINES_MAX {
                let is_this = |(at, name, _): &&(&str, &str, &str)| *at == shown && *name == function;
                match LONG_FUNCTIONS.iter().find(is_this) {
                    Some(exception) => known.push(exception),
                    None => long.push(format!("{shown}:{line} {function}: {lines} lines")),
                }
            }
        }
    }
    assert!(long.is_empty(), "more than {FUNCTION_LINES_MAX} lines:\n{}", long.join("\n"));
    let short: Vec<_> = LONG_FUNCTIONS.iter().filter(|exception| !known.contains(exception)).collect();
    assert!(short.is_empty(), "LONG_FUNCTIONS names functions that are short: {short:?}");
}

/// The path below `crates` and the text of every file of the three crates, tests and benches included.
fn all_files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for name in CRATES {
        for part in ["src", "tests", "benches"] {
            let directory = source::directory(name).join(part);
            let mut paths = Vec::new();
            source::walk(&directory, &mut paths);
            files.extend(paths.iter().map(|path| {
                let shown = Path::new(name).join(part).join(path.strip_prefix(&directory).expect("below"));
                let text = fs::read_to_string(path).expect("a source can be read");
                (shown.to_str().expect("UTF-8").to_owned(), text)
            }));
        }
    }
    files
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
