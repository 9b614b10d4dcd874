//! NOTIFY of a real PostgreSQL as a source: what comes through, what is proved, and which gaps are told.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

#[path = "support/postgres.rs"]
mod postgres;
mod support;

#[path = "../../events/tests/redis/server.rs"]
#[allow(dead_code, reason = "the store's own tests use the rest")]
mod redis;

use std::net::SocketAddr;
use std::time::Duration;

use postgres::{PgBouncer, Postgres};
use serde_json::{Value, json};
use support::{Gateway, Program, eventually, get, get_with, metric, serving};

const RULE: &str = "Job => topics=job:{/id} type=progress";

/// A gateway that listens at this URL.
async fn gateway(url: &str) -> Gateway {
    Gateway::serve(&["--database-url", url, "--source-notify", RULE]).await
}

/// A gateway that is heard already.
async fn hearing_gateway(url: &str) -> Gateway {
    let gateway = gateway(url).await;
    heard(&gateway).await;
    gateway
}

/// Waits until the source is up.
async fn heard(gateway: &Gateway) {
    eventually("the source is heard", async || {
        get(gateway.address, "/ready").await.json()["sources"]["notify"] == Value::Null
            && gateway.metric("throughline_source_up").await == 1.0
    })
    .await;
}

async fn data(gateway: &Gateway, topic: &str) -> Vec<Value> {
    data_at(gateway.address, topic).await
}

async fn data_at(gateway: SocketAddr, topic: &str) -> Vec<Value> {
    let path = format!("/v1/history?topic={topic}&limit=1000");
    let answer = get_with(gateway, &path, &[("Authorization", "Bearer key")]).await;
    let events = answer.json()["events"].as_array().unwrap().clone();
    events.iter().map(|event| event["data"].clone()).collect()
}

fn notify(payload: &Value) -> String {
    format!("select pg_notify('Job', '{payload}');")
}

