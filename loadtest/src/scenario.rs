//! Scenario files: what is done, in which cases, for how long.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::dialect::Transport;
use crate::floor::Fault;

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Connections that do nothing.
    Idle,
    /// Every event goes to every session.
    FanOut,
    /// Every event goes to one of many users.
    PerUser,
    /// Everybody is cut at once and comes back for what was missed.
    Storm,
    /// Publishing as fast as answers come.
    Publish,
    /// Publish-to-receive at half of the rate that saturates.
    Latency,
    /// Some sessions do not read.
    Slow,
    /// All transports at once.
    Mixed,
    /// Many topics that nobody follows.
    IdleTopics,
}

/// A scenario file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Its name in commands and reports.
    pub name: String,
    /// What is done.
    pub kind: Kind,
    /// What the figures mean, for the report.
    pub about: String,
    /// The columns that the picture shows, as `x` and `y` keys of the records.
    pub picture: Option<Picture>,
    /// The cases, each with servers and sessions of its own.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// What the picture of a scenario shows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Picture {
    /// What it is titled with.
    pub title: String,
    /// The figure that is shown.
    pub figure: String,
    /// Cases or steps in a line over their number, instead of bars.
    #[serde(default)]
    pub curve: bool,
}

/// One case. Every count can be scaled down from the command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Case {
    /// Its name in the table.
    pub name: String,
    /// Sessions, each a user of its own.
    pub sessions: usize,
    /// How they receive; `mixed` sessions use all three in turn.
    pub transport: Transport,
    /// Growing numbers (of sessions or topics) that are measured one after the other.
    pub steps: Vec<usize>,
    /// Events a publish request.
    pub burst: usize,
    /// Publish requests in flight; above 1, the next goes out as soon as one is answered.
    pub in_flight: usize,
    /// Publish requests a second; 0: half of what saturates.
    pub rate: u32,
    /// Events that wait for each session in a storm.
    pub events: usize,
    /// Rooms, in scenarios that have several.
    pub rooms: usize,
    /// Sessions that do not read.
    pub slow: usize,
    /// The length of an event's data.
    pub data_bytes: usize,
    /// Whether the floor joins the frames that it has at once into one write.
    pub floor_joins: bool,
    /// How the floor delivers wrongly, to see that it is noticed.
    pub floor_fault: Option<Fault>,
    /// Measured seconds a round.
    pub seconds: f64,
    /// Rounds; the report gives medians.
    pub rounds: usize,
    /// Options of `gateway serve` for this case.
    pub gateway_options: Vec<String>,
    /// Local addresses (127.0.0.2 and on) that connections come from; 0: the default one.
    pub sources: u32,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            name: String::new(),
            sessions: 0,
            transport: Transport::Ws,
            steps: Vec::new(),
            burst: 1,
            in_flight: 1,
            rate: 0,
            events: 0,
            rooms: 1,
            slow: 0,
            data_bytes: 70,
            floor_joins: false,
            floor_fault: None,
            seconds: 2.0,
            rounds: 5,
            gateway_options: Vec::new(),
            sources: 0,
        }
    }
}

impl Scenario {
    /// Reads a scenario file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let scenario: Self =
            toml::from_str(&text).with_context(|| format!("{} is no scenario", path.display()))?;
        if scenario.cases.is_empty() {
            bail!("{} has no [[case]]", path.display());
        }
        Ok(scenario)
    }

    /// Leaves one short round of the first case: enough to see that everything works.
    pub(crate) fn shrink_to_smoke(&mut self) {
        self.cases.truncate(1);
        self.shrink(0.02, Some(0.2), Some(1));
        self.cases.iter_mut().for_each(|case| case.steps.truncate(2));
    }

    /// Shrinks every case: counts by `scale`, measured time to `seconds`, rounds to `rounds`.
    pub(crate) fn shrink(&mut self, scale: f64, seconds: Option<f64>, rounds: Option<usize>) {
        let scaled = |count: usize, least: usize| {
            if count == 0 { 0 } else { ((count as f64 * scale) as usize).max(least.min(count)) }
        };
        for case in &mut self.cases {
            case.sessions = scaled(case.sessions, 8);
            case.slow = scaled(case.slow, 2);
            case.steps.iter_mut().for_each(|step| *step = scaled(*step, 8));
            case.steps.dedup();
            case.seconds = seconds.unwrap_or(case.seconds);
            case.rounds = rounds.unwrap_or(case.rounds).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_file_is_read_and_can_shrink() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).expect("scenarios") {
            let path = entry.expect("entry").path();
            let mut scenario = Scenario::read(&path).expect("a scenario");
            assert_eq!(path.file_stem().and_then(|stem| stem.to_str()), Some(scenario.name.as_str()));
            scenario.shrink(0.001, Some(0.1), Some(1));
            assert!(
                scenario
                    .cases
                    .iter()
                    .all(|case| case.rounds == 1 && case.seconds == 0.1 && !case.name.is_empty())
            );
            count += 1;
        }
        assert!(count >= 9, "{count}");
    }

    #[test]
    fn a_misspelt_field_is_an_error() {
        let text = "name='x'\nkind='idle'\nabout=''\n[[case]]\nname='a'\nsesions=3\n";
        assert!(toml::from_str::<Scenario>(text).expect_err("refused").to_string().contains("sesions"));
    }
}
