//! `GET /v1/sse`.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Gateway, PATIENCE, Sse, get, seqs, token};

fn alice() -> String {
    format!("token={}", token("alice", &["--subscribe", "*"]))
}

async fn publish(gateway: &Gateway, data: u64) -> u64 {
    gateway.publish(json!({"topic": "user:alice", "type": "t", "data": data})).await
}

/// Everything that comes until `end` is seen.
async fn read_until(address: std::net::SocketAddr, request: &str, end: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    while !String::from_utf8_lossy(&received).contains(end) {
        let read =
            tokio::time::timeout(PATIENCE, socket.read_buf(&mut received)).await.expect("in time").unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&received));
    }
    String::from_utf8(received).unwrap()
}

#[tokio::test]
async fn a_message_is_one_block_with_the_id_behind_the_data() {
    let gateway = Gateway::serve(&[]).await;
    let request = format!("GET /v1/sse?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", alice());
    let text = read_until(gateway.address, &request, "\n\n").await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    for line in [
        "Content-Type: text/event-stream; charset=utf-8\r\n",
        "Cache-Control: no-store, no-transform",
        "X-Accel-Buffering: no",
        "Transfer-Encoding: chunked",
    ] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
    assert!(!head.to_lowercase().contains("content-encoding"));
    let (size, chunk) = body.split_once("\r\n").unwrap();
    assert!(usize::from_str_radix(size, 16).unwrap() >= chunk.trim_end().len(), "{body}");
    let [retry, data, id] = chunk.trim_end().split('\n').collect::<Vec<_>>()[..] else { panic!("{chunk:?}") };
    let retry_ms: u64 = retry.strip_prefix("retry: ").unwrap().parse().unwrap();
    assert!((1_000..=3_000).contains(&retry_ms), "{retry}");
    let batch: serde_json::Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(id.strip_prefix("id: "), batch["cursor"].as_str());
    assert_eq!((&batch["hello"]["transport"], &batch["after"]), (&json!("sse"), &batch["cursor"]));
}

#[tokio::test]
async fn http_1_0_gets_a_stream_that_the_end_of_the_connection_ends() {
    let gateway = Gateway::serve(&["--max-stream-seconds", "1"]).await;
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(format!("GET /v1/sse?{} HTTP/1.0\r\n\r\n", alice()).as_bytes()).await.unwrap();
    let mut text = String::new();
    tokio::time::timeout(PATIENCE, socket.read_to_string(&mut text)).await.expect("it ends").unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        !head.to_lowercase().contains("transfer-encoding") && head.contains("Connection: close"),
        "{head}"
    );
    assert!(body.starts_with("retry: ") && body.ends_with("\n\n"), "{body}");
    let last = body.trim_end().rsplit("\n\n").next().unwrap();
    let [retry, data, id] = last.lines().collect::<Vec<_>>()[..] else { panic!("{last:?}") };
    let batch: serde_json::Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(batch["bye"]["reason"], "max_age");
    assert_eq!(retry, format!("retry: {}", batch["bye"]["reconnect_after_ms"]));
    assert_eq!(id, format!("id: {}", batch["cursor"].as_str().unwrap()));
    gateway.comes_to_rest().await;
}

