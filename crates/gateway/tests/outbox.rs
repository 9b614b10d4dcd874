//! The outbox in a real PostgreSQL: what is committed is published, once and in order, whatever fails.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]
#![expect(clippy::print_stdout, reason = "figures of a soak")]

#[path = "support/postgres.rs"]
mod postgres;
mod support;

use std::net::SocketAddr;

use gateway::config::{self, Command};
use postgres::{PgBouncer, Postgres};
use serde_json::{Value, json};
use support::{Gateway, Http, eventually, get, get_with};

/// What `gateway outbox-sql` prints.
fn outbox_sql(options: &[&str]) -> String {
    let arguments = ["gateway", "outbox-sql"].iter().chain(options).copied();
    let Ok(Command::OutboxSql(outbox)) = config::read(arguments) else { panic!("the options are wrong") };
    outbox.script()
}

/// A server with an outbox.
async fn with_outbox(settings: &[&str]) -> Postgres {
    let server = Postgres::start(settings).await;
    server.run(&outbox_sql(&[])).await;
    server
}

/// A gateway that takes over the outbox at this URL.
async fn gateway(url: &str, options: &[&str]) -> Gateway {
    let all = ["--database-url", url, "--source-outbox", "throughline_outbox", "--outbox-poll-ms", "20"];
    Gateway::serve(&[&all, options].concat()).await
}

