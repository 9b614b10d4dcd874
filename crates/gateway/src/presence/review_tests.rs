//! A review board's day, under paused time: who comes, navigates, looks away, reloads and leaves, and for how long
//! everyone can see it.

use std::time::Duration;

use events::Data;
use serde_json::json;

use super::world::{TestMember, World};
use super::{Status, moment};

/// What the board shows of somebody: status, feature, sessions, and for how long the user has been there and not.
fn shown(world: &World, user: &str) -> Option<(Status, String, usize, u64, u64)> {
    let listing = world.presence.list(&"room:review".parse().unwrap(), 10);
    let now_ms = world.presence.now_ms();
    let listed = listing.members.into_iter().find(|listed| &*listed.user == user)?;
    let info: serde_json::Value = serde_json::from_slice(listed.info.as_bytes()).unwrap();
    let feature = info["feature"].as_str().unwrap_or_default().to_owned();
    let seconds_ago = |ms: u64| now_ms.saturating_sub(ms) / 1000;
    assert!(moment(listed.since_ms) <= moment(listed.last_seen_ms));
    let (since, seen) = (seconds_ago(listed.since_ms), seconds_ago(listed.last_seen_ms));
    Some((listed.status, feature, listed.sessions, since, seen))
}

impl World {
    /// A navigation: what is shown is told at once.
    async fn on(&self, guest: &TestMember, status: Status, feature: &str) {
        let info = Data::from_value(&json!({"role": "architect", "feature": feature})).unwrap();
        self.show(guest, status, info);
        self.settle().await;
    }

    /// Time passes, and what is due is done.
    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.registry.sweep();
            self.presence.sweep();
            self.settle().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reviewer_is_listed_for_half_an_hour_after_leaving() {
    let world = World::new();
    let mut lead = world.guest(0, "room:review");
    world.on(&lead, Status::Online, "overview").await;
    let mut ann = world.guest(1, "room:review");
    let mut reload = world.guest(1, "room:review");
    world.on(&ann, Status::Online, "billing").await;
    assert_eq!(shown(&world, "u0001"), Some((Status::Online, "billing".to_owned(), 1, 0, 0)));
    world.pass(60).await;
    world.on(&ann, Status::Online, "login").await;
    world.on(&ann, Status::Away, "login").await;
    lead.knows(&world, 0);
    assert_eq!(lead.known["u0001"], "away");
    assert_eq!(shown(&world, "u0001"), Some((Status::Away, "login".to_owned(), 1, 60, 0)));

    // A reload: another session takes over within the grace, and nobody is told of anything but the status.
    drop(ann.registration.take());
    world.pass(5).await;
    world.on(&reload, Status::Online, "login").await;
    world.pass(10).await;
    lead.knows(&world, 0);
    assert_eq!((lead.known["u0001"].as_str(), lead.count), ("online", 2));
    assert_eq!(
        shown(&world, "u0001"),
        Some((Status::Online, "login".to_owned(), 1, 75, 0)),
        "one member, and since then"
    );

    // The laptop is closed: still there for the grace, then offline, and forgotten half an hour after that.
    drop(reload.registration.take());
    world.pass(9).await;
    assert_eq!(shown(&world, "u0001"), Some((Status::Online, "login".to_owned(), 1, 84, 9)));
    world.pass(1).await;
    lead.knows(&world, 0);
    assert_eq!((lead.known.get("u0001"), lead.count), (None, 1));
    assert_eq!(shown(&world, "u0001"), Some((Status::Offline, "login".to_owned(), 0, 85, 10)));
    world.pass(1799).await;
    assert!(shown(&world, "u0001").is_some(), "to the last second");
    world.pass(1).await;
    assert_eq!(shown(&world, "u0001"), None);
    assert_eq!(shown(&world, "u0000").map(|shown| shown.0), Some(Status::Online), "who is there stays");
    lead.knows(&world, 0);
}
