//! Where the store in files is and how much it may hold, and why it cannot be opened.

use std::path::PathBuf;
use std::time::Duration;

/// After how long at most everything is synced with [`Fsync::Interval`].
pub(super) const SYNC_EVERY: Duration = Duration::from_millis(200);

/// When an acknowledged event is on disk. After kill -9 it is there in any case; this is about the machine going down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Before its publisher is answered. Publishers at the same time share one fsync.
    #[default]
    Always,
    /// Within `SYNC_EVERY`.
    Interval,
    /// When the operating system likes.
    Never,
}

/// Where the files are and how much they may hold.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// The directory; made if absent.
    pub dir: PathBuf,
    /// When it is synced.
    pub fsync: Fsync,
    /// Events kept. More than the log can replay are of no use.
    pub events_max: u64,
    /// Bytes of the events kept; the file is somewhat larger.
    pub bytes_max: u64,
    /// How long an event is kept; at least for as long as repeats are recognised.
    pub age_max: Duration,
    /// For how long a topic's last seq is known, for `expect`.
    pub topic_idle_max: Duration,
    /// Bytes of idempotency tokens that are remembered, overhead included.
    pub token_bytes_max: usize,
}

/// Why the files cannot be used, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DiskError(String);

impl DiskError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// What was found in the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Events that can be replayed.
    pub events: u64,
    /// Acknowledged events may be gone: clients with cursors of before get a reset.
    pub epoch_changed: bool,
    /// What was wrong with the files and what became of it, in one line; `None`: nothing was.
    pub damage: Option<String>,
}

/// A value that is kept beside the log under a name; `None`: no longer.
pub type KeptValue = (String, Option<Vec<u8>>);

/// The names of the files.
pub(super) struct Paths {
    pub(super) dir: PathBuf,
    pub(super) log: PathBuf,
    pub(super) mark: PathBuf,
    /// A log that is being made.
    pub(super) fresh: PathBuf,
    pub(super) damaged: PathBuf,
}

impl Paths {
    pub(super) fn failed(&self, what: &str, error: &dyn std::fmt::Display) -> DiskError {
        DiskError::new(format!("{}: {what}: {error}", self.dir.display()))
    }
}