#[tokio::test]
async fn a_chunked_stream_ends_with_the_last_chunk() {
    let gateway = Gateway::serve(&["--max-stream-seconds", "1"]).await;
    let request = format!("GET /v1/sse?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", alice());
    let text = read_until(gateway.address, &request, "\r\n0\r\n\r\n").await;
    assert!(text.contains("max_age") && text.ends_with("\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn the_last_event_id_wins_over_after() {
    let gateway = Gateway::serve(&[]).await;
    for n in 0..3 {
        publish(&gateway, n).await;
    }
    let tail = get(gateway.address, &format!("/v1/poll?{}", alice())).await.json()["cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    let epoch = tail.split('.').next().unwrap();
    let one = format!("{epoch}.1");
    let two = format!("{epoch}.2");
    for (after, id, expected) in [
        (one.as_str(), two.as_str(), vec![3]),
        ("earliest", &two, vec![3]),
        ("latest", &one, vec![2, 3]),
        (&one, "", vec![2, 3]),
    ] {
        let mut sse =
            Sse::open_with(gateway.address, &format!("{}&after={after}", alice()), &[("Last-Event-ID", id)])
                .await;
        sse.batch().await;
        assert_eq!(seqs(&sse.batch().await.unwrap()), expected, "after={after}, Last-Event-ID: {id}");
    }
    let bad = crate::support::get_with(
        gateway.address,
        &format!("/v1/sse?{}", alice()),
        &[("Last-Event-ID", "x y")],
    )
    .await;
    assert_eq!(bad.status, 400);
}

#[tokio::test]
async fn the_last_event_id_may_be_in_the_query() {
    let gateway = Gateway::serve(&[]).await;
    for n in 0..3 {
        publish(&gateway, n).await;
    }
    let hello = get(gateway.address, &format!("/v1/poll?{}", alice())).await.json();
    let epoch = hello["cursor"].as_str().unwrap().split('.').next().unwrap().to_owned();
    for (query, header, expected) in [
        ("lastEventId=E.1", "", vec![2, 3]),
        ("Last-Event-ID=E.2", "", vec![3]),
        ("lastEventId=E.2&after=E.1", "", vec![3]),
        ("after=earliest&Last-Event-ID=E.2", "", vec![3]),
        ("after=E.1&lastEventId=", "", vec![2, 3]),
        ("lastEventId=E.1&lastEventId=E.2&lastEventId=", "", vec![3]),
        ("lastEventId=E.1&after=latest", "E.2", vec![3]),
    ] {
        let query = format!("{}&{query}", alice()).replace("E.", &format!("{epoch}."));
        let header = header.replace("E.", &format!("{epoch}."));
        let mut sse = Sse::open_with(gateway.address, &query, &[("Last-Event-ID", &header)]).await;
        sse.batch().await;
        assert_eq!(seqs(&sse.batch().await.unwrap()), expected, "{query}, Last-Event-ID: {header}");
    }
    let bad = get(gateway.address, &format!("/v1/sse?{}&lastEventId=x", alice())).await;
    assert_eq!(bad.status, 400);
}

#[tokio::test]
async fn a_resumed_stream_is_live_once_it_has_caught_up_and_never_before() {
    let gateway = Gateway::serve(&[]).await;
    for n in 0..7 {
        publish(&gateway, n).await;
    }
    let mut sse = Sse::open(gateway.address, &format!("{}&after=earliest&limit=3", alice())).await;
    let hello = sse.batch().await.unwrap();
    assert!(hello["hello"].is_object() && hello.get("live").is_none());
    let mut cursor = hello["cursor"].clone();
    let mut pages = Vec::new();
    loop {
        let batch = sse.batch().await.unwrap();
        assert_eq!(batch["after"], cursor);
        assert!(batch.get("more").is_none(), "more is for polls");
        cursor = batch["cursor"].clone();
        pages.push(seqs(&batch));
        if batch.get("live").is_some() {
            break;
        }
    }
    assert_eq!(pages.concat(), [1, 2, 3, 4, 5, 6, 7]);
    assert!(pages.iter().all(|page| page.len() <= 3), "{pages:?}");
    let mut fresh = Sse::open(gateway.address, &alice()).await;
    fresh.batch().await;
    assert!(fresh.batch().await.unwrap().get("live").is_none(), "a stream that did not resume is never told");
}

#[tokio::test]
async fn a_reset_stands_beside_hello() {
    let gateway = Gateway::serve(&["--ring-events", "2"]).await;
    let start = get(gateway.address, &format!("/v1/poll?{}", alice())).await.json()["cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    for n in 0..4 {
        publish(&gateway, n).await;
    }
    let mut sse = Sse::open(gateway.address, &format!("{}&after={start}", alice())).await;
    let hello = sse.batch().await.unwrap();
    assert_eq!(
        (&hello["reset"]["reason"], &hello["reset"]["topics"]),
        (&json!("expired"), &json!(["user:alice"]))
    );
    assert_eq!((&hello["after"], &hello["cursor"]), (&json!(start), &json!(start)));
    let batch = sse.batch().await.unwrap();
    assert_eq!((seqs(&batch), &batch["live"], batch.get("reset")), (vec![3, 4], &json!(true), None));
    let mut other = Sse::open(gateway.address, &format!("{}&after=zzzz.5", alice())).await;
    let hello = other.batch().await.unwrap();
    assert_eq!(
        (&hello["reset"]["reason"], &hello["reset"]["topics"]),
        (&json!("epoch"), &json!(["user:alice", "all"]))
    );
    assert_eq!(hello["after"], batch["cursor"], "from here it goes on");
}

#[tokio::test]
async fn heartbeats_come_as_asked_and_move_the_cursor() {
    let gateway = Gateway::serve(&[]).await;
    let mut sse = Sse::open(gateway.address, &format!("{}&heartbeat=1", alice())).await;
    assert_eq!(sse.batch().await.unwrap()["hello"]["heartbeat_ms"], 2000, "clamped");
    sse.batch().await;
    let others = gateway.publish(json!({"topic": "user:bob", "type": "t", "data": 1})).await;
    let started = Instant::now();
    let beat = sse.batch().await.unwrap();
    assert!(seqs(&beat).is_empty() && started.elapsed() > Duration::from_millis(1000), "{beat}");
    assert!(beat["cursor"].as_str().unwrap().ends_with(&format!(".{others}")), "{beat}");
    let mut slow = Sse::open(gateway.address, &format!("{}&heartbeat=1000", alice())).await;
    assert_eq!(slow.batch().await.unwrap()["hello"]["heartbeat_ms"], 60_000);
}

#[tokio::test]
async fn interval_spaces_batches() {
    let gateway = Gateway::serve(&[]).await;
    let mut sse = Sse::open(gateway.address, &format!("{}&interval=2000", alice())).await;
    sse.batch().await;
    let opened = Instant::now();
    sse.batch().await;
    assert!(opened.elapsed() < Duration::from_millis(1900), "save the second one after hello");
    let mut times = Vec::new();
    let mut seen = Vec::new();
    for n in 0..6 {
        publish(&gateway, n).await;
    }
    while seen.len() < 6 {
        let batch = sse.batch().await.unwrap();
        times.push(Instant::now());
        seen.extend(seqs(&batch));
    }
    publish(&gateway, 6).await;
    while seen.len() < 7 {
        let batch = sse.batch().await.unwrap();
        times.push(Instant::now());
        seen.extend(seqs(&batch));
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7]);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] > Duration::from_millis(1000)), "{times:?}");
}

