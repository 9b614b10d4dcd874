//! The store in files of one machine: what was acknowledged survives kill -9, and with it the epoch and every cursor.
//!
//! The engine is redb, a B-tree in one file. Compared with fjall (an LSM tree) by `cargo bench -p events --bench engines`:
//! commits of 1, 8, 64 and 256 entries of 350 bytes, redb 4.4.0, fjall 3.1.13, ext4, two cores that others were using
//! too. With one fsync a commit, which took about 3 ms:
//!
//! | entries a second | 1 | 8 | 64 | 256 |
//! | --- | --- | --- | --- | --- |
//! | redb | 297 | 1,940 | 18,676 | 47,521 |
//! | fjall | 347 | 2,188 | 37,386 | 67,167 |
//! | a bare file, appended to | 337 | 3,424 | 27,165 | 76,798 |
//!
//! Without:
//!
//! | entries a second | 1 | 8 | 64 | 256 |
//! | --- | --- | --- | --- | --- |
//! | redb | 21,439 | 124,794 | 613,516 | 680,298 |
//! | fjall | 314,554 | 415,356 | 799,470 | 786,326 |
//! | a bare file, appended to | 602,217 | 1,479,580 | 4,632,046 | 4,787,242 |
//!
//! fjall is the faster one. With an fsync of 3 ms it does 1.1 to 1.2 times as much as redb in commits of 1 and 8 entries,
//! 2.0 times at 64 and 1.4 times at 256; where one takes 0.1 ms, as in another run a minute before, twice as much at any
//! size (4,807 to 74,878 with redb, 10,655 to 152,832 with fjall). Without fsync a single publisher feels the B-tree most: at
//! 20,000 events a second fjall does 15 times as much, though that is already more than one connection publishes one by
//! one; at 64 and 256 it is 1.3 and 1.2 times.
//!
//! redb stays for what it lets us answer for, at a speed that is enough: it has no threads of its own, is one file whose
//! pages it checks on request, gives back the pages of what is trimmed, and writes through a backend of ours. So when it
//! syncs is decided here (its own weaker durability loses acknowledged entries at kill -9), and so is what happens when
//! there is no room or the disk does not sync.
//!
//! Measured with `examples/disk_figures.rs` (two quiet cores, 300 bytes of data, drafts published one by one and
//! acknowledged, a second; a disk whose fsync takes 0.2 ms, where another time it took 3 to 7 and `always` gave 118,
//! 14,571 and 32,346):
//!
//! | publishers | memory | always | interval | never |
//! | --- | --- | --- | --- | --- |
//! | 1 | 1,189,447 | 5,152 | 11,964 | 11,711 |
//! | 64 | 1,994,060 | 83,921 | 260,347 | 263,297 |
//! | 1,024 | 1,977,740 | 303,105 | 389,379 | 423,411 |
//!
//! A cold start with 100,000 of these events takes 0.23 s and 67 MB, 47 MB of them in the rings.
//!
//! # What may be lost
//! By kill -9 nothing. By a power cut with [`Fsync::Always`] nothing; the tests cut the power at any moment. By damage what
//! was damaged, and then the epoch changes, with one exception: damage to the very last commit, after a power cut and
//! before the next start, looks like a commit that the cut interrupted. An fsync for the mark in each commit would tell them
//! apart, at half the speed.
//!
//! # Files of the directory
//! * `lock`: held by the process that has the directory.
//! * `log`: the database. `entries`: the retained events by seq. `lasts` and `tokens`: what `expect` and repeats still
//!   need of trimmed events. `floors`: up to where readers of which topics may miss trimmed events. `kept`: what the
//!   gateway keeps beside the log, such as the members of topics, and the checkpoints of sources. `states`:
//!   what the states of topics still need of trimmed events. `meta`: the epoch and
//!   how far the log was trimmed. Every value is a frame with a check of its own.
//! * `mark`: how far publishers were answered. Without it a log that was cut would look like one that ended. And whether the
//!   log is in doubt: after a sync that failed it shows what may not be on disk and what publishers were refused. A start
//!   that finds this writes all of it once more and takes out what was refused, save values beside the log.
//! * `log.damaged`: what `log` was before the last recovery that found it damaged.

mod batch;
mod checkpoints;
mod engine;
mod file;
mod frame;
mod health;
mod kept_states;
mod mark;
mod options;
mod raw_file;
mod record;
mod recover;
mod reopen;
mod salvage;
mod state;
mod state_row;
mod time;
mod trim;
mod writer;

#[cfg(test)]
mod failed_sync_tests;
#[cfg(test)]
mod power_cut;
#[cfg(test)]
mod power_cut_tests;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use options::{DiskError, DiskOptions, Fsync, KeptValue, Recovered};

use batch::{Append, Content, Job};
use checkpoints::Checkpoints;
use health::Health;
use options::Paths;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use writer::Writer;

use super::{AppendResults, BoxFuture, Checkpoint, Lacking, SourceName, Store, StoreStatus, Unavailable};
use crate::{Cursor, Draft, Log};

/// The store in files. One thread of its own writes them, in the order in which it reports to the log.
pub struct Disk {
    log: Arc<Log>,
    /// `None` only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    health: Arc<Health>,
    kept: Mutex<Vec<(String, Vec<u8>)>>,
    checkpoints: Arc<Checkpoints>,
}

impl Disk {
    /// How many appends wait at most for the writer.
    const QUEUE_MAX: usize = 1024;

