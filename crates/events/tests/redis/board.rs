//! What nodes show one another while servers come and go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use events::{Board, BoardEvent, BoardValue, Log, Options, Redis};

use super::server::{Path, Server};
use super::{redis_options, until};

async fn store(url: &str) -> Arc<Redis> {
    let store = Redis::open(Log::new(&Options::default()), &redis_options(url)).unwrap();
    tokio::time::timeout(Duration::from_secs(60), store.followed()).await.expect("followed");
    store
}

fn shown(name: &str, value: &str) -> Vec<BoardValue> {
    vec![BoardValue { name: name.to_owned(), value: Some(value.to_owned()), note: String::new() }]
}

/// Waits until another node is heard to show a value.
async fn hear(board: &Board, name: &str, value: &str) {
    let heard = async {
        loop {
            if let Some(BoardEvent::Shows { shown, .. }) = board.next().await
                && shown.iter().any(|one| one.name == name && one.value.as_deref() == Some(value))
            {
                return;
            }
        }
    };
    let heard = tokio::time::timeout(LONG, heard).await;
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

/// What a listener has been told of the others.
#[derive(Default)]
struct Told {
    shown: HashMap<Arc<str>, HashMap<String, String>>,
    gone: u32,
}

impl Told {
    /// What all others show.
    fn all(&self) -> HashMap<&str, &str> {
        self.shown.values().flatten().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// Listens until something holds; says whether it did in time.
    async fn listen(&mut self, board: &Board, time: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let listening = async {
            while !holds(self) {
                match board.next().await.expect("the store is open") {
                    BoardEvent::Gone(node) => {
                        self.shown.remove(&node);
                        self.gone += 1;
                    }
                    BoardEvent::Shows { node, shown, is_all } => {
                        let of_node = self.shown.entry(node).or_default();
                        if is_all {
                            of_node.clear();
                        }
                        for BoardValue { name, value, .. } in shown {
                            match value {
                                Some(value) => of_node.insert(name, value),
                                None => of_node.remove(&name),
                            };
                        }
                    }
                    BoardEvent::Asks { .. } => {}
                }
            }
        };
        tokio::time::timeout(time, listening).await.is_ok()
    }

    /// Listens for so long, whatever comes.
    async fn listen_for(&mut self, board: &Board, time: Duration) {
        self.listen(board, time, |_| false).await;
    }
}

/// The longest that anything may take on a busy machine.
const LONG: Duration = Duration::from_secs(180);

/// By then each node judges who is gone.
const SETTLED: Duration = Duration::from_secs(7);

/// A node whose listener hangs is there all the same, for the others and for who asks it. What it
/// did not hear meanwhile it hears at last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_slow_to_listen_is_not_gone() {
    let server = Server::start(&[]).await;
    let [slow, busy, watch] =
        [store(&server.url()).await, store(&server.url()).await, store(&server.url()).await];
    slow.board().show(shown("slow", "1"));
    hear(watch.board(), "slow", "1").await;
    hear(busy.board(), "slow", "1").await;
    // More messages than any queue holds, and more bytes.
    let mut last = HashMap::from([("last".to_owned(), "1".to_owned())]);
    let mut messages = 0;
    let publishing = async {
        while messages < 8000 {
            let (name, value) =
                (format!("name {}", messages % 2000), format!("{messages} {}", "x".repeat(1000)));
            busy.board().show(shown(&name, &value));
            last.insert(name, value);
            messages += 1;
            if messages % 20 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        busy.board().show(shown("last", "1"));
        busy.board().show(vec![BoardValue { name: "name 7".to_owned(), value: None, note: String::new() }]);
        last.remove("name 7");
    };
    let (mut watched, mut late) = (Told::default(), Told::default());
    let until_last = |told: &Told| {
        told.shown.values().any(|of_node| of_node.contains_key("last") && !of_node.contains_key("name 7"))
    };
    let (watching, ()) = tokio::join!(watched.listen(watch.board(), LONG, until_last), publishing);
    assert!(watching, "the last is heard");
    assert_eq!(watched.gone, 0, "its heart beats");
    let is_last = |told: &Told| {
        let mut all = told.all();
        all.remove("slow");
        all == last.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    };
    // One that listens late has the same in the end as one that always listened.
    assert!(is_last(&watched));
    assert!(late.listen(slow.board(), LONG, is_last).await);
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
    let mut told = Told::default();
    assert!(told.listen(here.board(), LONG, |told| told.gone > 0).await, "it is gone");
    told.listen_for(here.board(), Duration::from_secs(3)).await;
    assert_eq!(told.gone, 1, "the one that died and not the one that stays");
    assert_eq!(told.all(), HashMap::from([("stays", "1")]));
}

/// More is said at once than this node can take in, and what it needs to know is among what it
/// misses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_misses_messages_looks_at_all_again() {
    const SCRIPT: &str = "
        redis.call('HSET', KEYS[1], 'said', 'to nobody')
        redis.call('PUBLISH', '{log}:n', string.rep('x', 9 * 1024 * 1024))";
    let server = Server::start(&[]).await;
    server.cli(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0"]);
    let [here, other] = [store(&server.url()).await, store(&server.url()).await];
    other.board().show(shown("a", "1"));
    hear(here.board(), "a", "1").await;
    let key = server.cli(&["--scan", "--pattern", "{log}:n:*"]);
    // All that there was to look at anyhow has been.
    Told::default().listen_for(here.board(), Duration::from_secs(1)).await;
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
        let mut told = Told::default();
        let is = |told: &Told, a, b| told.all() == HashMap::from([("a", a), ("b", b)]);
        assert!(told.listen(here.board(), LONG, |told| is(told, "1", "1")).await, "{:?}", told.shown);
        // All that there was to look at has been.
        told.listen_for(here.board(), Duration::from_secs(1)).await;
        path.cut();
        if restarts {
            server.kill();
            server.start_again().await;
        } else {
            server.cli(&["FLUSHALL"]);
        }
        told.listen_for(here.board(), Duration::from_secs(2)).await;
        assert!(told.gone == 0 && is(&told, "1", "1"), "{:?}", told.shown);
        late.board().show(shown("a", "2"));
        path.mend();
        assert!(told.listen(here.board(), LONG, |told| is(told, "2", "1")).await, "{:?}", told.shown);
        told.listen_for(here.board(), Duration::from_secs(1)).await;
        assert!(told.gone == 0 && is(&told, "2", "1"), "{:?}", told.shown);
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

/// Says when a node was last there, as itself or a wrong clock would; `ms` after the server's time.
fn stamp(server: &Server, node: &str, ms: i64) {
    const SCRIPT: &str = "
        local time = redis.call('TIME')
        local at = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
        redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', at))";
    assert_eq!(server.cli(&["EVAL", SCRIPT, "1", "{log}:n", node, &ms.to_string()]), "");
}

/// The nodes that are there, by the server, once there are so many.
async fn nodes(server: &Server, number: usize) -> Vec<String> {
    let mut nodes = Vec::new();
    until("all are there", || {
        nodes = server.cli(&["HKEYS", "{log}:n"]).lines().map(str::to_owned).collect();
        nodes.len() == number
    })
    .await;
    nodes
}

/// Waits for the next beat of a node.
async fn beat(server: &Server, node: &str) {
    let stamp = || server.cli(&["HGET", "{log}:n", node]);
    let before = stamp();
    until("a beat", || stamp() != before).await;
}

/// It says that it is back, and others look who is there before it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_back_is_not_gone_before_its_first_beat() {
    let server = Server::start(&[]).await;
    let here = store(&server.url()).await;
    let mut told = Told::default();
    told.listen_for(here.board(), SETTLED).await;
    let node = nodes(&server, 1).await.remove(0);
    server.cli(&["HSET", "{log}:n:back", "a", "1"]);
    server.cli(&["PUBLISH", "{log}:n", r#"{"IsBack":"back"}"#]);
    beat(&server, &node).await;
    for _ in 0..6 {
        stamp(&server, "back", 0);
        told.listen_for(here.board(), Duration::from_millis(500)).await;
    }
    assert_eq!((told.gone, told.all()), (0, HashMap::from([("a", "1")])));
}

/// To the first to look all others were last there long ago, or long after now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_gone_because_the_clock_was_set() {
    let server = Server::start(&[]).await;
    let all = [store(&server.url()).await, store(&server.url()).await, store(&server.url()).await];
    let mut told = [Told::default(), Told::default(), Told::default()];
    all[0].board().show(shown("a", "1"));
    tokio::time::sleep(SETTLED).await;
    for (node, ms) in nodes(&server, 3).await.iter().zip([-3_600_000, 3_600_000, -3_600_000]) {
        stamp(&server, node, ms);
    }
    for (at, (node, told)) in all.iter().zip(&mut told).enumerate() {
        told.listen_for(node.board(), Duration::from_secs(1)).await;
        assert_eq!((told.gone, told.all().len()), (0, usize::from(at > 0)), "{at}");
    }
}

/// Its word comes from a time that the server's clock has yet to reach.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_died_before_the_clock_was_set_back_is_gone() {
    let server = Server::start(&[]).await;
    let (here, dies) = (store(&server.url()).await, store(&server.url()).await);
    dies.board().show(shown("a", "1"));
    hear(here.board(), "a", "1").await;
    nodes(&server, 2).await;
    let key = server.cli(&["--scan", "--pattern", "{log}:n:*"]);
    let node = key.trim_start_matches("{log}:n:");
    drop(dies);
    tokio::time::sleep(Duration::from_millis(200)).await;
    stamp(&server, node, 3_600_000);
    assert!(Told::default().listen(here.board(), LONG, |told| told.gone == 1).await);
}

/// A node that dies right after it showed something leaves nothing for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shown_has_an_end_from_the_beginning() {
    const SCRIPT: &str = "
        local keys = redis.call('KEYS', '{log}:n:*')
        return #keys == 0 and 'none' or redis.call('PTTL', keys[1])";
    let server = Server::start(&[]).await;
    let here = store(&server.url()).await;
    let node = nodes(&server, 1).await.remove(0);
    // Each time right after a beat, so that the next one is far.
    for n in 0..3 {
        beat(&server, &node).await;
        here.board().show(shown("a", &n.to_string()));
        let mut left = String::new();
        until("shown", || {
            left = server.cli(&["EVAL", SCRIPT, "0"]);
            left != "none"
        })
        .await;
        assert!(left.parse::<i64>().unwrap() > 0, "{left}");
        here.board().show(vec![BoardValue { name: "a".to_owned(), value: None, note: String::new() }]);
        until("away", || server.cli(&["EVAL", SCRIPT, "0"]) == "none").await;
    }
}

/// Who asked has given up by the time that there is a connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_without_a_connection_is_never_heard() {
    let server = Server::start(&[]).await;
    let path = Path::to(&server).await;
    let (here, other) = (store(&path.url()).await, store(&server.url()).await);
    other.board().show(shown("a", "1"));
    hear(here.board(), "a", "1").await;
    path.cut();
    for sort in ["normal", "pubsub"] {
        server.cli(&["CLIENT", "KILL", "TYPE", sort]);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(here.board().ask("late".to_owned()).await.is_empty());
    path.mend();
    let heard = async {
        loop {
            if let Some(BoardEvent::Asks { text, .. }) = other.board().next().await {
                return text;
            }
        }
    };
    let asking = async {
        loop {
            here.board().ask("now".to_owned()).await;
        }
    };
    tokio::select! {
        text = tokio::time::timeout(LONG, heard) => assert_eq!(text.expect("heard"), "now"),
        () = asking => {}
    }
}
