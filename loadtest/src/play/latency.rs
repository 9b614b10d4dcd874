//! Publish-to-receive at half of the rate that saturates the server, in an open loop.

use anyhow::Result;

use super::{Needs, Play, Record, audience, drive};
use crate::scenario::Case;
use crate::side::Side;
use crate::topic::Topic;

/// Lanes of the search for saturation and of the open loop.
const LANES: usize = 8;

/// See the module.
pub(crate) struct Latency {
    case: Case,
    saturation: f64,
}

impl Latency {
    /// The case names sessions, transport, and a rate (0: half of what saturates, found first).
    pub(crate) fn new(case: Case) -> Self {
        Self { case, saturation: 0.0 }
    }
}

impl Play for Latency {
    fn needs(&self) -> Needs {
        Needs {
            sessions: audience(self.case.sessions, LANES, self.case.transport),
            streams: LANES,
            lanes: LANES,
            rounds: self.case.rounds,
        }
    }

    /// Saturation: publish requests a second that come back answered and delivered with eight in flight.
    fn warm_up(&mut self, side: &mut Side) -> Result<()> {
        let sessions = side.crowd.sessions.len() as u64;
        let meter = side.meter();
        let window = sessions * LANES as u64 * 2;
        let requests = drive::as_fast_as_answered(side, self.case.seconds.min(1.0), window, |side, lane| {
            let now_ns = side.now_ns();
            side.publish(lane, Topic::Room(0), lane as u32, 1, now_ns)?;
            Ok(sessions)
        })?;
        self.saturation = requests as f64 / side.read(&meter).seconds;
        Ok(())
    }

    fn round(&mut self, side: &mut Side, _: usize) -> Result<Record> {
        let sessions = side.crowd.sessions.len() as u64;
        let rate =
            if self.case.rate > 0 { f64::from(self.case.rate) } else { (self.saturation / 2.0).max(1.0) };
        side.crowd.latency.iter_mut().for_each(|histogram| histogram.clear());
        let meter = side.meter();
        drive::at_rate(side, self.case.seconds, rate, |side, lane, at_ns| {
            side.publish(lane, Topic::Room(0), lane as u32, 1, at_ns)?;
            Ok(sessions)
        })?;
        let reading = side.read(&meter);
        let latency = &side.crowd.latency[self.case.transport as usize];
        Ok(Record::of([
            ("saturation/s", self.saturation),
            ("publishes/s", rate),
            ("p50 us", latency.quantile_us(0.5)),
            ("p99 us", latency.quantile_us(0.99)),
            ("p99.9 us", latency.quantile_us(0.999)),
            ("server busy", reading.server_ns / 1e9 / reading.seconds),
            ("generator busy", reading.own_ns / 1e9 / reading.seconds),
        ]))
    }
}
