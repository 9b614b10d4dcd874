//! What was done with the files, written down, and what a disk could show of it had the power been cut.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Recording>>> = const { RefCell::new(None) };
}

/// One thing that was done with a file.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Write {
        offset: u64,
        data: Vec<u8>,
    },
    Length(u64),
    /// What was done before `upto` is on disk.
    Synced {
        upto: usize,
    },
    /// A sync failed: no later one takes care of what was written before `upto`.
    Failed {
        upto: usize,
    },
}

type Meanwhile = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// What was done, in its order, and to which file.
#[derive(Default)]
pub(super) struct Recording {
    ops: Mutex<Vec<(OsString, Op)>>,
    /// So many syncs fail.
    fails: AtomicUsize,
    meanwhile: Mutex<Option<Meanwhile>>,
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Recording")
    }
}

impl Recording {
    /// A recording for all files that this thread opens from now on.
    pub(super) fn begin() -> Arc<Self> {
        Self::after(Vec::new())
    }

    /// The recording of another process, on the same machine, after one that has done this.
    pub(super) fn after(ops: Vec<(OsString, Op)>) -> Arc<Self> {
        let recording = Arc::new(Self { ops: Mutex::new(ops), ..Self::default() });
        CURRENT.set(Some(Arc::clone(&recording)));
        recording
    }

    pub(super) fn end() {
        CURRENT.set(None);
    }

    pub(super) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    pub(super) fn push(&self, file: &OsStr, op: Op) {
        self.ops.lock().push((file.to_owned(), op));
    }

    /// Where the recording is now.
    pub(super) fn position(&self) -> usize {
        self.ops.lock().len()
    }

    /// So many syncs fail from now on.
    pub(super) fn fail_syncs(&self, number: usize) {
        self.fails.store(number, Ordering::Release);
    }

    /// What happens right before the next write, and whether that fails.
    pub(super) fn before_next_write(&self, run: impl FnOnce() -> io::Result<()> + Send + 'static) {
        *self.meanwhile.lock() = Some(Box::new(run));
    }

    pub(super) fn before_write(&self) -> io::Result<()> {
        let meanwhile = self.meanwhile.lock().take();
        meanwhile.map_or(Ok(()), |run| run())
    }

    /// Nothing is synced really: the recording decides what was.
    pub(super) fn sync(&self, file: &OsStr) -> io::Result<()> {
        let upto = self.position();
        let fewer = |number: usize| number.checked_sub(1);
        if self.fails.fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer).is_ok() {
            self.push(file, Op::Failed { upto });
            return Err(io::Error::other("the disk does not answer"));
        }
        self.push(file, Op::Synced { upto });
        Ok(())
    }

    pub(super) fn ops(&self) -> Vec<(OsString, Op)> {
        self.ops.lock().clone()
    }
}

const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// Chance that can be repeated.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }
}

/// The files as a disk could show them that had these before, when the power goes after all of `ops`: what was synced is
/// there, and of every other page any of the versions that it has had since, or the sectors of two of them.
pub(super) fn cut(
    before: &HashMap<OsString, Vec<u8>>,
    ops: &[(OsString, Op)],
    chance: &mut Chance,
) -> HashMap<OsString, Vec<u8>> {
    let mut after = before.clone();
    for (name, _) in ops {
        after.entry(name.clone()).or_default();
    }
    // Some cuts come when hardly anything or nearly everything had found its way.
    let bias = chance.below(4);
    for (name, bytes) in &mut after {
        let ops = ops.iter().enumerate().filter(|(_, (of, _))| of == name).map(|(at, (_, op))| (at, op));
        File::of(std::mem::take(bytes), ops).show(bias, chance, bytes);
    }
    after
}

/// The versions of a file's pages.
struct File {
    /// What programs see.
    cache: Vec<u8>,
    disk: Vec<u8>,
    /// Of each page, when it was written and what it was then; the first may be what a sync took care of.
    versions: BTreeMap<usize, Vec<(usize, Vec<u8>)>>,
    lengths: Vec<usize>,
    /// Writes before this have no sync to hope for.
    given_up: usize,
}

impl File {
    fn of<'a>(disk: Vec<u8>, ops: impl Iterator<Item = (usize, &'a Op)>) -> Self {
        let (cache, lengths) = (disk.clone(), vec![disk.len()]);
        let mut file = Self { cache, disk, versions: BTreeMap::new(), lengths, given_up: 0 };
        for (at, op) in ops {
            match op {
                Op::Write { offset, data } => file.write(at, *offset as usize, data),
                Op::Length(len) => {
                    let len = *len as usize;
                    let from = file.cache.len().min(len);
                    let old = file.cache.len();
                    file.cache.resize(len, 0);
                    file.lengths.push(len);
                    // What was cut off is zero should it come back.
                    let pages = (from / PAGE..old.div_ceil(PAGE)).collect::<Vec<_>>();
                    pages.into_iter().for_each(|page| file.note(at, page));
                }
                Op::Synced { upto } => file.sync(*upto),
                Op::Failed { upto } => file.given_up = *upto,
            }
        }
        file
    }

    fn write(&mut self, at: usize, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if end > self.cache.len() {
            self.cache.resize(end, 0);
            self.lengths.push(end);
        }
        self.cache[offset..end].copy_from_slice(data);
        for page in offset / PAGE..end.div_ceil(PAGE) {
            self.note(at, page);
        }
    }

    fn note(&mut self, at: usize, page: usize) {
        let mut version = vec![0; PAGE];
        let start = (page * PAGE).min(self.cache.len());
        let end = (start + PAGE).min(self.cache.len());
        version[..end - start].copy_from_slice(&self.cache[start..end]);
        self.versions.entry(page).or_default().push((at, version));
    }

    /// The latest versions before `upto` are on disk, but for those that a sync has failed with.
    fn sync(&mut self, upto: usize) {
        let given_up = self.given_up;
        for (page, versions) in &mut self.versions {
            let is_synced = |(at, _): &(usize, Vec<u8>)| (given_up..upto).contains(at);
            if let Some(last) = versions.iter().rposition(is_synced) {
                let (_, version) = versions.drain(..=last).next_back().unwrap();
                let end = (page + 1) * PAGE;
                if self.disk.len() < end {
                    self.disk.resize(end, 0);
                }
                self.disk[end - PAGE..end].copy_from_slice(&version);
            }
        }
        self.versions.retain(|_, versions| !versions.is_empty());
        self.lengths = vec![self.cache.len()];
    }

    fn show(mut self, bias: usize, chance: &mut Chance, out: &mut Vec<u8>) {
        for (page, versions) in &self.versions {
            let mut choose = || match bias {
                0 => chance.below(2) * chance.below(versions.len() + 1),
                1 => versions.len() - chance.below(2) * chance.below(versions.len() + 1),
                _ => chance.below(versions.len() + 1),
            };
            let (first, mut second) = (choose(), choose());
            if chance.below(4) > 0 {
                second = first;
            }
            let torn = chance.below(PAGE / SECTOR) * SECTOR;
            let end = (page + 1) * PAGE;
            if self.disk.len() < end {
                self.disk.resize(end, 0);
            }
            // 0: what is there.
            for (chosen, part) in [(first, 0..torn), (second, torn..PAGE)] {
                if let Some((_, version)) = chosen.checked_sub(1).map(|at| &versions[at]) {
                    self.disk[end - PAGE + part.start..end - PAGE + part.end].copy_from_slice(&version[part]);
                }
            }
        }
        self.disk.resize(self.lengths[chance.below(self.lengths.len())], 0);
        *out = self.disk;
    }
}
