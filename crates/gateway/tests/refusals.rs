//! A refusal reaches every HTTP client, however long the body is that the client is still sending: with the HTTP client of
//! Python, Node.js, Go and Java, and with curl.
//!
//! `REFUSALS=50` says how often each client tries each refusal; then bodies have 100 MiB too (`make test-refusals`).

#![allow(clippy::disallowed_methods, reason = "tests may ask the system for time and chance")]
#![allow(clippy::print_stdout, reason = "says which clients are not installed, and what was heard")]

mod support;

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Directory, Program, eventually, get, token};

/// What a client sends, and the answer that it must hear.
struct Case {
    status: u16,
    path: &'static str,
    headers: Vec<String>,
    options: &'static [&'static str],
    /// Silent connections that are there already.
    others: usize,
}

/// Up to this length a refusal reaches every client every time.
const CERTAIN_BYTES: usize = 16 << 20;

/// Silent connections are kept for as long as the slowest client takes.
const PATIENT: [&str; 2] = ["--head-timeout-seconds", "3000"];

fn cases() -> Vec<Case> {
    let json = || "Content-Type: application/json".to_owned();
    let key = || "Authorization: Bearer key".to_owned();
    let cookie = format!("Cookie: throughline_token={}", token("alice", &["--publish", "room:*"]));
    let publish =
        |status, headers, options, others| Case { status, path: "/v1/publish", headers, options, others };
    vec![
        publish(401, vec![json(), "Authorization: Bearer another-key".to_owned()], &[], 0),
        Case {
            path: "/v1/send",
            ..publish(403, vec![json(), cookie, "Origin: https://elsewhere.example".to_owned()], &[], 0)
        },
        publish(413, vec![json(), key()], &[], 0),
        Case { path: "/v1/nothing", ..publish(404, vec![json(), key()], &[], 0) },
        Case { path: "/v1/poll", ..publish(413, vec![key()], &[], 0) },
        // Refused before the gateway reads anything.
        publish(429, vec![json(), key()], &["--max-connections-per-ip", "1", PATIENT[0], PATIENT[1]], 10),
        publish(503, vec![json(), key()], &["--max-connections", "3", PATIENT[0], PATIENT[1]], 3),
    ]
}

/// A program that posts: how it is run, up to its arguments.
struct Client {
    name: &'static str,
    command: Vec<String>,
}

fn is_installed(program: &str, version: &str) -> bool {
    let is_there = Command::new(program).arg(version).output().is_ok_and(|output| output.status.success());
    if !is_there {
        println!("skipped: {program} is not installed");
    }
    is_there
}

/// The clients that are installed.
fn clients(directory: &Directory) -> Vec<Client> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/refusals");
    let source = |name: &str| sources.join(name).display().to_string();
    let mut clients = Vec::new();
    for (name, program, version, file) in [
        ("Python's http.client", "python3", "--version", "client.py"),
        ("Node's fetch", "node", "--version", "client.mjs"),
        ("Java's HttpClient", "java", "-version", "Client.java"),
    ] {
        if is_installed(program, version) {
            clients.push(Client { name, command: vec![program.to_owned(), source(file)] });
        }
    }
    if is_installed("go", "version") {
        let built: PathBuf = directory.0.join("client");
        let build = Command::new("go").arg("build").arg("-o").arg(&built).arg(source("client.go")).output();
        let build = build.unwrap();
        assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
        clients.push(Client { name: "Go's net/http", command: vec![built.display().to_string()] });
    }
    clients
}

/// How many of its tries the client heard, and what it met instead.
fn heard(client: &Client, url: &str, bytes: usize, times: usize, case: &Case) -> (usize, String) {
    let output = Command::new(&client.command[0])
        .args(&client.command[1..])
        .args([url, &bytes.to_string(), &times.to_string(), &case.status.to_string()])
        .args(&case.headers)
        .output()
        .unwrap();
    let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let number = line.strip_prefix("heard ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    number.map_or_else(
        || (0, String::from_utf8_lossy(&output.stderr).into_owned()),
        |number| (number, line.clone()),
    )
}

/// The same with curl, which is one process for each try.
fn heard_by_curl(url: &str, body: &Path, times: usize, case: &Case) -> (usize, String) {
    let mut error = String::new();
    let heard = (0..times).filter(|_| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "60", "-X", "POST", "-w", " %{http_code}", "--data-binary"]);
        curl.arg(format!("@{}", body.display())).arg(url);
        curl.args(case.headers.iter().flat_map(|header| ["-H", header]));
        let output = curl.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let status = case.status;
        let is_heard =
            text.ends_with(&format!(" {status}")) && text.contains(&format!("\"status\":{status}"));
        if !is_heard {
            error = format!("{text} {}", String::from_utf8_lossy(&output.stderr));
        }
        is_heard
    });
    (heard.count(), error)
}

fn silent(address: SocketAddr, connections: usize) -> Vec<TcpStream> {
    (0..connections).map(|_| TcpStream::connect(address).unwrap()).collect()
}

#[tokio::test]
async fn every_client_hears_a_refusal_whatever_it_is_still_sending() {
    let given = std::env::var("REFUSALS").ok().and_then(|text| text.parse().ok());
    let times: usize = given.unwrap_or(2);
    let mut sizes = vec![(1 << 20) + 1, 6 << 20];
    if given.is_some() {
        sizes.push(100 << 20);
    }
    let directory = Directory::new("refusals");
    let clients = clients(&directory);
    let mut unheard = Vec::new();
    for case in cases() {
        let mut program = Program::serve(case.options);
        let _log = program.read_log();
        let _others = silent(program.address, case.others);
        if case.others > 0 {
            eventually("the gateway refuses", async || {
                get(program.address, "/health").await.status == case.status
            })
            .await;
        }
        let url = format!("http://{}{}", program.address, case.path);
        for &bytes in &sizes {
            let file = directory.0.join("body");
            std::fs::write(&file, vec![b'x'; bytes]).unwrap();
            let curl =
                is_installed("curl", "--version").then(|| ("curl", heard_by_curl(&url, &file, times, &case)));
            let others = clients.iter().map(|client| (client.name, heard(client, &url, bytes, times, &case)));
            for (name, (number, error)) in others.chain(curl) {
                println!("{} at {}, {bytes} bytes, {name}: {number} of {times}", case.status, case.path);
                // A longer body may be cut after a bounded time, so on a slow machine some tries are in vain.
                let least = if bytes > CERTAIN_BYTES { times * 4 / 5 } else { times };
                if number < least {
                    unheard.push(format!("{} at {}, {bytes} bytes, {name}: {error}", case.status, case.path));
                }
            }
        }
    }
    assert!(unheard.is_empty(), "{unheard:#?}");
}
