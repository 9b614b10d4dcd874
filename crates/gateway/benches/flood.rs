//! What a flood by one client costs the others: publish-to-receive latency of ten quiet readers with and without it, in
//! the same run. The flood and the readers share the machine with the gateway, so the flood's own work is in it.

#![allow(clippy::disallowed_methods, reason = "what it measures is real time")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench is for its figures")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use floods::{Kind, flood, latencies, quantile};
use support::Program;

#[path = "../tests/flood/floods.rs"]
mod floods;
#[path = "../tests/support/mod.rs"]
mod support;

const READERS: usize = 10;
const DURING: Duration = Duration::from_secs(4);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut gateway = Program::serve(&[]);
    let lines = gateway.read_log();
    let row = |name: &str, latencies: &[Duration], what: &str| {
        let us = |share| quantile(latencies, share).as_micros();
        println!("{name:<24}{:>8}{:>8}{:>8}  {what}", us(0.5), us(0.99), us(1.0));
    };
    println!("{:<24}{:>8}{:>8}{:>8}", "us from publish to receive", "p50", "p99", "max");
    latencies(gateway.address, READERS, DURING / 4).await;
    for kind in Kind::ALL {
        row("calm", &latencies(gateway.address, READERS, DURING).await, "");
        let before = lines.load(Ordering::Relaxed);
        let stop = Arc::new(AtomicBool::new(false));
        let flooding = flood(gateway.address, kind, &stop);
        let took = latencies(gateway.address, READERS, DURING).await;
        stop.store(true, Ordering::Relaxed);
        let outcome = flooding.join().unwrap();
        let asked = outcome.asked as f64 / DURING.as_secs_f64();
        let lines = lines.load(Ordering::Relaxed) - before;
        let what = format!(
            "{asked:.0} asked a second, {} granted, {} connections cut, {lines} lines in the log",
            outcome.granted, outcome.cut
        );
        row(&format!("flood of {kind:?}").to_lowercase(), &took, &what);
    }
}
