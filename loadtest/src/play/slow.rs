//! Some sessions do not read. The others must not notice, memory must stay bounded, and the slow ones must get everything or a reset.

use std::time::Duration;

use anyhow::Result;

use super::{Needs, Play, Record, audience, drive};
use crate::scenario::Case;
use crate::side::Side;
use crate::topic::Topic;

/// See the module.
pub(crate) struct Slow {
    case: Case,
}

impl Slow {
    /// The case names sessions, how many of them are slow, the rate and the length of events.
    pub(crate) fn new(case: Case) -> Self {
        Self { case }
    }

    fn rate(&self) -> f64 {
        if self.case.rate > 0 { f64::from(self.case.rate) } else { 500.0 }
    }
}

impl Play for Slow {
    fn needs(&self) -> Needs {
        Needs {
            sessions: audience(self.case.sessions, 1, self.case.transport),
            streams: 1,
            lanes: 1,
            rounds: self.case.rounds,
        }
    }

    fn round(&mut self, side: &mut Side, _: usize) -> Result<Record> {
        side.attach()?;
        let (sessions, slow) = (side.crowd.sessions.len(), self.case.slow);
        let before = side.server.group.memory();
        let resets = side.crowd.counts.resets;
        let ended: u64 = side.crowd.counts.ended.values().sum();
        side.crowd.latency.iter_mut().for_each(|histogram| histogram.clear());
        for index in 0..slow {
            side.crowd.set_reading(index, false, &side.poller)?;
        }
        // Only those that read are waited for.
        drive::at_rate(side, self.case.seconds, self.rate(), |side, lane, at_ns| {
            side.publish(lane, Topic::Room(0), 0, 1, at_ns)?;
            Ok((sessions - slow) as u64)
        })?;
        let fast = &side.crowd.latency[self.case.transport as usize];
        let (p50, p99, p999) = (fast.quantile_us(0.5), fast.quantile_us(0.99), fast.quantile_us(0.999));
        let growth = side.server.group.memory().private.saturating_sub(before.private);
        for index in 0..slow {
            side.crowd.set_reading(index, true, &side.poller)?;
        }
        side.rest(Duration::from_secs(1))?;
        side.attach()?;
        side.rest(Duration::from_secs(1))?;
        let ended: u64 = side.crowd.counts.ended.values().sum::<u64>() - ended;
        Ok(Record::of([
            ("p50 us", p50),
            ("p99 us", p99),
            ("p99.9 us", p999),
            ("memory growth MiB", growth as f64 / f64::from(1 << 20)),
            ("KiB a slow session", growth as f64 / 1024.0 / slow.max(1) as f64),
            ("slow ones ended", ended as f64),
            ("resets", (side.crowd.counts.resets - resets) as f64),
        ]))
    }
}
