//! Plays one case on several servers in turn, round by round, so that a busy machine disturbs all of them alike.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::measure::process::Group;
use crate::order::{Answer, Order, Verdict};
use crate::play::{Record, Step};
use crate::scenario::{Case, Kind};
use crate::target::{Programs, Target};

/// How long one answer of a side may take, beside the seconds that its case names.
const ANSWER_MAX: Duration = Duration::from_secs(240);

/// What was found on one server in one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// The case.
    pub case: String,
    /// The server.
    pub target: Target,
    /// Every round, in order.
    pub rounds: Vec<Record>,
    /// What arrived wrongly.
    pub verdict: Option<Verdict>,
    /// Why it could not be finished.
    pub failure: Option<String>,
}

impl Finding {
    /// The steps of its rounds, each once; `None` where rounds are repetitions of one thing.
    pub(crate) fn steps(&self) -> Vec<Option<Step>> {
        let mut steps: Vec<_> = self.rounds.iter().map(|record| record.step).collect();
        steps.dedup();
        steps
    }

    /// The median of a figure over the rounds of one step.
    pub(crate) fn median(&self, step: Option<Step>, figure: &str) -> Option<f64> {
        let rounds = self.rounds.iter().filter(|record| record.step == step);
        median(rounds.filter_map(|record| record.figures.get(figure).copied()).collect())
    }

    /// The median of the ratios of a figure to the other's, round by round: what both met at the same time falls out.
    pub(crate) fn ratio(&self, to: &Self, step: Option<Step>, figure: &str) -> Option<f64> {
        let figures = |finding: &Self| -> Vec<f64> {
            let rounds = finding.rounds.iter().filter(|record| record.step == step);
            rounds.filter_map(|record| record.figures.get(figure).copied()).collect()
        };
        let pairs = figures(self).into_iter().zip(figures(to));
        median(pairs.filter(|&(_, floor)| floor > 0.0).map(|(own, floor)| own / floor).collect())
    }
}

/// The middle value, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// The process of one side.
struct Other {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<Answer>,
    server: Option<Group>,
}

/// Plays `case` on each of `targets` that can play it. Where kernel memory is measured, which cannot be told apart by process, one after
/// the other.
pub(crate) fn compare(
    kind: Kind,
    case: &Case,
    targets: &[Target],
    programs: &Programs,
) -> Result<Vec<Finding>> {
    if kind != Kind::Idle {
        return in_turn(kind, case, targets, programs);
    }
    let mut findings = Vec::new();
    for target in targets {
        findings.extend(in_turn(kind, case, std::slice::from_ref(target), programs)?);
    }
    Ok(findings)
}

fn in_turn(kind: Kind, case: &Case, targets: &[Target], programs: &Programs) -> Result<Vec<Finding>> {
    let mut sides = Vec::new();
    let mut findings = Vec::new();
    let mut rounds_max = 0;
    for &target in targets.iter().filter(|target| target.can_play(kind, case)) {
        let order = Order { kind, case: case.clone(), target, programs: programs.clone() };
        let mut finding =
            Finding { case: case.name.clone(), target, rounds: Vec::new(), verdict: None, failure: None };
        let side = Other::start(&order).and_then(|mut side| match side.readiness()? {
            Answer::Ready(rounds) => Ok((side, rounds)),
            Answer::Failed(reason) => bail!(reason),
            other => bail!("an answer out of turn: {other:?}"),
        });
        match side {
            Ok((side, rounds)) => {
                rounds_max = rounds_max.max(rounds);
                sides.push(Some(side));
            }
            Err(error) => {
                finding.failure = Some(format!("{error:#}"));
                sides.push(None);
            }
        }
        findings.push(finding);
    }
    for round in 0..rounds_max {
        let mut order: Vec<usize> = (0..sides.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let Some(side) = &mut sides[index] else { continue };
            match side.tell("round") {
                Ok(Answer::Round(record)) => findings[index].rounds.push(record),
                other => {
                    findings[index].failure = Some(failure(other));
                    sides[index] = None;
                }
            }
        }
    }
    for (side, finding) in sides.iter_mut().zip(&mut findings) {
        let Some(side) = side else { continue };
        match side.tell("end") {
            Ok(Answer::End(verdict)) => finding.verdict = Some(verdict),
            other => finding.failure = Some(failure(other)),
        }
    }
    Ok(findings)
}

fn failure(answer: Result<Answer>) -> String {
    match answer {
        Ok(Answer::Failed(reason)) => reason,
        Ok(other) => format!("an answer out of turn: {other:?}"),
        Err(error) => format!("{error:#}"),
    }
}

impl Other {
    fn start(order: &Order) -> Result<Self> {
        let own = std::env::current_exe().context("where is this program?")?;
        let mut child = Command::new(own).arg("side").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (sender, answers) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                let lines = BufReader::new(stdout).lines().map_while(Result::ok);
                // A line that is no answer ends the side's part: the receiver sees a closed channel.
                for answer in lines.map_while(|line| serde_json::from_str(&line).ok()) {
                    if sender.send(answer).is_err() {
                        return;
                    }
                }
            });
        }
        let mut side = Self { input: child.stdin.take(), child, answers, server: None };
        side.say(&serde_json::to_string(order)?)?;
        Ok(side)
    }

    /// The first answer that is not about the server's process.
    fn readiness(&mut self) -> Result<Answer> {
        match self.answer()? {
            Answer::Started(id) => {
                self.server = Some(Group::new(id));
                self.answer()
            }
            other => Ok(other),
        }
    }

    fn tell(&mut self, order: &str) -> Result<Answer> {
        self.say(order)?;
        self.answer()
    }

    fn say(&mut self, line: &str) -> Result<()> {
        let Some(input) = &mut self.input else { bail!("the side has ended") };
        writeln!(input, "{line}").context("the side has ended")
    }

    fn answer(&mut self) -> Result<Answer> {
        self.answers.recv_timeout(ANSWER_MAX).map_err(|error| anyhow!("the side did not answer: {error}"))
    }
}

impl Drop for Other {
    /// The end of its input tells a side to end its server and itself.
    fn drop(&mut self) {
        self.input = None;
        for _ in 0..100 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // It hangs: nobody is left to tell about errors.
        if let Some(server) = self.server {
            server.signal(Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(values: &[f64]) -> Finding {
        let rounds = values.iter().map(|&value| Record::of([("us", value)])).collect();
        Finding { case: String::new(), target: Target::Floor, rounds, verdict: None, failure: None }
    }

    #[test]
    fn a_ratio_pairs_the_rounds() {
        // The second pair met a busy machine; the pairs agree nevertheless.
        let (gateway, floor) = (finding(&[2.2, 22.0, 4.4]), finding(&[2.0, 20.0, 4.0]));
        let ratio = gateway.ratio(&floor, None, "us").expect("a ratio");
        assert!((ratio - 1.1).abs() < 1e-9, "{ratio}");
        assert_eq!(
            (gateway.median(None, "us"), finding(&[1.0, 3.0]).median(None, "us")),
            (Some(4.4), Some(2.0))
        );
        assert_eq!(finding(&[]).ratio(&floor, None, "us"), None);
    }
}
