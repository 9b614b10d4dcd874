//! What the audit log says of who wants more than is allowed. Alone in its process, because what is logged where is
//! decided once for a process.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::{Gateway, Ws, get, post, token};

/// What the gateway writes to its log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_audit_log_has_one_shape() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
    // The gateway's tasks run on this thread.
    let guard = tracing::subscriber::set_default(subscriber);
    let gateway = Gateway::serve(&["--commands-per-minute", "3", "--max-connections-per-ip", "1"]).await;
    let alice = token("alice", &["--subscribe", "room:1"]);
    get(gateway.address, "/v1/poll?token=not-a-token").await;
    post(gateway.address, "/v1/publish", &[("Authorization", "Bearer wrong-key")], "{}").await;
    let cookie = [("Cookie", "throughline_token=x"), ("Origin", "https://evil.example")];
    support::get_with(gateway.address, "/v1/poll", &cookie).await;
    get(gateway.address, &format!("/v1/poll?token={alice}&topics=room:2")).await;
    let mut ws = Ws::open(gateway.address, &format!("token={alice}")).await;
    ws.batch().await;
    get(gateway.address, &format!("/v1/sse?token={alice}")).await;
    for _ in 0..40 {
        ws.command(json!({"id": 1, "op": "presence", "topic": "room:2", "status": "online"})).await;
    }
    assert_eq!(ws.close_code().await, 4429);
    post(gateway.address, "/v1/disconnect", &[("Authorization", "Bearer key")], r#"{"user":"alice"}"#).await;
    // A flood of refusals does not become a flood of lines.
    let many = json!(vec![json!({"id": 1, "op": "ping"}); 64]).to_string();
    let bob = token("bob", &[]);
    for _ in 0..50 {
        post(gateway.address, &format!("/v1/send?token={bob}"), &[], &many).await;
    }
    drop(guard);
    let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!written.contains("not-a-token") && !written.contains("wrong-key") && !written.contains(&alice));
    let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut lines: Vec<&Value> = lines.iter().filter(|line| line["target"] == "audit").collect();
    for line in &lines {
        assert_eq!(line["address"], "127.0.0.1", "{line}");
        assert!(line["user"].is_string() && line["reason"].is_string(), "{line}");
    }
    let (bobs, others): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line["user"] == "bob");
    let abuse = bobs.iter().filter(|line| line["event"] == "abuse");
    let told: u64 = abuse.map(|line| 1 + line["left_out"].as_u64().unwrap()).sum();
    assert!((1..=50).contains(&told) && bobs.len() < 150, "{told} of 50 in {} lines", bobs.len());
    lines = others;
    assert!(lines.iter().all(|line| line["left_out"] == 0), "{lines:?}");
    let of = |event: &str| {
        let found = lines.iter().filter(|line| line["event"] == event);
        found.map(|line| line["user"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(of("token_refused"), [""]);
    assert_eq!(of("key_refused"), [""]);
    assert_eq!(of("origin_refused"), [""]);
    assert_eq!(of("topic_refused"), ["alice"; 4], "by a poll and three commands");
    assert_eq!(of("limit_reached"), ["alice"; 2], "connections, and commands once");
    assert_eq!(of("abuse"), ["alice"]);
    assert_eq!(of("disconnected"), ["alice"]);
}