#[tokio::test]
async fn pad_pushes_the_first_message_through_a_buffering_path() {
    let gateway = Gateway::serve(&[]).await;
    for (pad, expected) in [("3000", 3000), ("99999999", 64 << 10)] {
        let request = format!("GET /v1/sse?{}&pad={pad} HTTP/1.0\r\n\r\n", alice());
        let text = read_until(gateway.address, &request, "data: ").await;
        let body = text.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(body.find("\nretry: "), Some(1 + expected), "the first line of the first block");
        assert!(body.starts_with(':') && !body.trim_end().contains("\n\n"), "one block");
    }
}

#[tokio::test]
async fn a_connection_that_continues_a_session_ends_the_older_one_after_5_seconds() {
    let gateway = Gateway::serve(&["--max-connections-per-user", "1"]).await;
    let mut older = Sse::open(gateway.address, &alice()).await;
    let session = older.batch().await.unwrap()["hello"]["session"].as_str().unwrap().to_owned();
    let mut newer = Sse::open(gateway.address, &format!("{}&session={session}", alice())).await;
    let started = Instant::now();
    assert_eq!(newer.batch().await.unwrap()["hello"]["session"], json!(session));
    let stats = gateway.stats().await;
    assert_eq!(stats["clientsByUser"], json!([{"userId": "alice", "connections": 1}]), "not counted twice");
    let seq = publish(&gateway, 1).await;
    assert_eq!(seqs(&older.events().await), [seq], "until then both are served");
    assert_eq!(seqs(&newer.events().await), [seq]);
    let mut bye = None;
    while let Some(batch) = older.batch().await {
        bye = Some(batch);
    }
    assert_eq!(bye.unwrap()["bye"]["reason"], "replaced");
    assert!(started.elapsed() > Duration::from_millis(4500), "{:?}", started.elapsed());
    let seq = publish(&gateway, 2).await;
    assert_eq!(seqs(&newer.events().await), [seq], "the newer one goes on");
    // The id is worth nothing to another user.
    let bob = format!("token={}&session={session}", token("bob", &[]));
    let mut other = Sse::open(gateway.address, &bob).await;
    assert_eq!(other.batch().await.unwrap()["hello"]["user"], "bob");
    assert_eq!(gateway.stats().await["totalUsers"], 2);
    let seq = publish(&gateway, 3).await;
    assert_eq!(seqs(&newer.events().await), [seq]);
}

