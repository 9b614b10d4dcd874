//! No room left: publishers are told, readers go on, nothing that was accepted is lost.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use events::{Data, Draft, Fsync, Rejection, Start, Unavailable};

use super::suite::draft;
use super::{Directory, open, options, read_all};

/// A small file system; `None` where one cannot be mounted.
struct Small(Directory);

impl Small {
    fn mount(size: &str) -> Option<Self> {
        let directory = Directory::new();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(&directory.0).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(directory))
    }

    fn filling(&self) -> PathBuf {
        self.0.0.join("filling")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0.0).output();
    }
}

fn big(n: u64) -> Draft {
    Draft { data: Data::from_value(&(n, "x".repeat(4000))).unwrap(), ..draft(&["a"], n) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stderr, reason = "a test that does not run says so")]
async fn publishes_are_refused_and_nothing_accepted_is_lost() {
    let Some(small) = Small::mount("size=12m") else {
        return eprintln!("skipped: no file system can be mounted here");
    };
    std::fs::write(small.filling(), vec![0; 4 << 20]).unwrap();
    let dir = small.0.0.join("data");
    let (subject, _) = open(options(&dir, Fsync::Always));
    let start = subject.store.tail().await.unwrap();
    let mut accepted = Vec::new();
    let refusal = loop {
        match subject.append_one(big(accepted.len() as u64)).await {
            Ok(appended) => accepted.push(appended.seq.unwrap()),
            Err(rejection) => break rejection,
        }
        assert!(accepted.len() < 10_000, "it never became full");
    };
    let Rejection::Unavailable(why) = refusal else { panic!("{refusal}") };
    assert_eq!(why.0, "the disk is full");
    // Unless the writer has found meanwhile that a smaller commit passes.
    assert!(matches!(subject.store.ready(), Ok(()) | Err(Unavailable("the disk is full"))));
    // What the failed commit took is free again, so a smaller one may pass; it is kept then.
    for n in 0..20 {
        accepted.extend(subject.append_one(big(n)).await.ok().and_then(|appended| appended.seq));
    }
    assert!(accepted.len() < 4000, "it is still full");
    let seqs = |subject: &super::Subject| -> Vec<_> {
        let (events, _) = read_all(&subject.log, &["a"], Start::After(start)).unwrap();
        events.iter().map(|event| event.seq().unwrap()).collect()
    };
    assert_eq!(seqs(&subject), accepted, "readers go on");

    // Room again: it comes back by itself, and the next number follows.
    std::fs::remove_file(small.filling()).unwrap();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if subject.store.ready().is_ok() {
            break;
        }
    }
    assert_eq!(subject.store.ready(), Ok(()));
    let next = subject.publish(big(9)).await.seq.unwrap();
    assert_eq!(next, accepted.last().unwrap().next());
    accepted.push(next);
    drop(subject);
    let (subject, recovered) = open(options(&dir, Fsync::Always));
    assert_eq!((recovered.epoch_changed, recovered.damage), (false, None));
    assert_eq!(seqs(&subject), accepted);
}
