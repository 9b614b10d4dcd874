//! Which node publishes for a source of events.

use std::time::Duration;

use events::{Lease, LeaseAnswer, Log, Options, Redis, SourceLeases};

use crate::redis_options;
use crate::server::Server;

const SECOND: Duration = Duration::from_secs(1);

fn lease(token: &str) -> Lease {
    Lease { source: "redis".parse().unwrap(), token: token.into() }
}

/// The leases of three nodes of one log.
struct Nodes {
    server: Server,
    leases: [SourceLeases; 3],
    _stores: [std::sync::Arc<Redis>; 3],
}

impl Nodes {
    async fn start() -> Self {
        let server = Server::start(&[]).await;
        let options = redis_options(&server.url());
        let stores = [(); 3].map(|()| Redis::open(Log::new(&Options::default()), &options).unwrap());
        Self { server, leases: stores.each_ref().map(|store| store.source_leases()), _stores: stores }
    }

    /// A node that has heard the source for so many seconds tries to take the lease.
    async fn take(&self, node: usize, heard_for: u32, with_gap: bool) -> LeaseAnswer {
        let token = lease(&node.to_string());
        self.leases[node].take(&token, None, heard_for * SECOND, with_gap).await.unwrap()
    }

    /// A node ends: what was said more than so many seconds ago is published.
    async fn end(&self, node: usize, published_ago: u32) {
        self.leases[node].release(&lease(&node.to_string()), published_ago * SECOND).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_heard_all_that_is_not_published_takes_the_lease_at_once() {
    let nodes = Nodes::start().await;
    assert_eq!(nodes.take(0, 0, false).await, LeaseAnswer::Taken, "the first of all");
    assert_eq!(nodes.take(1, 500, true).await, LeaseAnswer::Held);
    nodes.end(0, 100).await;
    assert_eq!(nodes.take(2, 80, false).await, LeaseAnswer::Left);
    assert_eq!(nodes.take(1, 120, false).await, LeaseAnswer::Taken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_nodes_that_missed_something_the_one_that_missed_least_takes_the_lease() {
    let nodes = Nodes::start().await;
    assert_eq!(nodes.take(0, 0, false).await, LeaseAnswer::Taken);
    nodes.end(0, 100).await;
    assert_eq!(nodes.take(1, 50, false).await, LeaseAnswer::Left);
    assert_eq!(nodes.take(2, 80, false).await, LeaseAnswer::Left);
    assert_eq!(nodes.take(1, 50, true).await, LeaseAnswer::Left, "2 has missed less");
    assert_eq!(nodes.take(2, 80, true).await, LeaseAnswer::TakenWithGap);
    // One that has gone is not waited for.
    nodes.end(2, 100).await;
    let left_ms: u64 = nodes.server.cli(&["PTTL", "{log}:source:redis:candidate"]).parse().unwrap();
    assert!(left_ms <= 2_000, "{left_ms}");
    nodes.server.cli(&["DEL", "{log}:source:redis:candidate"]);
    assert_eq!(nodes.take(1, 50, true).await, LeaseAnswer::TakenWithGap);
}
