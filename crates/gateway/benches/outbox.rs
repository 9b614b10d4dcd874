//! How fast an outbox is taken over, and what that costs publishers over HTTP: 100,000 rows of backlog, and the latency
//! of publishes before and during the takeover, in the same run. PostgreSQL, gateway and publisher share the machine.

#![allow(clippy::disallowed_methods, reason = "what it measures is real time")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench is for its figures")]

use std::time::{Duration, Instant};

use gateway::config::{self, Command};
use postgres::Postgres;
use support::{Http, Program, get, serving};

#[path = "../tests/support/postgres.rs"]
mod postgres;
#[path = "../tests/support/mod.rs"]
mod support;

const ROWS: u64 = 100_000;
/// Each kind of latency is measured over so many publishes at least.
const PUBLISHES: usize = 2_000;
const DRAFT: &str = r#"{"topic":"http","type":"t","data":{"jobId":"7","progress":45}}"#;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let server = Postgres::start(&["fsync=on"]).await;
    let Ok(Command::OutboxSql(outbox)) = config::read(["gateway", "outbox-sql"]) else { return };
    server.run(&outbox.script()).await;
    let url = server.url();
    let options = ["--database-url", &url, "--source-outbox", "throughline_outbox", "--log", "error"];
    let mut gateway = Program::start(&serving(&options));
    gateway.read_log();
    let mut http = Http::open(gateway.address).await;
    let mut calm = Vec::new();
    while calm.len() < PUBLISHES {
        calm.push(publish(&mut http).await);
    }
    let rows = format!(
        "select throughline_publish('job:' || n % 1000, 'progress', json_build_object('jobId', n, 'progress', 45)) \
         from generate_series(1, {ROWS}) n"
    );
    server.run(&rows).await;
    let began = Instant::now();
    let mut during = Vec::new();
    while taken(&gateway).await < ROWS {
        for _ in 0..100 {
            during.push(publish(&mut http).await);
        }
    }
    let took = began.elapsed();
    println!("{:<36}{:>8}{:>8}{:>8}", "us of a publish over HTTP", "p50", "p99", "max");
    for (name, mut latencies) in [("without a backlog", calm), ("while the backlog is taken over", during)] {
        latencies.sort_unstable();
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_micros();
        println!("{name:<36}{:>8}{:>8}{:>8}", at(0.5), at(0.99), at(1.0));
    }
    let rate = ROWS as f64 / took.as_secs_f64();
    println!("{ROWS} rows in {:.2} s beside these publishes: {rate:.0} events a second", took.as_secs_f64());
    server.run(&rows).await;
    let began = Instant::now();
    while taken(&gateway).await < 2 * ROWS {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = began.elapsed().as_secs_f64();
    println!("{ROWS} rows in {took:.2} s alone: {:.0} events a second", ROWS as f64 / took);
}

async fn publish(http: &mut Http) -> Duration {
    let began = Instant::now();
    let answer = http.post("/v1/publish", &[("Authorization", "Bearer key")], DRAFT).await;
    assert_eq!(answer.status, 200);
    began.elapsed()
}

/// How many rows have become events.
async fn taken(gateway: &Program) -> u64 {
    let metrics = get(gateway.address, "/metrics").await.body;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("throughline_source_published_total{source=\"outbox\"} "));
    line.unwrap().parse::<f64>().unwrap() as u64
}
