//! TLS on the gateway's own listeners.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::certificates::certify;
use crate::support::{Directory, PATIENCE, Program, eventually};

/// A gateway with a certificate, and clients that trust its authority.
struct Secured {
    directory: Directory,
    gateway: Program,
}

/// The connection of a client that trusts this authority.
async fn connect(address: SocketAddr, authority: &Path) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let socket = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), socket).await
}

/// Reads until what came contains this text. Gives all that came.
async fn read_until(socket: &mut TlsStream<TcpStream>, text: &str) -> String {
    let mut received = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&received).contains(text) {
            let read = socket.read_buf(&mut received).await.unwrap();
            assert!(read > 0, "{text} never came: {}", String::from_utf8_lossy(&received));
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect(text);
    String::from_utf8_lossy(&received).into_owned()
}

impl Secured {
    fn start(name: &str, options: &[&str]) -> Self {
        let directory = Directory::new(name);
        std::fs::create_dir_all(&directory.0).unwrap();
        certify(&directory.0, "first");
        certify(&directory.0, "second");
        let (cert, key) = (directory.0.join("server.crt"), directory.0.join("server.key"));
        let secured = [("first.crt", &cert), ("first.key", &key)];
        for (from, to) in secured {
            std::fs::copy(directory.0.join(from), to).unwrap();
        }
        let files = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
        let mut gateway = Program::serve(&[&files[..], options].concat());
        gateway.read_log();
        Self { directory, gateway }
    }

    async fn connect(&self, authority: &str) -> std::io::Result<TlsStream<TcpStream>> {
        connect(self.gateway.address, &self.directory.0.join(format!("{authority}-ca.crt"))).await
    }

    /// Sends a request on a connection of its own, and gives what comes with it until this text has come.
    async fn ask(&self, head: &str, body: &str, until: &str) -> (String, TlsStream<TcpStream>) {
        let mut socket = match self.connect("first").await {
            Ok(socket) => socket,
            // The certificate has been replaced.
            Err(_) => self.connect("second").await.unwrap(),
        };
        send(&mut socket, head, body).await;
        (read_until(&mut socket, until).await, socket)
    }
}

async fn send(socket: &mut TlsStream<TcpStream>, head: &str, body: &str) {
    let request = format!(
        "{head} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        if head.starts_with("POST") { "key".to_owned() } else { crate::support::token("alice", &[]) },
        body.len()
    );
    socket.write_all(request.replace("Content-Length: 0\r\n", "").as_bytes()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transport_works_over_tls() {
    let secured = Secured::start("tls-transports", &[]);
    let (_, mut sse) = secured.ask("GET /v1/sse", "", "\"hello\"").await;
    let mut ws = secured.connect("first").await.unwrap();
    let token = crate::support::token("alice", &[]);
    let upgrade = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    ws.write_all(upgrade.as_bytes()).await.unwrap();
    read_until(&mut ws, "\"hello\"").await;
    let (answer, mut poll) = secured.ask("GET /v1/poll", "", "\"cursor\"").await;
    let cursor = answer.split("\"cursor\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();

    // More than one record and more than TLS keeps.
    let long = "x".repeat(9_000);
    for n in 1..=5 {
        let draft = json!({"topic": "user:alice", "type": "t", "data": {"n": n, "long": long}}).to_string();
        secured.ask("POST /v1/publish", &draft, "\"seq\"").await;
    }
    for stream in [&mut sse, &mut ws] {
        let text = read_until(stream, "\"n\":5}").await;
        assert_eq!(text.matches("\"type\":\"t\"").count(), 5, "each once");
    }
    // The connection of a poll goes on.
    send(&mut poll, &format!("GET /v1/poll?after={cursor}"), "").await;
    assert_eq!(read_until(&mut poll, "\"n\":5}").await.matches("\"type\":\"t\"").count(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_tls_is_let_go_and_counted() {
    let secured = Secured::start("tls-plain", &["--head-timeout-seconds", "5"]);
    let mut plain = TcpStream::connect(secured.gateway.address).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut silent = TcpStream::connect(secured.gateway.address).await.unwrap();
    for socket in [&mut plain, &mut silent] {
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("it is closed").ok();
        assert!(!String::from_utf8_lossy(&rest).contains("HTTP/1.1"), "no answer outside TLS");
    }
    // One that says nothing inside TLS.
    let mut idle = secured.connect("first").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, idle.read_to_end(&mut rest)).await.expect("it is closed").ok();
    eventually("both are counted", async || {
        let (metrics, _) = secured.ask("GET /metrics", "", "throughline_transport_switches_total{").await;
        let counted = metrics.split("throughline_connections_refused_total{reason=\"tls\"} ").nth(1);
        counted.and_then(|rest| rest.split('\n').next()?.parse::<u64>().ok()).is_some_and(|count| count >= 2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_replaced_without_a_failed_handshake_or_a_lost_stream() {
    let secured = Secured::start("tls-replaced", &[]);
    let (_, mut sse) = secured.ask("GET /v1/sse", "", "\"hello\"").await;
    let files = ["crt", "key"].map(|ending| secured.directory.0.join(format!("server.{ending}")));
    let copy = |name: &str| {
        for (ending, to) in ["crt", "key"].iter().zip(&files) {
            std::fs::copy(secured.directory.0.join(format!("{name}.{ending}")), to).unwrap();
        }
    };
    // A certificate with the key of another is none.
    std::fs::copy(secured.directory.0.join("second.crt"), &files[0]).unwrap();
    let (answer, _) = secured.ask("POST /v1/reload", "{}", "\"detail\"").await;
    assert!(answer.contains("--tls-key"), "{answer}");
    assert!(secured.connect("first").await.is_ok() && secured.connect("second").await.is_err());

    copy("second");
    let mut handshakes = 0;
    let reload = async {
        secured.ask("POST /v1/reload", "{}", "\"waiting\"").await;
    };
    let knock = async {
        // Each handshake is with one certificate or the other.
        for _ in 0..40 {
            assert!(secured.connect("first").await.is_ok() || secured.connect("second").await.is_ok());
            handshakes += 1;
        }
    };
    tokio::join!(reload, knock);
    assert!(
        handshakes == 40
            && secured.connect("first").await.is_err()
            && secured.connect("second").await.is_ok()
    );
    let mut second = secured.connect("second").await.unwrap();
    send(&mut second, "POST /v1/publish", &json!({"topic": "all", "type": "t", "data": 7}).to_string()).await;
    read_until(&mut sse, "\"data\":7").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_is_let_go() {
    let secured = Secured::start("tls-slow", &["--write-timeout-seconds", "1"]);
    let (_, _stalled) = secured.ask("GET /v1/sse", "", "\"hello\"").await;
    let draft = json!({"topic": "user:alice", "type": "t", "data": "x".repeat(10_000)}).to_string();
    eventually("the slow reader is counted", async || {
        let drafts = format!("[{}]", vec![&*draft; 60].join(","));
        secured.ask("POST /v1/publish", &drafts, "\"results\"").await;
        let (metrics, _) = secured.ask("GET /metrics", "", "throughline_transport_switches_total{").await;
        metrics.contains("throughline_slow_readers_total{transport=\"sse\"} 1")
    })
    .await;
}
