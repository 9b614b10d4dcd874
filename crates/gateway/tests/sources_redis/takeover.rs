//! Several gateways of one log that hear the same source.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::Server;
use crate::support::{LogTail, Program, eventually, get, metric, token};

const RULE: &str = "n:* => topics=numbers type=n";

/// A gateway as a process of its own, so that it can be killed, and its log.
struct Node {
    program: Program,
    log: LogTail,
}

impl std::ops::Deref for Node {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

fn gateway(log: &Server, source: &Server) -> Node {
    let mut program = Program::serve(&[
        "--store",
        "redis",
        "--redis-url",
        &log.url(),
        "--log-name",
        "log",
        "--ring-events",
        "1000000",
        "--source-redis",
        RULE,
        "--source-redis-url",
        &source.url(),
        "--log",
        "info,gateway::sources=debug,events=debug",
    ]);
    let log = program.keep_log();
    Node { program, log }
}

async fn is_holder(gateway: &Program) -> bool {
    metric(gateway.address, r#"throughline_source_lease{source="redis"}"#).await == 1.0
}

async fn is_heard(gateway: &Program) {
    eventually("the source is heard", async || {
        let ready = get(gateway.address, "/ready").await;
        ready.status == 200 && ready.json()["sources"] == Value::Null
    })
    .await;
}

/// Which of them publishes.
async fn holder(gateways: &[Node]) -> usize {
    for _ in 0..1200 {
        for (at, gateway) in gateways.iter().enumerate() {
            if is_holder(gateway).await {
                return at;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut said = String::new();
    for gateway in gateways {
        said += &format!("{}\n{}\n", source_metrics(gateway).await, gateway.log);
    }
    panic!("none publishes:\n{said}");
}

async fn source_metrics(gateway: &Program) -> String {
    let metrics = get(gateway.address, "/metrics").await.body;
    let is_ours = |line: &&str| line.starts_with("throughline_source") && line.contains("\"redis\"");
    metrics.lines().filter(is_ours).collect::<Vec<_>>().join("\n")
}

/// Waits until it is known in Redis that the source was heard later than now: a gateway that is heard
/// now has missed nothing then.
async fn is_covered(log: &Server) {
    let time = log.cli(&["TIME"]);
    let now: u64 = time.lines().next().unwrap().parse::<u64>().unwrap() * 1000 + 1000;
    eventually("it was heard later", async || {
        log.cli(&["GET", "{log}:source:redis:heard"]).parse::<u64>().is_ok_and(|heard| heard > now)
    })
    .await;
}

/// Publishes on one connection, as a worker does.
struct Worker(TcpStream);

impl Worker {
    async fn of(server: &Server) -> Self {
        Self(TcpStream::connect(("127.0.0.1", server.port())).await.unwrap())
    }

    async fn publish(&mut self, payload: &str) {
        let text = format!("*3\r\n$7\r\nPUBLISH\r\n$3\r\nn:1\r\n${}\r\n{payload}\r\n", payload.len());
        self.0.write_all(text.as_bytes()).await.unwrap();
        while self.0.read_u8().await.unwrap() != b'\n' {}
    }
}

/// All that the log has, in its order.
async fn all(gateway: &Program) -> Vec<Value> {
    let query = format!("topics=numbers&access_token={}", token("alice", &["--subscribe", "*"]));
    let mut data = Vec::new();
    let mut after = "earliest".to_owned();
    loop {
        let answer =
            get(gateway.address, &format!("/v1/poll?{query}&after={after}&wait=0&limit=1000")).await.json();
        assert_eq!(answer["reset"], Value::Null, "{answer}");
        let events = answer["events"].as_array().unwrap();
        if events.is_empty() {
            return data;
        }
        data.extend(events.iter().map(|event| event["data"].clone()));
        after = answer["cursor"].as_str().unwrap().to_owned();
    }
}

/// Waits until the log has these, and then nothing else, in this order.
async fn has_all(gateway: &Node, expected: &[Value]) {
    let mut seen = Vec::new();
    for _ in 0..150 {
        seen = all(gateway).await;
        if seen.len() >= expected.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let same = seen.iter().zip(expected).take_while(|(seen, expected)| seen == expected).count();
    assert!(
        seen == expected,
        "{} of {} events, the first {same} as expected, then {:?} for {:?}\n{}",
        seen.len(),
        expected.len(),
        &seen[same..seen.len().min(same + 10)],
        &expected[same..expected.len().min(same + 10)],
        format_args!("{}\n{}", source_metrics(gateway).await, gateway.log),
    );
}

/// Numbers that a worker publishes at a steady rate until it is told to stop.
fn numbers(
    server: &Server,
    per_second: u64,
) -> (Arc<AtomicBool>, Arc<AtomicU64>, tokio::task::JoinHandle<u64>) {
    let (stop, said) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let (stopped, count, port) = (Arc::clone(&stop), Arc::clone(&said), server.port());
    let task = tokio::spawn(async move {
        let mut worker = Worker(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / per_second));
        let mut n = 0;
        while !stopped.load(Ordering::Acquire) {
            ticks.tick().await;
            // A, B, A: each third message repeats the one before the last.
            let value = if n % 3 == 2 { n - 2 } else { n };
            worker.publish(&value.to_string()).await;
            n += 1;
            count.store(n, Ordering::Release);
        }
        n
    });
    (stop, said, task)
}

/// What [`numbers`] says.
fn expected(count: u64) -> Vec<Value> {
    (0..count).map(|n| json!(if n % 3 == 2 { n - 2 } else { n })).collect()
}

/// The holder is killed again and again: nothing lost, nothing twice, order kept.
async fn kills(times: usize) {
    let (log, source) = (Server::start(&[]).await, Server::start(&[]).await);
    let mut gateways: Vec<Node> = (0..3).map(|_| gateway(&log, &source)).collect();
    for gateway in &gateways {
        is_heard(gateway).await;
    }
    holder(&gateways).await;
    is_covered(&log).await;
    let (stop, said, task) = numbers(&source, 200);
    for _ in 0..times {
        let at = holder(&gateways).await;
        let goal = said.load(Ordering::Acquire) + 50;
        eventually("more is said", async || said.load(Ordering::Acquire) >= goal).await;
        drop(gateways.remove(at));
        gateways.push(gateway(&log, &source));
        holder(&gateways).await;
        is_heard(&gateways[2]).await;
        // What was published until now is no loss of the new one, should it be the next to publish.
        is_covered(&log).await;
    }
    stop.store(true, Ordering::Release);
    let count = task.await.unwrap();
    has_all(&gateways[0], &expected(count)).await;
    for gateway in &gateways {
        let gaps = metric(gateway.address, r#"throughline_source_gaps_total{source="redis"}"#).await;
        assert_eq!(gaps, 0.0, "{}", gateway.log);
    }
}

/// `KILLS=20` is the long form.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_holder_loses_nothing_and_doubles_nothing() {
    let times = std::env::var("KILLS").map_or(2, |times| times.parse().unwrap());
    kills(times).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_holder_publishes_nothing_after_it_wakes() {
    let (log, source) = (Server::start(&[]).await, Server::start(&[]).await);
    let gateways: Vec<Node> = (0..2).map(|_| gateway(&log, &source)).collect();
    for gateway in &gateways {
        is_heard(gateway).await;
    }
    let frozen = holder(&gateways).await;
    is_covered(&log).await;
    let (stop, said, task) = numbers(&source, 100);
    eventually("some is said", async || said.load(Ordering::Acquire) >= 50).await;
    gateways[frozen].signal("STOP");
    let other = &gateways[1 - frozen];
    eventually("the other publishes", async || is_holder(other).await).await;
    gateways[frozen].signal("CONT");
    let goal = said.load(Ordering::Acquire) + 100;
    eventually("more is said", async || said.load(Ordering::Acquire) >= goal).await;
    stop.store(true, Ordering::Release);
    let count = task.await.unwrap();
    has_all(other, &expected(count)).await;
    assert!(is_holder(other).await && !is_holder(&gateways[frozen]).await);
}

/// The log's Redis takes nothing for a while: an append of which nobody knows whether it arrived is
/// neither lost nor doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_frozen_for_a_while_has_everything_once() {
    let (log, source) = (Server::start(&[]).await, Server::start(&[]).await);
    let gateways: Vec<Node> = (0..2).map(|_| gateway(&log, &source)).collect();
    for gateway in &gateways {
        is_heard(gateway).await;
    }
    holder(&gateways).await;
    is_covered(&log).await;
    let (stop, said, task) = numbers(&source, 100);
    for _ in 0..2 {
        let goal = said.load(Ordering::Acquire) + 30;
        eventually("some is said", async || said.load(Ordering::Acquire) >= goal).await;
        log.signal("-STOP");
        tokio::time::sleep(Duration::from_secs(6)).await;
        log.signal("-CONT");
        holder(&gateways).await;
    }
    stop.store(true, Ordering::Release);
    let count = task.await.unwrap();
    has_all(&gateways[0], &expected(count)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_hands_the_source_over_at_once() {
    let (log, source) = (Server::start(&[]).await, Server::start(&[]).await);
    let mut gateways: Vec<Node> = (0..2).map(|_| gateway(&log, &source)).collect();
    for gateway in &gateways {
        is_heard(gateway).await;
    }
    let mut worker = Worker::of(&source).await;
    let leaving = holder(&gateways).await;
    worker.publish("1").await;
    let leaving = gateways.remove(leaving);
    leaving.signal("TERM");
    worker.publish("2").await;
    eventually("the other publishes", async || is_holder(&gateways[0]).await).await;
    worker.publish("3").await;
    has_all(&gateways[0], &[json!(1), json!(2), json!(3)]).await;
}
