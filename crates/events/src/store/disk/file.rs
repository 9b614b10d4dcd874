//! The file under the engine: when it is synced is decided here, whatever the engine asks for, and what becomes of what
//! a sync failed to bring to disk.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::options::Fsync;
use super::raw_file::RawFile;

/// One open file.
#[derive(Debug)]
pub(super) struct DataFile {
    raw: RawFile,
    fsync: Fsync,
    /// Written to since the last sync.
    dirty: AtomicBool,
    /// The numbers of the blocks that were.
    blocks: Mutex<BTreeSet<u64>>,
    /// The last sync failed: what is in `blocks` may not be on disk, though every read shows it.
    failed: AtomicBool,
    /// One sync at a time: a caller that finds the file clean can rely on that.
    syncing: Mutex<()>,
}

/// What is remembered of a write is which of these it touched.
const BLOCK_BYTES: u64 = 64 << 10;

impl DataFile {
    /// Opens the file, or makes it. What an earlier process wrote counts as not yet synced.
    pub(super) fn open(path: &Path, fsync: Fsync) -> io::Result<Arc<Self>> {
        let raw = RawFile::open(path)?;
        let blocks = (0..raw.len()?.div_ceil(BLOCK_BYTES)).collect();
        Ok(Arc::new(Self {
            raw,
            fsync,
            dirty: AtomicBool::new(true),
            blocks: Mutex::new(blocks),
            failed: AtomicBool::new(false),
            syncing: Mutex::default(),
        }))
    }

    /// Brings to disk what earlier processes have written. `doubt`: a sync of theirs failed, so that all of it is written
    /// once more.
    pub(super) fn adopt(&self, doubt: bool) -> io::Result<()> {
        self.failed.store(doubt, Ordering::Release);
        self.sync().or_else(|_| self.mend())
    }

    /// Brings to disk what was written, if anything was.
    ///
    /// # Errors
    /// Once it has failed, until [`Self::mend`] succeeds.
    pub(super) fn sync(&self) -> io::Result<()> {
        let _one = self.syncing.lock();
        if self.has_failed() {
            return Err(io::Error::other("an earlier sync failed"));
        }
        self.flush()
    }

    /// Whether [`Self::mend`] has something to do.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// After a sync that failed: the system takes the pages for written, so that another sync would succeed and say
    /// nothing of them. Writes all that is in doubt once more, and syncs that.
    pub(super) fn mend(&self) -> io::Result<()> {
        let _one = self.syncing.lock();
        if !self.has_failed() {
            return Ok(());
        }
        let blocks = self.blocks.lock().clone();
        let len = self.raw.len()?;
        let mut bytes = vec![0; BLOCK_BYTES as usize];
        for block in blocks {
            let start = (block * BLOCK_BYTES).min(len);
            let bytes = &mut bytes[..BLOCK_BYTES.min(len - start) as usize];
            self.raw.read_exact_at(bytes, start)?;
            self.raw.write_all_at(bytes, start)?;
        }
        self.dirty.store(true, Ordering::Release);
        self.flush()
    }

    /// The caller has `syncing`.
    fn flush(&self) -> io::Result<()> {
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let blocks = std::mem::take(&mut *self.blocks.lock());
        let synced = self.raw.sync_data();
        if synced.is_err() {
            self.blocks.lock().extend(blocks);
            self.dirty.store(true, Ordering::Release);
        }
        self.failed.store(synced.is_err(), Ordering::Release);
        synced
    }
}

/// The engine's view of a [`DataFile`].
#[derive(Debug)]
pub(super) struct Backend(pub(super) Arc<DataFile>);

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.raw.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.raw.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let done = self.0.raw.set_len(len);
        self.0.dirty.store(true, Ordering::Release);
        done
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.0.fsync {
            Fsync::Always => self.0.sync(),
            Fsync::Interval | Fsync::Never => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let done = self.0.raw.write_all_at(data, offset);
        // Noted afterwards, so that a sync that finds the note takes care of what was written; and noted if it failed,
        // for a part of it may have been.
        let end = offset + data.len() as u64;
        self.0.blocks.lock().extend(offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES));
        self.0.dirty.store(true, Ordering::Release);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::super::power_cut::{Op, Recording};
    use super::*;
    use redb::StorageBackend as _;

    #[test]
    fn what_is_written_while_another_syncs_or_in_part_is_synced_afterwards() {
        let path = std::env::temp_dir().join(format!("events-file-{}", std::process::id()));
        let recording = Recording::begin();
        let file = DataFile::open(&path, Fsync::Interval).unwrap();
        Recording::end();
        let backend = Backend(Arc::clone(&file));
        for fails in [false, true] {
            file.sync().unwrap();
            let keeper = Arc::clone(&file);
            recording.before_next_write(move || {
                keeper.sync()?;
                if fails { Err(io::Error::other("a part of it is written")) } else { Ok(()) }
            });
            assert_eq!(backend.write(3 * BLOCK_BYTES - 1, b"xy").is_err(), fails);
            assert!(file.blocks.lock().iter().copied().eq([2, 3]), "what it touched is known");
            let position = recording.position();
            file.sync().unwrap();
            assert!(matches!(recording.ops()[position..], [(_, Op::Synced { .. })]), "failed: {fails}");
        }
        std::fs::remove_file(path).unwrap();
    }
}