    /// How long an append waits for a place in that queue.
    const QUEUE_PATIENCE: Duration = Duration::from_secs(5);

    /// Opens the directory, replays to `log` what it holds, and starts the writer.
    ///
    /// # Errors
    /// When another process has the directory, or it cannot be read or written.
    pub fn open(log: Arc<Log>, options: DiskOptions) -> Result<(Arc<Self>, Recovered), DiskError> {
        let dir = options.dir.clone();
        let failed = |error: std::io::Error| DiskError::new(format!("{}: {error}", dir.display()));
        make(&dir).map_err(failed)?;
        let lock = lock(dir.join("lock"))?;
        let paths = Paths {
            log: dir.join("log"),
            mark: dir.join("mark"),
            fresh: dir.join("log.fresh"),
            damaged: dir.join("log.damaged"),
            dir: dir.clone(),
        };
        let mut opened = recover::open(&paths, &options, &log)?;
        let recovered = opened.recovered.clone();
        let kept = Mutex::new(std::mem::take(&mut opened.kept));
        let checkpoints = Arc::clone(&opened.state.checkpoints);
        let health = Arc::<Health>::default();
        let (jobs, queue) = mpsc::channel(Self::QUEUE_MAX);
        writer::keep(jobs.downgrade(), options.fsync, Arc::clone(&opened.file)).map_err(failed)?;
        let writer = Writer::new(Arc::clone(&log), options, opened, Arc::clone(&health), lock);
        let writer = std::thread::Builder::new()
            .name("disk-writer".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(failed)?;
        let disk = Self { log, jobs: Some(jobs), writer: Some(writer), health, kept, checkpoints };
        Ok((Arc::new(disk), recovered))
    }

    /// Appends drafts as [`Store::append`] does and keeps values beside the log, by name, `None` to forget one. After
    /// kill -9 both are there or neither. Whoever keeps bounds how much.
    ///
    /// # Errors
    /// Nothing was appended or kept.
    pub async fn append_and_keep(
        &self,
        drafts: Vec<Draft>,
        values: Vec<KeptValue>,
    ) -> Result<AppendResults, Unavailable> {
        self.commit(Content { drafts, values, ..Content::default() }).await
    }

    async fn commit(&self, content: Content) -> Result<AppendResults, Unavailable> {
        let stopped = Unavailable("the disk's writer has stopped");
        let Some(jobs) = &self.jobs else { return Err(Unavailable("the store is closed")) };
        let (answer, answered) = oneshot::channel();
        let job = Job::Append(Append { content, answer });
        match tokio::time::timeout(Self::QUEUE_PATIENCE, jobs.send(job)).await {
            Err(_) => Err(Unavailable("the disk does not keep up")),
            Ok(Err(_)) => Err(stopped),
            Ok(Ok(())) => answered.await.unwrap_or(Err(stopped)),
        }
    }

    /// What had been kept when the directory was opened. Given once.
    #[must_use]
    pub fn take_kept(&self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut *self.kept.lock())
    }
}

impl Store for Disk {
    fn append(&self, drafts: Vec<Draft>) -> BoxFuture<'_, AppendResults> {
        Box::pin(async move {
            let number = drafts.len();
            let appended = self.commit(Content { drafts, ..Content::default() }).await;
            appended.unwrap_or_else(|unavailable| vec![Err(unavailable.into()); number])
        })
    }

    fn append_and_checkpoint(
        &self,
        drafts: Vec<Draft>,
        checkpoint: Checkpoint,
    ) -> BoxFuture<'_, Result<AppendResults, Unavailable>> {
        Box::pin(self.commit(Content { drafts, checkpoint: Some(checkpoint), ..Content::default() }))
    }

    fn checkpoint(&self, source: &SourceName) -> BoxFuture<'_, Result<Option<Box<[u8]>>, Unavailable>> {
        Box::pin(std::future::ready(Ok(self.checkpoints.position(source))))
    }

    fn tell_lacking(&self, lacking: Lacking) -> BoxFuture<'_, Result<(), Unavailable>> {
        Box::pin(async move {
            self.commit(Content { lacking: Some(lacking), ..Content::default() }).await.map(drop)
        })
    }

    fn tail(&self) -> BoxFuture<'_, Result<Cursor, Unavailable>> {
        Box::pin(std::future::ready(Ok(self.log.tail_cursor())))
    }

    fn ready(&self) -> Result<(), Unavailable> {
        self.health.refusal().map_or(Ok(()), Err)
    }

    fn status(&self) -> StoreStatus {
        self.health.status()
    }
}

impl Drop for Disk {
    /// Waits until what was queued is written.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Makes the directory, so that it is there after a power cut too.
fn make(dir: &Path) -> std::io::Result<()> {
    let made: Vec<_> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    fs::create_dir_all(dir)?;
    for parent in made.into_iter().filter_map(Path::parent) {
        let is_here = parent.as_os_str().is_empty();
        recover::sync_dir(if is_here { Path::new(".") } else { parent })?;
    }
    Ok(())
}

/// Takes the directory for this process. Waits a moment for one that is just leaving.
fn lock(path: PathBuf) -> Result<File, DiskError> {
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(25);
    let failed = |error: std::io::Error| DiskError::new(format!("{}: {error}", path.display()));
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Err(DiskError::new(format!("{}: another process has this directory", path.display())))
}
