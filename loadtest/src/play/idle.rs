//! Connections that do nothing: how many bytes does each hold?

use std::time::Duration;

use anyhow::Result;

use super::{Needs, Play, Record, Step, audience};
use crate::measure::{kernel, process::Memory};
use crate::scenario::Case;
use crate::side::Side;
use crate::topic::Topic;

/// See the module.
pub(crate) struct Idle {
    case: Case,
    empty: Option<(Memory, u64)>,
}

impl Idle {
    /// The case names the steps (numbers of sessions), the transport, and `events`: so many large ones go to everybody at the end of a
    /// last step, after which memory must come back.
    pub(crate) fn new(case: Case) -> Self {
        Self { case, empty: None }
    }

    fn figures(&self, side: &mut Side) -> Result<Record> {
        let meter = side.meter();
        side.rest(Duration::from_secs_f64(self.case.seconds))?;
        let reading = side.read(&meter);
        let (memory, kernel) = (side.server.group.memory(), kernel::socket_bytes());
        let (empty, kernel_empty) = self.empty.unwrap_or((memory, kernel));
        let sessions = side.crowd.sessions.len().max(1) as f64;
        let user = memory.private.saturating_sub(empty.private) as f64 / sessions;
        // Both ends of every connection are on this machine.
        let kernel = kernel.saturating_sub(kernel_empty) as f64 / 2.0 / sessions;
        Ok(Record::of([
            ("user bytes", user),
            ("kernel bytes", kernel),
            ("bytes", user + kernel),
            ("resident MiB", memory.resident as f64 / f64::from(1 << 20)),
            ("us a second", reading.server_ns / 1e3 / reading.seconds / sessions),
        ]))
    }
}

impl Play for Idle {
    fn needs(&self) -> Needs {
        let rounds = self.case.steps.len() + usize::from(self.case.events > 0);
        Needs { sessions: Vec::new(), streams: 1, lanes: 1, rounds }
    }

    /// The first connections make a server allocate what it keeps for all of them: they come and go before the empty server is looked at.
    fn warm_up(&mut self, side: &mut Side) -> Result<()> {
        for session in audience(64.min(self.case.steps[0]), 1, self.case.transport) {
            side.crowd.join(session);
        }
        side.attach()?;
        for index in 0..side.crowd.sessions.len() {
            side.crowd.cut(index);
        }
        side.crowd.sessions.clear();
        side.rest(Duration::from_millis(500))?;
        self.empty = Some((side.server.group.memory(), kernel::socket_bytes()));
        Ok(())
    }

    fn round(&mut self, side: &mut Side, index: usize) -> Result<Record> {
        let present = side.crowd.sessions.len();
        let Some(&step) = self.case.steps.get(index) else {
            return self.after_a_burst(side);
        };
        for session in audience(step, 1, self.case.transport).into_iter().skip(present) {
            side.crowd.join(session);
        }
        side.attach()?;
        // The second batch, 300 ms after the first, is still part of connecting.
        side.rest(Duration::from_millis(700))?;
        let mut record = self.figures(side)?;
        record.step = Some(Step::At(step));
        Ok(record)
    }
}

impl Idle {
    fn after_a_burst(&self, side: &mut Side) -> Result<Record> {
        let expected = side.crowd.tally.received + (side.crowd.sessions.len() * self.case.events) as u64;
        for _ in 0..self.case.events {
            let at_ns = side.now_ns();
            side.publish(0, Topic::Room(0), 0, 1, at_ns)?;
        }
        side.settle(expected)?;
        side.rest(Duration::from_secs(2))?;
        let mut record = self.figures(side)?;
        record.step = Some(Step::AfterBurst(side.crowd.sessions.len()));
        Ok(record)
    }
}
