//! One gateway that listens: what it takes over, what it tells of gaps, and how it stands.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::server::{Path, Server};
use crate::support::{Gateway, Program, Sse, eventually, get, metric, post, token};

/// The rule of the media pipeline, whose workers must run unchanged.
const JOB: &str = "job:* => topics=user:{/userId},job:{/jobId} type=sync:progress key={/jobId}";

pub(crate) async fn listening(options: &[&str], url: &str) -> Gateway {
    let gateway = Gateway::serve(&[options, &["--source-redis-url", url]].concat()).await;
    is_heard(&gateway).await;
    gateway
}

pub(crate) async fn is_heard(gateway: &Gateway) {
    is_heard_at(gateway.address).await;
}

pub(crate) async fn is_heard_at(gateway: SocketAddr) {
    eventually("the source is heard", async || {
        let ready = get(gateway, "/ready").await;
        ready.status == 200 && ready.json()["sources"] == Value::Null
    })
    .await;
}

fn job(progress: u32) -> String {
    json!({"jobId": "9", "userId": "alice", "status": "running", "progress": progress}).to_string()
}

async fn alice(gateway: &Gateway) -> Sse {
    let mut sse = Sse::open(gateway.address, &format!("access_token={}", token("alice", &[]))).await;
    sse.batch().await.expect("hello");
    sse
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_publishes_as_ever_and_its_user_sees_it_once() {
    let server = Server::start(&[]).await;
    // Three patterns match one channel: Redis sends three copies.
    let rules = ["--source-redis", JOB, "--source-redis", "job:9 => draft", "--source-redis", "* => draft"];
    let gateway = listening(&rules, &server.url()).await;
    let mut sse = alice(&gateway).await;
    for progress in [10, 20] {
        assert_eq!(server.cli(&["PUBLISH", "job:9", &job(progress)]), "3", "copies");
    }
    let mut data = Vec::new();
    while data.len() < 2 {
        let batch = sse.events().await;
        for event in batch["events"].as_array().unwrap() {
            assert_eq!((&event["type"], &event["key"]), (&json!("sync:progress"), &json!("9")));
            data.push(event["data"]["progress"].as_u64().unwrap());
        }
    }
    assert_eq!(data, [10, 20]);
    assert_eq!(gateway.metric("throughline_source_received_total").await, 2.0);
    assert_eq!(gateway.metric("throughline_source_published_total").await, 2.0);
    assert_eq!(gateway.metric("throughline_source_gaps_total").await, 0.0);
    assert!(server.cli(&["CLIENT", "LIST", "TYPE", "pubsub"]).contains("name=throughline-source"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_fits_no_rule_spoils_no_other() {
    let server = Server::start(&[]).await;
    let gateway = listening(&["--source-redis", JOB], &server.url()).await;
    let mut sse = alice(&gateway).await;
    server.cli(&["PUBLISH", "job:9", "[object Object]"]);
    server.cli(&["PUBLISH", "job:9", r#"{"progress":NaN,"userId":"alice"}"#]);
    server.cli(&["PUBLISH", "job:9", "{}"]);
    server.cli(&["PUBLISH", "job:9", &job(30)]);
    assert_eq!(sse.events().await["events"][0]["data"]["progress"], 30);
    let metrics = get(gateway.address, "/metrics").await.body;
    for line in [
        r#"throughline_source_rejected_total{reason="not_json",source="redis"} 2"#,
        r#"throughline_source_rejected_total{reason="no_topic",source="redis"} 1"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
}

/// A reader of what the source publishes to, and one of something else.
struct Readers {
    alice: Sse,
    bob: Sse,
}

impl Readers {
    /// Both have connected, and the source has published something.
    async fn open(gateway: SocketAddr, server: &Server) -> Self {
        let open = async |user| {
            let mut sse = Sse::open(gateway, &format!("access_token={}", token(user, &[]))).await;
            sse.batch().await.expect("hello");
            sse
        };
        let mut readers = Self { alice: open("alice").await, bob: open("bob").await };
        server.cli(&["PUBLISH", "job:9", &job(1)]);
        readers.alice.events().await;
        readers
    }

    /// One gap is counted, and has reset the readers of the topics that the source published to, and
    /// nobody else.
    async fn were_told_one_gap(mut self, gateway: SocketAddr, server: &Server) {
        eventually("the gap is counted", async || {
            metric(gateway, "throughline_source_gaps_total").await == 1.0
        })
        .await;
        is_heard_at(gateway).await;
        server.cli(&["PUBLISH", "job:9", &job(2)]);
        let mut resets = Vec::new();
        loop {
            let batch = self.alice.batch().await.expect("a batch");
            if batch["reset"] != Value::Null {
                resets.push(batch["reset"].clone());
            }
            if batch["events"].as_array().unwrap().iter().any(|event| event["data"]["progress"] == 2) {
                break;
            }
        }
        assert_eq!(resets.len(), 1, "{resets:?}");
        assert_eq!(resets[0]["reason"], "expired");
        assert_eq!(resets[0]["topics"], json!(["user:alice"]));
        let draft = json!({"topic": "user:bob", "type": "t", "data": 1}).to_string();
        let published = post(gateway, "/v1/publish", &[("Authorization", "Bearer key")], &draft).await;
        assert_eq!(published.status, 200, "{}", published.body);
        let batch = self.bob.events().await;
        assert_eq!(batch["reset"], Value::Null, "{batch}");
        assert_eq!(metric(gateway, "throughline_resets_total").await, 1.0);
        assert_eq!(metric(gateway, "throughline_source_gaps_total").await, 1.0);
    }
}

/// A gap resets the readers of the topics that the source published to, and nobody else.
async fn tells_a_gap(options: &[&str], interrupt: impl AsyncFnOnce(&mut Server)) {
    let mut server = Server::start(&[]).await;
    let gateway = listening(&[options, &["--source-redis", JOB]].concat(), &server.url()).await;
    let readers = Readers::open(gateway.address, &server).await;
    interrupt(&mut server).await;
    readers.were_told_one_gap(gateway.address, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_one_gap_for_its_topics() {
    tells_a_gap(&[], async |server| {
        server.kill();
        server.start_again().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_subscriber_is_one_gap_for_its_topics() {
    tells_a_gap(&[], async |server| {
        assert_eq!(server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]), "1");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_told_by_a_log_on_disk_too() {
    let directory = crate::support::Directory::new("source-gap");
    let path = directory.0.to_str().unwrap().to_owned();
    tells_a_gap(&["--store", "disk", "--data-dir", &path], async |server| {
        server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_left_and_found_again() {
    let server = Server::start(&[]).await;
    let gateway = listening(&["--source-redis", JOB], &server.url()).await;
    server.signal("-STOP");
    eventually("it is not heard", async || get(gateway.address, "/ready").await.body.contains("sources"))
        .await;
    assert_eq!(get(gateway.address, "/ready").await.status, 200, "clients are welcome");
    server.signal("-CONT");
    is_heard(&gateway).await;
    let mut sse = alice(&gateway).await;
    server.cli(&["PUBLISH", "job:9", &job(3)]);
    assert_eq!(sse.events().await["events"][0]["data"]["progress"], 3);
}

/// From now on the server drops a subscriber for whom more than a megabyte waits.
fn limit_output(server: &Server) {
    let limit = ["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1048576 1048576 1"];
    assert_eq!(server.cli(&limit), "OK");
}

/// What the server knows of the connections that listen.
fn listeners(server: &Server) -> Vec<String> {
    let clients = server.cli(&["CLIENT", "LIST", "TYPE", "pubsub"]);
    clients.lines().filter(|line| line.contains("name=throughline-source")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_gateway_that_redis_drops_is_one_gap_for_its_topics() {
    let server = Server::start(&[]).await;
    limit_output(&server);
    let mut gateway = Program::serve(&["--source-redis", JOB, "--source-redis-url", &server.url()]);
    gateway.read_log();
    is_heard_at(gateway.address).await;
    let readers = Readers::open(gateway.address, &server).await;
    gateway.signal("STOP");
    let flood = "local text = string.rep('x', 1000000) \
                 for _ = 1, 10 do redis.call('PUBLISH', 'job:9', text) end";
    eventually("Redis drops it", async || {
        server.cli(&["EVAL", flood, "0"]);
        listeners(&server).is_empty()
    })
    .await;
    gateway.signal("CONT");
    readers.were_told_one_gap(gateway.address, &server).await;
}

/// Redis drops a subscriber that does not read, so a gateway reads whatever its store does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_whose_store_is_frozen_is_never_dropped_by_redis() {
    let (server, store) = (Server::start(&[]).await, Server::start(&[]).await);
    limit_output(&server);
    let url = store.url();
    let options = ["--store", "redis", "--redis-url", &url, "--source-redis", JOB];
    let gateway = listening(&options, &server.url()).await;
    let id = |line: &String| line.split(' ').next().map(str::to_owned);
    let before: Vec<_> = listeners(&server).iter().map(id).collect();
    assert_eq!(before.len(), 1);
    store.signal("-STOP");
    // 24 MB, three times what the gateway keeps, in parts that may wait at the server.
    let flood = "local text = cjson.encode({userId = 'alice', text = string.rep('x', 4000)}) \
                 for _ = 1, 200 do redis.call('PUBLISH', 'job:9', text) end";
    for _ in 0..30 {
        server.cli(&["EVAL", flood, "0"]);
        eventually("the gateway has read everything", async || {
            listeners(&server).iter().all(|line| line.contains(" omem=0 "))
        })
        .await;
        assert!(gateway.metric("throughline_source_queue_bytes").await <= f64::from(8 << 20));
    }
    let after: Vec<_> = listeners(&server).iter().map(id).collect();
    assert_eq!(after, before, "the connection is the same");
    assert!(gateway.metric("throughline_source_dropped_total").await > 0.0, "the oldest are dropped");
    store.signal("-CONT");
    eventually("the gap is told", async || gateway.metric("throughline_source_gaps_total").await >= 1.0)
        .await;
    is_heard(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_dies_without_a_word_is_made_anew() {
    let server = Server::start(&[]).await;
    let path = Path::to(&server).await;
    let gateway = listening(&["--source-redis", JOB], &path.url()).await;
    path.cut();
    eventually("it is not heard", async || get(gateway.address, "/ready").await.body.contains("sources"))
        .await;
    path.mend();
    is_heard(&gateway).await;
    assert_eq!(gateway.metric("throughline_source_gaps_total").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing_is_said_and_the_gateway_recovers() {
    let server = Server::start(&[]).await;
    let acl =
        |rules: &[&str]| server.cli(&[&["ACL", "SETUSER", "app", "on", ">hunter2", "+@all"], rules].concat());
    assert_eq!(acl(&["resetchannels", "&other"]), "OK");
    let url = server.url().replace("redis://", "redis://app:hunter2@");
    let gateway = Gateway::serve(&["--source-redis", JOB, "--source-redis-url", &url]).await;
    eventually("it says why", async || {
        let ready = get(gateway.address, "/ready").await;
        assert_eq!(ready.status, 200);
        ready.body.contains("NOPERM")
    })
    .await;
    // Exactly the pattern of the rule is what operators grant.
    assert_eq!(acl(&["&job:*"]), "OK");
    is_heard(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_line_shows_a_password_that_a_server_quotes() {
    // A server that does not know AUTH quotes what it was sent.
    let server = Server::start(&["--rename-command", "AUTH", "", "--rename-command", "HELLO", ""]).await;
    let url = server.url().replace("redis://", "redis://alice:hun%2Bter2@");
    let quoted = server.cli(&["AUTH", "alice", "hun+ter2"]);
    assert!(quoted.contains("hun+ter2"), "{quoted}");
    let gateway = Program::serve(&[
        "--source-redis",
        JOB,
        "--source-redis-url",
        &url,
        "--store",
        "redis",
        "--redis-url",
        &url,
        "--log",
        "debug",
    ]);
    eventually("it has tried", async || {
        let metrics = get(gateway.address, "/metrics").await.body;
        let failures =
            metrics.lines().find_map(|line| line.strip_prefix("throughline_store_failures_total "));
        failures.is_some_and(|failures| failures.parse::<f64>().unwrap() > 0.0)
    })
    .await;
    let ready = get(gateway.address, "/ready").await.body;
    gateway.signal("TERM");
    let (_, out, log) = gateway.end().await;
    assert!(log.contains("the source is not heard"), "{log}");
    for secret in ["hun+ter2", "hun%2Bter2", "hunter2"] {
        assert!(!log.contains(secret) && !out.contains(secret) && !ready.contains(secret), "{log}");
    }
}
