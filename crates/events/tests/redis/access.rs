//! Passwords, users and TLS.

use events::{Log, Options, Redis, RedisOptions};

use super::server::{Server, free_port};
use super::suite::{data, draft};
use super::{hears_ephemeral, node, reach, read_after, redis_options};

const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/keys");

async fn works(url: &str, authorities: Option<Vec<u8>>) {
    let options = RedisOptions { authorities, ..redis_options(url) };
    let [here, other] = [node(&options).await, node(&options).await];
    let start = here.log.tail_cursor();
    let end = here.publish(draft(&["a"], 1)).await.cursor;
    reach(&other, end).await;
    assert_eq!(data(&read_after(&other, "a", start).unwrap()[0]), 1);
    hears_ephemeral(&here, &other).await;
}

/// What a node says that cannot follow the log.
async fn error(url: &str, authorities: Option<Vec<u8>>) -> String {
    let log = Log::new(&Options::default());
    let store = Redis::open(log, &RedisOptions { authorities, ..redis_options(url) }).unwrap();
    for _ in 0..6_000 {
        if let Some(error) = store.last_error() {
            return error;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("nothing is wrong with {url}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_given_and_never_told() {
    let server = Server::start(&[]).await;
    server.cli(&["CONFIG", "SET", "requirepass", "hunter2"]);
    let host = format!("127.0.0.1:{}", server.port());
    works(&format!("redis://:hunter2@{host}"), None).await;
    assert!(error(&format!("redis://{host}"), None).await.contains("Authentication required"));
    let wrong = error(&format!("redis://:hunter3@{host}"), None).await;
    assert!(!wrong.contains("hunter3"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_the_least_rights_will_do() {
    let server = Server::start(&[]).await;
    let rights = "+@read +@write +@stream +@pubsub +@scripting +@connection +info +role +time +wait +client -@dangerous +info +role";
    let user = ["ACL", "SETUSER", "gateway", "on", ">pw", "~{log}:*", "&{log}:*"];
    let answer = server.cli(&[&user[..], &rights.split(' ').collect::<Vec<_>>()].concat());
    assert_eq!(answer, "OK");
    works(&format!("redis://gateway:pw@127.0.0.1:{}", server.port()), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_an_authority_of_our_own() {
    let port = free_port().to_string();
    let file = |name: &str| format!("{KEYS}/{name}");
    let server = Server::start(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &file("tls-server.pem"),
        "--tls-key-file",
        &file("tls-server-private.pem"),
        "--tls-ca-cert-file",
        &file("tls-ca.pem"),
        "--tls-auth-clients",
        "no",
    ])
    .await;
    let authority = std::fs::read(file("tls-ca.pem")).unwrap();
    works(&format!("rediss://localhost:{port}"), Some(authority.clone())).await;
    let stranger = error(&format!("rediss://localhost:{port}"), None).await;
    assert!(stranger.contains("certificate"), "{stranger}");
    // No plain text where TLS was asked for.
    error(&format!("rediss://localhost:{}", server.port()), Some(authority)).await;
}
