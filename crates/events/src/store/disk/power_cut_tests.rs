//! Power cuts: the files as a disk could show them afterwards, whatever it had not been told to sync, are opened again.
//!
//! `DISK_CUTS` says how often, `DISK_SEED` where.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::mark::of_another_boot;
use super::power_cut::{Chance, Op, Recording, cut};
use super::{Disk, DiskError, DiskOptions, Fsync, Recovered};
use crate::{Cursor, Data, Draft, Event, Limit, Log, Options, Reader, Rejection, Start, Store as _, Topics};

/// A directory of its own, gone with the test.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("events-cuts-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn open(&self, fsync: Fsync) -> (Arc<Log>, Arc<Disk>, Recovered) {
        self.try_open(fsync).unwrap()
    }

    pub(super) fn try_open(&self, fsync: Fsync) -> Result<(Arc<Log>, Arc<Disk>, Recovered), DiskError> {
        let log = Log::new(&Options { ring_events_max: 1 << 20, ..Options::default() });
        let (disk, recovered) = Disk::open(Arc::clone(&log), self.options(fsync))?;
        Ok((log, disk, recovered))
    }

    pub(super) fn options(&self, fsync: Fsync) -> DiskOptions {
        DiskOptions {
            dir: self.0.clone(),
            fsync,
            events_max: 1500,
            bytes_max: 1 << 30,
            age_max: Duration::from_secs(600),
            topic_idle_max: Duration::from_secs(3600),
            token_bytes_max: crate::TOKEN_BYTES_MAX,
        }
    }

    pub(super) fn files(&self) -> HashMap<OsString, Vec<u8>> {
        let of = |name: &str| (OsString::from(name), fs::read(self.0.join(name)).unwrap_or_default());
        ["log", "mark"].map(of).into()
    }

    /// The machine starts again with these.
    pub(super) fn put(&self, mut files: HashMap<OsString, Vec<u8>>) {
        files.entry("mark".into()).and_modify(|bytes| of_another_boot(bytes));
        self.put_same_boot(&files);
    }

    /// The process starts again with these.
    pub(super) fn put_same_boot(&self, files: &HashMap<OsString, Vec<u8>>) {
        for (name, bytes) in files {
            fs::write(self.0.join(name), bytes).unwrap();
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

pub(super) fn count(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

pub(super) fn draft(id: u64) -> Draft {
    let filling = "x".repeat((id * 37 % 900) as usize);
    let data = Data::from_value(&(id, filling)).unwrap();
    let once = Some(format!("token {id}").into());
    Draft { once, ..Draft::new(Topics::one("a".parse().unwrap()), "t".parse().unwrap(), data) }
}

fn id(event: &Event) -> u64 {
    serde_json::from_slice::<serde_json::Value>(event.json()).unwrap()["data"][0].as_u64().unwrap()
}

/// The ids of all events that can be read, by seq.
pub(super) fn read(log: &Arc<Log>) -> BTreeMap<u64, u64> {
    let mut reader = Reader::new(log, &["a".parse().unwrap()], None, Start::Earliest);
    let mut out = Vec::new();
    while reader.read(Limit { events: 1000, bytes: 1 << 20 }, &mut out).unwrap().more {}
    out.iter().map(|event| (event.seq().unwrap().number(), id(event))).collect()
}

/// Publishes from several tasks, some drafts in one go, until so many were answered. What was, and when.
async fn publish(
    disk: &Arc<Disk>,
    recording: &Arc<Recording>,
    first: u64,
    number: u64,
    mut fail: impl FnMut(u64),
) -> Vec<(usize, u64, Cursor)> {
    const PUBLISHERS: u64 = 3;
    let answered = Arc::new(Mutex::new(Vec::new()));
    for round in 0..number / PUBLISHERS / 2 {
        fail(round);
        let publishers = (0..PUBLISHERS).map(|publisher| {
            let (disk, recording, answered) =
                (Arc::clone(disk), Arc::clone(recording), Arc::clone(&answered));
            let first = first + (round * PUBLISHERS + publisher) * 4;
            tokio::spawn(async move {
                let ids: Vec<u64> = (first..=first + publisher).collect();
                let results = disk.append(ids.iter().map(|id| draft(*id)).collect()).await;
                let at = recording.position();
                for (id, result) in ids.into_iter().zip(results) {
                    match result {
                        Ok(appended) => answered.lock().push((at, id, appended.cursor)),
                        Err(error) => assert!(matches!(error, Rejection::Unavailable(_)), "{error}"),
                    }
                }
            })
        });
        for publisher in publishers.collect::<Vec<_>>() {
            publisher.await.unwrap();
        }
        if disk.ready().is_err() {
            // Until it is tried again.
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
    std::mem::take(&mut *answered.lock())
}

/// Somewhere, with preference right behind a sync or before it.
fn moment(ops: &[(OsString, Op)], from: usize, chance: &mut Chance) -> usize {
    let any = from + chance.below(ops.len() + 1 - from);
    if chance.below(2) == 0 {
        return any;
    }
    let is_sync = |(_, op): &(OsString, Op)| matches!(op, Op::Synced { .. } | Op::Failed { .. });
    let sync = ops[any..].iter().position(is_sync).map_or(ops.len(), |at| any + at);
    (sync + chance.below(2)).min(ops.len())
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "figures of a random run")]
async fn every_acknowledged_event_is_there_after_power_cuts() {
    let mut chance = Chance(count("DISK_SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let directory = Directory::new("always");
    // By seq: what was acknowledged or could be read, and so must be there for ever.
    let mut owed: BTreeMap<u64, u64> = BTreeMap::new();
    let mut epoch = None;
    let (mut acknowledged, mut failures) = (0, 0);
    let rounds = count("DISK_CUTS", 40);
    for round in 0..rounds {
        let before = directory.files();
        let recording = Recording::begin();
        let (log, disk, recovered) = directory.open(Fsync::Always);
        Recording::end();
        let opened = recording.position();
        assert_eq!((recovered.epoch_changed, &recovered.damage), (false, &None), "round {round}");
        assert_eq!(*epoch.get_or_insert(log.tail_cursor().epoch), log.tail_cursor().epoch, "round {round}");
        let present = read(&log);
        assert_eq!(present.len() as u64, recovered.events);
        let floor = present.keys().next().map_or(0, |first| first - 1);
        assert!(present.keys().copied().eq(floor + 1..=floor + present.len() as u64), "round {round}: a gap");
        assert!(floor == 0 || present.len() > 900, "round {round}: more was trimmed than had to be");
        for (seq, id) in owed.range(floor + 1..) {
            assert_eq!(present.get(seq), Some(id), "round {round}: {seq} was acknowledged");
        }

        let number = 6 + chance.below(60) as u64;
        // In about half of the rounds.
        let failing = chance.below(number as usize / 3) as u64;
        let failing_syncs = [1, usize::MAX][chance.below(2)];
        let fail = |at| recording.fail_syncs(if at == failing { failing_syncs } else { 0 });
        let answered = publish(&disk, &recording, round * 1_000, number, fail).await;
        recording.fail_syncs(0);
        failures += disk.status().failures;
        drop(disk);
        let ops = recording.ops();
        // The directory itself is safe once it was opened for the first time.
        let at = moment(&ops, if round == 0 { opened } else { 0 }, &mut chance);
        if at >= opened {
            owed.extend(present);
        }
        let answered = answered.into_iter().filter(|(answered, ..)| *answered <= at);
        for (_, id, cursor) in answered {
            assert_eq!(Some(cursor.epoch), epoch);
            assert!(owed.insert(cursor.seq.number(), id).is_none_or(|known| known == id));
            acknowledged += 1;
        }
        directory.put(cut(&before, &ops[..at], &mut chance));
    }
    println!("{acknowledged} acknowledged events, {failures} failures of the disk");
    // Of so few rounds that all may be cut early, nothing can be said.
    assert!(acknowledged >= 5 * rounds.saturating_sub(20) && failures >= rounds / 20);
}

/// What was published while a recording ran.
struct Recorded {
    directory: Directory,
    fsync: Fsync,
    start: Cursor,
    ops: Vec<(OsString, Op)>,
    /// Where on the recording the log was open.
    opened: usize,
    /// Where an event was acknowledged, its id and its cursor.
    answered: Vec<(usize, u64, Cursor)>,
}

impl Recorded {
    async fn new(name: &str, fsync: Fsync) -> Self {
        let directory = Directory::new(name);
        let recording = Recording::begin();
        let (log, disk, _) = directory.open(fsync);
        Recording::end();
        let (opened, start) = (recording.position(), log.tail_cursor());
        let mut answered = publish(&disk, &recording, 0, 60, |_| ()).await;
        tokio::time::sleep(super::options::SYNC_EVERY * 2).await;
        answered.extend(publish(&disk, &recording, 1_000_000, 60, |_| ()).await);
        drop(disk);
        Self { directory, fsync, start, ops: recording.ops(), opened, answered }
    }

    /// The machine starts with these files after the power went at `at`: every event that was acknowledged is there, or
    /// the epoch is another and the report says why; `spared`: but for so many at the end. Whether it is the same.
    fn check(&self, what: &str, at: usize, files: HashMap<OsString, Vec<u8>>, spared: u64) -> bool {
        self.directory.put(files);
        let (log, _disk, recovered) = self.directory.open(self.fsync);
        let present = read(&log);
        let all: BTreeMap<u64, u64> =
            self.answered.iter().map(|(_, id, cursor)| (cursor.seq.number(), *id)).collect();
        assert_eq!(present.iter().find(|(seq, id)| all.get(seq) != Some(id)), None, "{what}: a wrong event");
        assert_eq!(log.tail_cursor().epoch != self.start.epoch, recovered.epoch_changed, "{what}");
        assert!(!recovered.epoch_changed || recovered.damage.is_some(), "{what}: no report");
        let owed = || self.answered.iter().filter(|(answered, ..)| *answered <= at);
        let last = owed().map(|(_, _, cursor)| cursor.seq.number()).max().unwrap_or_default();
        let lost = owed().find(|(_, _, cursor)| {
            let seq = cursor.seq.number();
            seq + spared <= last && !present.contains_key(&seq)
        });
        assert!(lost.is_none() || recovered.epoch_changed, "{what}: {lost:?} is lost, in the same epoch");
        !recovered.epoch_changed
    }
}

#[tokio::test]
async fn without_syncs_nobody_misses_unawares() {
    for (name, fsync) in [("interval", Fsync::Interval), ("never", Fsync::Never)] {
        let recorded = Recorded::new(name, fsync).await;
        let mut chance = Chance(count("DISK_SEED", 1).wrapping_mul(0x2545_f491_4f6c_dd1d) | 1);
        for round in 0..count("DISK_CUTS", 40) {
            let at = moment(&recorded.ops, recorded.opened, &mut chance);
            let files = cut(&HashMap::new(), &recorded.ops[..at], &mut chance);
            recorded.check(&format!("{name}, round {round}"), at, files, 0);
        }
        let files = cut(&HashMap::new(), &recorded.ops, &mut chance);
        assert!(recorded.check("closed in order", recorded.ops.len(), files, 0), "nothing was lost");
    }
}

/// The mark on disk may be an old one, and then does not say how far publishers were answered. The one thing that this
/// leaves open: a commit that was damaged after it was whole looks like one that never became whole.
#[tokio::test]
async fn damage_after_a_power_cut_costs_nobody_an_event_unawares() {
    const COMMIT_EVENTS: u64 = 6;
    let recorded = Recorded::new("damage", Fsync::Always).await;
    let mut chance = Chance(count("DISK_SEED", 1).wrapping_mul(0x9e6c_63d0_876a_3f6b) | 1);
    let (mut same, rounds) = (0, count("DISK_CUTS", 40));
    for round in 0..rounds {
        let at = moment(&recorded.ops, recorded.opened, &mut chance);
        let mut files = cut(&HashMap::new(), &recorded.ops[..at], &mut chance);
        let log = files.get_mut(&OsString::from("log")).unwrap();
        let used: Vec<usize> = (0..log.len()).filter(|at| log[*at] != 0).collect();
        log[used[chance.below(used.len())]] ^= 1 << chance.below(8);
        same += u64::from(recorded.check(&format!("round {round}"), at, files, COMMIT_EVENTS));
    }
    assert!(same < rounds || rounds < 20, "no flipped bit was noticed");
}