/// The listening connections of gateways.
const LISTENERS: &str = "select count(*) from pg_stat_activity where application_name = 'throughline' \
                         and query not ilike '%pg_not%'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_commits_is_heard_in_order_and_equal_payloads_of_a_transaction_once() {
    let server = Postgres::start(&[]).await;
    let gateway = hearing_gateway(&server.url()).await;
    let say = |n: u64| notify(&json!({"id": 7, "n": n}));
    server.run(&format!("begin; {}{}{}{}commit", say(1), say(2), say(1), say(3))).await;
    server.run(&format!("begin; {}savepoint s; {}rollback to s; commit", say(4), say(5))).await;
    server.run(&format!("begin; {}rollback", say(6))).await;
    // Unquoted names fold to lower case: another channel.
    server.run("notify Job, '{\"id\": 7, \"n\": 8}'").await;
    server.run("notify \"Job\", '{\"id\": 7, \"n\": 9}'").await;
    server.run(&say(1)).await;
    eventually("all are published", async || data(&gateway, "job:7").await.len() >= 6).await;
    let all: Vec<Value> = data(&gateway, "job:7").await.iter().map(|data| data["n"].clone()).collect();
    assert_eq!(all, [1, 2, 3, 4, 9, 1].map(Value::from));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_payload_comes_through_whole() {
    let server = Postgres::start(&[]).await;
    let gateway = hearing_gateway(&server.url()).await;
    let payload = |bytes: usize| {
        let empty = r#"{"id":7,"text":""}"#.len();
        json!({"id": 7, "text": "x".repeat(bytes - empty)})
    };
    let client = server.client().await;
    assert!(client.batch_execute(&notify(&payload(8_000))).await.is_err(), "PostgreSQL's own limit");
    client.batch_execute(&notify(&payload(7_999))).await.unwrap();
    eventually("it is published", async || data(&gateway, "job:7").await == [payload(7_999)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_is_ended_comes_back_and_tells_the_gap() {
    let server = Postgres::start(&[]).await;
    let gateway = hearing_gateway(&server.url()).await;
    server.run(&notify(&json!({"id": 7, "n": 1}))).await;
    eventually("it is published", async || data(&gateway, "job:7").await.len() == 1).await;
    assert_eq!(gateway.metric("throughline_source_gaps_total").await, 0.0, "the first start is no gap");
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'throughline'";
    server.run(end).await;
    server.run(&notify(&json!({"id": 7, "n": 2}))).await;
    eventually("the gap is counted", async || gateway.metric("throughline_source_gaps_total").await == 1.0)
        .await;
    heard(&gateway).await;
    server.run(&notify(&json!({"id": 7, "n": 3}))).await;
    eventually("it is heard again", async || {
        data(&gateway, "job:7").await.last() == Some(&json!({"id": 7, "n": 3}))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_followed_to_the_server_that_takes_writes() {
    let mut primary = Postgres::start(&["wal_level=replica", "synchronous_commit=remote_write"]).await;
    let standby = Postgres::standby_of(&primary).await;
    // The standby stands first: it accepts connections, but nobody can listen there.
    let url = format!(
        "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?sslmode=disable",
        standby.port, primary.port
    );
    let gateway = hearing_gateway(&url).await;
    primary.run(&notify(&json!({"id": 7, "n": 1}))).await;
    eventually("it is published", async || data(&gateway, "job:7").await.len() == 1).await;
    primary.kill();
    eventually("the source is down", async || gateway.metric("throughline_source_up").await == 0.0).await;
    assert_eq!(get(gateway.address, "/ready").await.status, 200, "clients are served");
    standby.promote().await;
    heard(&gateway).await;
    standby.run(&notify(&json!({"id": 7, "n": 2}))).await;
    // The gap has cut off what came before it.
    eventually("it is published", async || {
        data(&gateway, "job:7").await.last() == Some(&json!({"id": 7, "n": 2}))
    })
    .await;
    assert_eq!(gateway.metric("throughline_source_gaps_total").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_swallows_notifications_is_found_out() {
    let server = Postgres::start(&[]).await;
    for mode in ["transaction", "statement"] {
        let pooler = PgBouncer::start(&server, mode, 5).await;
        let gateway = gateway(&pooler.url()).await;
        eventually("the proof fails", async || {
            let ready = get(gateway.address, "/ready").await;
            assert_eq!(ready.status, 200);
            let reason = ready.json()["sources"]["notify"].to_string();
            reason.contains("LISTEN does not come through")
        })
        .await;
        assert_eq!(gateway.metric("throughline_source_up").await, 0.0);
    }
    let pooler = PgBouncer::start(&server, "session", 5).await;
    let gateway = hearing_gateway(&pooler.url()).await;
    server.run(&notify(&json!({"id": 7}))).await;
    eventually("it is published", async || data(&gateway, "job:7").await.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_at_the_start_is_no_reason_to_refuse_clients() {
    let mut server = Postgres::start(&[]).await;
    server.kill();
    let gateway = gateway(&server.url()).await;
    eventually("the reason is shown", async || {
        let ready = get(gateway.address, "/ready").await;
        ready.status == 200 && ready.json()["sources"]["notify"] == "PostgreSQL cannot be reached"
    })
    .await;
    server.start_again().await;
    heard(&gateway).await;
    assert_eq!(gateway.metric("throughline_source_gaps_total").await, 0.0, "nothing was heard before");
}

/// A listener that takes nothing from its socket holds the notification queue of the whole cluster. When it is full,
/// every transaction with a NOTIFY fails. So the server must give up on a frozen gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_gateway_does_not_hold_the_notification_queue() {
    let server = Postgres::start(&[]).await;
    let url = server.url();
    let arguments = serving(&["--database-url", &url, "--source-notify", RULE, "--log", "error"]);
    let gateway = Program::start(&arguments);
    eventually("the source is heard", async || {
        let metrics = get(gateway.address, "/metrics").await.body;
        metrics.contains("throughline_source_up{source=\"notify\"} 1")
    })
    .await;
    gateway.signal("STOP");
    // More than the buffers of both sockets hold.
    let flood = "select pg_notify('Job', n || repeat('x', 7000)) from generate_series(1, 3000) n";
    let client = server.client().await;
    let mut said = 0;
    eventually("the server has given up on it", async || {
        // Nobody's transaction fails.
        if said < 6 {
            client.batch_execute(flood).await.unwrap();
            said += 1;
        }
        let blocked =
            server.ask("select count(*) from pg_stat_activity where wait_event = 'ClientWrite'").await;
        let usage: f64 = server.ask("select pg_notification_queue_usage()").await.parse().unwrap();
        assert!(usage < 0.5, "{usage}");
        said == 6 && blocked == "0" && usage == 0.0
    })
    .await;
    gateway.signal("CONT");
    eventually("it is heard again, and has told the gap", async || {
        let metrics = get(gateway.address, "/metrics").await.body;
        metrics.contains("throughline_source_up{source=\"notify\"} 1")
            && metrics.contains("throughline_source_gaps_total{source=\"notify\"} 1")
    })
    .await;
}

/// A gateway that gets hardly any time, and one that dies in the middle of a flood.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_or_dead_gateway_fails_nobodys_transaction() {
    let server = Postgres::start(&[]).await;
    let url = server.url();
    let mut gateway = Program::serve(&["--database-url", &url, "--source-notify", RULE, "--log", "error"]);
    gateway.read_log();
    is_heard(&gateway).await;
    let flood = "select pg_notify('Job', n || repeat('x', 7000)) from generate_series(1, 300) n";
    let client = server.client().await;
    let is_drained = async || {
        let blocked = "select count(*) from pg_stat_activity where wait_event = 'ClientWrite'";
        let usage: f64 = server.ask("select pg_notification_queue_usage()").await.parse().unwrap();
        assert!(usage < 0.5, "{usage}");
        server.ask(blocked).await == "0" && usage == 0.0
    };
    for _ in 0..15 {
        gateway.signal("STOP");
        client.batch_execute(flood).await.unwrap();
        gateway.signal("CONT");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    eventually("it has read everything", is_drained).await;
    gateway.signal("STOP");
    for _ in 0..10 {
        client.batch_execute(flood).await.unwrap();
    }
    gateway.signal("KILL");
    client.batch_execute(flood).await.unwrap();
    eventually("nothing waits for the dead", is_drained).await;
    eventually("nobody listens", async || server.ask(LISTENERS).await == "0").await;
}

/// Waits until a gateway in a process of its own hears the source.
async fn is_heard(gateway: &Program) {
    eventually("the source is heard", async || {
        metric(gateway.address, "throughline_source_up{source=\"notify\"}").await == 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_gateways_the_other_goes_on_where_the_first_was_killed() {
    const MESSAGES: u64 = 400;
    let (server, store) = (Postgres::start(&[]).await, redis::Server::start(&[]).await);
    let (database, log) = (server.url(), store.url());
    let start = || {
        let listens = ["--database-url", &database, "--source-notify", RULE, "--log", "info"];
        let shares = ["--store", "redis", "--redis-url", &log, "--log-name", "log", "--ring-events", "1000"];
        let mut gateway = Program::serve(&[&listens[..], &shares].concat());
        let said = gateway.keep_log();
        (gateway, said)
    };
    let mut gateways = vec![start(), start()];
    for (gateway, _) in &gateways {
        is_heard(gateway).await;
    }
    let is_holder = async |gateway: &Program| {
        metric(gateway.address, "throughline_source_lease{source=\"notify\"}").await == 1.0
    };
    let mut holder = 0;
    eventually("one publishes", async || {
        holder = usize::from(is_holder(&gateways[1].0).await);
        is_holder(&gateways[holder].0).await
    })
    .await;
    // What was said before the other one listened is published.
    let time = store.cli(&["TIME"]);
    let now_ms = time.lines().next().unwrap().parse::<u64>().unwrap() * 1000 + 1000;
    eventually("it was heard later", async || {
        store.cli(&["GET", "{log}:source:notify:heard"]).parse::<u64>().is_ok_and(|heard| heard > now_ms)
    })
    .await;
    let client = server.client().await;
    for n in 0..MESSAGES {
        if n == MESSAGES / 2 {
            drop(gateways.remove(holder));
        }
        // Each third one repeats the one before the last: equal ones are counted, not merged.
        let n = if n % 3 == 2 { n - 2 } else { n };
        client.batch_execute(&notify(&json!({"id": 7, "n": n}))).await.unwrap();
    }
    let (other, said) = &gateways[0];
    let expected: Vec<Value> = (0..MESSAGES).map(|n| json!(if n % 3 == 2 { n - 2 } else { n })).collect();
    let mut all = Vec::new();
    eventually("everything is published", async || {
        all = data_at(other.address, "job:7").await.iter().map(|data| data["n"].clone()).collect();
        all.len() >= expected.len()
    })
    .await;
    assert_eq!(all, expected, "{said}");
    assert_eq!(metric(other.address, "throughline_source_gaps_total").await, 0.0, "{said}");
}

/// The listening connection is read whatever the store does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_does_not_reach_the_notifying_transactions() {
    let server = Postgres::start(&[]).await;
    let redis = redis::Server::start(&[]).await;
    let (database, store) = (server.url(), redis.url());
    let options =
        ["--store", "redis", "--redis-url", &store, "--database-url", &database, "--source-notify", RULE];
    let gateway = Gateway::serve(&options).await;
    heard(&gateway).await;
    redis.signal("-STOP");
    let seconds = std::env::var("NOTIFY_SECONDS").map_or(6, |text| text.parse().expect("a number"));
    let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let client = server.client().await;
    // 42 MiB are more than the queue of the source.
    let flood = "select pg_notify('Job', n || repeat('x', 7000)) from generate_series(1, 1000) n";
    while tokio::time::Instant::now() < end {
        client.batch_execute(flood).await.unwrap();
        eventually("the listener takes everything from its socket", async || {
            let blocked = "select count(*) from pg_stat_activity where wait_event = 'ClientWrite'";
            let usage: f64 = server.ask("select pg_notification_queue_usage()").await.parse().unwrap();
            server.ask(blocked).await == "0" && usage == 0.0
        })
        .await;
        assert!(gateway.metric("throughline_source_queue_bytes").await <= f64::from(8 << 20));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    redis.signal("-CONT");
    assert_eq!(server.ask(LISTENERS).await, "1");
    heard(&gateway).await;
}

/// A program that is stopped after its source has been refused, and what it has written.
async fn log_of(url: &str, reason: &str) -> String {
    let options = ["--database-url", url, "--source-notify", RULE, "--log", "trace"];
    let gateway = Program::start(&serving(&options));
    eventually("the reason is shown", async || {
        let ready = get(gateway.address, "/ready").await.json();
        ready["sources"]["notify"] == reason
    })
    .await;
    gateway.signal("TERM");
    let (_, out, error) = gateway.end().await;
    out + &error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_line_shows_a_password_even_where_the_server_quotes_it() {
    let server = Postgres::start(&[]).await;
    server.ask_for_passwords("hunter2").await;
    let (port, refused) = (server.port, "PostgreSQL refuses");
    let wrong =
        log_of(&format!("postgres://postgres:hunter3@127.0.0.1:{port}/postgres?sslmode=disable"), refused)
            .await;
    assert!(wrong.contains("SQLSTATE 28P01") && !wrong.contains("hunter3"), "{wrong}");
    // The server's own text has the name of the database, which is the password here.
    let quoted =
        log_of(&format!("postgres://postgres:hunter2@127.0.0.1:{port}/hunter2?sslmode=disable"), refused)
            .await;
    assert!(quoted.contains("SQLSTATE 3D000") && !quoted.contains("hunter2"), "{quoted}");
    let escaped = format!("postgres://postgres:hunter%32@127.0.0.1:{port}/hunter%32?sslmode=disable");
    let escaped = log_of(&escaped, refused).await;
    assert!(escaped.contains("SQLSTATE 3D000"), "{escaped}");
    assert!(!escaped.contains("hunter2") && !escaped.contains("hunter%32"), "{escaped}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_verified_by_the_given_authority_and_the_name_of_the_host() {
    let server = Postgres::start(&[]).await;
    let ca = server.use_tls().await;
    let url = |host: &str| format!("postgres://postgres@{host}:{}/postgres?sslmode=require", server.port);
    let ca = ca.to_str().unwrap();
    let listening = ["--source-notify", RULE, "--database-url"];
    let trusted = Gateway::serve(&[&listening[..], &[&url("localhost"), "--database-ca", ca]].concat()).await;
    heard(&trusted).await;
    let other_name =
        Gateway::serve(&[&listening[..], &[&url("127.0.0.1"), "--database-ca", ca]].concat()).await;
    eventually("it is refused", async || {
        let ready = get(other_name.address, "/ready").await.json();
        ready["sources"]["notify"] == "PostgreSQL cannot be reached"
    })
    .await;
    let untrusted = log_of(&url("localhost"), "PostgreSQL cannot be reached").await;
    assert!(untrusted.contains("UnknownIssuer") && untrusted.contains("--database-ca"), "{untrusted}");
}
