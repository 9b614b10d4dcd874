//! One file and the little that is done with it: in tests it is written down, so that the power can be cut afterwards,
//! and a sync can be made to fail.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
#[cfg(test)]
use std::{ffi::OsString, sync::Arc};

#[cfg(test)]
use super::tape::{Op, Tape};

/// An open file.
#[derive(Debug)]
pub(super) struct Raw {
    file: File,
    #[cfg(test)]
    tape: Option<(Arc<Tape>, OsString)>,
}

impl Raw {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Self {
            file,
            #[cfg(test)]
            tape: Tape::current().map(|tape| (tape, path.file_name().unwrap().to_owned())),
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
        if let Some((tape, _)) = &self.tape {
            tape.before_write()?;
        }
        self.file.write_all_at(data, offset)?;
        #[cfg(test)]
        if let Some((tape, file)) = &self.tape {
            tape.push(file, Op::Write { offset, data: data.to_vec() });
        }
        Ok(())
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        #[cfg(test)]
        if let Some((tape, file)) = &self.tape {
            tape.push(file, Op::Length(len));
        }
        Ok(())
    }

    /// Brings everything that was written to disk.
    pub(super) fn sync_data(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some((tape, file)) = &self.tape {
            return tape.sync(file);
        }
        self.file.sync_data()
    }
}
