//! What nodes show one another while servers come and go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use events::{Board, Log, News, Options, Redis, Shown};

use super::server::{Path, Server};
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

/// Whether a node is heard to be gone within some time, with what another shows last under each name.
async fn listen_for(board: &Board, time: Duration) -> (bool, HashMap<String, String>) {
    let (mut is_gone, mut last) = (false, HashMap::new());
    let listening = async {
        while let Some(news) = board.next().await {
            match news {
                News::Gone(_) => is_gone = true,
                News::Shows { shown, is_all, .. } => {
                    if is_all {
                        last.clear();
                    }
                    for Shown { name, value, .. } in shown {
                        match value {
                            Some(value) => last.insert(name, value),
                            None => last.remove(&name),
                        };
                    }
                }
                News::Asks { .. } => {}
            }
        }
    };
    let _ = tokio::time::timeout(time, listening).await;
    (is_gone, last)
}

/// A node whose listener hangs is there all the same, for the others and for who asks it. What it did not hear
/// meanwhile it hears at last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_slow_to_listen_is_not_gone() {
    let server = Server::start(&[]).await;
    let [slow, busy, watch] =
        [store(&server.url()).await, store(&server.url()).await, store(&server.url()).await];
    slow.board().show(shown("slow", "1"));
    hear(watch.board(), "slow", "1").await;
    hear(busy.board(), "slow", "1").await;
    // More messages than any queue holds, and more bytes.
    let until = tokio::time::Instant::now() + Duration::from_secs(8);
    let publishing = async {
        for n in 0.. {
            busy.board().show(shown(&format!("name {}", n % 2000), &format!("{n} {}", "x".repeat(1000))));
            if n % 20 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if tokio::time::Instant::now() > until {
                busy.board().show(shown("last", "1"));
                busy.board().show(vec![Shown {
                    name: "name 7".to_owned(),
                    value: None,
                    note: String::new(),
                }]);
                return n;
            }
        }
        0
    };
    let watching = listen_for(watch.board(), Duration::from_secs(9));
    let (shown_last, (is_gone, all)) = tokio::join!(publishing, watching);
    assert!(!is_gone, "its heart beats");
    assert!(shown_last > 5000, "{shown_last}");
    // One that listens late has the same in the end as one that always listened, and soon.
    let (_, late) = listen_for(slow.board(), Duration::from_secs(2)).await;
    let of_busy = |mut all: HashMap<String, String>| {
        all.remove("slow");
        all
    };
    assert_eq!(late.len(), 2000, "1999 and the last one");
    assert!(of_busy(late) == of_busy(all));
}

/// It died while nobody could hear that it did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_died_while_this_node_was_cut_off_is_gone() {
    let server = Server::start(&[]).await;
    let path = Path::to(&server).await;
    let (here, stays) = (store(&path.url()).await, store(&server.url()).await);
    let dies = store(&server.url()).await;
    stays.board().show(shown("stays", "1"));
    hear(here.board(), "stays", "1").await;
    dies.board().show(shown("dies", "1"));
    hear(here.board(), "dies", "1").await;
    path.cut();
    drop(dies);
    // Others have noticed, and nobody speaks of it any more.
    until("forgotten", || server.cli(&["HLEN", "{log}:n"]) == "1").await;
    path.mend();
    let gone = async {
        let mut gone = 0;
        while let Ok(Some(news)) = tokio::time::timeout(Duration::from_secs(8), here.board().next()).await {
            gone += u32::from(matches!(news, News::Gone(_)));
        }
        gone
    };
    assert_eq!(gone.await, 1, "the one that died and not the one that stays");
}

/// More is said at once than this node can take in, and what it needs to know is among what it misses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_misses_messages_looks_at_all_again() {
    const SCRIPT: &str = r#"
        local one = '{"name":"n","value":"v","note":""},'
        local much = '{"Shows":["stranger",[' .. string.rep(one, 30000) .. string.sub(one, 1, -2) .. ']]}'
        redis.call('HSET', KEYS[1], 'said', 'to nobody')
        for _ = 1, 60 do redis.call('PUBLISH', '{log}:n', much) end"#;
    let server = Server::start(&[]).await;
    server.cli(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0"]);
    let [here, other] = [store(&server.url()).await, store(&server.url()).await];
    other.board().show(shown("a", "1"));
    hear(here.board(), "a", "1").await;
    let key = server.cli(&["--scan", "--pattern", "{log}:n:*"]);
    assert_eq!(server.cli(&["EVAL", SCRIPT, "1", &key]), "");
    hear(here.board(), "said", "to nobody").await;
}

/// The server has forgotten all, and some come back to it later than others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_late_to_an_empty_server_was_there_all_the_time() {
    for restarts in [true, false] {
        let mut server = Server::start(&[]).await;
        let path = Path::to(&server).await;
        let (here, late) = (store(&server.url()).await, store(&path.url()).await);
        late.board().show([shown("a", "1"), shown("b", "1")].concat());
        let (_, all) = listen_for(here.board(), Duration::from_secs(2)).await;
        assert_eq!(all.len(), 2, "{all:?}");
        path.cut();
        if restarts {
            server.kill();
            server.start_again().await;
        } else {
            server.cli(&["FLUSHALL"]);
        }
        let silent = tokio::time::timeout(Duration::from_secs(3), here.board().next()).await;
        assert!(silent.is_err(), "{silent:?}");
        late.board().show(shown("a", "2"));
        path.mend();
        let (is_gone, all) = listen_for(here.board(), Duration::from_secs(3)).await;
        assert!(!is_gone);
        assert_eq!((all["a"].as_str(), all["b"].as_str()), ("2", "1"));
    }
}

/// A change comes between the loss and the next look at whether all is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_right_before_a_change_is_shown_again() {
    let server = Server::start(&[]).await;
    let here = store(&server.url()).await;
    here.board().show([shown("a", "1"), shown("b", "1")].concat());
    until("shown", || !server.cli(&["--scan", "--pattern", "{log}:n:*"]).is_empty()).await;
    let key = server.cli(&["--scan", "--pattern", "{log}:n:*"]);
    server.cli(&["EVAL", "redis.call('FLUSHALL') redis.call('HSET', KEYS[1], 'b', '2')", "1", &key]);
    here.board().show(shown("b", "2"));
    until("all again", || server.cli(&["HLEN", &key]) == "2").await;
}
