//! How far publishers were answered, in a file of its own. A log file that ends earlier has lost something; without
//! this, a cut would look like a log that simply ended there.

use std::io;
use std::path::Path;

use super::Fsync;
use super::frame::check_of;
use super::raw::Raw;
use crate::{Cursor, Epoch, Seq};

const MAGIC: [u8; 8] = *b"TLmark1\n";
const BYTES: usize = 49;

/// The file `mark`. Written in place after every commit and before its answers; one small write of the page cache is
/// whole or absent after kill -9, and the log is never older than what it says, because it is written first.
#[derive(Debug)]
pub(super) struct Mark {
    file: Raw,
    boot: [u8; 16],
}

/// What the file said when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marked {
    /// There was none.
    Absent,
    /// It is not whole.
    Damaged,
    /// Publishers were answered up to `tail`.
    Here {
        tail: Cursor,
        /// Whether everything up to there was on disk even if the machine went down.
        safe: bool,
        /// Whether nobody was answered beyond it: what was written here last may be gone with the machine.
        exact: bool,
    },
}

/// What is on disk whatever happens to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synced {
    Nothing = 0,
    /// The log; of the mark, one of before may be there.
    Log = 1,
    /// The log, and the mark once it is synced too: nothing will be written any more.
    All = 2,
}

impl Synced {
    /// What is on disk when a publisher is answered.
    pub(super) fn before_answers(fsync: Fsync) -> Self {
        if fsync == Fsync::Always { Self::Log } else { Self::Nothing }
    }
}

impl Mark {
    pub(super) fn open(path: &Path) -> io::Result<(Self, Marked)> {
        let existed = path.exists();
        let mark = Self { file: Raw::open(path)?, boot: boot_id() };
        let marked = if existed { mark.read() } else { Marked::Absent };
        // What lies behind it would be damage at every start.
        if mark.file.len()? > BYTES as u64 {
            mark.file.set_len(BYTES as u64)?;
        }
        Ok((mark, marked))
    }

    fn read(&self) -> Marked {
        let mut bytes = [0; BYTES + 1];
        let whole = matches!(self.file.read_at(&mut bytes, 0), Ok(BYTES))
            && bytes.starts_with(&MAGIC)
            && bytes[BYTES - 8..BYTES] == check_of(&bytes[..BYTES - 8]);
        let number = |at: usize| {
            let bytes = bytes[at..at + 8].try_into();
            bytes.map_or(u64::MAX, u64::from_le_bytes)
        };
        match Seq::new(number(33)).filter(|_| whole) {
            None => Marked::Damaged,
            Some(seq) => Marked::Here {
                tail: Cursor { epoch: Epoch::new(number(25)), seq },
                safe: bytes[8] != Synced::Nothing as u8 || bytes[9..25] == self.boot,
                exact: bytes[8] == Synced::All as u8 || bytes[9..25] == self.boot,
            },
        }
    }

    /// Publishers are answered up to `tail`.
    pub(super) fn set(&self, tail: Cursor, synced: Synced) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = synced as u8;
        bytes[9..25].copy_from_slice(&self.boot);
        bytes[25..33].copy_from_slice(&tail.epoch.number().to_le_bytes());
        bytes[33..41].copy_from_slice(&tail.seq.number().to_le_bytes());
        let check = check_of(&bytes[..41]);
        bytes[41..].copy_from_slice(&check);
        self.file.write_all_at(&bytes, 0)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Which start of the operating system this is: what was not synced before another one may be gone.
fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits = text.chars().filter_map(|digit| digit.to_digit(16));
    let mut id = [0; 16];
    for (at, digit) in digits.take(32).enumerate() {
        id[at / 2] = id[at / 2] << 4 | digit as u8;
    }
    id
}

/// Makes the bytes of a mark those of an earlier start of the operating system.
#[cfg(test)]
pub(super) fn of_another_boot(bytes: &mut [u8]) {
    if bytes.len() == BYTES && bytes[BYTES - 8..] == check_of(&bytes[..BYTES - 8]) {
        bytes[9] ^= 0xff;
        let check = check_of(&bytes[..BYTES - 8]);
        bytes[BYTES - 8..].copy_from_slice(&check);
    }
}
