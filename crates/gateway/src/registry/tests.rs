//! The table of sessions under paused time: caps, grace periods, and what a look at it costs.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use events::{Data, Log, Memory, Options, Seq, Topic};
use transport::{Bye, ByeReason, Ended, Transport};

use super::table::Ending;
use super::*;
use crate::auth::{Grant, Lists};
use crate::presence::{Presence, Status, TellOnly};

const BYE: Bye = Bye { reason: ByeReason::Disconnected, reconnect_after: Duration::ZERO };
const NO_CAPS: Caps = Caps { per_user: None, per_address: None };

fn registry() -> Arc<Registry> {
    let log = Log::new(&Options::default());
    let keep = Arc::new(TellOnly(Memory::open(Arc::clone(&log))));
    let presence = Arc::new(Presence::new(Duration::from_secs(1800), keep, log.clock()));
    Arc::new(Registry::new(presence, log.chance().clone()))
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

/// A connection of this user from the address with this last number.
fn connect(
    registry: &Arc<Registry>,
    user: &str,
    wanted: WantedSession<'_>,
    transport: Transport,
    from: u8,
    caps: Caps,
) -> Result<(Registration, JoinedSession), NoPlace> {
    let grant = Arc::new(Grant::of_developer(user).unwrap());
    registry.register(Connection::new(grant, Vec::new(), None, address(from)), wanted, transport, caps)
}

fn id_of(registration: &Registration) -> Arc<str> {
    registration.connection.id.clone().expect("registered")
}

#[tokio::test(start_paused = true)]
async fn a_session_resumed_from_another_address_gives_the_first_one_back() {
    let registry = registry();
    let caps = Caps { per_user: None, per_address: Some(1) };
    let open = |user: &str, wanted: WantedSession<'_>, from| {
        connect(&registry, user, wanted, Transport::Ws, from, caps)
    };
    let (first, _) = open("alice", WantedSession::New, 1).unwrap();
    let id = id_of(&first);
    assert_eq!(open("bob", WantedSession::New, 1).err(), Some(NoPlace::Address));
    drop(first);
    let (second, _) = open("alice", WantedSession::Named(&id), 2).unwrap();
    assert_eq!(open("carol", WantedSession::New, 2).err(), Some(NoPlace::Address));
    let (bobs, _) = open("bob", WantedSession::New, 1).unwrap();
    drop(second);
    assert!(open("carol", WantedSession::New, 2).is_ok(), "nothing of alice is left there");
    drop(bobs);
    assert!(open("carol", WantedSession::New, 1).is_ok(), "nor there");
}

#[tokio::test(start_paused = true)]
async fn sessions_with_a_connection_cost_neither_a_count_nor_a_sweep_anything() {
    let registry = registry();
    let open = |n: usize, transport| {
        begun(connect(&registry, &format!("u{n}"), WantedSession::New, transport, 1, NO_CAPS).unwrap()).0
    };
    let sessions: Vec<Registration> = (0..3000).map(|n| open(n, Transport::ALL[n % 3])).collect();
    {
        let table = registry.table.lock();
        assert_eq!(registry.connections(), 3000, "without the table's lock");
        assert_eq!(table.lapsing(), 0, "a sweep has nothing to look at");
    }
    registry.sweep();
    drop(sessions);
    assert_eq!((registry.connections(), registry.table.lock().lapsing()), (0, 3000));
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(registry.sweep(), 0);
    assert_eq!(registry.table.lock().lapsing(), 1000, "pollers are waited for longer");
    tokio::time::advance(Duration::from_secs(50)).await;
    assert_eq!((registry.sweep(), registry.table.lock().lapsing()), (1000, 0));
    assert!(registry.table.lock().users.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_grace_period_begins_with_the_last_connection_whatever_came_before() {
    let registry = registry();
    let open = |wanted: WantedSession<'_>, transport| {
        connect(&registry, "alice", wanted, transport, 1, NO_CAPS).unwrap()
    };
    let (poll, _) = open(WantedSession::New, Transport::Poll);
    let id = id_of(&poll);
    let is_there = || registry.session_handle("alice", &id).is_some();
    drop(poll);
    // It becomes a stream, whose grace period is shorter.
    drop(open(WantedSession::Named(&id), Transport::Ws));
    tokio::time::advance(Duration::from_secs(9)).await;
    registry.sweep();
    assert!(is_there());
    let again = open(WantedSession::Named(&id), Transport::Ws);
    tokio::time::advance(Duration::from_secs(100)).await;
    registry.sweep();
    assert!(is_there(), "it has a connection");
    drop(again);
    for (seconds, expected) in [(9, true), (1, false)] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        registry.sweep();
        assert_eq!(is_there(), expected);
    }
    // A poller that keeps coming has one place, not one for each poll.
    let mut poller = open(WantedSession::Unnamed, Transport::Poll).0;
    for _ in 0..1000 {
        drop(poller);
        tokio::time::advance(Duration::from_millis(100)).await;
        registry.sweep();
        poller = open(WantedSession::Unnamed, Transport::Poll).0;
    }
    assert!(registry.table.lock().lapsing() <= 1);
}

