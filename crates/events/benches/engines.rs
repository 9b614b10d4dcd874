//! What could stand under the disk store: redb, fjall, and a bare file that is appended to, under group commit.
//!
//! `cargo bench -p events --bench engines` prints entries of 350 bytes a second by how many share a commit, with one
//! fsync a commit and with none (each survives kill -9 either way); `-- --test` runs each for a moment, to see that it
//! does. The engines take turns, and of three turns the middle one counts.

#![allow(clippy::disallowed_methods, reason = "what it measures is real time")]
#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fjall::{KeyspaceCreateOptions, PersistMode};
use redb::TableDefinition;

const BATCHES: [u64; 4] = [1, 8, 64, 256];
const ENTRY_BYTES: usize = 350;
const TURNS: usize = 3;

/// Makes an engine in an empty directory; `true`: with an fsync in each commit.
type Make = fn(&Path, bool) -> Box<dyn Engine>;

const ENGINES: [(&str, Make); 3] = [
    ("redb", |dir, fsync| Box::new(Redb::new(dir, fsync))),
    ("fjall", |dir, fsync| Box::new(Fjall::new(dir, fsync))),
    ("a bare file", |dir, fsync| Box::new(Bare::new(dir, fsync))),
];

trait Engine {
    /// Appends entries with these keys, as one or not at all but for the bare file.
    fn commit(&mut self, keys: std::ops::Range<u64>, value: &[u8]);
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let turn = Duration::from_millis(if is_test { 1 } else { 350 });
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("engines");
    for fsync in [true, false] {
        println!("| entries a second, {} | 1 | 8 | 64 | 256 |", if fsync { "fsync" } else { "no fsync" });
        println!("| --- | --- | --- | --- | --- |");
        let mut lines = ENGINES.map(|(name, _)| format!("| {name} |"));
        for batch in BATCHES {
            let mut rates = ENGINES.map(|_| Vec::new());
            for _ in 0..TURNS {
                for ((_, make), rates) in ENGINES.iter().zip(&mut rates) {
                    drop(fs::remove_dir_all(&dir));
                    fs::create_dir_all(&dir).unwrap();
                    rates.push(rate(&mut *make(&dir, fsync), batch, turn));
                }
            }
            for (line, rates) in lines.iter_mut().zip(&mut rates) {
                rates.sort_unstable_by(f64::total_cmp);
                *line += &format!(" {:.0} |", rates[TURNS / 2]);
            }
        }
        lines.iter().for_each(|line| println!("{line}"));
        println!();
    }
    fs::remove_dir_all(&dir).unwrap();
}

/// Entries a second.
fn rate(engine: &mut dyn Engine, batch: u64, turn: Duration) -> f64 {
    let mut dice = 1_u64;
    let value: Vec<u8> = (0..ENTRY_BYTES)
        .map(|_| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) as u8
        })
        .collect();
    engine.commit(0..batch, &value);
    let (started, mut next) = (Instant::now(), batch);
    while started.elapsed() < turn {
        engine.commit(next..next + batch, &value);
        next += batch;
    }
    (next - batch) as f64 / started.elapsed().as_secs_f64()
}

struct Redb(redb::Database);

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");

impl Redb {
    /// As the store has it: its own weaker durability would not survive kill -9, so without fsync only that is left out.
    fn new(dir: &Path, fsync: bool) -> Self {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(dir.join("redb")).unwrap();
        Self(redb::Database::builder().create_with_backend(RedbFile { file, fsync }).unwrap())
    }
}

impl Engine for Redb {
    fn commit(&mut self, keys: std::ops::Range<u64>, value: &[u8]) {
        let write = self.0.begin_write().unwrap();
        {
            let mut entries = write.open_table(ENTRIES).unwrap();
            for key in keys {
                entries.insert(key, value).unwrap();
            }
        }
        write.commit().unwrap();
    }
}

#[derive(Debug)]
struct RedbFile {
    file: File,
    fsync: bool,
}

impl redb::StorageBackend for RedbFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.fsync { self.file.sync_data() } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }
}

struct Fjall {
    database: fjall::Database,
    entries: fjall::Keyspace,
    persist: PersistMode,
}

impl Fjall {
    fn new(dir: &Path, fsync: bool) -> Self {
        let database = fjall::Database::builder(dir.join("fjall")).open().unwrap();
        let entries = database.keyspace("entries", KeyspaceCreateOptions::default).unwrap();
        let persist = if fsync { PersistMode::SyncData } else { PersistMode::Buffer };
        Self { database, entries, persist }
    }
}

impl Engine for Fjall {
    fn commit(&mut self, keys: std::ops::Range<u64>, value: &[u8]) {
        let mut batch = self.database.batch().durability(Some(self.persist));
        for key in keys {
            batch.insert(&self.entries, key.to_be_bytes(), value);
        }
        batch.commit().unwrap();
    }
}

struct Bare {
    file: File,
    fsync: bool,
    bytes: Vec<u8>,
}

impl Bare {
    fn new(dir: &Path, fsync: bool) -> Self {
        Self { file: File::create_new(dir.join("bare")).unwrap(), fsync, bytes: Vec::new() }
    }
}

impl Engine for Bare {
    fn commit(&mut self, keys: std::ops::Range<u64>, value: &[u8]) {
        self.bytes.clear();
        for key in keys {
            self.bytes.extend_from_slice(&key.to_be_bytes());
            self.bytes.extend_from_slice(value);
        }
        self.file.write_all(&self.bytes).unwrap();
        if self.fsync {
            self.file.sync_data().unwrap();
        }
    }
}
