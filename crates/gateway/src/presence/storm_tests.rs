//! Storms: many join, leave and vanish at once, and every reader ends with what is true.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::Status;
use super::world::{Slow, TestMember, World};

#[tokio::test(start_paused = true)]
async fn a_room_of_5000() {
    const GUESTS: usize = 5000;
    let world = World::new();
    let mut guests: Vec<TestMember> = (0..GUESTS).map(|user| world.guest(user, "room:1")).collect();
    // Everybody reads; some of them are asked what they know. Each reads at a pace of its own.
    let asked = [0, 1, 17, 2500, 2501, GUESTS - 1];
    for at in 0..GUESTS {
        world.set(&guests[at], Status::Online);
        if at % 100 == 0 {
            world.say("room:1").await;
            world.settle().await;
            guests[asked[at / 100 % asked.len()]].read();
        }
    }
    world.settle().await;
    for at in asked {
        guests[at].knows(&world, 50);
        assert_eq!(guests[at].count, GUESTS as u64);
    }

    // Half of them look away, some come back at once, and a third leaves.
    for (at, guest) in guests.iter().enumerate() {
        world.set(guest, if at % 2 == 0 { Status::Away } else { Status::Online });
        if at % 3 == 2 {
            world.set(guest, Status::Offline);
        }
        if at % 1000 == 0 {
            world.settle().await;
        }
    }
    world.say("room:1").await;
    world.settle().await;
    for at in asked {
        guests[at].knows(&world, 51);
    }

    // All but the last hundred vanish. Before the grace is over nobody has left.
    let before = guests[GUESTS - 1].count;
    guests[..GUESTS - 100].iter_mut().for_each(|guest| drop(guest.registration.take()));
    tokio::time::sleep(Duration::from_secs(9)).await;
    world.registry.sweep();
    world.settle().await;
    guests[GUESTS - 1].knows(&world, 51);
    assert_eq!(guests[GUESTS - 1].count, before);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.registry.sweep();
    world.settle().await;
    for at in asked {
        guests[at].knows(&world, 51);
    }
    assert_eq!(guests[GUESTS - 1].known.len(), 67);

    // In the end nothing is left behind.
    guests.iter_mut().for_each(|guest| drop(guest.registration.take()));
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.registry.sweep();
    world.settle().await;
    guests[0].knows(&world, 51);
    assert!(guests[0].known.is_empty());
    tokio::time::sleep(Duration::from_secs(1799)).await;
    world.presence.sweep();
    assert!(
        !world.presence.list(&guests[0].topic, 1).members.is_empty(),
        "those who left last are still listed"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.presence.sweep();
    world.settle().await;
    assert!(world.presence.rosters.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_rooms_of_5() {
    const ROOMS: usize = 1000;
    let world = World::new();
    let room = |at: usize| format!("room:{}", at % ROOMS);
    let mut guests: Vec<TestMember> = (0..5 * ROOMS).map(|user| world.guest(user, &room(user))).collect();
    for (at, guest) in guests.iter().enumerate() {
        world.set(guest, Status::Online);
        if at % 5 == 0 {
            world.say(&room(at)).await;
        }
    }
    world.settle().await;
    for (at, guest) in guests.iter_mut().enumerate() {
        guest.knows(&world, if at % 5 == 0 { 5 } else { 0 });
        assert_eq!(guest.count, 5);
    }
    for guest in guests.iter_mut().skip(4 * ROOMS) {
        drop(guest.registration.take());
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.registry.sweep();
    world.settle().await;
    for (at, guest) in guests.iter_mut().enumerate() {
        guest.knows(&world, if at % 5 == 0 { 5 } else { 0 });
        assert_eq!(guest.count, 4);
    }
    drop(guests);
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.registry.sweep();
    world.settle().await;
    tokio::time::sleep(Duration::from_secs(1800)).await;
    world.presence.sweep();
    world.settle().await;
    assert!(world.presence.rosters.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_storm_takes_few_commits_and_nothing_is_told_that_is_not_kept() {
    const GUESTS: usize = 2000;
    for fails in [|_| false, |commit| commit % 3 != 2] as [fn(usize) -> bool; 2] {
        let mut slow = None;
        let world = World::with(|store| {
            let keep = Slow { store, commits: AtomicUsize::new(0), fails, kept: Mutex::default() };
            Arc::clone(slow.insert(Arc::new(keep))) as _
        });
        let slow = slow.unwrap();
        let room = "room:1".parse().unwrap();
        let agrees = || {
            let listing = world.presence.list(&room, usize::MAX);
            let kept = slow.kept.lock();
            assert_eq!(kept.len(), listing.members.len());
            for member in listing.members {
                let kept = &kept[&("room:1".to_owned(), member.user.to_string())];
                assert_eq!((kept.sessions.len(), kept.since_ms), (member.sessions, member.since_ms));
                let status = kept.sessions.iter().map(|session| session.status).max();
                assert_eq!(status.unwrap_or(Status::Offline), member.status);
            }
        };
        let mut guests: Vec<TestMember> = (0..GUESTS).map(|user| world.guest(user, "room:1")).collect();
        for some in guests.chunks(20) {
            some.iter().for_each(|guest| world.set(guest, Status::Online));
            // They come while commits are under way.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        world.settle().await;
        guests[0].knows(&world, 0);
        assert_eq!(guests[0].known.len(), GUESTS);
        agrees();
        let commits = slow.commits.load(Ordering::Relaxed);
        assert!(commits < 60, "{commits} commits for {GUESTS} joins");

        guests.iter_mut().skip(1).for_each(|guest| drop(guest.registration.take()));
        tokio::time::sleep(Duration::from_secs(10)).await;
        world.registry.sweep();
        tokio::time::sleep(Duration::from_secs(20)).await;
        guests[0].knows(&world, 0);
        assert_eq!((guests[0].known.len(), guests[0].count), (1, 1));
        agrees();
        assert_eq!(slow.kept.lock().len(), GUESTS);
        tokio::time::sleep(Duration::from_secs(1800)).await;
        world.presence.sweep();
        tokio::time::sleep(Duration::from_secs(20)).await;
        agrees();
        assert_eq!(slow.kept.lock().len(), 1, "what is forgotten is kept no longer");
    }
}
