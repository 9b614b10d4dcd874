//! What `deploy/` describes, as plain processes: two gateways, Redis and nginx.

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]

mod support;

#[path = "../../events/tests/redis/server.rs"]
#[allow(dead_code, reason = "the store's own tests use the rest")]
mod server;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::{Sse, eventually, get, post, token};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");

struct Processes {
    child: Child,
    address: SocketAddr,
    gateways: Vec<String>,
}

impl Processes {
    fn start() -> Self {
        let port = server::free_port();
        let mut child = Command::new(format!("{DEPLOY}/processes"))
            .args([&port.to_string(), env!("CARGO_BIN_EXE_gateway")])
            .env("GATEWAY_JWT_SECRET", support::SECRET)
            .env("GATEWAY_PUBLISH_KEY", "key")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let gateways = line.split("gateways ").nth(1).unwrap_or_else(|| panic!("{line:?}"));
        let gateways = gateways.split([' ', ',']).take(2).map(str::to_owned).collect();
        Self { child, address: ([127, 0, 0, 1], port).into(), gateways }
    }
}

fn signal(name: &str, pid: &str) -> bool {
    Command::new("kill").args(["-s", name, pid]).stderr(Stdio::null()).status().unwrap().success()
}

impl Drop for Processes {
    fn drop(&mut self) {
        signal("TERM", &self.child.id().to_string());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_behind_nginx_dies_and_its_clients_go_on() {
    let processes = Processes::start();
    let token = token("alice", &["--subscribe", "*"]);
    let publish = async |n: u64| {
        let draft = json!({"topic": "room:a", "type": "t", "data": n, "id": format!("id {n}")}).to_string();
        let headers = [("Authorization", "Bearer key")];
        post(processes.address, "/v1/publish", &headers, &draft).await.status == 200
    };
    let query = format!("topics=room:a&access_token={token}");
    let mut sse = Sse::open(processes.address, &query).await;
    let mut cursor = sse.batch().await.unwrap()["cursor"].as_str().unwrap().to_owned();
    assert!(publish(1).await);
    let batch = sse.events().await;
    assert_eq!(batch["events"][0]["data"], 1);
    batch["cursor"].as_str().unwrap().clone_into(&mut cursor);
    // Whichever had it: one after the other goes, and the second time there is one that came back.
    assert!(signal("KILL", &processes.gateways[0]));
    eventually("published by the other", async || publish(2).await).await;
    eventually("resumed at the other", async || {
        let answer = get(processes.address, &format!("/v1/poll?{query}&after={cursor}&wait=1")).await;
        if answer.status != 200 {
            return false;
        }
        let batch = answer.json();
        assert_eq!(batch["reset"], Value::Null, "{batch}");
        batch["events"][0]["data"] == 2
    })
    .await;
    let gateway = processes.gateways[1].clone();
    drop(processes);
    assert!(!signal("0", &gateway), "nothing is left behind");
}

/// A variable that no option has would be set in vain.
#[test]
fn what_compose_sets_exists() {
    let help = Command::new(env!("CARGO_BIN_EXE_gateway")).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let compose = std::fs::read_to_string(format!("{DEPLOY}/compose.yaml")).unwrap();
    let variables = compose.lines().filter_map(|line| line.trim().split_once(':'));
    let variables: Vec<&str> =
        variables.map(|(name, _)| name).filter(|name| name.starts_with("GATEWAY_")).collect();
    assert!(variables.len() >= 6, "{variables:?}");
    for name in variables {
        assert!(help.contains(&format!("[env: {name}")), "{name}");
    }
}
