//! Syncs that fail: who was acknowledged keeps what he has, who was refused has nothing, whoever is killed meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::time::{Duration, Instant};

use super::power_cut::{Chance, Op, Recording, cut};
use super::power_cut_tests::{Directory, count, draft, read};
use super::{Disk, Fsync, KeptValue};
use crate::{Checkpoint, Draft, Seq, SourceName, Store as _, StoreStatus, Unavailable};

const REFUSAL: Unavailable = Unavailable("the disk cannot be synced");

/// Until it does so, or for 5 s.
async fn wait(what: &str, mut does: impl FnMut() -> bool) {
    for _ in 0..250 {
        if does() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}");
}

async fn ready(disk: &Disk, ready: bool) {
    wait(&format!("ready is not {ready}"), || disk.ready().is_ok() == ready).await;
}

/// Waits until all that was written to the log is on disk.
async fn synced(recording: &Recording) {
    let is_synced = || {
        let (mut written, mut covered) = (0, 0);
        for (at, (name, op)) in recording.ops().into_iter().enumerate() {
            match op {
                _ if name != "log" => {}
                Op::Write { .. } | Op::Length(_) => written = at,
                Op::Synced { upto } => covered = upto,
                Op::Failed { .. } => {}
            }
        }
        covered > written
    };
    wait("nobody syncs", is_synced).await;
}

/// By seq, the ids.
fn ids(ids: impl IntoIterator<Item = u64>) -> BTreeMap<u64, u64> {
    (1..).zip(ids).collect()
}

/// Publishers are told, operators too, and it goes on where it was once the disk answers again.
#[tokio::test]
async fn a_disk_that_cannot_sync_is_not_ready() {
    for (name, fsync) in [("sync always", Fsync::Always), ("sync interval", Fsync::Interval)] {
        let directory = Directory::new(name);
        let recording = Recording::begin();
        let (log, disk, _) = directory.open(fsync);
        Recording::end();
        let first = disk.append(vec![draft(1)]).await[0].unwrap();
        assert_eq!((disk.ready(), disk.status()), (Ok(()), StoreStatus::default()));
        synced(&recording).await;
        recording.fail_syncs(usize::MAX);
        let second = disk.append(vec![draft(2)]).await.remove(0);
        match fsync {
            Fsync::Always => assert_eq!(second, Err(REFUSAL.into())),
            _ => assert!(second.is_ok(), "acknowledged before it is synced"),
        }
        ready(&disk, false).await;
        assert_eq!(disk.ready(), Err(REFUSAL));
        assert_eq!(disk.append(vec![draft(3)]).await, [Err(REFUSAL.into())]);
        let status = disk.status();
        assert_eq!(status.error.as_deref(), Some("sync: the disk does not answer"), "{name}");
        assert!(status.failures > 0 && status.warning.is_some(), "{name}: {status:?}");
        assert_eq!(read(&log), ids(1..=1 + u64::from(second.is_ok())), "{name}: readers go on");

        recording.fail_syncs(0);
        ready(&disk, true).await;
        let status = disk.status();
        assert!(status.error.is_none() && status.failures > 0, "{name}: {status:?}");
        // What was acknowledged is known, what was refused is not.
        let repeated = disk.append(vec![draft(2)]).await[0].unwrap();
        assert_eq!((repeated.duplicate, repeated.seq), (second.is_ok(), first.seq.map(Seq::next)), "{name}");
        assert_eq!(read(&log), ids([1, 2]));
        synced(&recording).await;
        let files = cut(&HashMap::new(), &recording.ops(), &mut Chance(1));
        drop((log, disk));
        directory.put(files);
        let (log, _disk, recovered) = directory.open(fsync);
        assert_eq!(recovered.epoch_changed, fsync == Fsync::Interval);
        assert_eq!(read(&log), ids([1, 2]), "{name}");
    }
}

fn value(name: &str, value: &str) -> KeptValue {
    (name.to_owned(), Some(value.as_bytes().to_vec()))
}