#[tokio::test(start_paused = true)]
async fn an_operator_ends_a_poller_between_two_polls() {
    let registry = registry();
    let poll =
        |wanted: WantedSession<'_>| connect(&registry, "alice", wanted, Transport::Poll, 1, NO_CAPS).unwrap();
    let (first, _) = poll(WantedSession::New);
    let id = id_of(&first);
    drop(first);
    assert_eq!(registry.counts(9).clients, 1);
    assert_eq!(registry.end_user("alice", BYE), 1, "it counts as a client, so it is ended as one");
    assert_eq!((registry.counts(9).clients, registry.end_session(&id, BYE)), (0, 0), "once");
    drop(poll(WantedSession::Named(&id)));
    assert_eq!(registry.counts(9).clients, 0, "a poll that did not begin told nobody");
    let (next, _) = begun(poll(WantedSession::Named(&id)));
    next.connection.handle.closes(DISCONNECTED);
    drop(next);
    assert_eq!(registry.counts(9).clients, 0, "its next poll said bye");
    let (again, _) = poll(WantedSession::Named(&id));
    assert_eq!(registry.end_user("alice", BYE), 1, "whoever comes after that begins anew");
    drop(again);
    assert_eq!(registry.end_user("nobody", BYE), 0);
}

const DISCONNECTED: Ended = Ended::Bye(ByeReason::Disconnected);

/// The connection has begun, as far as the table knows.
fn begun((place, joined): (Registration, JoinedSession)) -> (Registration, Option<Transport>) {
    place.connection.begin(Seq::ZERO, false, None);
    let before = place.begins(joined.older);
    (place, before)
}

/// Whether this connection, which has not begun, is to tell that an operator ended its session.
fn told(registry: &Registry, place: &Registration) -> bool {
    registry.table.lock().get(&place.connection.session().unwrap()).unwrap().ending == Ending::Untold
}

/// An answer to a poll that is being written, or a stream at its age, takes no other end.
#[tokio::test(start_paused = true)]
async fn an_operator_ends_a_session_whose_connection_is_ending_already() {
    for (transport, ended) in
        [(Transport::Poll, Ended::Answered), (Transport::Sse, Ended::Bye(ByeReason::MaxAge))]
    {
        for is_known in [true, false] {
            let registry = registry();
            let open =
                || connect(&registry, "alice", WantedSession::Named("s"), transport, 1, NO_CAPS).unwrap();
            let (first, _) = begun(open());
            if is_known {
                first.connection.handle.closes(ended);
            }
            assert_eq!(registry.end_user("alice", BYE), 1);
            // The session ended by itself before it looked at what the operator wants.
            first.connection.handle.closes(ended);
            drop(first);
            let (next, _) = open();
            assert!(told(&registry, &next), "{transport:?} is told when it comes back");
            let (next, _) =
                begun((next, JoinedSession { displaces: false, older: Vec::new(), before: None }));
            next.connection.handle.closes(DISCONNECTED);
            drop(next);
            assert!(!told(&registry, &open().0), "{transport:?} is told once");
        }
    }
}

/// The gauge of sessions counts a poller from its first poll that begins until no other comes.
#[tokio::test(start_paused = true)]
async fn a_poll_that_is_refused_after_it_was_registered_ends_no_session() {
    let registry = registry();
    let open =
        |transport| connect(&registry, "alice", WantedSession::Named("s"), transport, 1, NO_CAPS).unwrap();
    let gone = async || {
        tokio::time::advance(Duration::from_secs(60)).await;
        registry.sweep()
    };
    drop(open(Transport::Poll));
    assert_eq!(gone().await, 0, "it never began");
    drop(open(Transport::Poll));
    let (poll, before) = begun(open(Transport::Poll));
    assert_eq!(before, None, "it begins now");
    drop(poll);
    let (poll, before) = begun(open(Transport::Poll));
    assert_eq!(before, Some(Transport::Poll));
    drop(poll);
    assert_eq!(gone().await, 1);
    let (stream, _) = begun(open(Transport::Ws));
    drop((stream, open(Transport::Poll)));
    assert_eq!(gone().await, 0, "a stream ends with its connection");
}

#[tokio::test(start_paused = true)]
async fn a_poller_that_says_that_it_goes_is_waited_for_like_a_stream() {
    let registry = registry();
    let poll =
        || connect(&registry, "alice", WantedSession::Named("s"), Transport::Poll, 1, NO_CAPS).unwrap().0;
    let lapses_after = async |seconds: u64| {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        registry.sweep();
        registry.session_handle("alice", "s").is_none()
    };
    drop(poll());
    assert_eq!(registry.leave_session("bob", "s"), 0, "another user's");
    assert_eq!((registry.leave_session("alice", "s"), registry.counts(9).clients), (1, 0));
    assert!(!lapses_after(9).await && lapses_after(1).await, "between two polls");

    let waiting = poll();
    registry.leave_session("alice", "s");
    drop(waiting);
    assert!(!lapses_after(9).await && lapses_after(1).await, "in a poll");

    registry.leave_session("alice", "s");
    drop(poll());
    assert!(!lapses_after(50).await, "it has come back");
}

