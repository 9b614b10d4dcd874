//! The file under the engine: when it is synced is decided here, whatever the engine asks for.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Fsync;

/// One open file.
#[derive(Debug)]
pub(super) struct DataFile {
    file: File,
    fsync: Fsync,
    /// Written to since the last sync.
    dirty: AtomicBool,
}

impl DataFile {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path, fsync: Fsync) -> io::Result<Arc<Self>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Arc::new(Self { file, fsync, dirty: AtomicBool::new(true) }))
    }

    /// Brings to disk what was written, if anything was.
    pub(super) fn sync(&self) -> io::Result<()> {
        if self.dirty.swap(false, Ordering::AcqRel) {
            self.file.sync_data().inspect_err(|_| self.dirty.store(true, Ordering::Release))?;
        }
        Ok(())
    }
}

/// The engine's view of a [`DataFile`].
#[derive(Debug)]
pub(super) struct Backend(pub(super) Arc<DataFile>);

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.dirty.store(true, Ordering::Release);
        self.0.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.0.fsync {
            Fsync::Always => self.0.sync(),
            Fsync::Interval | Fsync::Never => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.dirty.store(true, Ordering::Release);
        self.0.file.write_all_at(data, offset)
    }
}
