//! What the process that compares says to the process of one side, and what it answers: lines of JSON on standard input and output.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::crowd::Crowd;
use crate::net::poller::{Interest, Poller};
use crate::play::{self, Record};
use crate::publisher::Publisher;
use crate::scenario::{Case, Kind};
use crate::side::{ORDERS, Side};
use crate::target::{Programs, Target};

/// The first line that a side is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// What is done.
    pub kind: Kind,
    /// In which case.
    pub case: Case,
    /// On which server.
    pub target: Target,
    /// Where programs are.
    pub programs: Programs,
}

/// A line that a side answers. It is told `round` for each record and `end` for the last one; the end of its input ends it too.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The server runs as this process: it must be ended if the side hangs.
    Started(u32),
    /// Server and sessions are there; so many rounds can be asked for.
    Ready(usize),
    /// A round is over.
    Round(Record),
    /// Everything is over: what arrived wrongly, or not at all.
    End(Verdict),
    /// It cannot go on.
    Failed(String),
}

/// What arrived wrongly in all rounds of a side, by the generator's own numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Events that arrived.
    pub received: u64,
    /// Events that did not, without a reset.
    pub lost: u64,
    /// Events that did not, at sessions that were sent a reset.
    pub lost_told: u64,
    /// Events that arrived again.
    pub duplicates: u64,
    /// Events that arrived after a later one.
    pub reordered: u64,
    /// Events that arrived where nobody had asked for them.
    pub strays: u64,
    /// Batches that did not start where the one before ended.
    pub broken: u64,
    /// Resets.
    pub resets: u64,
    /// Publishes that were refused, and the first refusal.
    pub refused: u64,
    /// The first refusal.
    pub refusal: Option<String>,
    /// Connections that the server ended, by reason.
    pub ended: std::collections::BTreeMap<String, u64>,
}

impl Verdict {
    /// Whether everything that was published arrived once and in order, or the session was told.
    pub(crate) fn is_clean(&self) -> bool {
        self.lost + self.duplicates + self.reordered + self.strays + self.broken + self.refused == 0
    }
}

/// Takes orders until there are no more.
pub(crate) fn obey() -> Result<()> {
    if let Err(error) = take_orders() {
        answer(&Answer::Failed(format!("{error:#}")))?;
    }
    Ok(())
}

fn take_orders() -> Result<()> {
    let mut input = std::io::stdin().lock();
    let mut line = String::new();
    input.read_line(&mut line)?;
    let Order { kind, case, target, programs } = serde_json::from_str(&line).context("not an order")?;
    let case = target.adapt(case);
    let mut play = play::of(kind, case.clone());
    let needs = play.needs();
    let clock = Instant::now();
    let server = target.start(kind, &case, &programs)?;
    answer(&Answer::Started(server.group.root()))?;
    let poller = Poller::new()?;
    let mut crowd = Crowd::new(server.address, target.dialect(kind), case.sources, clock);
    needs.sessions.into_iter().for_each(|session| crowd.join(session));
    let publisher = Publisher::new(server.address, target.dialect(kind), needs.lanes, case.data_bytes, clock);
    let label = format!("{} on {}", case.name, target.name());
    let mut side = Side::new(poller, crowd, publisher, server, clock, label, needs.streams);
    side.attach()?;
    play.warm_up(&mut side)?;
    side.poller.add(std::io::stdin(), ORDERS, Interest::Read)?;
    answer(&Answer::Ready(needs.rounds))?;
    let mut rounds = 0;
    loop {
        // Between the rounds, heartbeats are still read and answered.
        side.ordered = false;
        while !side.ordered {
            side.turn(Duration::from_millis(100))?;
        }
        line.clear();
        input.read_line(&mut line)?;
        match line.trim_end() {
            "round" => {
                answer(&Answer::Round(play.round(&mut side, rounds)?))?;
                rounds += 1;
            }
            "end" => answer(&Answer::End(verdict(&side)))?,
            "" => return Ok(()),
            other => bail!("not an order: {other}"),
        }
    }
}

fn verdict(side: &Side) -> Verdict {
    let (tally, counts, lost) = (&side.crowd.tally, &side.crowd.counts, side.lost());
    Verdict {
        received: tally.received,
        lost: lost.silently,
        lost_told: lost.told,
        duplicates: tally.duplicates,
        reordered: tally.reordered,
        strays: tally.strays,
        broken: counts.broken,
        resets: counts.resets,
        refused: side.publisher.refused,
        refusal: side.publisher.refusal.clone(),
        ended: counts.ended.clone(),
    }
}

fn answer(answer: &Answer) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, answer)?;
    stdout.write_all(b"\n")?;
    Ok(stdout.flush()?)
}