/// The events of a topic, as they were published.
async fn history(address: SocketAddr, topic: &str) -> Vec<Value> {
    let path = format!("/v1/history?topic={topic}&limit=1000");
    let answer = get_with(address, &path, &[("Authorization", "Bearer key")]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["events"].as_array().unwrap().clone()
}

fn data(events: &[Value]) -> Vec<Value> {
    events.iter().map(|event| event["data"].clone()).collect()
}

/// Waits until the table is empty, apart from refused rows.
async fn taken_over(server: &Postgres) {
    eventually("the outbox is empty", async || {
        server.ask("select count(*) from throughline_outbox where error is null").await == "0"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_become_events_in_their_order_and_are_deleted() {
    let server = with_outbox(&[]).await;
    let publish = "select throughline_publish('a', 't', '{\"n\": 1.50}', 'k'); \
                   select throughline_publish('a', 't', '2')";
    server.run(publish).await;
    let gateway = gateway(&server.url(), &[]).await;
    let draft = json!({"topics": ["a", "b"], "type": "u", "data": 3, "id": "own"});
    server.run(&format!("insert into throughline_outbox (draft) values ('{draft}')")).await;
    taken_over(&server).await;
    let events = history(gateway.address, "a").await;
    assert_eq!(data(&events), [json!({"n": 1.50}), json!(2), json!(3)]);
    assert_eq!(events[0]["key"], "k");
    assert!(events[0]["id"].as_str().unwrap().starts_with("ob:1:"), "{}", events[0]);
    assert_eq!(events[2]["id"], "own");
    assert_eq!(history(gateway.address, "b").await.len(), 1);
    assert_eq!(gateway.metric("throughline_source_published_total").await, 3.0);
    assert_eq!(get(gateway.address, "/ready").await.json()["sources"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_rolled_back_publishes_nothing() {
    let server = with_outbox(&[]).await;
    let gateway = gateway(&server.url(), &[]).await;
    server
        .run(
            "begin; select throughline_publish('a', 't', '1'); rollback; \
             begin; select throughline_publish('a', 't', '2'); savepoint s; \
             select throughline_publish('a', 't', '3'); rollback to s; commit",
        )
        .await;
    taken_over(&server).await;
    assert_eq!(data(&history(gateway.address, "a").await), [json!(2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_transactions_delay_nobody_but_themselves() {
    let server = with_outbox(&[]).await;
    server.run("create database other").await;
    let gateway = gateway(&server.url(), &[]).await;
    // A transaction that writes, in another database, and one that has a row in the outbox.
    let elsewhere = postgres::connect_to(server.port, "other").await.unwrap();
    elsewhere.batch_execute("create table t (n int); begin; insert into t values (1)").await.unwrap();
    let late = server.client().await;
    late.batch_execute("begin; select throughline_publish('a', 't', '\"late\"')").await.unwrap();
    for n in 1..=3 {
        server.run(&format!("select throughline_publish('a', 't', '{n}')")).await;
        eventually("the row is published", async || history(gateway.address, "a").await.len() == n).await;
    }
    // Its id is lower than theirs.
    late.batch_execute("commit").await.unwrap();
    eventually("the late row is published", async || history(gateway.address, "a").await.len() == 4).await;
    assert_eq!(data(&history(gateway.address, "a").await), [json!(1), json!(2), json!(3), json!("late")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_begin_again_are_not_taken_for_repeats() {
    let server = with_outbox(&[]).await;
    let gateway = gateway(&server.url(), &[]).await;
    for round in 0..2 {
        for n in 0..3 {
            server.run(&format!("select throughline_publish('a', 't', '{}')", round * 10 + n)).await;
        }
        taken_over(&server).await;
        server.run("truncate throughline_outbox restart identity").await;
    }
    let all: Vec<Value> = [0, 1, 2, 10, 11, 12].map(Value::from).into();
    assert_eq!(data(&history(gateway.address, "a").await), all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_no_draft_says_why_and_holds_up_nobody() {
    let server = with_outbox(&[]).await;
    let large = format!(r#"{{"topic":"a","type":"t","data":"{}"}}"#, "x".repeat(200_000));
    let poison = [
        ("null", "bad_request"),
        ("[]", "bad_request"),
        (r#"{"type":"t","data":1}"#, "bad_request"),
        (r#"{"topic":"","type":"t","data":1}"#, "bad_request"),
        (r#"{"topic":"a","type":null,"data":1}"#, "bad_request"),
        (r#"{"topic":"a","type":"presence.join","data":1}"#, "bad_request"),
        (r#"{"topic":"a","type":"t","data":1,"expect":0}"#, "bad_request: expect"),
        (r#"{"topic":"a","type":"t","data":1,"more":"\u0000"}"#, "bad_request"),
        (&large, "too_large"),
    ];
    for (draft, _) in poison {
        let row = format!("insert into throughline_outbox (draft) values ($${draft}$$)");
        server.run(&row).await;
        server.run("select throughline_publish('a', 't', '1')").await;
    }
    server.run("insert into throughline_outbox (draft, at) values ('{\"topic\":\"a\",\"type\":\"t\",\"data\":2}', 'infinity')").await;
    let gateway = gateway(&server.url(), &[]).await;
    taken_over(&server).await;
    assert_eq!(history(gateway.address, "a").await.len(), poison.len() + 1);
    let rows = server.client().await.query("select error from throughline_outbox order by id", &[]).await;
    let errors: Vec<String> = rows.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(errors.len(), poison.len());
    for (error, (draft, start)) in errors.iter().zip(poison) {
        assert!(error.starts_with(start), "{}: {error}", &draft[..draft.len().min(60)]);
    }
    assert_eq!(gateway.metric("throughline_source_rejected_total").await, poison.len() as f64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_arrives_byte_for_byte() {
    let server = with_outbox(&[]).await;
    // jsonb would refuse the first two and change the others.
    let texts = [
        r#""\u0000""#,
        r#""\ud83d""#,
        r#"{"b":1,"a":1.0,"b":2}"#,
        "1e400",
        "[1,2]",
        "12345678901234567890.10",
    ];
    for text in texts {
        server.run(&format!("select throughline_publish('a', 't', $${text}$$)")).await;
    }
    let gateway = gateway(&server.url(), &[]).await;
    taken_over(&server).await;
    let path = "/v1/history?topic=a&limit=10";
    let body = get_with(gateway.address, path, &[("Authorization", "Bearer key")]).await.body;
    for text in texts {
        assert!(body.contains(&format!("\"data\":{text}")), "{text}: {body}");
    }
}

/// Everything runs on one thread, so that the number of rows between two publishes counts turns of tasks and not the
/// speed of the machine.
#[tokio::test]
async fn publishers_over_http_wait_for_a_batch_and_not_for_the_backlog() {
    const ROWS: u64 = 20_000;
    let server = with_outbox(&[]).await;
    server
        .run(&format!(
            "select throughline_publish('backlog', 't', to_json(n)) from generate_series(1, {ROWS}) n"
        ))
        .await;
    let gateway = gateway(&server.url(), &[]).await;
    let mut http = Http::open(gateway.address).await;
    let mut seqs = vec![0];
    while gateway.metric("throughline_source_published_total").await < ROWS as f64 {
        let draft = json!({"topic": "http", "type": "t", "data": 1}).to_string();
        let answer = http.post("/v1/publish", &[("Authorization", "Bearer key")], &draft).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        seqs.push(answer.json()["seq"].as_u64().unwrap());
    }
    let widest = seqs.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    // Two turns of 500 rows.
    assert!(seqs.len() > 20 && widest <= 1_000, "{} publishes, {widest} rows between two", seqs.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_through_a_pooler_in_transaction_mode() {
    let server = with_outbox(&["max_connections=20"]).await;
    // One server connection for both gateways and the writer: nothing may stay behind on it.
    let pooler = PgBouncer::start(&server, "transaction", 1).await;
    let gateways = [gateway(&pooler.url(), &[]).await, gateway(&pooler.url(), &[]).await];
    let writer = postgres::connect(pooler.port).await.unwrap();
    for n in 0..200 {
        let sql = format!("begin; select throughline_publish('a', 't', '{n}'); commit");
        writer.batch_execute(&sql).await.unwrap();
    }
    taken_over(&server).await;
    // Two logs, of which each row is in one.
    let mut all = Vec::new();
    for gateway in &gateways {
        let of_one = data(&history(gateway.address, "a").await);
        assert!(of_one.is_sorted_by_key(|n| n.as_u64()), "in order");
        all.extend(of_one.iter().map(|n| n.as_u64().unwrap()));
        assert_eq!(get(gateway.address, "/ready").await.json()["sources"], Value::Null);
    }
    all.sort_unstable();
    assert_eq!(all, (0..200).collect::<Vec<_>>());
    let stays = "select count(*) from pg_locks where locktype = 'advisory'";
    eventually("no lock is left", async || server.ask(stays).await == "0").await;
}

/// `SOAK_SECONDS` says for how long, at least.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_snapshot_does_not_make_turns_longer() {
    let soak = std::env::var("SOAK_SECONDS").map_or(0, |text| text.parse().expect("a number"));
    let server = with_outbox(&["autovacuum=off"]).await;
    let reader = server.client().await;
    reader.batch_execute("begin isolation level repeatable read; select 1").await.unwrap();
    let gateway = gateway(&server.url(), &[]).await;
    let entries = "select coalesce(sum(idx_tup_read), 0) from pg_stat_user_indexes where relname = 'throughline_outbox'";
    let mut published = 0_u64;
    let mut read_of = Vec::new();
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(soak);
    while read_of.len() < 12 || tokio::time::Instant::now() < end {
        let before: i64 = server.ask(entries).await.parse().unwrap();
        for _ in 0..20 {
            server.run("select throughline_publish('a', 't', '1') from generate_series(1, 250)").await;
            published += 250;
            // Not by a look at the table, which would read all of its dead rows.
            eventually("all are published", async || {
                gateway.metric("throughline_source_published_total").await >= published as f64
            })
            .await;
        }
        let after: i64 = server.ask(entries).await.parse().unwrap();
        read_of.push(after - before);
    }
    // No dead row can be removed, and from the beginning each scan would pass all of them at the end.
    let third = read_of.len() / 3;
    let (first, last) = (&read_of[..third], &read_of[read_of.len() - third..]);
    let (first, last) = (first.iter().min().unwrap(), last.iter().min().unwrap());
    println!("{published} rows; index entries read for 5,000 of them: first {first}, in the end {last}");
    assert!(*last < first.max(&100_000) * 3, "index entries read: {read_of:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trigger_wakes_the_gateway_up() {
    let server = Postgres::start(&[]).await;
    server.run(&outbox_sql(&["--wake-up", "--role", "postgres"])).await;
    let url = server.url();
    let options =
        ["--database-url", &url, "--source-outbox", "throughline_outbox", "--outbox-poll-ms", "60000"];
    let gateway = Gateway::serve(&options).await;
    eventually("it listens", async || {
        let listening = "select count(*) from pg_stat_activity where query ilike '%listen \"throughline_outbox\"%' \
                         and pid <> pg_backend_pid() or query = 'select 1'";
        server.ask(listening).await != "0"
    })
    .await;
    let began = tokio::time::Instant::now();
    for n in 1..=3 {
        server.run(&format!("select throughline_publish('a', 't', '{n}')")).await;
        eventually("the row is published", async || history(gateway.address, "a").await.len() == n).await;
    }
    // Three polls take three minutes.
    assert!(began.elapsed() < std::time::Duration::from_secs(100));
}
