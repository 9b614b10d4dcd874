//! Everybody is cut at once, events wait for each, and everybody comes back at once.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Needs, Play, Record, users};
use crate::scenario::Case;
use crate::side::Side;
use crate::topic::Topic;

/// Drafts a publish request, where a server takes several.
const BATCH: usize = 50;

/// A storm that has not settled by then never will.
const CATCH_UP_MAX: Duration = Duration::from_secs(120);

/// See the module.
pub(crate) struct Storm {
    case: Case,
}

impl Storm {
    /// The case names sessions, transport, and how many events wait for each.
    pub(crate) fn new(case: Case) -> Self {
        Self { case }
    }
}

impl Play for Storm {
    fn needs(&self) -> Needs {
        Needs {
            sessions: users(self.case.sessions, self.case.transport),
            streams: self.case.sessions,
            lanes: 1,
            rounds: self.case.rounds,
        }
    }

    /// Every session has received something before, so that each has a position to go on from.
    fn warm_up(&mut self, side: &mut Side) -> Result<()> {
        side.rest(Duration::from_millis(500))?;
        self.publish(side, 1)?;
        let everybody = side.crowd.sessions.len() as u64;
        side.settle(everybody)
    }

    fn round(&mut self, side: &mut Side, _: usize) -> Result<Record> {
        side.attach()?;
        side.rest(Duration::from_millis(500))?;
        let sessions = side.crowd.sessions.len();
        for index in 0..sessions {
            side.crowd.cut(index);
        }
        // The server sees the cuts, which is not what is measured here.
        side.rest(Duration::from_millis(500))?;
        self.publish(side, self.case.events)?;
        side.rest(Duration::from_millis(200))?;
        let (received, resets) = (side.crowd.tally.received, side.crowd.counts.resets);
        let ended: u64 = side.crowd.counts.ended.values().sum();
        let expected = received + (sessions * self.case.events) as u64;
        side.crowd.opening_max = usize::MAX;
        let meter = side.meter();
        for index in 0..sessions {
            side.crowd.reopen(index);
        }
        let start = Instant::now();
        side.until("coming back", |side| {
            let caught_up = side.crowd.is_complete() && side.crowd.tally.received >= expected;
            caught_up || start.elapsed() > CATCH_UP_MAX
        })?;
        if side.crowd.tally.received < expected {
            let (done, seconds) = (side.crowd.tally.received - received, CATCH_UP_MAX.as_secs());
            bail!("{done} of {} missed events after {seconds} s", expected - received);
        }
        let reading = side.read(&meter);
        let again: u64 = side.crowd.counts.ended.values().sum::<u64>() - ended;
        Ok(Record::of([
            ("seconds", reading.seconds),
            ("us a reconnect", reading.server_ns / 1e3 / sessions as f64),
            ("us an event", reading.server_ns / 1e3 / (sessions * self.case.events).max(1) as f64),
            ("turned away", again as f64),
            ("resets", (side.crowd.counts.resets - resets) as f64),
            ("generator us", reading.own_ns / 1e3 / sessions as f64),
        ]))
    }
}

impl Storm {
    /// Publishes `count` events to every user, a request at a time.
    fn publish(&self, side: &mut Side, count: usize) -> Result<()> {
        let mut drafts = Vec::with_capacity(BATCH);
        let users = side.crowd.sessions.len() as u32;
        for index in 0..count as u32 * users {
            let (user, at_ns) = (index % users, side.now_ns());
            drafts.push(side.draft(Topic::User(user), user, at_ns));
            if drafts.len() == BATCH || index + 1 == count as u32 * users {
                side.publisher.publish(0, &drafts, &side.poller)?;
                drafts.clear();
                side.answered()?;
            }
        }
        Ok(())
    }
}
