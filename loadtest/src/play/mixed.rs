//! All three transports at once, rooms and users, from many local addresses.

use anyhow::Result;

use super::{Needs, Play, Record, drive};
use crate::dialect::Transport;
use crate::ledger::Ledger;
use crate::scenario::Case;
use crate::session::Session;
use crate::side::Side;
use crate::topic::Topic;

/// See the module.
pub(crate) struct Mixed {
    case: Case,
    turn: usize,
}

impl Mixed {
    /// The case names sessions (a third on each transport), rooms, and the rate; every second event goes to a user.
    pub(crate) fn new(case: Case) -> Self {
        Self { case, turn: 0 }
    }
}

impl Play for Mixed {
    fn needs(&self) -> Needs {
        let rooms = self.case.rooms.max(1) as u32;
        let session = |user: u32| {
            let transport = Transport::ALL[user as usize % 3];
            // Rooms are streams 0 and on, users the ones after them. Rooms and transports must not go in step.
            let room = user / 3 % rooms;
            let ledger = Ledger::follow([(room, 0), (rooms + user, 0)]);
            Session::new(user, vec![Topic::Room(room), Topic::User(user)], transport, ledger)
        };
        Needs {
            sessions: (0..self.case.sessions as u32).map(session).collect(),
            streams: rooms as usize + self.case.sessions,
            lanes: 1,
            rounds: self.case.rounds,
        }
    }

    fn round(&mut self, side: &mut Side, _: usize) -> Result<Record> {
        let (sessions, rooms) = (side.crowd.sessions.len(), self.case.rooms.max(1));
        let mut audience = vec![0_u64; rooms];
        for session in 0..sessions {
            audience[session / 3 % rooms] += 1;
        }
        side.crowd.latency.iter_mut().for_each(|histogram| histogram.clear());
        let received = side.crowd.tally.received;
        let meter = side.meter();
        let rate = f64::from(self.case.rate.max(1));
        drive::at_rate(side, self.case.seconds, rate, |side, lane, at_ns| {
            self.turn += 1;
            if self.turn.is_multiple_of(2) {
                let room = self.turn / 2 % rooms;
                side.publish(lane, Topic::Room(room as u32), room as u32, 1, at_ns)?;
                return Ok(audience[room]);
            }
            let user = self.turn.wrapping_mul(7919) % sessions;
            side.publish(lane, Topic::User(user as u32), (rooms + user) as u32, 1, at_ns)?;
            Ok(1)
        })?;
        let reading = side.read(&meter);
        let deliveries = (side.crowd.tally.received - received).max(1) as f64;
        let mut record = Record::of([
            ("us a delivery", reading.server_ns / 1e3 / deliveries),
            ("deliveries/s", deliveries / reading.seconds),
            ("generator us", reading.own_ns / 1e3 / deliveries),
        ]);
        for transport in Transport::ALL {
            let latency = &side.crowd.latency[transport as usize];
            let name = transport.name();
            record.figures.insert(format!("{name} p50 us"), latency.quantile_us(0.5));
            record.figures.insert(format!("{name} p99 us"), latency.quantile_us(0.99));
        }
        Ok(record)
    }
}
