//! Publishing as fast as answers come, with few or no sessions: what does it cost to take an event in?

use anyhow::Result;

use super::{Needs, Play, Record, drive};
use crate::ledger::Ledger;
use crate::scenario::Case;
use crate::session::Session;
use crate::side::Side;
use crate::topic::Topic;

/// See the module.
pub(crate) struct Publish {
    case: Case,
    turn: usize,
}

impl Publish {
    /// The case names rooms, events a request, requests in flight, and sessions, which follow one room each.
    pub(crate) fn new(case: Case) -> Self {
        Self { case, turn: 0 }
    }

    fn rooms(&self) -> usize {
        // A room belongs to one lane, so that its stream stays in order.
        self.case.rooms.max(self.case.in_flight).max(1)
    }
}

impl Play for Publish {
    fn needs(&self) -> Needs {
        let session = |user: u32| {
            let room = user % self.rooms() as u32;
            Session::new(user, vec![Topic::Room(room)], self.case.transport, Ledger::follow([(room, 0)]))
        };
        Needs {
            sessions: (0..self.case.sessions as u32).map(session).collect(),
            streams: self.rooms(),
            lanes: self.case.in_flight.max(1),
            rounds: self.case.rounds,
        }
    }

    fn round(&mut self, side: &mut Side, _: usize) -> Result<Record> {
        let (rooms, lanes, sessions) = (self.rooms(), self.case.in_flight.max(1), side.crowd.sessions.len());
        let burst = self.case.burst.max(1);
        side.publisher.acknowledged.clear();
        let window = 64 * sessions as u64;
        let meter = side.meter();
        let requests = drive::as_fast_as_answered(side, self.case.seconds, window, |side, lane| {
            let at_ns = side.now_ns();
            let mut drafts = Vec::with_capacity(burst);
            let mut deliveries = 0;
            for _ in 0..burst {
                self.turn += 1;
                let room = self.turn % (rooms / lanes) * lanes + lane;
                // Session s follows room s % rooms.
                deliveries += (sessions / rooms + usize::from(room < sessions % rooms)) as u64;
                drafts.push(side.draft(Topic::Room(room as u32), room as u32, at_ns));
            }
            side.publisher.publish(lane, &drafts, &side.poller)?;
            Ok(deliveries)
        })?;
        let reading = side.read(&meter);
        let events = (requests as f64 * burst as f64).max(1.0);
        Ok(Record::of([
            ("us a publish", reading.server_ns / 1e3 / events),
            ("publishes/s", events / reading.seconds),
            ("answer p50 us", side.publisher.acknowledged.quantile_us(0.5)),
            ("answer p99 us", side.publisher.acknowledged.quantile_us(0.99)),
            ("generator us", reading.own_ns / 1e3 / events),
        ]))
    }
}
