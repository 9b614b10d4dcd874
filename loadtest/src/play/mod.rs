//! What is done in each kind of scenario. A play says what it needs, and then does one round after another on its side.

mod drive;
mod fan_out;
mod idle;
mod idle_topics;
mod latency;
mod mixed;
mod per_user;
mod publish;
mod slow;
mod storm;

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::dialect::Transport;
use crate::ledger::Ledger;
use crate::scenario::{Case, Kind};
use crate::session::Session;
use crate::side::Side;
use crate::topic::Topic;

/// What a play needs before its first round.
#[derive(Default)]
pub(crate) struct Needs {
    /// The sessions, all attached before the first round.
    pub sessions: Vec<Session>,
    /// How many sequences are published.
    pub streams: usize,
    /// How many publishing connections.
    pub lanes: usize,
    /// How many rounds make the play.
    pub rounds: usize,
}

/// How far a play had gone in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// So many sessions or topics.
    At(usize),
    /// So many sessions, after large events have gone to all of them.
    AfterBurst(usize),
}

/// What one round found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What the round was about, where rounds differ; rounds of equal steps are repetitions.
    pub step: Option<Step>,
    /// Figures by their column.
    pub figures: BTreeMap<String, f64>,
}

impl Record {
    /// A record of the given figures.
    pub(crate) fn of<const N: usize>(figures: [(&str, f64); N]) -> Self {
        Self {
            step: None,
            figures: figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }
}

/// Rounds on one side.
pub(crate) trait Play {
    /// What must be there.
    fn needs(&self) -> Needs;

    /// Done once, when all sessions are attached, and not measured.
    fn warm_up(&mut self, _side: &mut Side) -> Result<()> {
        Ok(())
    }

    /// One round, by its number from 0.
    fn round(&mut self, side: &mut Side, index: usize) -> Result<Record>;
}

/// The play of a kind.
pub(crate) fn of(kind: Kind, case: Case) -> Box<dyn Play> {
    match kind {
        Kind::Idle => Box::new(idle::Idle::new(case)),
        Kind::FanOut => Box::new(fan_out::FanOut::new(case)),
        Kind::PerUser => Box::new(per_user::PerUser::new(case)),
        Kind::Storm => Box::new(storm::Storm::new(case)),
        Kind::Publish => Box::new(publish::Publish::new(case)),
        Kind::Latency => Box::new(latency::Latency::new(case)),
        Kind::Slow => Box::new(slow::Slow::new(case)),
        Kind::Mixed => Box::new(mixed::Mixed::new(case)),
        Kind::IdleTopics => Box::new(idle_topics::IdleTopics::new(case)),
    }
}

/// `count` sessions that all follow room 0, which `lanes` lanes publish to, each a stream of its own.
fn audience(count: usize, lanes: usize, transport: Transport) -> Vec<Session> {
    let session = |user| {
        let ledger = Ledger::follow((0..lanes as u32).map(|lane| (lane, 0)));
        Session::new(user, vec![Topic::Room(0)], transport, ledger)
    };
    (0..count as u32).map(session).collect()
}

/// `count` sessions that follow nothing but their own user's topic, a stream each.
fn users(count: usize, transport: Transport) -> Vec<Session> {
    let session = |user| Session::new(user, vec![Topic::User(user)], transport, Ledger::follow([(user, 0)]));
    (0..count as u32).map(session).collect()
}
