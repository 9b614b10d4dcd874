//! Every event goes to one of many users: what does one publish cost, from the request to the one delivery?

use anyhow::Result;

use super::{Needs, Play, Record, drive, users};
use crate::scenario::Case;
use crate::side::Side;
use crate::topic::Topic;

/// See the module.
pub(crate) struct PerUser {
    case: Case,
    turn: u32,
}

impl PerUser {
    /// The case names sessions, transport, requests in flight, and a rate for an open loop (0: as fast as answers come).
    pub(crate) fn new(case: Case) -> Self {
        Self { case, turn: 0 }
    }

    /// The next user of a lane. A user belongs to one lane, so that its stream stays in order; the stride visits users in no order that a cache would like.
    fn user(&mut self, sessions: usize, lane: usize) -> u32 {
        let lanes = self.case.in_flight.max(1);
        let users = (sessions / lanes).max(1);
        self.turn = self.turn.wrapping_add(1);
        let place = self.turn.wrapping_mul(2_654_435_761) as usize % users;
        ((place * lanes + lane) % sessions) as u32
    }
}

impl Play for PerUser {
    fn needs(&self) -> Needs {
        Needs {
            sessions: users(self.case.sessions, self.case.transport),
            streams: self.case.sessions,
            lanes: self.case.in_flight.max(1),
            rounds: self.case.rounds,
        }
    }

    fn round(&mut self, side: &mut Side, _: usize) -> Result<Record> {
        let sessions = side.crowd.sessions.len();
        let burst = self.case.burst.max(1);
        side.crowd.latency.iter_mut().for_each(|histogram| histogram.clear());
        side.publisher.acknowledged.clear();
        let (seconds, rate) = (self.case.seconds, f64::from(self.case.rate));
        let messages = side.crowd.counts.messages;
        let meter = side.meter();
        let mut publish = |side: &mut Side, lane: usize, at_ns: u64| {
            let mut drafts = Vec::with_capacity(burst);
            for _ in 0..burst {
                let user = self.user(sessions, lane);
                drafts.push(side.draft(Topic::User(user), user, at_ns));
            }
            side.publisher.publish(lane, &drafts, &side.poller)?;
            Ok(burst as u64)
        };
        let requests = if rate > 0.0 {
            drive::at_rate(side, seconds, rate, publish)?
        } else {
            drive::as_fast_as_answered(side, seconds, 10_000, |side, lane| {
                let now_ns = side.now_ns();
                publish(side, lane, now_ns)
            })?
        };
        let reading = side.read(&meter);
        let events = (requests as f64 * burst as f64).max(1.0);
        let latency = &side.crowd.latency[self.case.transport as usize];
        Ok(Record::of([
            ("us a publish", reading.server_ns / 1e3 / events),
            ("publishes/s", events / reading.seconds),
            ("messages a publish", (side.crowd.counts.messages - messages) as f64 / events),
            ("p50 us", latency.quantile_us(0.5)),
            ("p99 us", latency.quantile_us(0.99)),
            ("p99.9 us", latency.quantile_us(0.999)),
            ("answer p50 us", side.publisher.acknowledged.quantile_us(0.5)),
            ("generator us", reading.own_ns / 1e3 / events),
        ]))
    }
}
