//! What the Redis store does on this machine: acknowledged publishes a second, and from publishing on one node to
//! being there on another.
//!
//! `cargo run --release -p events --example redis_figures -- redis://127.0.0.1:6379` (a server that may be flushed)

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for people")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use events::{Data, Draft, Log, Options, Redis, RedisOptions, Store, Topics};

fn main() {
    let url = std::env::args().nth(1).expect("a URL");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let options = RedisOptions {
            url,
            authorities: None,
            log_name: "figures".to_owned(),
            wait_replicas: 0,
            events_max: 100_000,
            alone_when_down: false,
        };
        let open = async || {
            let log = Log::new(&Options::default());
            let started = Instant::now();
            let store = Redis::open(Arc::clone(&log), &options).unwrap();
            store.followed().await;
            (log, store, started.elapsed())
        };
        let (_, store, _) = open().await;
        let (log, _other, _) = open().await;
        for publishers in [1, 64, 1024] {
            println!(
                "{publishers:5} publishers: {:9.0} acknowledged/s",
                rate(store.clone(), publishers).await
            );
        }
        let started = Instant::now();
        for _ in 0..100 {
            assert!(store.append((0..1000).map(draft).collect()).await.iter().all(Result::is_ok));
        }
        println!("batches of 1000: {:9.0} acknowledged/s", 100_000.0 / started.elapsed().as_secs_f64());
        let mut took = Vec::new();
        for n in 0..2000 {
            let started = Instant::now();
            let cursor = store.append(vec![draft(n)]).await[0].unwrap().cursor;
            while log.tail() < cursor.seq {
                tokio::task::yield_now().await;
            }
            took.push(started.elapsed());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        took.sort_unstable();
        println!("there on another node: p50 {:?} p99 {:?}", took[1000], took[1980]);
        let (log, _late, took) = open().await;
        println!("cold start: {took:?} for {} events", log.stats().events);
    });
}

/// Publishes one by one from many tasks for a while. Acknowledged per second.
async fn rate(store: Arc<dyn Store>, publishers: u64) -> f64 {
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
    Draft {
        topics: Topics::one(format!("user:{}", n % 1000).parse().unwrap()),
        kind: "progress".parse().unwrap(),
        data: Data::from_value(&"x".repeat(298)).unwrap(),
        key: None,
        id: None,
        once: None,
        ttl_ms: None,
        ephemeral: false,
        expect: None,
    }
}