#[tokio::test]
async fn a_link_that_was_to_be_replaced_stays_when_the_newer_one_has_died() {
    let gateway = Gateway::serve(&[]).await;
    let mut older = Sse::open(gateway.address, &alice()).await;
    let session = older.batch().await.unwrap()["hello"]["session"].as_str().unwrap().to_owned();
    let mut newer = Sse::open(gateway.address, &format!("{}&session={session}", alice())).await;
    newer.batch().await;
    drop(newer);
    crate::support::eventually("the newer is gone", async || {
        gateway.stats().await["byTransport"]["sse"] == 1
    })
    .await;
    tokio::time::sleep(Duration::from_millis(5500)).await;
    let seq = publish(&gateway, 1).await;
    assert_eq!(seqs(&older.events().await), [seq], "the session goes on over the older link");
}

#[tokio::test]
async fn what_a_client_says_behind_its_request_is_nothing_and_its_leaving_is_seen() {
    let gateway = Gateway::serve(&[]).await;
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    let request = format!("GET /v1/sse?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", alice());
    let behind = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(500);
    socket.write_all((request + &behind).as_bytes()).await.unwrap();
    crate::support::eventually("it streams", async || gateway.stats().await["byTransport"]["sse"] == 1).await;
    drop(socket);
    gateway.comes_to_rest().await;
}

#[tokio::test]
async fn a_drain_ends_a_stream_with_bye_and_a_waiting_poll_with_its_answer() {
    let mut gateway = Gateway::serve(&[]).await;
    let mut sse = Sse::open(gateway.address, &alice()).await;
    let hello = sse.batch().await.unwrap();
    let poll = tokio::spawn({
        let target = format!("/v1/poll?{}&after={}", alice(), hello["cursor"].as_str().unwrap());
        let address = gateway.address;
        async move { get(address, &target).await }
    });
    crate::support::eventually("it waits", async || gateway.stats().await["byTransport"]["poll"] == 1).await;
    gateway.stop();
    let answer = poll.await.unwrap();
    assert_eq!((answer.status, &answer.json()["bye"]["reason"]), (200, &json!("drain")));
    let mut last = None;
    while let Some(batch) = sse.batch().await {
        last = Some(batch);
    }
    assert_eq!(last.unwrap()["bye"]["reason"], "drain");
    tokio::time::timeout(PATIENCE, &mut gateway.task).await.expect("it ends").unwrap();
}
