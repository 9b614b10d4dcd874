//! A real gateway on a free port, and clients that speak its wire protocol and nothing else.

#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test file uses its part")]

pub mod certificates;
mod http;
mod program;
mod sse;
mod ws;

use std::net::SocketAddr;
use std::time::Duration;

use gateway::config::{self, Command, ConfigReader};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use self::http::{Answer, Http, get, get_with, parse, post, raw, request};
pub use program::{LogTail, Program, bound};
pub use sse::Sse;
pub use ws::{Frame, Ws};

/// How long anything that must come may take.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// How long one stream may go on: a test that waits for what never comes fails in spite of the heartbeats.
const STREAM: Duration = Duration::from_secs(40);

/// A running gateway, in this process.
pub struct Gateway {
    pub address: SocketAddr,
    pub admin: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    pub task: JoinHandle<()>,
}

impl Gateway {
    /// `gateway dev` on a free port.
    pub async fn dev() -> Self {
        Self::start(&["dev", "--listen", "127.0.0.1:0"]).await
    }

    /// `gateway serve` on a free port, with a JWT secret and the publish key `key`.
    pub async fn serve(options: &[&str]) -> Self {
        Self::start(&serving(options)).await
    }

    pub async fn start(arguments: &[&str]) -> Self {
        let arguments = ["gateway"].iter().chain(arguments).copied();
        let Ok(Command::Run(config)) = config::read(arguments) else { panic!("the options are wrong") };
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, is_bound) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            let reader = ConfigReader::of(&config);
            gateway::run(*config, reader, |at| bound.send(at).unwrap(), shutdown).await.unwrap();
        });
        let bound = is_bound.await.unwrap();
        Self { address: bound.clients, admin: bound.admin, stop: Some(stop), task }
    }

    /// Asks it to drain; `self.task` ends with it.
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Publishes one draft and gives its seq.
    pub async fn publish(&self, draft: Value) -> u64 {
        let answer =
            post(self.address, "/v1/publish", &[("Authorization", self.key())], &draft.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["seq"].as_u64().unwrap_or(0)
    }

    /// What operators see.
    pub async fn stats(&self) -> Value {
        let address = self.admin.unwrap_or(self.address);
        get_with(address, "/v1/stats", &[("Authorization", self.key())]).await.json()
    }

    /// A metric's value, summed over its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        metric(self.admin.unwrap_or(self.address), name).await
    }

    /// Waits until no connection is left in the table of sessions and in the metrics.
    pub async fn comes_to_rest(&self) {
        eventually("the last connection is gone", async || {
            let stats = self.stats().await;
            let left =
                ["ws", "sse", "poll"].map(|transport| stats["byTransport"][transport].as_u64().unwrap());
            let connections = self.metric("throughline_connections").await;
            // The request that asks is itself a connection.
            left == [0; 3] && connections == 0.0 && self.metric("throughline_tcp_connections").await <= 1.0
        })
        .await;
    }

    /// The publish key, as a header.
    pub fn key(&self) -> &'static str {
        "Bearer key"
    }
}

/// The value of a gateway's metric, summed over its labels unless the name has them.
pub async fn metric(address: SocketAddr, name: &str) -> f64 {
    let text = get(address, "/metrics").await.body;
    let of_name = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'))
    };
    let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    let values: Vec<f64> = text.lines().filter(of_name).map(value).collect();
    assert!(!values.is_empty(), "no metric {name}");
    values.iter().sum()
}

/// The arguments of `gateway serve` on a free port, with a JWT secret and the publish key `key`.
pub fn serving<'a>(options: &[&'a str]) -> Vec<&'a str> {
    let mut arguments =
        vec!["serve", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET, "--publish-key", "key"];
    arguments.extend(options);
    arguments
}

/// The JWT secret of [`serving`].
pub const SECRET: &str = "a-secret-of-thirty-two-bytes-or-more";

/// A token signed with [`SECRET`].
pub fn token(user: &str, options: &[&str]) -> String {
    let mut arguments = vec!["gateway", "token", "--user", user, "--jwt-secret", SECRET];
    arguments.extend(options);
    let Ok(Command::Token(request)) = config::read(arguments) else { panic!("the options are wrong") };
    request.sign(&events::Clock::system()).unwrap()
}

/// Waits until a condition holds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE * 2;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A token with these claims, signed with HS256 and this secret whatever its header says.
pub fn jwt(header: &Value, claims: &Value, secret: &str) -> String {
    let encode = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let signed =
        format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    format!("{signed}.{}", encode(ring::hmac::sign(&key, signed.as_bytes()).as_ref()))
}

/// Seconds since 1970.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A place for a directory of its own, gone with the test.
pub struct Directory(pub std::path::PathBuf);

impl Directory {
    /// `name` tells it from others of the same process; nothing is there yet.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("throughline-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The seqs of a batch's events.
pub fn seqs(batch: &Value) -> Vec<u64> {
    batch["events"].as_array().unwrap().iter().filter_map(|event| event["seq"].as_u64()).collect()
}
