//! How server-sent events are refused: an `EventSource` never comes back after a status other than 200.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::{Answer, Gateway, Sse, Ws, eventually, get, get_with, token};

const ACCEPT: (&str, &str) = ("Accept", "text/event-stream");

fn alice() -> String {
    format!("token={}", token("alice", &["--subscribe", "*"]))
}

async fn ask(gateway: &Gateway, query: &str, headers: &[(&str, &str)]) -> Answer {
    get_with(gateway.address, &format!("/v1/sse?{}{query}", alice()), headers).await
}

/// The one block of a refusal: its batch, and its id. `retry` says when to come back.
fn block(answer: &Answer) -> (Value, Option<String>) {
    assert_eq!(answer.status, 200, "{}", answer.body);
    for (name, value) in [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("cache-control", "no-store, no-transform"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    let block = answer.body.strip_suffix("\n\n").unwrap();
    let mut lines = block.lines();
    let retry = lines.next().and_then(|line| line.strip_prefix("retry: ")).unwrap();
    let data = lines.next().and_then(|line| line.strip_prefix("data: ")).unwrap();
    let id = lines.next().map(|line| line.strip_prefix("id: ").unwrap().to_owned());
    assert_eq!(lines.next(), None, "one block");
    let batch: Value = serde_json::from_str(data).unwrap();
    assert_eq!(batch["bye"]["reconnect_after_ms"].to_string(), retry);
    (batch, id)
}

/// A gateway whose only place for this address is taken.
async fn full(options: &[&str]) -> (Gateway, Ws) {
    let gateway = Gateway::serve(&[&["--max-connections-per-ip", "1"], options].concat()).await;
    let mut first = Ws::open(gateway.address, &alice()).await;
    first.batch().await;
    (gateway, first)
}

#[tokio::test]
async fn a_refusal_that_may_pass_is_a_bye_that_an_event_source_comes_back_after() {
    let (gateway, mut first) = full(&[]).await;
    gateway.publish(json!({"topic": "all", "type": "t", "data": 1})).await;
    let tail = first.events().await["cursor"].as_str().unwrap().to_owned();
    let start = tail.replace(".1", ".0");
    // The id is where the client goes on by itself: nothing published in between is missed.
    for (query, headers, cursor, id) in [
        ("", vec![ACCEPT], &tail, Some(&tail)),
        ("&after=latest", vec![("Accept", "text/html, Text/Event-Stream;q=0.9")], &tail, Some(&tail)),
        (&*format!("&after={start}"), vec![ACCEPT], &start, Some(&start)),
        ("", vec![ACCEPT, ("Last-Event-ID", &*start)], &start, Some(&start)),
        ("&after=earliest", vec![ACCEPT], &start, None),
    ] {
        let (batch, told) = block(&ask(&gateway, query, &headers).await);
        assert_eq!((&batch["bye"]["reason"], &batch["events"]), (&json!("rate_limited"), &json!([])));
        assert_eq!((&batch["after"], &batch["cursor"]), (&json!(cursor), &json!(cursor)), "{query}");
        assert_eq!(told.as_ref(), id, "{query} {headers:?}");
    }
    let padded = ask(&gateway, "&pad=20", &[ACCEPT]).await;
    assert!(padded.body.starts_with(&format!(":{}\nretry: ", " ".repeat(20))), "{}", padded.body);
}

#[tokio::test]
async fn a_refusal_keeps_its_status_for_whoever_reads_it() {
    let (gateway, _first) = full(&[]).await;
    for headers in [&[][..], &[("Accept", "*/*")], &[("Accept", "application/json, text/*")]] {
        let answer = ask(&gateway, "", headers).await;
        assert_eq!((answer.status, answer.json()["code"].clone()), (429, json!("rate_limited")));
    }
    // A refusal that will not pass is final on purpose.
    let unknown = get_with(gateway.address, "/v1/sse?token=x", &[ACCEPT]).await;
    assert_eq!(unknown.status, 401);
    assert_eq!(ask(&gateway, "&after=01.x", &[ACCEPT]).await.status, 400);

    let (gateway, _first) = full(&["--sse-refusals", "status"]).await;
    assert_eq!(ask(&gateway, "", &[ACCEPT]).await.status, 429);
}

#[tokio::test]
async fn a_gateway_that_drains_sends_an_event_source_elsewhere() {
    let mut gateway = Gateway::serve(&["--drain-seconds", "20"]).await;
    // A request whose body is still to come keeps the drain waiting.
    let mut waiting = TcpStream::connect(gateway.address).await.unwrap();
    let head = "POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key\r\nContent-Length: 9\r\n\r\n";
    waiting.write_all(head.as_bytes()).await.unwrap();
    Sse::open(gateway.address, &alice()).await.batch().await;
    gateway.stop();
    eventually("it drains", async || get(gateway.address, "/ready").await.status == 503).await;
    let (batch, id) = block(&ask(&gateway, "", &[ACCEPT]).await);
    assert_eq!(batch["bye"]["reason"], "drain");
    assert_eq!(id.as_deref(), batch["cursor"].as_str());
    assert_eq!(ask(&gateway, "", &[]).await.status, 503);
}
