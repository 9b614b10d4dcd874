//! Bytes that changed and files that were cut: what is whole is kept, and nobody misses anything unawares.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use events::{Fsync, Start};

use super::suite::{Subject, data, draft, json};
use super::{Directory, open, options, read_all};

const EVENTS: u64 = 400;

/// The engine's, and the disk's.
const PAGE: usize = 4096;

/// After so many events a copy of the log is put aside.
const EARLY: u64 = 300;

/// A directory with events, as kill -9 leaves it.
struct Original {
    directory: Directory,
    cursors: Vec<events::Cursor>,
    events: Vec<serde_json::Value>,
}

impl Original {
    async fn new() -> Self {
        let (live, directory) = (Directory::new(), Directory::new());
        let (subject, _) = open(options(&live.0, Fsync::Never));
        let mut cursors = Vec::new();
        for n in 0..EVENTS {
            if n == EARLY {
                fs::copy(live.0.join("log"), directory.0.join("early")).unwrap();
            }
            let topics: &[&str] = if n % 3 == 0 { &["a", "b"] } else { &["a"] };
            let value = serde_json::json!({"n": n, "filling": "x".repeat(n as usize * 7 % 600)});
            let data = events::Data::from_value(&value).unwrap();
            cursors.push(subject.publish(events::Draft { data, ..draft(topics, n) }).await.cursor);
        }
        for name in ["log", "mark"] {
            fs::copy(live.0.join(name), directory.0.join(name)).unwrap();
        }
        let (events, _) = read_all(&subject.log, &["a"], Start::Earliest).unwrap();
        Self { directory, cursors, events: events.iter().map(json).collect() }
    }

    /// Opens a copy that was damaged, and checks what every reader is owed. Says how many events are left.
    async fn check(&self, what: &str, damage: impl FnOnce(&Path)) -> usize {
        let copy = Directory::new();
        for name in ["log", "mark"] {
            fs::copy(self.directory.0.join(name), copy.0.join(name)).unwrap();
        }
        damage(&copy.0);
        let (subject, recovered) = open(options(&copy.0, Fsync::Never));
        let (left, _) = read_all(&subject.log, &["a"], Start::Earliest).unwrap();
        let left: Vec<_> = left.iter().map(json).collect();
        let mut originals = self.events.iter();
        assert!(
            left.iter().all(|event| originals.any(|original| original == event)),
            "{what}: a wrong event"
        );
        assert_eq!(left.len() as u64, recovered.events, "{what}");
        let complete = left.len() as u64 == EVENTS;
        assert!(complete || recovered.epoch_changed, "{what}: {} events, the same epoch", left.len());
        assert!(!recovered.epoch_changed || recovered.damage.is_some(), "{what}: no report");
        if let Some(line) = &recovered.damage {
            let outcome = match recovered.epoch_changed {
                true => "acknowledged events may be lost, and a new epoch begins",
                false => "nothing is lost",
            };
            let (dir, whole) = (copy.0.display().to_string(), format!("; {} events are whole; ", left.len()));
            assert_eq!(line.lines().count(), 1, "{what}: {line}");
            assert!(
                line.starts_with(&dir) && line.contains(&whole) && line.contains(outcome),
                "{what}: {line}"
            );
            let is_kept = copy.0.join("log.damaged").exists();
            assert_eq!(line.contains("the damaged file is kept as "), is_kept, "{what}: {line}");
        }
        self.check_cursors(what, &subject, recovered.epoch_changed);
        self.check_next(what, subject, &copy.0, recovered.epoch_changed).await;
        left.len()
    }

    fn check_cursors(&self, what: &str, subject: &Subject, epoch_changed: bool) {
        for (at, &cursor) in self.cursors.iter().enumerate().step_by(37) {
            match read_all(&subject.log, &["a"], Start::After(cursor)) {
                Ok((events, _)) => {
                    assert!(!epoch_changed, "{what}: a cursor of the old epoch was not reset");
                    assert_eq!(events.len(), EVENTS as usize - at - 1, "{what}");
                }
                Err(reset) => assert!(epoch_changed, "{what}: {reset:?}"),
            }
        }
    }

