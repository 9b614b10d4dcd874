//! One client that asks for all it can, and what others notice of it.

#![allow(unreachable_pub, reason = "the test and the bench share it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Frame, Http, Ws, post, token};

/// What the client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ping` on a WebSocket.
    Commands,
    /// `publish` on a WebSocket.
    Publishes,
    /// Ephemeral `publish` on a WebSocket.
    Ephemerals,
    /// `publish` by `POST /v1/send`, 64 at a time.
    Sends,
    /// Drafts by `POST /v1/publish`, 1,000 at a time.
    Drafts,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Commands, Self::Publishes, Self::Ephemerals, Self::Sends, Self::Drafts];
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub asked: u64,
    pub granted: u64,
    pub refused: u64,
    /// Connections that the gateway closed with 4429.
    pub cut: u64,
}

/// The topic of the flood; others may be in it.
pub const TOPIC: &str = "room:flood";

/// Floods a gateway until `stop`, in a thread of its own.
pub fn flood(address: SocketAddr, kind: Kind, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<Outcome> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut outcome = Outcome::default();
            let bearer = token("flooder", &["--subscribe", "room:*", "--publish", "room:*"]);
            while !stop.load(Ordering::Relaxed) {
                match kind {
                    Kind::Commands | Kind::Publishes | Kind::Ephemerals => {
                        by_websocket(address, kind, &bearer, &stop, &mut outcome).await;
                    }
                    Kind::Sends | Kind::Drafts => {
                        by_requests(address, kind, &bearer, &stop, &mut outcome).await;
                    }
                }
            }
            outcome
        })
    })
}

async fn by_websocket(
    address: SocketAddr,
    kind: Kind,
    bearer: &str,
    stop: &AtomicBool,
    outcome: &mut Outcome,
) {
    const AT_ONCE: usize = 64;
    let command = match kind {
        Kind::Publishes => json!({"id": 1, "op": "publish", "topic": TOPIC, "type": "t", "data": "flood"}),
        Kind::Ephemerals => {
            json!({"id": 1, "op": "publish", "topic": TOPIC, "type": "t", "data": "flood", "ephemeral": true})
        }
        _ => json!({"id": 1, "op": "ping"}),
    };
    let frames = Ws::frame(0x81, command.to_string().as_bytes()).repeat(AT_ONCE);
    let mut ws = Ws::open(address, &format!("token={bearer}")).await;
    while !stop.load(Ordering::Relaxed) {
        // What is sent into a connection that the gateway has closed is lost, as the next read shows.
        ws.send(&frames).await;
        outcome.asked += AT_ONCE as u64;
        let mut replies = 0;
        while replies < AT_ONCE {
            match ws.next().await {
                Frame::Text(text) if text.get("error").is_some() => {
                    (replies, outcome.refused) = (replies + 1, outcome.refused + 1)
                }
                Frame::Text(text) if text.get("ok").is_some() => {
                    (replies, outcome.granted) = (replies + 1, outcome.granted + 1)
                }
                Frame::Text(_) | Frame::Pong(_) => {}
                Frame::Close(code, _) => {
                    assert_eq!(code, 4429);
                    outcome.cut += 1;
                    return;
                }
                Frame::End => return,
            }
        }
    }
}

async fn by_requests(
    address: SocketAddr,
    kind: Kind,
    bearer: &str,
    stop: &AtomicBool,
    outcome: &mut Outcome,
) {
    let (target, number, body) = match kind {
        Kind::Sends => {
            let command = json!({"id": 1, "op": "publish", "topic": TOPIC, "type": "t", "data": "flood"});
            ("/v1/send", 64, Value::from(vec![command; 64]))
        }
        _ => {
            let draft = json!({"topic": TOPIC, "type": "t", "data": "flood"});
            ("/v1/publish", 1000, Value::from(vec![draft; 1000]))
        }
    };
    let (body, bearer) = (body.to_string(), format!("Bearer {bearer}"));
    let mut http = Http::open(address).await;
    while !stop.load(Ordering::Relaxed) {
        let answer = http.post(target, &[("Authorization", &bearer)], &body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let refused = answer.body.matches("rate_limited").count() as u64;
        outcome.asked += number;
        outcome.refused += refused;
        outcome.granted += number - refused;
    }
}

/// Has `readers` follow a room of their own while 100 events a second are published to it, for this long. Gives how
/// long each event took from its publisher to each reader, shortest first; nothing is missing.
pub async fn latencies(address: SocketAddr, readers: usize, during: Duration) -> Vec<Duration> {
    const EVERY: Duration = Duration::from_millis(10);
    let began = Instant::now();
    let events = (during.as_millis() / EVERY.as_millis()) as usize;
    let mut reading = Vec::new();
    for reader in 0..readers {
        let bearer = token(&format!("reader-{reader}"), &["--subscribe", "room:*"]);
        let mut ws = Ws::open(address, &format!("token={bearer}&topics=room:quiet")).await;
        ws.batch().await;
        reading.push(tokio::spawn(async move {
            let mut took = Vec::with_capacity(events);
            while took.len() < events {
                let batch = ws.batch().await;
                let now = began.elapsed();
                for event in batch["events"].as_array().unwrap() {
                    let sent = Duration::from_micros(event["data"]["us"].as_u64().unwrap());
                    assert_eq!(event["data"]["n"], took.len(), "in order, none missing");
                    took.push(now.saturating_sub(sent));
                }
            }
            took
        }));
    }
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for n in 0..events {
        ticks.tick().await;
        let data = json!({"n": n, "us": began.elapsed().as_micros() as u64});
        let draft = json!({"topic": "room:quiet", "type": "t", "data": data});
        let answer =
            post(address, "/v1/publish", &[("Authorization", "Bearer key")], &draft.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let mut all = Vec::with_capacity(events * readers);
    for reading in reading {
        all.extend(reading.await.unwrap());
    }
    all.sort_unstable();
    all
}

/// The latency that this share of all stay within.
pub fn quantile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}
