//! What the disk store does on this machine: acknowledged publishes a second by fsync policy, and a cold start.
//!
//! `cargo run --release -p events --example disk_figures -- DIR`

#![allow(clippy::disallowed_methods, reason = "what it measures is real time")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for people")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use events::{Data, Disk, DiskOptions, Draft, Fsync, Log, Memory, Options, Store, Topics};

fn main() {
    let dir = std::env::args().nth(1).expect("a directory");
    let dir = Path::new(&dir);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let log = || Log::new(&Options { ring_events_max: 1000, ..Options::default() });
    runtime.block_on(async {
        println!("300 bytes of data, drafts one by one from so many publishers, acknowledged per second:");
        for publishers in [1, 64, 1024] {
            let memory = figures(Memory::open(log()), publishers).await;
            let mut line = format!("{publishers:5} publishers: memory {memory:9.0}");
            for fsync in [Fsync::Always, Fsync::Interval, Fsync::Never] {
                let _ = std::fs::remove_dir_all(dir.join("figures"));
                let (store, _) = Disk::open(log(), options(&dir.join("figures"), fsync)).unwrap();
                let rate = figures(store, publishers).await;
                line += &format!("  {fsync:?} {rate:9.0}");
            }
            println!("{line}");
        }
        let _ = std::fs::remove_dir_all(dir.join("figures"));
        let (store, _) = Disk::open(log(), options(&dir.join("figures"), Fsync::Never)).unwrap();
        for batch in 0..100 {
            let drafts = (0..1000).map(|n| draft(batch * 1000 + n)).collect();
            assert!(store.append(drafts).await.iter().all(Result::is_ok));
        }
    });
    let before = resident_bytes();
    let started = Instant::now();
    let log = log();
    let (_store, recovered) =
        Disk::open(Arc::clone(&log), options(&dir.join("figures"), Fsync::Always)).unwrap();
    let took = started.elapsed();
    let file = std::fs::metadata(dir.join("figures/log")).unwrap().len();
    println!(
        "cold start with {} events: {took:?}; file {file} bytes; log {} bytes; {} bytes resident more",
        recovered.events,
        log.stats().bytes,
        resident_bytes().saturating_sub(before)
    );
    std::fs::remove_dir_all(dir.join("figures")).unwrap();
}

/// Publishes one by one from many tasks for a while. Acknowledged per second.
async fn figures(store: Arc<dyn Store>, publishers: u64) -> f64 {
    const FOR: Duration = Duration::from_secs(2);
    let started = Instant::now();
    let tasks: Vec<_> = (0..publishers)
        .map(|publisher| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut acknowledged = 0;
                while started.elapsed() < FOR {
                    assert!(store.append(vec![draft(publisher)]).await[0].is_ok());
                    acknowledged += 1;
                }
                acknowledged
            })
        })
        .collect();
    let mut acknowledged = 0;
    for task in tasks {
        acknowledged += task.await.unwrap();
    }
    f64::from(acknowledged) / started.elapsed().as_secs_f64()
}

fn draft(n: u64) -> Draft {
    Draft::new(
        Topics::one(format!("user:{}", n % 1000).parse().unwrap()),
        "progress".parse().unwrap(),
        Data::from_value(&"x".repeat(298)).unwrap(),
    )
}

fn options(dir: &Path, fsync: Fsync) -> DiskOptions {
    DiskOptions {
        dir: dir.to_owned(),
        fsync,
        events_max: 1 << 22,
        bytes_max: 1 << 30,
        age_max: Duration::from_secs(600),
        topic_idle_max: Duration::from_secs(3600),
        token_bytes_max: events::TOKEN_BYTES_MAX,
    }
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
