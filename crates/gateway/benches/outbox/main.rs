//! Outboxes in PostgreSQL, side by side in one run and with one server: the gateway's, the outbox
//! consumer of Centrifugo and its stream broker. PostgreSQL, the servers, the writers and the
//! browser share the machine, and only one of the servers runs at a time.
//!
//! * How many events a second are taken over from an outbox, once a large backlog has committed.
//! * How long an event takes from the moment its INSERT is sent until a WebSocket client has it. The
//!   commit is part of it. All three are woken up by NOTIFY.
//! * What a backlog of 100,000 rows costs publishers over HTTP ([`http`]).
//!
//! `ROUNDS` says how often, `ROWS` how large the backlog is. Centrifugo is left out where
//! `loadtest/peers/install` has not installed it.

#![allow(clippy::disallowed_methods, reason = "what it measures is real time")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench is for its figures")]

mod http;
mod socket;
mod system;

#[path = "../../tests/support/postgres.rs"]
mod postgres;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use postgres::Postgres;
use socket::{Received, Subscriber};
use system::{Running, System};
use tokio_postgres::Client;

/// How long everything that was written may take to arrive.
const PATIENCE: Duration = Duration::from_secs(120);
/// Commits a second, by how many writers, and how many commits are measured in a round.
const LOADS: [(u64, u64); 2] = [(100, 1), (400, 4)];
const COMMITS: u64 = 1_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let number = |name, or| std::env::var(name).map_or(or, |text| text.parse().expect("a number"));
    let (rounds, rows): (u64, u64) = (number("ROUNDS", 3), number("ROWS", 100_000));
    let server = Postgres::start(&["fsync=on", "shared_buffers=256MB", "max_wal_size=4GB"]).await;
    let systems = System::installed();
    let mut figures: Vec<Figures> = systems.iter().map(|system| Figures::of(*system)).collect();
    for round in 0..rounds as usize {
        // They take turns, each round in another order.
        for at in 0..systems.len() {
            let figures = &mut figures[(at + round) % systems.len()];
            figures.takeover(&server, rows).await;
            for load in 0..LOADS.len() {
                figures.latencies(&server, load).await;
            }
        }
    }
    println!("backlog of {rows} rows, medians of {rounds} rounds");
    println!("{:<44}{:>12}{:>12}{:>14}", "", "rows/s", "received/s", "us of CPU/row");
    figures.iter_mut().for_each(Figures::say_takeovers);
    for (load, (per_second, writers)) in LOADS.iter().enumerate() {
        println!("ms from INSERT to browser, {per_second} commits/s by {writers} writers");
        println!("{:<44}{:>8}{:>8}{:>8}{:>8}", "", "p50", "p99", "max", "count");
        figures.iter_mut().for_each(|figures| figures.say_latencies(load));
    }
    http::publishes_beside_a_backlog(&server, rows).await;
}

/// What was measured of one system.
struct Figures {
    system: System,
    rows_a_second: Vec<f64>,
    received_a_second: Vec<f64>,
    cpu_us_a_row: Vec<f64>,
    latencies: [Vec<Duration>; LOADS.len()],
}

impl Figures {
    fn of(system: System) -> Self {
        Self {
            system,
            rows_a_second: Vec::new(),
            received_a_second: Vec::new(),
            cpu_us_a_row: Vec::new(),
            latencies: [const { Vec::new() }; LOADS.len()],
        }
    }

    /// A backlog commits at once; the time until the table is empty, and until a client has all.
    async fn takeover(&mut self, server: &Postgres, rows: u64) {
        let (running, received, _subscriber) = self.begin(server, rows).await;
        let client = server.client().await;
        client.batch_execute(&self.system.insert_many(rows)).await.unwrap();
        let (committed, cpu) = (Instant::now(), running.cpu());
        if let Some(table) = self.system.outbox() {
            while !is_empty(&client, table).await {
                assert!(committed.elapsed() < PATIENCE, "the outbox is not empty");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            self.rows_a_second.push(rows as f64 / committed.elapsed().as_secs_f64());
        }
        received.has(rows, PATIENCE).await;
        self.received_a_second.push(rows as f64 / received.last().duration_since(committed).as_secs_f64());
        self.cpu_us_a_row.push((running.cpu() - cpu).as_micros() as f64 / rows as f64);
    }

    /// Single rows commit at a steady rate.
    async fn latencies(&mut self, server: &Postgres, load: usize) {
        let (per_second, writers) = LOADS[load];
        let (_running, received, _subscriber) = self.begin(server, COMMITS).await;
        let began = Instant::now() + Duration::from_millis(100);
        let mut tasks = Vec::new();
        for writer in 0..writers {
            let (client, received, system) = (server.client().await, Arc::clone(&received), self.system);
            tasks.push(tokio::spawn(async move {
                for n in (1..=COMMITS).filter(|n| n % writers == writer) {
                    let at = began + Duration::from_nanos(1_000_000_000 * n / per_second);
                    tokio::time::sleep_until(at.into()).await;
                    received.send(n);
                    client.batch_execute(&system.insert_one(n)).await.unwrap();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        received.has(COMMITS, PATIENCE).await;
        self.latencies[load].extend(received.took());
    }

    /// The system with an empty table and one client.
    async fn begin(&self, server: &Postgres, events: u64) -> (Running, Arc<Received>, Subscriber) {
        if let Some(script) = self.system.script() {
            server.run(&script).await;
        }
        let running = self.system.start(server);
        let received = Arc::new(Received::of(events));
        let subscriber = Subscriber::open(&running, Arc::clone(&received)).await;
        if let Some(script) = self.system.script_once_started() {
            server.run(script).await;
        }
        // It listens for wake-ups by now, and has seen the empty table.
        received.is_quiet_after(&server.client().await, self.system).await;
        (running, received, subscriber)
    }

    fn say_takeovers(&mut self) {
        let text = |figures: &mut Vec<f64>, digits: usize| {
            figures.sort_by(f64::total_cmp);
            figures.get(figures.len() / 2).map_or("-".to_owned(), |median| format!("{median:.digits$}"))
        };
        let (rows, received) = (text(&mut self.rows_a_second, 0), text(&mut self.received_a_second, 0));
        let cpu = text(&mut self.cpu_us_a_row, 1);
        println!("{:<44}{rows:>12}{received:>12}{cpu:>14}", self.system.name());
    }

    fn say_latencies(&mut self, load: usize) {
        let latencies = &mut self.latencies[load];
        latencies.sort_unstable();
        let ms = |share: f64| quantile(latencies, share).as_secs_f64() * 1e3;
        let (p50, p99, max, count) = (ms(0.5), ms(0.99), ms(1.0), latencies.len());
        println!("{:<44}{p50:>8.2}{p99:>8.2}{max:>8.2}{count:>8}", self.system.name());
    }
}

/// Of sorted latencies.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// Asked by the highest id, which an index gives: counting would cost the server what is measured.
async fn is_empty(client: &Client, table: &str) -> bool {
    postgres::ask(client, &format!("select coalesce(max(id), 0) from {table}")).await == "0"
}