/// The sessions of alice that have been told to end, in the order of their table.
fn displaced(registry: &Registry) -> Vec<String> {
    let table = registry.table.lock();
    table
        .of_user("alice")
        .iter()
        .filter(|entry| entry.is_displaced)
        .map(|entry| entry.id.to_string())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_session_that_connected_first_makes_room_and_a_websocket_last() {
    let registry = registry();
    let caps = Caps { per_user: Some(3), per_address: None };
    let open = |id: &str, transport| {
        connect(&registry, "alice", WantedSession::Named(id), transport, 1, caps).map(|(place, _)| place)
    };
    let _ws = open("ws", Transport::Ws).unwrap();
    let first = open("a", Transport::Sse).unwrap();
    let _second = open("b", Transport::Poll).unwrap();
    let _again = open("a", Transport::Sse).unwrap();
    assert!(displaced(&registry).is_empty(), "a session that goes on needs no other place");
    let _third = open("c", Transport::Sse).unwrap();
    assert_eq!(displaced(&registry), ["b"], "it said something less lately than a");
    drop(first);
    let _fourth = open("d", Transport::Ws).unwrap();
    assert_eq!(displaced(&registry), ["b", "a"]);
    // What was told to end and comes back at once needs a place like any other.
    let _back = open("b", Transport::Poll).unwrap();
    assert_eq!(displaced(&registry), ["a", "c"]);
    let _fifth = open("e", Transport::Sse).unwrap();
    assert_eq!(displaced(&registry), ["a", "c", "b"], "polls and event streams before a WebSocket");
    let _sixth = open("f", Transport::Ws).unwrap();
    let _seventh = open("g", Transport::Ws).unwrap();
    assert_eq!(displaced(&registry), ["ws", "a", "c", "b", "e"]);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_make_room_are_bounded_while_they_end() {
    let registry = registry();
    let caps = Caps { per_user: Some(1), per_address: None };
    let open = || connect(&registry, "alice", WantedSession::New, Transport::Sse, 1, caps);
    let mut places: Vec<_> = (0..9).map(|_| open().unwrap().0).collect();
    assert_eq!(open().err(), Some(NoPlace::User), "they come faster than they can end");
    drop(places.remove(0));
    assert!(open().is_ok());
    assert!(connect(&registry, "bob", WantedSession::New, Transport::Sse, 1, caps).is_ok(), "nobody else's");
}

#[tokio::test(start_paused = true)]
async fn a_full_address_costs_nobody_a_place() {
    let registry = registry();
    let caps = Caps { per_user: Some(1), per_address: Some(1) };
    let open = |from| connect(&registry, "alice", WantedSession::New, Transport::Sse, from, caps);
    let _first = open(1).unwrap();
    assert_eq!(open(1).err(), Some(NoPlace::Address));
    assert!(displaced(&registry).is_empty());
}

/// A grant of alice's that allows these topics and her own.
fn grant_for(patterns: &[&str]) -> Arc<Grant> {
    let subscribe = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
    let lists = Lists { subscribe, ..Lists::default() };
    Arc::new(Grant { lists: Arc::new(lists), ..Grant::of_developer("alice").unwrap() })
}

/// The newest connection's token is the session's. An older connection lives on for 5 seconds, and a request with
/// commands has a token of its own.
#[tokio::test(start_paused = true)]
async fn a_wider_token_beside_the_newest_connection_makes_no_member() {
    let registry = registry();
    let connection = |patterns: &[&str]| Connection::new(grant_for(patterns), Vec::new(), None, address(1));
    let open = |patterns: &[&str], wanted: WantedSession<'_>| {
        registry.register(connection(patterns), wanted, Transport::Ws, NO_CAPS).unwrap().0
    };
    let room = "room:1".parse().unwrap();
    let set =
        |connection: &Connection, status| registry.set_presence(connection, &room, status, Data::null(), 8);
    let wide = open(&["room:1", "room:2"], WantedSession::New);
    let id = id_of(&wide);
    let mut request = connection(&["room:1"]);
    request.id = Some(Arc::clone(&id));
    assert_eq!(set(&wide.connection, Status::Online), Ok(()));
    let narrow = open(&["room:2"], WantedSession::Named(&id));
    registry.assert_granted();
    for older in [&*wide.connection, &request] {
        assert_eq!(set(older, Status::Online), Err(NoMember::Forbidden));
        assert_eq!(registry.forbidden_to_join(older, &[Topic::all(), room.clone()]), Some(&room));
    }
    registry.assert_granted();
    assert!(registry.presence.topics_of(&narrow.connection.session().unwrap()).is_empty());
    drop(narrow);
    assert_eq!(set(&wide.connection, Status::Online), Ok(()), "the older one is the session's again");
    drop(wide);
    assert_eq!(set(&request, Status::Away), Ok(()), "without a connection, each request decides for itself");
}
