//! Values beside the log: there after a restart, with the events of the same append or without them.

use std::collections::BTreeMap;

use std::sync::Arc;

use events::{Checkpoint, Disk, Fsync, Log, Options, Recovered, SourceName, Start, Store as _};

use super::suite::draft;
use super::{Directory, options, read_all};

fn values(values: &[(&str, Option<&str>)]) -> Vec<events::KeptValue> {
    let owned = |value: &str| value.as_bytes().to_vec();
    values.iter().map(|(name, value)| ((*name).to_owned(), value.map(owned))).collect()
}

fn reopen(directory: &Directory) -> (Arc<Log>, Arc<Disk>, Recovered) {
    let log = Log::new(&Options::default());
    let (store, recovered) = Disk::open(Arc::clone(&log), options(&directory.0, Fsync::Always)).unwrap();
    (log, store, recovered)
}

#[tokio::test]
async fn values_are_there_after_a_restart() {
    let directory = Directory::new();
    for round in 0..3 {
        let (_, store, recovered) = reopen(&directory);
        assert_eq!((recovered.events, recovered.epoch_changed), (round, false));
        let kept: BTreeMap<String, Vec<u8>> = store.take_kept().into_iter().collect();
        let expected: &[(&str, &[u8])] = match round {
            0 => &[],
            1 => &[("a", b"1"), ("b", b"2"), ("c", b"")],
            _ => &[("a", b"3"), ("c", b"")],
        };
        let expected = expected.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        assert_eq!(kept, expected.collect::<BTreeMap<_, _>>());
        assert!(store.take_kept().is_empty(), "given once");
        let changes = match round {
            0 => values(&[("b", Some("2")), ("a", Some("1")), ("c", Some(""))]),
            _ => values(&[("b", None), ("a", Some("3")), ("never", None)]),
        };
        let answers = store.append_and_keep(vec![draft(&["t"], round)], changes).await.unwrap();
        assert_eq!(answers[0].unwrap().seq.map(events::Seq::number), Some(round + 1));
    }
    let (log, store, _) = reopen(&directory);
    assert_eq!(read_all(&log, &["t"], Start::Earliest).unwrap().0.len(), 3);
    // Without a draft there is a commit too.
    assert_eq!(store.append_and_keep(Vec::new(), values(&[("a", None)])).await, Ok(Vec::new()));
    drop(store);
    let (_, store, _) = reopen(&directory);
    assert_eq!(store.take_kept(), [("c".to_owned(), Vec::new())]);
}

#[tokio::test]
async fn damage_costs_the_values_and_says_so() {
    let directory = Directory::new();
    let (_, store, _) = reopen(&directory);
    for n in 0..50 {
        let value = format!("value {n}");
        let changes = values(&[("a", Some(&value))]);
        store.append_and_keep(vec![draft(&["t"], n)], changes).await.unwrap()[0].unwrap();
    }
    drop(store);
    let path = directory.0.join("log");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(8).rposition(|window| window == b"value 49").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (_, store, recovered) = reopen(&directory);
    assert!(recovered.damage.unwrap().contains("values beside the log are forgotten"));
    assert_eq!((recovered.events, recovered.epoch_changed), (50, false), "every event is whole");
    assert!(store.take_kept().is_empty());
}

#[tokio::test]
async fn damage_does_not_cost_the_checkpoints_of_sources() {
    let directory = Directory::new();
    let (_, store, _) = reopen(&directory);
    let source: SourceName = "orders".parse().unwrap();
    let checkpoint = |n: u64| Checkpoint::new(source.clone(), format!("position {n}").into_bytes()).unwrap();
    for n in 0..50 {
        store.append_and_checkpoint(vec![draft(&["t"], n)], checkpoint(n)).await.unwrap()[0].unwrap();
    }
    let changes = values(&[("a", Some("a value to damage"))]);
    store.append_and_keep(Vec::new(), changes).await.unwrap();
    drop(store);
    let path = directory.0.join("log");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(17).rposition(|window| window == b"a value to damage").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (_, store, recovered) = reopen(&directory);
    assert!(recovered.damage.is_some() && !recovered.epoch_changed, "{recovered:?}");
    assert_eq!(store.checkpoint(&source).await.unwrap().as_deref(), Some(&b"position 49"[..]));
    // The next commit is newer than those of before.
    store.append_and_checkpoint(Vec::new(), checkpoint(50)).await.unwrap();
    drop(store);
    let (_, store, _) = reopen(&directory);
    assert_eq!(store.checkpoint(&source).await.unwrap().as_deref(), Some(&b"position 50"[..]));
}
