//! kill -9 at random moments, again and again: nothing acknowledged is lost, nothing comes twice, same epoch.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use events::{Checkpoint, Cursor, Fsync, SourceName, Start};

use super::suite::{data, draft, once};
use super::{Directory, open, options, read_all};

const DIR: &str = "DISK_KILL_DIR";
const FIRST: &str = "DISK_KILL_FIRST";
const PUBLISHERS: u64 = 4;

/// What is killed: publishes with tokens for ever and says on standard output what was acknowledged.
#[test]
#[ignore = "run by the tests below as a process of its own"]
fn victim() {
    let (Ok(dir), Ok(first)) = (std::env::var(DIR), std::env::var(FIRST)) else { return };
    let first: u64 = first.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (subject, recovered) = open(options(dir.as_ref(), Fsync::Always));
        assert_eq!((recovered.epoch_changed, recovered.damage), (false, None));
        let subject = Arc::new(subject);
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let subject = Arc::clone(&subject);
                tokio::spawn(async move {
                    for n in 0_u64.. {
                        let id = first + n * PUBLISHERS + publisher;
                        let drafts = vec![once(&format!("token {id}"), draft(&["a", "b"], id))];
                        let checkpoint = Checkpoint::new(source(publisher), id.to_le_bytes()).unwrap();
                        let answers = subject.store.append_and_checkpoint(drafts, checkpoint).await.unwrap();
                        let appended = answers[0].unwrap();
                        let line = format!("ack {id} {} {}\n", appended.seq.unwrap(), appended.cursor);
                        std::io::stdout().write_all(line.as_bytes()).unwrap();
                    }
                })
            })
            .collect();
        for publisher in publishers {
            publisher.await.unwrap();
        }
    });
}

fn source(publisher: u64) -> SourceName {
    format!("source-{publisher}").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "figures of a random run")]
async fn every_acknowledged_event_is_there_once() {
    let rounds = std::env::var("DISK_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(24);
    let directory = Directory::new();
    let (subject, _) = open(options(&directory.0, Fsync::Always));
    let start = subject.store.tail().await.unwrap();
    drop(subject);
    // What a client that comes back each time has been given, by seq.
    let mut given: BTreeMap<u64, u64> = BTreeMap::new();
    let mut client = start;
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    let mut chance = 88_172_645_463_325_252_u64;
    for round in 0..rounds {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        for (id, seq, cursor) in
            kill_after(&directory, round * 1_000_000, Duration::from_micros(chance % 250_000))
        {
            assert_eq!(acknowledged.insert(id, seq), None);
            assert_eq!(cursor.epoch, start.epoch);
        }
        let (subject, recovered) = open(options(&directory.0, Fsync::Always));
        assert_eq!((recovered.epoch_changed, recovered.damage), (false, None), "round {round}");
        let (events, cursor) = read_all(&subject.log, &["a", "b"], Start::After(client)).unwrap();
        for event in events {
            let twice = given.insert(event.seq().unwrap().number(), data(&event));
            assert_eq!(twice, None, "round {round}");
        }
        client = cursor;
        assert_eq!(cursor.epoch, start.epoch);
        // Whatever was acknowledged: the last event of each source and its checkpoint are both there.
        for publisher in 0..PUBLISHERS {
            let last = given.values().filter(|id| *id % PUBLISHERS == publisher).max();
            let position = subject.store.checkpoint(&source(publisher)).await.unwrap();
            let position = position.map(|position| u64::from_le_bytes((*position).try_into().unwrap()));
            assert_eq!(position, last.copied(), "round {round}, source {publisher}");
        }
        // A publisher that never heard repeats its last, which may or may not be there.
        if let Some((&id, &seq)) = acknowledged.last_key_value() {
            let repeat = subject.publish(once(&format!("token {id}"), draft(&["a", "b"], id))).await;
            assert_eq!((repeat.duplicate, repeat.seq.unwrap().number()), (true, seq));
        }
    }
    let ids: BTreeMap<u64, u64> = given.iter().map(|(seq, id)| (*id, *seq)).collect();
    assert_eq!(ids.len(), given.len(), "no event came twice under two numbers");
    for (id, seq) in &acknowledged {
        assert_eq!(ids.get(id), Some(seq), "{id} was acknowledged");
    }
    assert!(acknowledged.len() as u64 > rounds, "{} in {rounds} rounds", acknowledged.len());
    println!("{rounds} kills: {} events acknowledged, {} delivered", acknowledged.len(), given.len());
    let numbers: Vec<u64> = given.keys().copied().collect();
    assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "no number is missing");
}

/// Runs a victim for a while and returns what it acknowledged.
fn kill_after(directory: &Directory, first: u64, delay: Duration) -> Vec<(u64, u64, Cursor)> {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::victim", "--ignored", "--nocapture"])
        .env(DIR, &directory.0)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || {
        let mut acknowledged = Vec::new();
        while let Some(Ok(line)) = lines.next() {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["ack", id, seq, cursor] = words[..] {
                acknowledged.push((id.parse().unwrap(), seq.parse().unwrap(), cursor.parse().unwrap()));
            }
        }
        acknowledged
    });
    std::thread::sleep(Duration::from_millis(60) + delay);
    victim.kill().unwrap();
    victim.wait().unwrap();
    reader.join().unwrap()
}
