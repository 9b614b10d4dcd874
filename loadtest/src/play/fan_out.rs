//! Every event goes to every session: what does one delivery cost the server?

use anyhow::Result;

use super::{Needs, Play, Record, audience, drive};
use crate::scenario::Case;
use crate::side::Side;
use crate::topic::Topic;

/// See the module.
pub(crate) struct FanOut {
    case: Case,
}

impl FanOut {
    /// The case names sessions, transport, burst and requests in flight.
    pub(crate) fn new(case: Case) -> Self {
        Self { case }
    }
}

impl Play for FanOut {
    fn needs(&self) -> Needs {
        let lanes = self.case.in_flight.max(1);
        Needs {
            sessions: audience(self.case.sessions, lanes, self.case.transport),
            streams: lanes,
            lanes,
            rounds: self.case.rounds,
        }
    }

    /// One burst reaches everybody before anything is measured.
    fn warm_up(&mut self, side: &mut Side) -> Result<()> {
        measure(side, &self.case, 0.1).map(drop)
    }

    fn round(&mut self, side: &mut Side, _: usize) -> Result<Record> {
        measure(side, &self.case, self.case.seconds)
    }
}

/// Fan-out for `seconds` to everybody in room 0.
pub(crate) fn measure(side: &mut Side, case: &Case, seconds: f64) -> Result<Record> {
    let sessions = side.crowd.sessions.len() as u64;
    let burst = case.burst.max(1);
    let per_request = sessions * burst as u64;
    // With one request in flight, the next waits for the last delivery of the one before; with more, lanes run into each other.
    let window = if case.in_flight > 1 { per_request * case.in_flight as u64 * 2 } else { 0 };
    side.crowd.latency.iter_mut().for_each(|histogram| histogram.clear());
    let (received, bytes, messages) =
        (side.crowd.tally.received, side.crowd.counts.bytes, side.crowd.counts.messages);
    let meter = side.meter();
    let requests = drive::as_fast_as_answered(side, seconds, window, |side, lane| {
        let now_ns = side.now_ns();
        side.publish(lane, Topic::Room(0), lane as u32, burst, now_ns)?;
        Ok(per_request)
    })?;
    let reading = side.read(&meter);
    let deliveries = (side.crowd.tally.received - received).max(1) as f64;
    let latency = &side.crowd.latency[case.transport as usize];
    Ok(Record::of([
        ("us a delivery", reading.server_ns / 1e3 / deliveries),
        ("us a publish", reading.server_ns / 1e3 / (requests as f64 * burst as f64).max(1.0)),
        ("deliveries/s", deliveries / reading.seconds),
        ("bytes a delivery", (side.crowd.counts.bytes - bytes) as f64 / deliveries),
        ("messages a delivery", (side.crowd.counts.messages - messages) as f64 / deliveries),
        ("p50 us", latency.quantile_us(0.5)),
        ("p99 us", latency.quantile_us(0.99)),
        ("generator us", reading.own_ns / 1e3 / deliveries),
    ]))
}
