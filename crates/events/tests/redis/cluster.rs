//! A log in a Cluster, whose slot changes hands.

use std::time::Duration;

use super::server::Server;
use super::suite::{data, draft, once};
use super::{Subject, node, publish_at_last, reach, read_after, redis_options, until};

/// Three masters and a replica of the one that has the log's slot.
struct Cluster {
    masters: Vec<Server>,
    owner: usize,
    replica: Server,
}

const RANGES: [(u32, u32); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

impl Cluster {
    async fn start() -> Self {
        let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "3000", "--appendonly", "yes"];
        let mut masters = Vec::new();
        for (first, last) in RANGES {
            let server = Server::start(&options).await;
            server.cli(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            masters.push(server);
        }
        let replica = Server::start(&options).await;
        for (epoch, server) in masters.iter().chain([&replica]).enumerate() {
            server.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(epoch + 1).to_string()]);
            server.cli(&["CLUSTER", "MEET", "127.0.0.1", &masters[0].port().to_string()]);
        }
        let slot: u32 = masters[0].cli(&["CLUSTER", "KEYSLOT", "{log}:s"]).parse().unwrap();
        let owner = RANGES.iter().position(|(first, last)| (*first..=*last).contains(&slot)).unwrap();
        let all = || masters.iter().chain([&replica]);
        until("all know each other", || {
            all().all(|server| server.cli(&["CLUSTER", "INFO"]).contains("cluster_known_nodes:4"))
        })
        .await;
        let id = masters[owner].cli(&["CLUSTER", "MYID"]);
        until("a replica", || replica.cli(&["CLUSTER", "REPLICATE", &id]) == "OK").await;
        until("it works", || {
            all().all(|server| server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok"))
                && replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
        })
        .await;
        Self { masters, owner, replica }
    }

    /// Has the replica take over in order; what does not come to an end within 5 s the servers give
    /// up.
    async fn take_over(&self) {
        for _ in 0..5 {
            until("asked to take over", || self.replica.cli(&["CLUSTER", "FAILOVER"]) == "OK").await;
            for _ in 0..60 {
                if self.replica.cli(&["ROLE"]).starts_with("master") {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        panic!("not taken over");
    }

    fn url(&self) -> String {
        let hosts = self.masters.iter().map(|server| format!("127.0.0.1:{}", server.port()));
        format!("redis-cluster://{}", hosts.collect::<Vec<_>>().join(","))
    }
}

async fn holds(node: &Subject, start: events::Cursor, end: events::Cursor, numbers: std::ops::Range<u64>) {
    reach(node, end).await;
    let read = read_after(node, "a", start).unwrap();
    assert_eq!(read.iter().map(data).collect::<Vec<_>>(), numbers.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_a_cluster_follows_its_slot() {
    let mut cluster = Cluster::start().await;
    let [here, other] =
        [node(&redis_options(&cluster.url())).await, node(&redis_options(&cluster.url())).await];
    let start = here.publish(draft(&["a"], 0)).await.cursor;
    let mut end = start;
    for n in 1..50 {
        end = publish_at_last(&here, once(&format!("id {n}"), draft(&["a"], n))).await.cursor;
    }
    holds(&other, start, end, 1..50).await;
    // The owner hands over in order.
    cluster.take_over().await;
    for n in 50..60 {
        end = publish_at_last(&here, once(&format!("id {n}"), draft(&["a"], n))).await.cursor;
    }
    holds(&here, start, end, 1..60).await;
    holds(&other, start, end, 1..60).await;
    // It dies, and the one of before takes over.
    let old = &cluster.masters[cluster.owner];
    let offset = |server: &Server| {
        let info = server.cli(&["INFO", "replication"]);
        info.lines().find_map(|line| line.strip_prefix("master_repl_offset:").map(str::to_owned))
    };
    until("in step", || {
        old.cli(&["INFO", "replication"]).contains("master_link_status:up")
            && offset(old) == offset(&cluster.replica)
    })
    .await;
    cluster.replica.kill();
    for n in 60..70 {
        end = publish_at_last(&other, once(&format!("id {n}"), draft(&["a"], n))).await.cursor;
    }
    holds(&here, start, end, 1..70).await;
    holds(&other, start, end, 1..70).await;
}
