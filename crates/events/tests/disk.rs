//! The store in files: the suite of every store, and what is left after kill -9, damage, and a full disk.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

#[macro_use]
#[allow(dead_code, reason = "the suite serves other stores too")]
mod suite;

#[path = "disk/damage.rs"]
mod damage;
#[path = "disk/floors.rs"]
mod floors;
#[path = "disk/full.rs"]
mod full;
#[path = "disk/kept.rs"]
mod kept;
#[path = "disk/kill.rs"]
mod kill;
#[path = "disk/restart.rs"]
mod restart;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use events::{
    Cursor, Disk, DiskOptions, Event, Fsync, Limit, Log, Options, Reader, Recovered, Reset, Start,
    TOKEN_BYTES_MAX,
};
use suite::{Subject, topic};

/// A directory of its own, gone with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("events-disk-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn options(dir: &Path, fsync: Fsync) -> DiskOptions {
    DiskOptions {
        dir: dir.to_owned(),
        fsync,
        events_max: 1 << 20,
        bytes_max: 1 << 30,
        age_max: Duration::from_secs(600),
        topic_idle_max: Duration::from_secs(3600),
        token_bytes_max: TOKEN_BYTES_MAX,
    }
}

/// Opens the store with a log that keeps everything.
fn open(options: DiskOptions) -> (Subject, Recovered) {
    let log = Log::new(&Options { ring_events_max: 1 << 20, ..Options::default() });
    let (store, recovered) = Disk::open(Arc::clone(&log), options).unwrap();
    (Subject { log, store, _keep: Box::new(()) }, recovered)
}

async fn open_new(options: &Options) -> Subject {
    let directory = Directory::new();
    let log = Log::new(options);
    let (store, recovered) =
        Disk::open(Arc::clone(&log), self::options(&directory.0, Fsync::Always)).unwrap();
    assert_eq!(recovered, Recovered { events: 0, epoch_changed: false, damage: None });
    Subject { log, store, _keep: Box::new(directory) }
}

/// Reads all that there is for these topics.
fn read_all(log: &Arc<Log>, topics: &[&str], start: Start) -> Result<(Vec<Event>, Cursor), Reset> {
    let topics: Vec<_> = topics.iter().map(|name| topic(name)).collect();
    let mut reader = Reader::new(log, &topics, None, start);
    let mut out = Vec::new();
    loop {
        let span = reader.read(Limit { events: 1000, bytes: 1 << 20 }, &mut out)?;
        if !span.more {
            return Ok((out, span.cursor));
        }
    }
}

mod conformance {
    conformance!(super::open_new);
    conformance!(super::open_new: a_checkpoint_is_stored_with_its_events,);
}
