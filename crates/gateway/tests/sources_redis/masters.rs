//! Which server is listened to: of a Cluster any master, of Sentinel the one that it names.

use std::time::Duration;

use serde_json::json;

use crate::listening::listening;
use crate::server::Server;
use crate::support::{Sse, eventually, token};

const RULE: &str = "n:* => topics=all type=n";

async fn hears(sse: &mut Sse, server: &Server, n: u64) {
    eventually("it is heard", async || {
        server.cli(&["PUBSUB", "NUMPAT"]) != "0" || server.cli(&["CLUSTER", "INFO"]).contains("cluster_state")
    })
    .await;
    server.cli(&["PUBLISH", "n:1", &n.to_string()]);
    loop {
        let batch = sse.events().await;
        if batch["events"].as_array().unwrap().iter().any(|event| event["data"] == json!(n)) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_loses_a_master_is_heard_on() {
    let options = [
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "2000",
        "--cluster-require-full-coverage",
        "no",
    ];
    let mut servers = Vec::new();
    for (first, last) in [("0", "5460"), ("5461", "10922"), ("10923", "16383")] {
        let server = Server::start(&options).await;
        server.cli(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
        servers.push(server);
    }
    for (epoch, server) in servers.iter().enumerate() {
        server.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(epoch + 1).to_string()]);
        server.cli(&["CLUSTER", "MEET", "127.0.0.1", &servers[0].port().to_string()]);
    }
    eventually("a cluster", async || {
        servers.iter().all(|server| {
            let info = server.cli(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        })
    })
    .await;
    let hosts: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
    let gateway = listening(&["--source-redis", RULE], &format!("redis-cluster://{}", hosts.join(","))).await;
    let mut sse = Sse::open(gateway.address, &format!("access_token={}", token("alice", &[]))).await;
    // Whichever server a worker publishes at, and whichever is listened to.
    for (n, server) in servers.iter().enumerate() {
        hears(&mut sse, server, n as u64).await;
    }
    let listened =
        servers.iter().position(|server| server.cli(&["CLIENT", "LIST"]).contains("throughline-source"));
    servers[listened.expect("one is listened to")].kill();
    eventually("it noticed", async || gateway.metric("throughline_source_gaps_total").await == 1.0).await;
    let alive = (listened.unwrap() + 1) % 3;
    hears(&mut sse, &servers[alive], 7).await;
    hears(&mut sse, &servers[(alive + 1) % 3], 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinel_says_which_server_is_listened_to() {
    let mut master = Server::start(&[]).await;
    let replica = Server::replica_of(&master, &[]).await;
    let sentinel = Server::sentinel_of(&master).await;
    eventually("sentinel knows the replica", async || {
        sentinel.cli(&["SENTINEL", "REPLICAS", "main"]).contains(&replica.port().to_string())
    })
    .await;
    let url = format!("redis-sentinel://127.0.0.1:{}/main", sentinel.port());
    let gateway = listening(&["--source-redis", RULE], &url).await;
    let mut sse = Sse::open(gateway.address, &format!("access_token={}", token("alice", &[]))).await;
    hears(&mut sse, &master, 1).await;
    master.kill();
    eventually("the replica is promoted and heard", async || {
        replica.cli(&["ROLE"]).starts_with("master")
            && replica.cli(&["CLIENT", "LIST"]).contains("throughline-source")
    })
    .await;
    eventually("a gap", async || gateway.metric("throughline_source_gaps_total").await == 1.0).await;
    tokio::time::timeout(Duration::from_secs(60), hears(&mut sse, &replica, 2)).await.expect("heard");
}
