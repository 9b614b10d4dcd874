//! Many topics that nobody follows: do they cost memory only, or time as well?

use anyhow::Result;

use super::{Needs, Play, Record, Step, audience, fan_out};
use crate::dialect::Draft;
use crate::measure::process::Memory;
use crate::payload::Numbers;
use crate::scenario::Case;
use crate::side::Side;
use crate::topic::Topic;

/// Drafts a publish request.
const BATCH: usize = 100;
/// Idle rooms are numbered from here, far from the one that is followed.
const FIRST_IDLE: u32 = 1_000;

/// See the module.
pub(crate) struct IdleTopics {
    case: Case,
    topics: usize,
    empty: Memory,
}

impl IdleTopics {
    /// The case names the steps (numbers of idle topics with one event each) and the sessions that an event is fanned out to at each step.
    pub(crate) fn new(case: Case) -> Self {
        Self { case, topics: 0, empty: Memory::default() }
    }
}

impl Play for IdleTopics {
    fn needs(&self) -> Needs {
        Needs {
            sessions: audience(self.case.sessions, 1, self.case.transport),
            streams: 1,
            lanes: 1,
            rounds: self.case.steps.len(),
        }
    }

    fn warm_up(&mut self, side: &mut Side) -> Result<()> {
        fan_out::measure(side, &self.case, 0.2)?;
        self.empty = side.server.group.memory();
        Ok(())
    }

    fn round(&mut self, side: &mut Side, index: usize) -> Result<Record> {
        let step = self.case.steps[index];
        let fresh = step.saturating_sub(self.topics);
        let meter = side.meter();
        let mut drafts = Vec::with_capacity(BATCH);
        for number in self.topics..step {
            let at_ns = side.now_ns();
            let numbers = Numbers { stream: u32::MAX, n: 1, at_ns };
            drafts.push(Draft { topic: Topic::Room(FIRST_IDLE + number as u32), numbers });
            if drafts.len() == BATCH || number + 1 == step {
                side.publisher.publish(0, &drafts, &side.poller)?;
                drafts.clear();
                side.answered()?;
            }
        }
        let reading = side.read(&meter);
        self.topics = step;
        let growth = side.server.group.memory().private.saturating_sub(self.empty.private);
        let mut record = fan_out::measure(side, &self.case, self.case.seconds)?;
        record.step = Some(Step::At(step));
        record.figures.insert("us a new topic".to_owned(), reading.server_ns / 1e3 / fresh.max(1) as f64);
        record.figures.insert("bytes a topic".to_owned(), growth as f64 / step.max(1) as f64);
        Ok(record)
    }
}
