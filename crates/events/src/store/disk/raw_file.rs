//! One file and the little that is done with it: in tests it is written down, so that the power can be cut afterwards,
//! and a sync can be made to fail.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
#[cfg(test)]
use std::{ffi::OsString, sync::Arc};

#[cfg(test)]
use super::power_cut::{Op, Recording};

/// An open file.
#[derive(Debug)]
pub(super) struct RawFile {
    file: File,
    #[cfg(test)]
    recording: Option<(Arc<Recording>, OsString)>,
}

impl RawFile {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Self {
            file,
            #[cfg(test)]
            recording: Recording::current()
                .map(|recording| (recording, path.file_name().unwrap().to_owned())),
        })
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Reads up to the end of the buffer or of the file.
    pub(super) fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(out, offset)
    }

    pub(super) fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    pub(super) fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Some((recording, _)) = &self.recording {
            recording.before_write()?;
        }
        self.file.write_all_at(data, offset)?;
        #[cfg(test)]
        if let Some((recording, file)) = &self.recording {
            recording.push(file, Op::Write { offset, data: data.to_vec() });
        }
        Ok(())
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        #[cfg(test)]
        if let Some((recording, file)) = &self.recording {
            recording.push(file, Op::Length(len));
        }
        Ok(())
    }

    /// Brings everything that was written to disk.
    pub(super) fn sync_data(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some((recording, file)) = &self.recording {
            return recording.sync(file);
        }
        self.file.sync_data()
    }
}
