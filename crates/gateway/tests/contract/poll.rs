//! `GET` and `POST /v1/poll`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Gateway, Http, eventually, get, post, seqs, token};

async fn poll(gateway: &Gateway, query: &str) -> Value {
    let answer = get(gateway.address, &format!("/v1/poll?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn alice() -> String {
    format!("token={}", token("alice", &["--subscribe", "*"]))
}

async fn publish(gateway: &Gateway, topic: &str, kind: &str, data: u64) -> u64 {
    gateway.publish(json!({"topic": topic, "type": kind, "data": data})).await
}

#[tokio::test]
async fn without_a_cursor_it_says_hello_and_where_the_tail_is() {
    let gateway = Gateway::serve(&["--deployment", "green"]).await;
    publish(&gateway, "all", "t", 1).await;
    for after in ["", "&after=", "&after=latest"] {
        let batch = poll(&gateway, &format!("{}&topics=room:1,all{after}", alice())).await;
        let hello = &batch["hello"];
        assert_eq!((&hello["user"], &hello["transport"]), (&json!("alice"), &json!("poll")), "{after:?}");
        assert_eq!(hello["topics"], json!(["user:alice", "all", "room:1"]));
        assert_eq!((&hello["heartbeat_ms"], &hello["deployment"]), (&json!(15_000), &json!("green")));
        assert!(hello["session"].is_string() && hello["expires_at"].is_string());
        assert!(batch["after"] == batch["cursor"] && batch["events"] == json!([]), "{batch}");
        assert!(batch["cursor"].as_str().unwrap().ends_with(".1"));
    }
}

#[tokio::test]
async fn what_is_there_comes_at_once_and_what_comes_is_waited_for() {
    let gateway = Gateway::serve(&[]).await;
    let start = poll(&gateway, &alice()).await["cursor"].as_str().unwrap().to_owned();
    let first = publish(&gateway, "user:alice", "t", 1).await;
    let batch = poll(&gateway, &format!("{}&after={start}&wait=60", alice())).await;
    assert_eq!((seqs(&batch), &batch["after"]), (vec![first], &json!(start)));
    assert!(
        batch.get("hello").is_none() && batch.get("more").is_none() && batch.get("live").is_none(),
        "{batch}"
    );
    let cursor = batch["cursor"].as_str().unwrap().to_owned();
    let waiting = tokio::spawn({
        let (address, target) = (gateway.address, format!("/v1/poll?{}&after={cursor}&wait=60", alice()));
        async move { get(address, &target).await.json() }
    });
    eventually("it waits", async || gateway.stats().await["byTransport"]["poll"] == 1).await;
    publish(&gateway, "user:bob", "t", 0).await;
    let second = publish(&gateway, "user:alice", "t", 2).await;
    let batch = waiting.await.unwrap();
    assert_eq!((seqs(&batch), &batch["after"]), (vec![second], &json!(cursor)));
}

#[tokio::test]
async fn when_the_wait_is_over_an_empty_batch_moves_the_cursor() {
    let gateway = Gateway::serve(&[]).await;
    let start = poll(&gateway, &alice()).await["cursor"].as_str().unwrap().to_owned();
    let others = publish(&gateway, "user:bob", "t", 1).await;
    let started = Instant::now();
    let batch = poll(&gateway, &format!("{}&after={start}&wait=1", alice())).await;
    assert!(started.elapsed() >= Duration::from_millis(950), "{:?}", started.elapsed());
    assert_eq!((seqs(&batch), &batch["after"]), (vec![], &json!(start)));
    assert!(batch["cursor"].as_str().unwrap().ends_with(&format!(".{others}")), "{batch}");
    let started = Instant::now();
    poll(&gateway, &format!("{}&after={start}&wait=0", alice())).await;
    poll(&gateway, &format!("{}&after={start}&wait=-5", alice())).await;
    assert!(started.elapsed() < Duration::from_secs(5), "0 does not wait, and less is clamped to 0");
}

#[tokio::test]
async fn limit_and_more_page_through_a_backlog() {
    let gateway = Gateway::serve(&[]).await;
    for n in 0..7 {
        publish(&gateway, "user:alice", "t", n).await;
    }
    let mut cursor = "earliest".to_owned();
    let mut pages = Vec::new();
    loop {
        let batch = poll(&gateway, &format!("{}&after={cursor}&limit=3", alice())).await;
        pages.push(seqs(&batch));
        cursor = batch["cursor"].as_str().unwrap().to_owned();
        if batch.get("more").is_none() {
            break;
        }
        assert_eq!(batch["more"], true);
    }
    assert_eq!(pages, [vec![1, 2, 3], vec![4, 5, 6], vec![7]]);
    let clamped = poll(&gateway, &format!("{}&after=earliest&limit=0", alice())).await;
    assert_eq!(seqs(&clamped), [1], "clamped to one");
    let clamped = poll(&gateway, &format!("{}&after=earliest&limit=99999999999999999999999", alice())).await;
    assert_eq!(seqs(&clamped).len(), 7);
}

#[tokio::test]
async fn earliest_is_everything_retained_and_never_a_reset() {
    let gateway = Gateway::serve(&["--ring-events", "3"]).await;
    for n in 0..5 {
        publish(&gateway, "user:alice", "t", n).await;
    }
    let batch = poll(&gateway, &format!("{}&after=earliest", alice())).await;
    assert_eq!((seqs(&batch), batch.get("reset")), (vec![3, 4, 5], None));
}

#[tokio::test]
async fn a_cursor_older_than_a_ring_is_a_reset_that_names_only_what_may_lack_events() {
    let gateway = Gateway::serve(&["--ring-events", "3"]).await;
    let start = poll(&gateway, &alice()).await["cursor"].as_str().unwrap().to_owned();
    let quiet = publish(&gateway, "room:quiet", "t", 0).await;
    for n in 0..5 {
        publish(&gateway, "room:busy", "t", n).await;
    }
    let batch = poll(&gateway, &format!("{}&after={start}&topics=room:busy,room:quiet", alice())).await;
    let reset = &batch["reset"];
    assert_eq!((&reset["reason"], &reset["topics"]), (&json!("expired"), &json!(["room:busy"])));
    assert!(reset["refetch_after_ms"].as_u64().unwrap() <= 60_000);
    assert_eq!(batch["after"], start, "the client's cursor stays");
    assert_eq!(seqs(&batch), [quiet, 4, 5, 6]);
    let after = batch["cursor"].as_str().unwrap();
    let next = poll(&gateway, &format!("{}&after={after}&topics=room:busy&wait=0", alice())).await;
    assert!(next.get("reset").is_none(), "once: {next}");
}

#[tokio::test]
async fn a_cursor_of_another_life_or_from_the_future_is_a_reset_of_all_topics() {
    let gateway = Gateway::serve(&[]).await;
    publish(&gateway, "all", "t", 1).await;
    let tail = poll(&gateway, &alice()).await["cursor"].as_str().unwrap().to_owned();
    let epoch = tail.split('.').next().unwrap();
    for (cursor, reason) in [("zzzz.1".to_owned(), "epoch"), (format!("{epoch}.999"), "ahead")] {
        let batch = poll(&gateway, &format!("{}&after={cursor}", alice())).await;
        assert_eq!(batch["reset"]["reason"], reason, "{batch}");
        assert_eq!(batch["reset"]["topics"], json!(["user:alice", "all"]));
        assert_eq!((&batch["after"], &batch["cursor"]), (&json!(tail), &json!(tail)));
    }
}

#[tokio::test]
async fn types_filters_events_and_not_the_cursor() {
    let gateway = Gateway::serve(&[]).await;
    for kind in ["a", "b.x", "b.y", "c"] {
        publish(&gateway, "user:alice", kind, 1).await;
    }
    for (types, expected) in [
        ("a", vec![1]),
        ("b.*", vec![2, 3]),
        ("c,a", vec![1, 4]),
        ("*", vec![1, 2, 3, 4]),
        ("", vec![1, 2, 3, 4]),
    ] {
        let batch = poll(&gateway, &format!("{}&after=earliest&types={types}", alice())).await;
        assert_eq!(seqs(&batch), expected, "{types}");
        assert!(batch["cursor"].as_str().unwrap().ends_with(".4"), "{types}: {batch}");
    }
}

#[tokio::test]
async fn parameters_may_be_in_a_posted_form() {
    let gateway = Gateway::serve(&[]).await;
    publish(&gateway, "room:1", "t", 1).await;
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let body = format!("{}&topics=room%3A1&after=earliest", alice());
    let answer = post(gateway.address, "/v1/poll", &[form], &body).await;
    assert_eq!((answer.status, seqs(&answer.json())), (200, vec![1]), "{}", answer.body);
    let target = format!("/v1/poll?{}&topics=room:1&after=earliest", alice());
    assert_eq!(post(gateway.address, &target, &[], "").await.status, 200, "the same parameters in the URL");
    assert_eq!(post(gateway.address, &target, &[], "{}").await.status, 400);
    assert_eq!(post(gateway.address, "/v1/poll", &[form], "after=earliest").await.status, 401);
}

#[tokio::test]
async fn a_connection_carries_one_poll_after_another() {
    let gateway = Gateway::serve(&[]).await;
    let mut http = Http::open(gateway.address).await;
    let hello = http.get(&format!("/v1/poll?{}", alice())).await;
    assert_eq!(hello.header("connection"), Some("keep-alive"));
    let mut cursor = hello.json()["cursor"].as_str().unwrap().to_owned();
    for n in 0..5 {
        let seq = publish(&gateway, "user:alice", "t", n).await;
        let batch = http.get(&format!("/v1/poll?{}&after={cursor}", alice())).await.json();
        assert_eq!((seqs(&batch), &batch["after"]), (vec![seq], &json!(cursor)));
        cursor = batch["cursor"].as_str().unwrap().to_owned();
    }
    // Between two polls the connection speaks any HTTP.
    assert_eq!(http.get("/health").await.status, 200);
    assert_eq!(http.get(&format!("/v1/poll?{}&after=x", alice())).await.status, 400);
    assert_eq!(http.get(&format!("/v1/poll?{}", alice())).await.status, 200);
}

#[tokio::test]
async fn pipelined_polls_are_answered_in_order() {
    let gateway = Gateway::serve(&[]).await;
    publish(&gateway, "user:alice", "t", 1).await;
    publish(&gateway, "user:alice", "t", 2).await;
    let mut http = Http::open(gateway.address).await;
    let mut requests = String::new();
    for target in [
        format!("/v1/poll?{}&after=earliest&limit=1", alice()),
        "/health".to_owned(),
        format!("/v1/poll?{}&after=earliest&limit=2", alice()),
        format!("/v1/poll?{}", alice()),
    ] {
        requests += &format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    http.send(requests.as_bytes()).await;
    assert_eq!(seqs(&http.answer().await.json()), [1]);
    assert_eq!(http.answer().await.json()["status"], "ok");
    assert_eq!(seqs(&http.answer().await.json()), [1, 2]);
    assert!(http.answer().await.json()["hello"].is_object());
    drop(http);
    gateway.comes_to_rest().await;
}

#[tokio::test]
async fn answers_are_not_cached_and_not_transformed() {
    let gateway = Gateway::serve(&[]).await;
    for query in [alice(), format!("{}&after=earliest&wait=0&_=1234", alice())] {
        let answer = get(gateway.address, &format!("/v1/poll?{query}")).await;
        assert_eq!(answer.header("cache-control"), Some("no-store, no-transform"));
        assert_eq!(answer.header("x-accel-buffering"), Some("no"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("connection"), Some("close"), "as the client asked");
        assert!(answer.header("content-encoding").is_none());
    }
}

#[tokio::test]
async fn a_poller_is_counted_once_however_often_it_asks() {
    let gateway = Gateway::serve(&[]).await;
    let hello = poll(&gateway, &alice()).await;
    let session = hello["hello"]["session"].as_str().unwrap().to_owned();
    for _ in 0..5 {
        poll(&gateway, &format!("{}&after=earliest&wait=0&session={session}", alice())).await;
    }
    let stats = gateway.stats().await;
    assert_eq!(stats["clientsByUser"], json!([{"userId": "alice", "connections": 1}]), "{stats}");
    let bob = format!("token={}", token("bob", &[]));
    for _ in 0..5 {
        poll(&gateway, &format!("{bob}&after=earliest&wait=0")).await;
    }
    let stats = gateway.stats().await;
    let expected = json!([{"userId": "alice", "connections": 1}, {"userId": "bob", "connections": 1}]);
    assert_eq!(stats["clientsByUser"], expected, "without a session too: {stats}");
}

#[tokio::test]
async fn a_body_behind_a_get_is_not_taken_for_the_next_request() {
    let gateway = Gateway::serve(&[]).await;
    let hidden = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut http = Http::open(gateway.address).await;
    let request = format!(
        "GET /v1/poll?{} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{hidden}",
        alice(),
        hidden.len()
    );
    http.send(request.as_bytes()).await;
    assert_eq!(http.answer().await.status, 400);
    assert!(http.is_closed().await, "what follows is nobody's request");
}