/// Neither later in the same process nor in one that starts after it was killed.
#[tokio::test]
async fn what_was_refused_is_never_there() {
    // The publisher has no id, so that a retry would be a second event.
    let plain = |id| Draft { once: None, ..draft(id) };
    let ephemeral = |id| Draft { ephemeral: true, ..draft(id) };
    for killed in [false, true] {
        let directory = Directory::new(&format!("refused {killed}"));
        let recording = Recording::begin();
        let (mut log, mut disk, _) = directory.open(Fsync::Always);
        Recording::end();
        let cursor = log.tail_cursor();
        disk.append_and_keep(vec![plain(1)], vec![value("a", "old")]).await.unwrap()[0].unwrap();
        recording.fail_syncs(usize::MAX);
        let values = vec![value("a", "new"), value("b", "new"), value("a", "newer")];
        let refused = disk.append_and_keep(vec![plain(2), plain(3), ephemeral(9)], values).await;
        assert_eq!(refused, Err(REFUSAL));
        if killed {
            let files = directory.files();
            drop((log, disk));
            directory.put_same_boot(&files);
            let recovered;
            (log, disk, recovered) = directory.open(Fsync::Always);
            assert_eq!((recovered.epoch_changed, recovered.damage), (false, None));
        } else {
            recording.fail_syncs(0);
            ready(&disk, true).await;
            // It is there at once, and was acknowledged as such.
            recording.fail_syncs(1);
        }
        assert_eq!((log.tail_cursor().epoch, read(&log)), (cursor.epoch, ids([1])), "killed: {killed}");
        let again = disk.append(vec![plain(2), ephemeral(9)]).await;
        assert!(again.iter().all(|again| again.is_ok_and(|again| !again.duplicate)), "{again:?}");
        if !killed {
            // Of a commit without events, too, it is known whether it is there.
            recording.fail_syncs(1);
            assert_eq!(disk.append_and_keep(Vec::new(), vec![value("c", "kept")]).await, Ok(Vec::new()));
            recording.fail_syncs(usize::MAX);
            let refused = disk.append_and_keep(vec![ephemeral(8)], vec![value("c", "new")]).await;
            assert_eq!(refused, Err(REFUSAL));
            recording.fail_syncs(0);
            ready(&disk, true).await;
        }
        drop((log, disk));
        let (log, disk, recovered) = directory.open(Fsync::Always);
        assert_eq!((recovered.epoch_changed, recovered.damage), (false, None));
        assert_eq!(read(&log), ids([1, 2]), "killed: {killed}");
        let again = disk.append(vec![ephemeral(9), ephemeral(8)]).await;
        assert_eq!([0, 1].map(|at| again[at].unwrap().duplicate), [true, false], "killed: {killed}");
        if !killed {
            let kept: HashMap<_, _> = disk.take_kept().into_iter().collect();
            assert_eq!(kept, [("a", "old"), ("c", "kept")].map(|(n, v)| (n.to_owned(), v.into())).into());
        }
    }
}

/// The events of a refused commit are taken out, by this process or by the next, and its checkpoint with them: a source
/// that goes on from its checkpoint hands them in again.
#[tokio::test]
async fn a_refused_checkpoint_goes_with_its_events() {
    let source: SourceName = "outbox".parse().unwrap();
    let at = |position: &str| Checkpoint::new(source.clone(), position.as_bytes()).unwrap();
    let plain = |id| vec![Draft { once: None, ..draft(id) }];
    for (killed, has_one) in [(false, false), (false, true), (true, false), (true, true)] {
        let what = format!("checkpoint {killed} {has_one}");
        let directory = Directory::new(&what);
        let recording = Recording::begin();
        let (mut log, mut disk, _) = directory.open(Fsync::Always);
        Recording::end();
        if has_one {
            disk.append_and_checkpoint(plain(1), at("old")).await.unwrap()[0].unwrap();
        }
        let before = has_one.then(|| Box::from(&b"old"[..]));
        recording.fail_syncs(usize::MAX);
        assert_eq!(disk.append_and_checkpoint(plain(2), at("new")).await, Err(REFUSAL), "{what}");
        assert_eq!(disk.checkpoint(&source).await, Ok(before.clone()), "{what}");
        if killed {
            let files = directory.files();
            drop((log, disk));
            directory.put_same_boot(&files);
            (log, disk, _) = directory.open(Fsync::Always);
        } else {
            recording.fail_syncs(0);
            ready(&disk, true).await;
        }
        let had = u64::from(has_one);
        assert_eq!((read(&log), disk.checkpoint(&source).await), (ids(1..=had), Ok(before)), "{what}");
        disk.append_and_checkpoint(plain(had + 1), at("new")).await.unwrap()[0].unwrap();
        drop((log, disk));
        let (log, disk, _) = directory.open(Fsync::Always);
        let position = disk.checkpoint(&source).await;
        assert_eq!((read(&log), position), (ids(1..=had + 1), Ok(Some(Box::from(&b"new"[..])))), "{what}");
    }
}

