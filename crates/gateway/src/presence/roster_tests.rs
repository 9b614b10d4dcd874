//! The members of one topic: joins, leaves, and what is told of them.

use std::sync::Arc;

use events::{Data, Topic};
use serde_json::json;

use super::roster::{ChangeKind, Effect, Forgetting, Roster, SessionPresence};
use super::status::Status;

fn info(value: &serde_json::Value) -> Data {
    Data::from_value(value).unwrap()
}

struct Room {
    roster: Roster,
    topic: Topic,
}

impl Room {
    fn new() -> Self {
        Self { roster: Roster::default(), topic: "room:1".parse().unwrap() }
    }

    fn join(&mut self, user: &str, session: &str, status: Status, now_ms: u64) -> Effect {
        let shown = SessionPresence { status, info: info(&json!({"of": user})), polls: false };
        self.roster.join(&user.into(), &session.into(), shown, now_ms)
    }

    fn leave(&mut self, user: &str, session: &str, now_ms: u64) -> Effect {
        self.roster.leave(&user.into(), session, now_ms)
    }

    fn tell(&mut self, user: &str) -> Option<(ChangeKind, Status, usize)> {
        let told = self.roster.tell(&self.topic, &user.into())?;
        Some((told.kind, told.status, told.count))
    }

    fn status(&self, user: &str) -> Option<(Status, usize)> {
        let listed = self.roster.list(10, 0).into_iter().find(|listed| &*listed.user == user)?;
        Some((listed.status, listed.sessions))
    }
}

#[test]
fn one_member_however_many_sessions() {
    let mut room = Room::new();
    assert_eq!(room.join("a", "1", Status::Away, 10), Effect { changed: true, left: false });
    assert_eq!(room.tell("a"), Some((ChangeKind::Join, Status::Away, 1)));
    room.join("a", "2", Status::Online, 20);
    assert_eq!(room.tell("a"), Some((ChangeKind::Update, Status::Online, 1)), "the best of both");
    assert_eq!(room.status("a"), Some((Status::Online, 2)));
    assert_eq!(room.leave("a", "1", 30), Effect { changed: true, left: false });
    assert_eq!(room.tell("a"), None, "the other is still there");
    assert_eq!(room.leave("a", "2", 40), Effect { changed: true, left: true });
    assert_eq!(room.tell("a"), Some((ChangeKind::Leave, Status::Offline, 0)));
    assert_eq!(room.roster.present(), 0);
    let listed = &room.roster.list(10, 99)[0];
    assert_eq!((listed.since_ms, listed.last_seen_ms, listed.sessions), (10, 40, 0));
}

#[test]
fn counts_follow_the_order_in_which_it_is_told() {
    let mut room = Room::new();
    for user in ["a", "b", "c"] {
        room.join(user, "s", Status::Online, 1);
    }
    room.leave("b", "s", 2);
    assert_eq!(room.roster.present(), 2);
    assert_eq!(room.tell("a"), Some((ChangeKind::Join, Status::Online, 1)));
    assert_eq!(room.tell("b"), None, "came and went before anyone was told");
    assert_eq!(room.tell("c"), Some((ChangeKind::Join, Status::Online, 2)));
}

#[test]
fn what_could_not_be_told_is_told_later() {
    let mut room = Room::new();
    room.join("a", "s", Status::Online, 1);
    let told = room.roster.tell(&room.topic.clone(), &"a".into()).unwrap();
    room.roster.untell(&told);
    assert!(room.roster.retry(&"a".into()));
    assert!(!room.roster.retry(&"a".into()), "once is enough");
    assert_eq!(room.leave("a", "s", 2), Effect { changed: false, left: true });
    assert_eq!(room.tell("a"), None, "nobody ever knew");
    room.join("a", "s", Status::Online, 3);
    assert_eq!(room.tell("a"), Some((ChangeKind::Join, Status::Online, 1)));
}

#[test]
fn another_info_is_an_update_and_the_same_is_nothing() {
    let mut room = Room::new();
    room.join("a", "s", Status::Online, 1);
    room.tell("a");
    assert_eq!(room.join("a", "s", Status::Online, 2), Effect::default());
    let shown = SessionPresence { status: Status::Online, info: info(&json!(2)), polls: false };
    room.roster.join(&"a".into(), &"s".into(), shown, 3);
    assert_eq!(room.tell("a"), Some((ChangeKind::Update, Status::Online, 1)));
    assert_eq!(room.roster.list(1, 0)[0].info, info(&json!(2)));
}

#[test]
fn who_is_offline_is_forgotten_in_time() {
    let mut room = Room::new();
    let a: Arc<str> = "a".into();
    room.join("a", "s", Status::Online, 1);
    room.tell("a");
    assert_eq!(room.roster.forget(&a, 100, false), Forgetting::Needless);
    room.leave("a", "s", 50);
    assert_eq!(room.roster.forget(&a, 100, false), Forgetting::Untold, "somebody has to be told first");
    room.tell("a");
    assert_eq!(room.roster.forget(&a, 49, false), Forgetting::Later(50));
    assert!(!room.roster.is_empty());
    assert_eq!(room.roster.forget(&a, 50, false), Forgetting::Done);
    assert!(room.roster.is_empty());
}

#[test]
fn last_seen_is_now_while_connected() {
    let mut room = Room::new();
    room.join("a", "s", Status::Online, 10);
    assert_eq!(room.roster.list(1, 70)[0].last_seen_ms, 70);
    room.roster.connect(&"a".into(), "s", None, 80);
    assert_eq!(room.roster.list(1, 85)[0].last_seen_ms, 80);
    assert_eq!(room.status("a"), Some((Status::Online, 1)), "its place is held");
    room.roster.connect(&"a".into(), "s", Some(false), 88);
    assert_eq!(room.roster.list(1, 95)[0].last_seen_ms, 95);
}

#[test]
fn last_seen_is_when_the_connection_went() {
    let mut room = Room::new();
    room.join("a", "s", Status::Online, 10);
    room.roster.connect(&"a".into(), "s", None, 80);
    room.leave("a", "s", 90);
    assert_eq!(room.roster.list(1, 95)[0].last_seen_ms, 80, "not when the grace was over");
}
