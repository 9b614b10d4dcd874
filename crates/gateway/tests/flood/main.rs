//! A flood by one client: it gets what its limits grant and not one more, and the others lose nothing by it.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod floods;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use floods::{Kind, TOPIC, flood, latencies, quantile};
use support::{Gateway, get_with};
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_by_one_client_is_its_own_loss() {
    for kind in Kind::ALL {
        let gateway = Gateway::serve(&[]).await;
        let stop = Arc::new(AtomicBool::new(false));
        let began = Instant::now();
        let flooding = flood(gateway.address, kind, &stop);
        // Every event comes, in order, while the flood goes on.
        let took = latencies(gateway.address, 3, Duration::from_millis(1500)).await;
        stop.store(true, Ordering::Relaxed);
        let outcome = tokio::task::spawn_blocking(|| flooding.join().unwrap()).await.unwrap();
        assert!(outcome.refused > 100, "{kind:?} {outcome:?}");
        // Not a measurement, for which the machine would have to be idle: a flood that holds up the others shows.
        assert!(quantile(&took, 0.5) < Duration::from_secs(1), "{kind:?} {:?}", quantile(&took, 0.5));
        let per_second = if kind == Kind::Ephemerals { 10.0 } else { 1.0 };
        let burst = if kind == Kind::Ephemerals { 10 } else { 60 };
        let most = burst + (began.elapsed().as_secs_f64() * per_second) as u64 + 1;
        assert!((burst..=most).contains(&outcome.granted), "{kind:?} {outcome:?}, {most} at most");
        let is_websocket = matches!(kind, Kind::Commands | Kind::Publishes | Kind::Ephemerals);
        assert_eq!(outcome.cut > 0, is_websocket, "{kind:?} {outcome:?}");
        let target = format!("/v1/history?topic={TOPIC}");
        let history = get_with(gateway.address, &target, &[("Authorization", gateway.key())]).await.json();
        let is_logged = matches!(kind, Kind::Publishes | Kind::Sends | Kind::Drafts);
        let logged = if is_logged { outcome.granted as usize } else { 0 };
        assert_eq!(history["events"].as_array().unwrap().len(), logged, "{kind:?}");
    }
}
