//! Redis streams with a consumer group: at least once, in order, and a repeat is recognised.

use serde_json::Value;

use crate::listening::is_heard;
use crate::server::Server;
use crate::support::{Gateway, Program, eventually, get, token};

const RULE: &str = "orders => topics=orders type=order";

fn options(log: &str, source: &str) -> [String; 10] {
    [
        "--store",
        "redis",
        "--redis-url",
        log,
        "--source-redis-url",
        source,
        "--source-redis-stream",
        RULE,
        "--ring-events",
        "100000",
    ]
    .map(str::to_owned)
}

async fn read_all(address: std::net::SocketAddr) -> Vec<u64> {
    let query = format!("topics=orders&access_token={}", token("alice", &["--subscribe", "*"]));
    let mut data = Vec::new();
    let mut after = "earliest".to_owned();
    loop {
        let answer = get(address, &format!("/v1/poll?{query}&after={after}&wait=0&limit=1000")).await.json();
        assert_eq!(answer["reset"], Value::Null, "{answer}");
        // A gateway that has just started may not have read the log yet: it is asked again.
        let Some(events) = answer["events"].as_array() else { return data };
        if events.is_empty() {
            return data;
        }
        data.extend(events.iter().map(|event| event["data"].as_u64().unwrap()));
        after = answer["cursor"].as_str().unwrap().to_owned();
    }
}

fn add(server: &Server, n: u64) {
    server.cli(&["XADD", "orders", "*", "data", &n.to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_is_acknowledged_when_the_store_has_it_and_one_that_fits_no_rule_too() {
    let server = Server::start(&[]).await;
    // What came before the first gateway is taken over as well.
    add(&server, 1);
    let gateway = Gateway::serve(&["--source-redis-stream", RULE, "--source-redis-url", &server.url()]).await;
    is_heard(&gateway).await;
    server.cli(&["XADD", "orders", "*", "data", "[object Object]"]);
    add(&server, 2);
    eventually("both are there", async || read_all(gateway.address).await == [1, 2]).await;
    eventually("nothing is pending", async || {
        server.cli(&["XPENDING", "orders", "throughline"]).starts_with('0')
    })
    .await;
    assert_eq!(gateway.metric("throughline_source_rejected_total").await, 1.0);
    // Left by another consumer of the group, as a gateway of another version might.
    server.cli(&["DEL", "orders"]);
    add(&server, 3);
    eventually("a deleted stream begins anew", async || read_all(gateway.address).await == [1, 2, 3]).await;
}

/// A gateway that is killed between the store and the acknowledgement leaves what comes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_gateways_lose_nothing_and_double_nothing() {
    let (log, source) = (Server::start(&[]).await, Server::start(&[]).await);
    let options = options(&log.url(), &source.url());
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let start = || {
        let mut program = Program::serve(&options);
        program.read_log();
        program
    };
    let mut gateways = vec![start(), start()];
    let mut n = 0;
    let kills = std::env::var("KILLS").map_or(3, |times| times.parse().unwrap());
    for _ in 0..kills {
        for _ in 0..40 {
            n += 1;
            add(&source, n);
        }
        drop(gateways.remove(0));
        gateways.push(start());
    }
    eventually("all are there", async || read_all(gateways[1].address).await.len() as u64 >= n).await;
    assert_eq!(read_all(gateways[1].address).await, (1..=n).collect::<Vec<_>>());
    eventually("nothing is pending", async || {
        source.cli(&["XPENDING", "orders", "throughline:throughline"]).starts_with('0')
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_consumer_has_left_is_claimed() {
    let server = Server::start(&[]).await;
    server.cli(&["XGROUP", "CREATE", "orders", "throughline", "0", "MKSTREAM"]);
    add(&server, 1);
    add(&server, 2);
    server.cli(&["XREADGROUP", "GROUP", "throughline", "dead", "COUNT", "1", "STREAMS", "orders", ">"]);
    // As if that had been two minutes ago.
    let id = server.cli(&["XPENDING", "orders", "throughline", "-", "+", "1"]);
    let id = id.lines().next().unwrap();
    server.cli(&["XCLAIM", "orders", "throughline", "dead", "0", id, "IDLE", "120000", "JUSTID"]);
    let gateway = Gateway::serve(&["--source-redis-stream", RULE, "--source-redis-url", &server.url()]).await;
    eventually("both are there", async || {
        let mut data = read_all(gateway.address).await;
        data.sort();
        data == [1, 2]
    })
    .await;
}
