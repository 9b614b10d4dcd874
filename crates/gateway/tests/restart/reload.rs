//! A configuration that changes while the gateway runs: nothing is half applied, nobody is let go.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Directory, Program, Ws, eventually, get_with, jwt, now, post};

const OLD: &str = "the old secret of thirty-two bytes or more";
const NEW: &str = "the new secret of thirty-two bytes or more";

/// A gateway with a configuration file.
struct Configured {
    _directory: Directory,
    path: PathBuf,
    gateway: Program,
}

impl Configured {
    fn start(name: &str, lines: &str) -> Self {
        let directory = Directory::new(name);
        std::fs::create_dir_all(&directory.0).unwrap();
        let path = directory.0.join("gateway.toml");
        write(&path, lines);
        let mut gateway = Program::start(&["serve", "--config", path.to_str().unwrap()]);
        gateway.read_log();
        Self { _directory: directory, path, gateway }
    }

    /// Rewrites the file and has it read at once.
    async fn reload(&self, lines: &str, key: &str) -> (u16, Value) {
        write(&self.path, lines);
        let bearer = format!("Bearer {key}");
        let answer = post(self.gateway.address, "/v1/reload", &[("Authorization", &bearer)], "").await;
        (answer.status, answer.json())
    }

    async fn publish(&self, key: &str, n: u64) -> u16 {
        let draft = json!({"topic": "user:alice", "type": "t", "data": {"n": n, "cost": 5}}).to_string();
        let bearer = format!("Bearer {key}");
        post(self.gateway.address, "/v1/publish", &[("Authorization", &bearer)], &draft).await.status
    }

    /// The status of a poll with a token that this secret signs.
    async fn poll(&self, secret: &str) -> u16 {
        let bearer = format!("Bearer {}", token(secret));
        get_with(self.gateway.address, "/v1/poll?wait=0", &[("Authorization", &bearer)]).await.status
    }
}

fn write(path: &Path, lines: &str) {
    std::fs::write(path, format!("listen = \"127.0.0.1:0\"\n{lines}")).unwrap();
}

fn token(secret: &str) -> String {
    jwt(&json!({"alg": "HS256"}), &json!({"sub": "alice", "exp": now() + 3600}), secret)
}

fn keys(secrets: &[&str], publish: &[&str]) -> String {
    format!("jwt-secret = {secrets:?}\npublish-key = {publish:?}\n")
}

fn data(events: &Value) -> Vec<Value> {
    events["events"].as_array().unwrap().iter().map(|event| event["data"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_follow_each_other_and_every_session_stays() {
    let configured = Configured::start("reload-keys", &keys(&[OLD], &["one"]));
    let mut ws = Ws::open(configured.gateway.address, &format!("token={}", token(OLD))).await;
    ws.batch().await;
    assert_eq!(configured.poll(NEW).await, 401);

    let both = keys(&[OLD, NEW], &["one", "two"]);
    assert_eq!(configured.reload(&both, "one").await, (200, json!({"waiting": []})));
    assert_eq!([configured.poll(OLD).await, configured.poll(NEW).await], [200, 200]);
    assert_eq!([configured.publish("one", 1).await, configured.publish("two", 2).await], [200, 200]);

    let only_new = keys(&[NEW], &["two"]);
    assert_eq!(configured.reload(&only_new, "two").await.0, 200);
    assert_eq!([configured.poll(OLD).await, configured.poll(NEW).await], [401, 200], "remembered for nobody");
    assert_eq!([configured.publish("one", 3).await, configured.publish("two", 4).await], [401, 200]);
    let mut heard = Vec::new();
    while heard.len() < 3 {
        heard.extend(data(&ws.events().await).into_iter().map(|data| data["n"].as_u64().unwrap()));
    }
    assert_eq!(heard, [1, 2, 4], "the session of the old key goes on until its token ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_hides_data_holds_for_sessions_that_are_there() {
    let plain = keys(&[OLD], &["one"]);
    let configured = Configured::start("reload-rules", &plain);
    let mut ws = Ws::open(configured.gateway.address, &format!("token={}", token(OLD))).await;
    ws.batch().await;
    configured.publish("one", 1).await;
    assert_eq!(data(&ws.events().await), [json!({"n": 1, "cost": 5})]);
    let hiding = format!("{plain}redact = [\"user:*=/cost,staff\"]\n");
    assert_eq!(configured.reload(&hiding, "one").await.0, 200);
    configured.publish("one", 2).await;
    assert_eq!(data(&ws.events().await), [json!({"n": 2})]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_changes_nothing_and_is_said_with_its_line() {
    let configured = Configured::start("reload-wrong", &keys(&[OLD], &["one"]));
    for (lines, says) in [
        ("ring-events = 0\n", "gateway.toml:4: invalid value '0'"),
        ("ring-events = \n", "gateway.toml:4: not TOML"),
        ("data-dir = \"x\"\n", "gateway.toml:4: --data-dir needs --store disk"),
        ("jwt-public-key = \"/nowhere\"\n", "--jwt-public-key /nowhere"),
    ] {
        let lines = format!("{}{lines}", keys(&[NEW], &["two"]));
        let (status, answer) = configured.reload(&lines, "one").await;
        assert_eq!(status, 400, "{lines}");
        assert!(answer["detail"].as_str().unwrap().contains(says), "{answer}");
        assert_eq!([configured.poll(OLD).await, configured.poll(NEW).await], [200, 401]);
        assert_eq!([configured.publish("one", 1).await, configured.publish("two", 1).await], [200, 401]);
    }
    assert_eq!(configured.reload("", "wrong key").await.0, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_origins_change_and_what_cannot_is_named() {
    let plain = keys(&[OLD], &["one"]);
    let configured = Configured::start("reload-limits", &plain);
    let origin = [("Origin", "https://app.example"), ("Authorization", "Bearer one")];
    let cors = async || {
        let answer = get_with(configured.gateway.address, "/v1/history?topic=user:alice", &origin).await;
        answer.header("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(cors().await, None);
    let lines =
        format!("{plain}allow-origin = [\"https://app.example\"]\nmax-body-bytes = 100\nring-events = 9\n");
    let waiting = json!({"waiting": ["ring-events"]});
    assert_eq!(configured.reload(&lines, "one").await, (200, waiting));
    assert_eq!(cors().await.as_deref(), Some("https://app.example"));
    let long = json!({"topic": "user:alice", "type": "t", "data": "x".repeat(200)}).to_string();
    let answer =
        post(configured.gateway.address, "/v1/publish", &[("Authorization", "Bearer one")], &long).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_and_a_changed_file_are_heard() {
    let configured = Configured::start("reload-heard", &keys(&[OLD], &["one"]));
    // The same size and time as before: nobody sees this change who does not read the file.
    let time = std::fs::metadata(&configured.path).unwrap().modified().unwrap();
    write(&configured.path, &keys(&[OLD], &["two"]));
    std::fs::File::options().append(true).open(&configured.path).unwrap().set_modified(time).unwrap();
    configured.gateway.signal("HUP");
    eventually("the signal is heard", async || configured.publish("two", 1).await == 200).await;
    // Nobody says anything this time.
    write(&configured.path, &keys(&[NEW], &["one"]));
    eventually("the change is seen", async || configured.poll(OLD).await == 401).await;
}
