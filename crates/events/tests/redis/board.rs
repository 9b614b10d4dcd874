//! What nodes show one another while servers come and go.

use std::sync::Arc;
use std::time::Duration;

use events::{Board, Log, News, Options, Redis, Shown};

use super::server::Server;
use super::{redis_options, until};

async fn store(url: &str) -> Arc<Redis> {
    let store = Redis::open(Log::new(&Options::default()), &redis_options(url)).unwrap();
    tokio::time::timeout(Duration::from_secs(10), store.followed()).await.expect("followed");
    store
}

fn shown(name: &str, value: &str) -> Vec<Shown> {
    vec![Shown { name: name.to_owned(), value: Some(value.to_owned()), note: String::new() }]
}

/// Waits until another node is heard to show a value.
async fn hear(board: &Board, name: &str, value: &str) {
    let heard = async {
        loop {
            if let Some(News::Shows { shown, .. }) = board.next().await
                && shown.iter().any(|one| one.name == name && one.value.as_deref() == Some(value))
            {
                return;
            }
        }
    };
    let heard = tokio::time::timeout(Duration::from_secs(15), heard).await;
    assert!(heard.is_ok(), "nobody shows {value} under {name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_goes_on_when_the_first_of_two_servers_dies() {
    let mut first = Server::start(&[]).await;
    let second = Server::replica_of(&first, &[]).await;
    let url = format!("{},{}", first.url(), second.url());
    let [here, other] = [store(&url).await, store(&url).await];
    here.board().show(shown("a", "1"));
    hear(other.board(), "a", "1").await;
    first.kill();
    // More than any queue would hold: of each name the newest is kept, and nobody waits.
    for n in 0..2000 {
        here.board().show(shown("a", &n.to_string()));
    }
    for n in 0..10_000 {
        here.board().show(shown(&format!("b {n}"), "1"));
    }
    second.cli(&["REPLICAOF", "NO", "ONE"]);
    hear(other.board(), "a", "1999").await;
    here.board().show(shown("a", "after"));
    hear(other.board(), "a", "after").await;
    let all = second.cli(&["--scan", "--pattern", "{log}:n:*"]);
    until("all of it is there for who comes later", || {
        all.lines().any(|key| second.cli(&["HLEN", key]) == "10001")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_is_shown_again() {
    let server = Server::start(&[]).await;
    let here = store(&server.url()).await;
    here.board().show(shown("a", "1"));
    until("shown", || !server.cli(&["--scan", "--pattern", "{log}:n:*"]).is_empty()).await;
    server.cli(&["FLUSHALL"]);
    let late = store(&server.url()).await;
    hear(late.board(), "a", "1").await;
}