    /// It goes on, with numbers above all that there were, and the next start finds nothing wrong.
    async fn check_next(&self, what: &str, subject: Subject, dir: &Path, epoch_changed: bool) {
        let last = *self.cursors.last().unwrap();
        let next = subject.publish(draft(&["a"], 7)).await.cursor;
        assert!(next.seq > last.seq, "{what}");
        assert_eq!(next.epoch != last.epoch, epoch_changed, "{what}");
        let (before, _) = read_all(&subject.log, &["a"], Start::Earliest).unwrap();
        drop(subject);
        let (subject, recovered) = open(options(dir, Fsync::Never));
        assert_eq!((recovered.epoch_changed, recovered.damage), (false, None), "{what}");
        let (after, end) = read_all(&subject.log, &["a"], Start::Earliest).unwrap();
        assert_eq!((after.len(), end), (before.len(), next), "{what}");
        assert_eq!(data(&after[after.len() - 1]), 7);
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1 << (at % 8);
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, length: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

/// Adds bytes behind the end.
fn extend(path: &Path, bytes: &[u8]) {
    fs::File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

/// The first and the last bytes of the first page, of one in the middle, of the last that is used and of the last.
fn edges(log: &[u8]) -> Vec<usize> {
    let used = log.iter().rposition(|byte| *byte != 0).unwrap();
    let pages = [0, log.len() / 2 / PAGE, used / 2 / PAGE, used / PAGE, (log.len() - 1) / PAGE];
    let edges = pages.into_iter().flat_map(|page| [page * PAGE, page * PAGE + 1, (page + 1) * PAGE - 1]);
    edges.chain([used]).map(|at| at.min(log.len() - 1)).collect()
}

/// Positions over the whole file, more of them where the engine keeps its own books.
fn positions(length: usize, samples: usize) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..320.min(length)).step_by(11).collect();
    let mut at: usize = 12_345;
    for _ in 0..samples {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        positions.push((at >> 20) % length);
    }
    positions
}

fn samples() -> usize {
    std::env::var("DISK_DAMAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_anywhere() {
    let original = Original::new().await;
    let log = fs::read(original.directory.0.join("log")).unwrap();
    assert_eq!(original.check("untouched", |_| ()).await as u64, EVENTS);
    let mut positions = positions(log.len(), samples());
    positions.extend(edges(&log));
    // Most of the file is not used yet: aim at bytes that are.
    positions.extend(positions.clone().iter().map(|at| {
        let used = log.iter().enumerate().skip(*at).find(|(_, byte)| **byte != 0);
        used.map_or(0, |(at, _)| at)
    }));
    let mut least = EVENTS as usize;
    for at in positions {
        least = least
            .min(original.check(&format!("log flipped at {at}"), |dir| flip(&dir.join("log"), at)).await);
    }
    assert!(least as u64 >= EVENTS - 1, "one bit cost {} events", EVENTS as usize - least);
    for at in 0..fs::metadata(original.directory.0.join("mark")).unwrap().len() as usize {
        let left = original.check(&format!("mark flipped at {at}"), |dir| flip(&dir.join("mark"), at)).await;
        assert_eq!(left as u64, EVENTS);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_anywhere() {
    let original = Original::new().await;
    let log = fs::read(original.directory.0.join("log")).unwrap();
    for at in positions(log.len(), samples() / 2).into_iter().chain(edges(&log)) {
        original.check(&format!("log cut at {at}"), |dir| cut(&dir.join("log"), at as u64)).await;
    }
    for length in [0, 1, 8, 20, 41, 48] {
        original.check(&format!("mark cut at {length}"), |dir| cut(&dir.join("mark"), length)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_gone_or_of_another_time() {
    let original = Original::new().await;
    let left = original.check("no log", |dir| fs::remove_file(dir.join("log")).unwrap()).await;
    assert_eq!(left, 0);
    let left = original.check("no mark", |dir| fs::remove_file(dir.join("mark")).unwrap()).await;
    assert_eq!(left as u64, EVENTS);
    let other = Original::new().await;
    let swap = |dir: &Path| {
        fs::copy(other.directory.0.join("mark"), dir.join("mark")).unwrap();
    };
    original.check("another log's mark", swap).await;
    // Whole in itself, and yet too short: only the mark can tell.
    let restore = |dir: &Path| {
        fs::copy(original.directory.0.join("early"), dir.join("log")).unwrap();
    };
    assert_eq!(original.check("an earlier log", restore).await as u64, EARLY);
    // Zeros in the place of a page, as after a bad sector.
    let log = fs::read(original.directory.0.join("log")).unwrap();
    for page in 0..log.len().div_ceil(PAGE).min(120) {
        let zero = |dir: &Path| {
            let mut bytes = log.clone();
            let end = (page * PAGE + PAGE).min(bytes.len());
            bytes[page * PAGE..end].fill(0);
            fs::write(dir.join("log"), bytes).unwrap();
        };
        let left = original.check(&format!("page {page} zeroed"), zero).await;
        assert!(left as u64 >= EVENTS - 40, "page {page}: {left} left");
    }
}

/// Clients may have a cursor of a log without events.
#[tokio::test]
async fn a_log_that_had_only_begun_is_not_replaced_without_a_word() {
    for emptied in [false, true] {
        let directory = Directory::new();
        let (subject, _) = open(options(&directory.0, Fsync::Always));
        let before = subject.log.tail_cursor();
        drop(subject);
        let log = directory.0.join("log");
        if emptied {
            cut(&log, 0)
        } else {
            fs::remove_file(log).unwrap()
        }
        let (subject, recovered) = open(options(&directory.0, Fsync::Always));
        assert_ne!(subject.log.tail_cursor().epoch, before.epoch);
        assert!(recovered.epoch_changed && recovered.damage.is_some(), "{recovered:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_files_at_once() {
    let original = Original::new().await;
    let log = fs::read(original.directory.0.join("log")).unwrap();
    let used: Vec<usize> = (0..log.len()).filter(|at| log[*at] != 0).collect();
    for sample in 0..samples() {
        let (at, of_mark) = (used[sample * 7919 % used.len()], sample * 5 % 49);
        let damage = |dir: &Path| {
            flip(&dir.join("log"), at);
            flip(&dir.join("mark"), of_mark);
        };
        let left = original.check(&format!("log flipped at {at}, mark at {of_mark}"), damage).await;
        assert!(left as u64 >= EVENTS - 1, "{at}: {left} left");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_beside_or_behind_the_files() {
    let original = Original::new().await;
    let noise: Vec<u8> = (0..3 * PAGE).map(|n| (n * 37 % 251) as u8).collect();
    for length in [1, PAGE, 3 * PAGE] {
        let more = |dir: &Path| extend(&dir.join("log"), &noise[..length]);
        let left = original.check(&format!("{length} bytes behind the log"), more).await;
        assert_eq!(left as u64, EVENTS);
        let more = |dir: &Path| extend(&dir.join("mark"), &noise[..length]);
        let left = original.check(&format!("{length} bytes behind the mark"), more).await;
        assert_eq!(left as u64, EVENTS);
    }
    let zero = |dir: &Path| fs::write(dir.join("mark"), [0; 49]).unwrap();
    assert_eq!(original.check("a mark of zeros", zero).await as u64, EVENTS);
    // What is in the file `lock` says nothing: who has it is for the system to know.
    for bytes in [&b""[..], b"\0", &noise] {
        let lock = |dir: &Path| fs::write(dir.join("lock"), bytes).unwrap();
        assert_eq!(original.check("bytes in the lock", lock).await as u64, EVENTS);
    }
    // An earlier recovery was killed, and another one left what it had found.
    for name in ["log.fresh", "log.damaged"] {
        let left_behind = |dir: &Path| {
            fs::write(dir.join(name), &noise).unwrap();
            flip(&dir.join("log"), log_middle(dir));
        };
        let left = original.check(name, left_behind).await;
        assert!(left as u64 >= EVENTS - 1, "{name}: {left} left");
    }
}

/// A byte in the middle of those that are used.
fn log_middle(dir: &Path) -> usize {
    let log = fs::read(dir.join("log")).unwrap();
    let used: Vec<usize> = (0..log.len()).filter(|at| log[*at] != 0).collect();
    used[used.len() / 2]
}