/// What a sync failed to bring to disk looks like the rest to the next process, whose syncs succeed.
#[tokio::test]
async fn a_failed_sync_is_not_forgotten_with_its_process() {
    // When syncs fail: before the process is killed; at the start after that, so many.
    for (fsync, before, at_start) in [
        (Fsync::Always, true, 0),
        (Fsync::Interval, true, 0),
        (Fsync::Interval, true, usize::MAX),
        (Fsync::Never, false, 1),
        (Fsync::Never, false, usize::MAX),
    ] {
        let what = format!("{fsync:?} {before} {at_start}");
        let directory = Directory::new(&what);
        let recording = Recording::begin();
        let (_, disk, _) = directory.open(fsync);
        Recording::end();
        disk.append((0..50).map(draft).collect()).await[0].unwrap();
        if before {
            synced(&recording).await;
            recording.fail_syncs(usize::MAX);
        }
        let accepted = disk.append((50..150).map(draft).collect()).await[0].is_ok();
        assert_eq!(accepted, fsync != Fsync::Always);
        if before {
            ready(&disk, false).await;
        }
        let (ops, files) = (recording.ops(), directory.files());
        drop(disk);
        directory.put_same_boot(&files);

        let recording = Recording::after(ops);
        recording.fail_syncs(at_start);
        if at_start == usize::MAX {
            let error = directory.try_open(fsync).err().unwrap().to_string();
            assert!(error.ends_with("cannot open the log: the disk does not answer"), "{error}");
            recording.fail_syncs(0);
        }
        let (log, disk, recovered) = directory.open(fsync);
        Recording::end();
        assert_eq!((recovered.epoch_changed, recovered.damage), (false, None), "{what}");
        let expected = ids((0..if accepted { 150 } else { 50 }).chain(200..203));
        disk.append((200..203).map(draft).collect()).await[0].unwrap();
        assert_eq!(read(&log), expected, "{what}");
        drop((log, disk));

        let mut chance = Chance(count("DISK_SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for round in 0..count("DISK_CUTS", 40).min(10) {
            directory.put(cut(&HashMap::new(), &recording.ops(), &mut chance));
            let (log, _disk, recovered) = directory.open(fsync);
            assert_eq!((recovered.epoch_changed, recovered.damage), (false, None), "{what}, round {round}");
            assert_eq!(read(&log), expected, "{what}, round {round}");
        }
    }
}

/// It may be much that is written once more each time.
#[tokio::test]
async fn what_cannot_be_mended_is_not_tried_at_once_again() {
    const PAUSE: Duration = Duration::from_millis(50);
    let directory = Directory::new("pause");
    let recording = Recording::begin();
    let (_, disk, _) = directory.open(Fsync::Always);
    Recording::end();
    recording.fail_syncs(usize::MAX);
    assert_eq!(disk.append(vec![draft(0)]).await, [Err(REFUSAL.into())]);
    let (position, began) = (recording.position(), Instant::now());
    for id in 1..200 {
        assert_eq!(disk.append(vec![draft(id)]).await, [Err(REFUSAL.into())]);
    }
    let failed = |(_, op): &(OsString, Op)| matches!(op, Op::Failed { .. });
    let tries = recording.ops()[position..].iter().filter(|op| failed(op)).count();
    assert!(tries as u128 <= 1 + began.elapsed().as_millis() / PAUSE.as_millis(), "{tries} tries");
}
