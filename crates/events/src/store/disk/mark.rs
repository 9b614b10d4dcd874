//! How far publishers were answered, in a file of its own. A log file that ends earlier has lost something; without
//! this, a cut would look like a log that simply ended there.

use std::io;
use std::path::Path;

use super::frame::check_of;
use super::options::Fsync;
use super::raw_file::RawFile;
use crate::{Cursor, Epoch, Seq};

const MAGIC: [u8; 8] = *b"TLmark1\n";
const BYTES: usize = 49;

/// Beside [`Synced`]: not everything that the log shows may be on disk, nor will another sync bring it there.
const DOUBT: u8 = 0x10;
/// Beside [`Synced`]: nobody is acknowledged what is above the tail.
const REFUSED: u8 = 0x20;
const FLAGS: u8 = DOUBT | REFUSED;

/// The file `mark`. Written in place after every commit and before its answers; one small write of the page cache is
/// whole or absent after kill -9, and the log is never older than what it says, because it is written first.
#[derive(Debug)]
pub(super) struct Mark {
    file: RawFile,
    boot: Option<Boot>,
}

/// Which start of the operating system it is.
type Boot = [u8; 16];

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
        /// Whether the log must be written once more before it is trusted.
        doubt: bool,
        /// Whether what the log has beyond it was refused.
        refused: bool,
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
        let mark = Self { file: RawFile::open(path)?, boot: boot_id() };
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
        let synced = bytes[8] & !FLAGS;
        let same_boot = self.boot.is_some_and(|boot| bytes[9..25] == boot);
        match Seq::new(number(33)).filter(|_| whole) {
            None => Marked::Damaged,
            Some(seq) => Marked::Here {
                tail: Cursor { epoch: Epoch::new(number(25)), seq },
                safe: synced != Synced::Nothing as u8 || same_boot,
                exact: synced == Synced::All as u8 || same_boot,
                doubt: bytes[8] & DOUBT != 0,
                // One that the disk kept may be older than later answers.
                refused: bytes[8] & REFUSED != 0 && same_boot,
            },
        }
    }

    /// Publishers are answered up to `tail`.
    pub(super) fn set(&self, tail: Cursor, synced: Synced) -> io::Result<()> {
        self.write(tail, synced as u8)
    }

    /// Publishers are answered up to `tail`, and refused until this is set again: the log is in doubt.
    pub(super) fn refuse(&self, tail: Cursor, synced: Synced) -> io::Result<()> {
        self.write(tail, synced as u8 | FLAGS)
    }

    /// The log is in doubt; the rest stays as it was found.
    pub(super) fn doubt(&self) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        self.file.read_exact_at(&mut bytes, 0)?;
        if bytes[BYTES - 8..] == check_of(&bytes[..BYTES - 8]) {
            bytes[8] |= DOUBT;
            self.seal(bytes)?;
        }
        Ok(())
    }

    fn write(&self, tail: Cursor, state: u8) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = state;
        bytes[9..25].copy_from_slice(&self.boot.unwrap_or_default());
        bytes[25..33].copy_from_slice(&tail.epoch.number().to_le_bytes());
        bytes[33..41].copy_from_slice(&tail.seq.number().to_le_bytes());
        self.seal(bytes)
    }

    fn seal(&self, mut bytes: [u8; BYTES]) -> io::Result<()> {
        let check = check_of(&bytes[..BYTES - 8]);
        bytes[BYTES - 8..].copy_from_slice(&check);
        self.file.write_all_at(&bytes, 0)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Which start of the operating system this is: what was not synced before another one may be gone. `None`: nobody can
/// say, and it is none that was before.
fn boot_id() -> Option<Boot> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let mut digits = text.chars().filter_map(|digit| digit.to_digit(16));
    let mut id = Boot::default();
    for byte in &mut id {
        *byte = (digits.next()? << 4 | digits.next()?) as u8;
    }
    (id != Boot::default()).then_some(id)
}

/// Makes the bytes of a mark those of an earlier start of the operating system, and of yet another if they are already.
#[cfg(test)]
pub(super) fn of_another_boot(bytes: &mut [u8]) {
    if bytes.len() == BYTES && bytes[BYTES - 8..] == check_of(&bytes[..BYTES - 8]) {
        let boot = u64::from_le_bytes(bytes[9..17].try_into().unwrap());
        bytes[9..17].copy_from_slice(&boot.wrapping_add(1).to_le_bytes());
        let check = check_of(&bytes[..BYTES - 8]);
        bytes[BYTES - 8..].copy_from_slice(&check);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_what_was_set_and_less_after_another_boot() {
        let path = std::env::temp_dir().join(format!("events-mark-{}", std::process::id()));
        let tail = Cursor { epoch: Epoch::new(7), seq: Seq::new(9).unwrap() };
        let here = |safe, exact, doubt, refused| Marked::Here { tail, safe, exact, doubt, refused };
        let boots = [Some([1; 16]), Some([2; 16]), None];
        for (of, at) in boots.into_iter().flat_map(|of| boots.map(|at| (of, at))) {
            let same = of.is_some() && of == at;
            let write = Mark { file: RawFile::open(&path).unwrap(), boot: of };
            let read = || Mark { file: RawFile::open(&path).unwrap(), boot: at }.read();
            write.set(tail, Synced::Nothing).unwrap();
            assert_eq!(read(), here(same, same, false, false), "{of:?} {at:?}");
            write.set(tail, Synced::Log).unwrap();
            assert_eq!(read(), here(true, same, false, false), "{of:?} {at:?}");
            // Who comes later does not make it a mark of this boot.
            Mark { file: RawFile::open(&path).unwrap(), boot: at }.doubt().unwrap();
            assert_eq!(read(), here(true, same, true, false), "{of:?} {at:?}");
            write.refuse(tail, Synced::Nothing).unwrap();
            assert_eq!(read(), here(same, same, true, same), "{of:?} {at:?}");
            write.set(tail, Synced::All).unwrap();
            assert_eq!(read(), here(true, true, false, false), "{of:?} {at:?}");
        }
        std::fs::remove_file(path).unwrap();
    }
}
