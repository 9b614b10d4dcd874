//! A key set that changes, fails and comes back while an authenticator uses it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::testing::{Signer, header, key_file, token};
use super::tests::{SECRET, named, with_secret};
use super::*;

/// What a [`KeyServer`] answers: a status line's code and a body.
type Answer = Arc<Mutex<(u16, Vec<u8>)>>;

/// A real HTTP server on a thread of its own, which counts its requests.
struct KeyServer {
    address: SocketAddr,
    answer: Answer,
    requests: Arc<AtomicUsize>,
}

impl KeyServer {
    fn start(keys: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new((200, key_set(keys))));
        let requests = Arc::new(AtomicUsize::new(0));
        let (answers, count) = (Arc::clone(&answer), Arc::clone(&requests));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && connection.read(&mut byte).is_ok_and(|read| read == 1) {
                    head.push(byte[0]);
                }
                assert!(head.starts_with(b"GET /keys?tenant=1 HTTP/1.1\r\n"));
                count.fetch_add(1, Ordering::SeqCst);
                // Long enough for others to ask meanwhile.
                std::thread::sleep(Duration::from_millis(50));
                let (status, body) = answers.lock().clone();
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                connection.write_all(head.as_bytes()).unwrap();
                connection.write_all(&body).unwrap();
            }
        });
        Self { address, answer, requests }
    }

    fn config(&self) -> AuthConfig {
        let source = format!("http://{}/keys?tenant=1", self.address).parse().unwrap();
        AuthConfig { jwks: Some(source), ..AuthConfig::default() }
    }

    fn publish(&self, status: u16, body: Vec<u8>) {
        *self.answer.lock() = (status, body);
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// The key set with only these keys of the test keys.
fn key_set(ids: &[&str]) -> Vec<u8> {
    let mut set: Value = serde_json::from_slice(&std::fs::read(key_file("jwks.json")).unwrap()).unwrap();
    set["keys"].as_array_mut().unwrap().retain(|key| ids.contains(&key["kid"].as_str().unwrap()));
    serde_json::to_vec(&set).unwrap()
}

/// An authenticator whose key set is being read.
struct Reading {
    authenticator: Arc<Authenticator>,
    _reader: JoinSet<()>,
}

impl Reading {
    fn start(config: &AuthConfig, pace: Pace) -> Result<Self, ConfigError> {
        let authenticator =
            Arc::new(Authenticator::at_pace(config, pace, Clock::system(), Chance::system())?);
        let mut reader = JoinSet::new();
        let reading = Arc::clone(&authenticator);
        reader.spawn(async move { reading.read_key_set().await });
        Ok(Self { authenticator, _reader: reader })
    }
}

impl std::ops::Deref for Reading {
    type Target = Authenticator;

    fn deref(&self) -> &Authenticator {
        &self.authenticator
    }
}

fn quick() -> Pace {
    Pace {
        interval: Duration::from_secs(3600),
        retry: Duration::from_secs(3600),
        spacing: Duration::from_millis(200),
        deadline: Duration::from_secs(5),
    }
}

fn by_rsa() -> String {
    token(&named("RS256", "rsa-1"), &json!({"sub": "alice"}), Signer::Rsa)
}

fn by_ec() -> String {
    token(&named("ES256", "ec-1"), &json!({"sub": "bob"}), Signer::Ec)
}

/// Whether the gateway could not tell yet, and said when to ask again.
fn is_passing(outcome: Result<Arc<Grant>, Refusal>) -> bool {
    matches!(outcome, Err(Refusal::KeysUnread { retry_after }) if retry_after > Duration::ZERO)
}

/// Longer than the spacing of [`quick`].
async fn pause() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_while_the_gateway_runs() {
    let server = KeyServer::start(&["rsa-1"]);
    let authenticator = Reading::start(&server.config(), quick()).unwrap();
    assert_eq!(&*authenticator.verify(&by_rsa()).await.unwrap().user, "alice", "waits for the first reading");
    assert_eq!(server.requests(), 1);

    server.publish(200, key_set(&["ec-1"]));
    pause().await;
    assert_eq!(&*authenticator.verify(&by_ec()).await.unwrap().user, "bob", "a new key is fetched at once");
    assert_eq!(server.requests(), 2);
    pause().await;
    assert_eq!(
        authenticator.verify(&by_rsa()).await.err(),
        Some(Refusal::KeyUnknown),
        "a key that was taken out is refused although its token was remembered"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_set_is_read_again_by_itself() {
    let server = KeyServer::start(&["rsa-1"]);
    let pace = Pace { interval: Duration::from_millis(100), spacing: Duration::from_secs(3600), ..quick() };
    let authenticator = Reading::start(&server.config(), pace).unwrap();
    assert!(authenticator.verify(&by_rsa()).await.is_ok());
    server.publish(200, key_set(&["ec-1"]));
    let started = Instant::now();
    while authenticator.verify(&by_ec()).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(authenticator);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let requests = server.requests();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(server.requests(), requests, "reading ends with the authenticator");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_key_came_right_after_a_reading_is_not_refused_for_good() {
    let server = KeyServer::start(&["rsa-1"]);
    let authenticator = Reading::start(&server.config(), quick()).unwrap();
    assert!(authenticator.verify(&by_rsa()).await.is_ok());
    pause().await;
    let stranger = token(&named("RS256", "made-up"), &json!({"sub": "mallory"}), Signer::Rsa);
    assert_eq!(authenticator.verify(&stranger).await.err(), Some(Refusal::KeyUnknown), "read after it came");
    server.publish(200, key_set(&["rsa-1", "ec-1"]));
    assert!(is_passing(authenticator.verify(&by_ec()).await), "the last reading was before");
    pause().await;
    assert_eq!(&*authenticator.verify(&by_ec()).await.unwrap().user, "bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_without_names_rotate_too() {
    let nameless = |ids: &[&str]| {
        let mut set: Value = serde_json::from_slice(&key_set(ids)).unwrap();
        for key in set["keys"].as_array_mut().unwrap() {
            key.as_object_mut().unwrap().remove("kid");
        }
        serde_json::to_vec(&set).unwrap()
    };
    let server = KeyServer::start(&[]);
    server.publish(200, nameless(&["rsa-1"]));
    let authenticator = Reading::start(&server.config(), quick()).unwrap();
    let by = |algorithm, signer| token(&header(algorithm), &json!({"sub": "alice"}), signer);
    assert!(authenticator.verify(&by("RS256", Signer::Rsa)).await.is_ok());
    server.publish(200, nameless(&["ed-1"]));
    assert!(is_passing(authenticator.verify(&by("EdDSA", Signer::Ed)).await));
    pause().await;
    assert!(authenticator.verify(&by("EdDSA", Signer::Ed)).await.is_ok());
    pause().await;
    assert_eq!(authenticator.verify(&by("RS256", Signer::Rsa)).await.err(), Some(Refusal::Algorithm));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_keys_cost_the_owner_of_the_set_one_request() {
    let server = KeyServer::start(&["rsa-1"]);
    let pace = Pace { spacing: Duration::from_secs(3600), ..quick() };
    let authenticator = Arc::new(Reading::start(&server.config(), pace).unwrap());
    let mut strangers = tokio::task::JoinSet::new();
    for number in 0..50 {
        let authenticator = Arc::clone(&authenticator);
        strangers.spawn(async move {
            let head = named("RS256", &format!("made-up-{number}"));
            authenticator.verify(&token(&head, &json!({"sub": "mallory"}), Signer::Rsa)).await.err()
        });
    }
    while let Some(refusal) = strangers.join_next().await {
        // The set that answers all of them was asked for after some of their tokens came, and before others.
        let refusal = refusal.unwrap();
        assert!(matches!(refusal, Some(Refusal::KeyUnknown | Refusal::KeysUnread { .. })), "{refusal:?}");
    }
    assert_eq!(server.requests(), 1, "they share the first reading");
    assert!(authenticator.verify(&by_rsa()).await.is_ok());
    assert!(is_passing(authenticator.verify(&by_ec()).await), "and nobody waits for one that is not made");
    assert_eq!(server.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_set_stays_while_reading_fails() {
    let server = KeyServer::start(&["rsa-1"]);
    let authenticator = Reading::start(&server.config(), quick()).unwrap();
    assert!(authenticator.verify(&by_rsa()).await.is_ok());
    for (status, body) in [
        (500, key_set(&["ec-1"])),
        (302, key_set(&["ec-1"])),
        (200, b"<html>".to_vec()),
        (200, b"{\"keys\":[]}".to_vec()),
        (200, [key_set(&["ec-1"]), vec![b' '; 300 * 1024]].concat()),
    ] {
        server.publish(status, body);
        pause().await;
        let before = server.requests();
        assert!(
            is_passing(authenticator.verify(&by_ec()).await),
            "the key may be in the set that was not read"
        );
        assert_eq!(server.requests(), before + 1);
        let fresh = token(&named("RS256", "rsa-1"), &json!({"sub": "alice", "jti": before}), Signer::Rsa);
        assert!(authenticator.verify(&fresh).await.is_ok(), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_reached_refuses_its_tokens_for_now_and_nothing_else() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let source = format!("http://{closed}/keys").parse().unwrap();
    let config = AuthConfig { jwks: Some(source), ..with_secret() };
    let authenticator = Reading::start(&config, quick()).unwrap();
    assert!(is_passing(authenticator.verify(&by_rsa()).await));
    assert!(!authenticator.has_keys());
    let by_secret = token(&header("HS256"), &json!({"sub": "alice"}), Signer::Secret(SECRET));
    assert!(authenticator.verify(&by_secret).await.is_ok());
}

#[tokio::test]
async fn a_key_set_in_a_file_is_read_again() {
    let path = std::env::temp_dir().join(format!("throughline-jwks-{}.json", std::process::id()));
    std::fs::write(&path, key_set(&["rsa-1"])).unwrap();
    let config = AuthConfig { jwks: Some(JwksSource::File(path.clone())), ..AuthConfig::default() };
    let authenticator = Reading::start(&config, quick()).unwrap();
    assert!(authenticator.verify(&by_rsa()).await.is_ok());
    std::fs::write(&path, key_set(&["rsa-1", "ec-1"])).unwrap();
    pause().await;
    assert!(authenticator.verify(&by_ec()).await.is_ok());
    std::fs::remove_file(&path).unwrap();
    pause().await;
    let unknown = token(&named("ES256", "other"), &json!({"sub": "bob"}), Signer::Ec);
    assert!(is_passing(authenticator.verify(&unknown).await));
    assert!(authenticator.verify(&by_ec()).await.is_ok());
    assert!(
        Authenticator::new(&config, Clock::system(), Chance::system()).is_err(),
        "at the start the file must be there"
    );
}

#[test]
fn a_key_set_is_a_file_or_an_http_url() {
    let source = |text: &str| text.parse::<JwksSource>().map(|source| source.to_string());
    assert_eq!(source("/etc/keys.json").as_deref(), Ok("/etc/keys.json"));
    assert_eq!(source("https://idp.example/keys?key=hunter2").as_deref(), Ok("https://idp.example/keys?…"));
    for text in
        ["ftp://idp.example/keys", "file:///etc/keys", "https://", "https://me:hunter2@idp.example/keys"]
    {
        let error = source(text).unwrap_err().to_string();
        assert!(error.starts_with("--jwks") && !error.contains("hunter2"), "{error}");
    }
}

/// Serves the key set over TLS with the certificate of the fixtures, until the test ends.
async fn https_server() -> SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let certificate = CertificateDer::from_pem_file(key_file("tls-server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(key_file("tls-server-private.pem")).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            // A client that does not trust the certificate hangs up here.
            let Ok(mut connection) = acceptor.accept(connection).await else { continue };
            let mut head = [0; 4096];
            let _ = connection.read(&mut head).await;
            let body = key_set(&["rsa-1"]);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = connection.write_all(&[head.as_bytes(), &body].concat()).await;
        }
    });
    address
}

async fn outcome_over_https() -> Result<Arc<Grant>, Refusal> {
    let source = format!("https://localhost:{}/keys", https_server().await.port()).parse().unwrap();
    let config = AuthConfig { jwks: Some(source), ..AuthConfig::default() };
    Reading::start(&config, quick()).unwrap().verify(&by_rsa()).await
}

#[tokio::test]
async fn over_https_an_unknown_authority_is_not_believed() {
    assert!(is_passing(outcome_over_https().await));
}

/// The authorities that are trusted come from the environment of a process, so this runs itself again in another.
#[tokio::test]
async fn over_https_a_trusted_authority_is_believed() {
    const MARK: &str = "THROUGHLINE_TEST_TRUSTS_THE_TEST_CA";
    if std::env::var_os(MARK).is_some() {
        assert_eq!(&*outcome_over_https().await.unwrap().user, "alice");
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "auth::rotation_tests::over_https_a_trusted_authority_is_believed"])
        .env(MARK, "1")
        .env("SSL_CERT_FILE", key_file("tls-ca.pem"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// A configuration that is read again may name another key set.
fn reload(authenticator: &Authenticator, config: &AuthConfig) {
    authenticator.take_over(authenticator.prepare(config).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_set_in_a_file_is_read_at_each_reload() {
    let path = std::env::temp_dir().join(format!("gateway-keys-{}.json", std::process::id()));
    let config = AuthConfig { jwks: Some(JwksSource::File(path.clone())), ..AuthConfig::default() };
    std::fs::write(&path, key_set(&["rsa-1"])).unwrap();
    let authenticator = Reading::start(&config, quick()).unwrap();
    assert!(authenticator.verify(&by_rsa()).await.is_ok());
    std::fs::write(&path, key_set(&["ec-1"])).unwrap();
    reload(&authenticator, &config);
    assert!(authenticator.verify(&by_ec()).await.is_ok());
    assert!(authenticator.verify(&by_rsa()).await.is_err(), "its key was taken out");
    std::fs::write(&path, "no keys").unwrap();
    assert!(authenticator.prepare(&config).is_err());
    assert!(authenticator.verify(&by_ec()).await.is_ok(), "nothing has changed");
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_set_of_before_counts_until_another_was_read() {
    let (first, second) = (KeyServer::start(&["rsa-1"]), KeyServer::start(&["ec-1"]));
    let authenticator = Reading::start(&first.config(), quick()).unwrap();
    assert!(authenticator.verify(&by_rsa()).await.is_ok());
    second.publish(503, Vec::new());
    reload(&authenticator, &second.config());
    assert!(authenticator.verify(&by_rsa()).await.is_ok(), "the second set cannot be read");
    assert!(authenticator.has_keys());
    second.publish(200, key_set(&["ec-1"]));
    pause().await;
    assert!(authenticator.verify(&by_ec()).await.is_ok(), "it is read by now");
    pause().await;
    assert_eq!(authenticator.verify(&by_rsa()).await.err(), Some(Refusal::KeyUnknown));
    // Back, and on again before the task has looked: the set is still read.
    reload(&authenticator, &first.config());
    reload(&authenticator, &second.config());
    assert!(authenticator.verify(&by_ec()).await.is_ok());
    second.publish(200, key_set(&["ec-1", "rsa-1"]));
    pause().await;
    assert!(authenticator.verify(&by_rsa()).await.is_ok(), "read again for a new key");
}
