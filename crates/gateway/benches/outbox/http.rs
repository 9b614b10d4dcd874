//! What a backlog costs publishers over HTTP: the latency of publishes before and during a takeover,
//! in the same run.

use std::time::{Duration, Instant};

use crate::postgres::Postgres;
use crate::quantile;
use crate::support::{Http, get};
use crate::system::System;

/// Each kind of latency is measured over so many publishes at least.
const PUBLISHES: usize = 2_000;
const DRAFT: &str = r#"{"topic":"http","type":"t","data":{"jobId":"7","progress":45}}"#;

/// Prints p50, p99 and the maximum of publishes without a backlog and beside one of `rows` rows.
pub(crate) async fn publishes_beside_a_backlog(server: &Postgres, rows: u64) {
    server.run(&System::Gateway.script().unwrap()).await;
    let gateway = System::Gateway.start(server);
    let mut http = Http::open(gateway.address).await;
    let mut calm = Vec::new();
    while calm.len() < PUBLISHES {
        calm.push(publish(&mut http).await);
    }
    server.run(&System::Gateway.insert_many(rows)).await;
    let began = Instant::now();
    let mut during = Vec::new();
    while taken(gateway.address).await < rows {
        for _ in 0..100 {
            during.push(publish(&mut http).await);
        }
    }
    let took = began.elapsed();
    println!("ms of a publish over HTTP");
    println!("{:<44}{:>8}{:>8}{:>8}{:>8}", "", "p50", "p99", "max", "count");
    for (name, mut latencies) in [("without a backlog", calm), ("while the backlog is taken over", during)] {
        latencies.sort_unstable();
        let ms = |share| quantile(&latencies, share).as_secs_f64() * 1e3;
        println!("{name:<44}{:>8.2}{:>8.2}{:>8.2}{:>8}", ms(0.5), ms(0.99), ms(1.0), latencies.len());
    }
    let rate = rows as f64 / took.as_secs_f64();
    println!("{rows} rows in {:.2} s beside these publishes: {rate:.0} rows/s", took.as_secs_f64());
}

async fn publish(http: &mut Http) -> Duration {
    let began = Instant::now();
    let answer = http.post("/v1/publish", &[("Authorization", "Bearer key")], DRAFT).await;
    assert_eq!(answer.status, 200);
    began.elapsed()
}

/// How many rows have become events.
async fn taken(gateway: std::net::SocketAddr) -> u64 {
    let metrics = get(gateway, "/metrics").await.body;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("throughline_source_published_total{source=\"outbox\"} "));
    line.unwrap().parse::<f64>().unwrap() as u64
}
