//! One gateway that listens: what it takes over, what it tells of gaps, and how it stands.

use serde_json::{Value, json};

use crate::server::{Path, Server};
use crate::support::{Gateway, Program, Sse, eventually, get, token};

/// The rule of the media pipeline, whose workers must run unchanged.
const JOB: &str = "job:* => topics=user:{/userId},job:{/jobId} type=sync:progress key={/jobId}";

pub(crate) async fn listening(options: &[&str], url: &str) -> Gateway {
    let gateway = Gateway::serve(&[options, &["--source-redis-url", url]].concat()).await;
    is_heard(&gateway).await;
    gateway
}

pub(crate) async fn is_heard(gateway: &Gateway) {
    eventually("the source is heard", async || {
        let ready = get(gateway.address, "/ready").await;
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

/// A gap resets the readers of the topics that the source published to, and nobody else.
async fn tells_a_gap(options: &[&str], interrupt: impl AsyncFnOnce(&mut Server)) {
    let mut server = Server::start(&[]).await;
    let gateway = listening(&[options, &["--source-redis", JOB]].concat(), &server.url()).await;
    let mut sse = alice(&gateway).await;
    let bob = format!("access_token={}", token("bob", &[]));
    let mut other = Sse::open(gateway.address, &bob).await;
    other.batch().await.expect("hello");
    server.cli(&["PUBLISH", "job:9", &job(1)]);
    sse.events().await;
    interrupt(&mut server).await;
    eventually("the gap is counted", async || gateway.metric("throughline_source_gaps_total").await == 1.0)
        .await;
    is_heard(&gateway).await;
    server.cli(&["PUBLISH", "job:9", &job(2)]);
    let mut resets = Vec::new();
    loop {
        let batch = sse.batch().await.expect("a batch");
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
    gateway.publish(json!({"topic": "user:bob", "type": "t", "data": 1})).await;
    let batch = other.events().await;
    assert_eq!(batch["reset"], Value::Null, "{batch}");
    assert_eq!(gateway.metric("throughline_resets_total").await, 1.0);
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
