//! What a run leaves behind: a table on standard output, its section in RESULTS.md, a picture, and every figure as JSON.

mod document;
mod svg;
pub(crate) mod table;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::compare::Finding;
use crate::measure::machine;
use crate::play::Step;
use crate::scenario::{Picture, Scenario};

/// What a run was, for whoever reads its figures.
pub(crate) struct Provenance {
    /// The command line.
    pub command: String,
    /// The load average before the run: above the number of cores, others were at work too.
    pub load_before: f64,
    /// The versions of the servers, where they are not of this commit.
    pub versions: Vec<String>,
}

/// Writes section, picture and figures of a scenario into `folder` (`RESULTS.md`, `results/NAME.svg`, `results/NAME.json`).
pub(crate) fn write(
    folder: &Path,
    scenario: &Scenario,
    findings: &[Finding],
    provenance: &Provenance,
) -> Result<()> {
    let results = folder.join("results");
    fs::create_dir_all(&results).with_context(|| format!("cannot make {}", results.display()))?;
    let name = &scenario.name;
    let mut section = format!("## {name}\n\n{}\n\n", scenario.about.trim());
    section.push_str(&table::table(scenario.kind, findings).markdown());
    if let Some(picture) = &scenario.picture {
        fs::write(results.join(format!("{name}.svg")), draw(picture, findings))?;
        section.push_str(&format!("\n![{}](results/{name}.svg)\n", picture.title));
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let busy = if provenance.load_before > cores as f64 / 2.0 { " **on a busy machine**" } else { "" };
    section.push_str(&format!(
        "\n`{}` at commit {}, {}, {}; load average before it {:.2}{busy}.{}\n",
        provenance.command,
        machine::commit(),
        machine::now(),
        machine::machine(),
        provenance.load_before,
        provenance.versions.iter().map(|version| format!(" {version}.")).collect::<String>(),
    ));
    fs::write(results.join(format!("{name}.json")), serde_json::to_string_pretty(findings)? + "\n")?;
    let path = folder.join("RESULTS.md");
    let old = fs::read_to_string(&path).unwrap_or_else(|_| document::EMPTY.to_owned());
    fs::write(&path, document::replace(&old, name, &section))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn draw(picture: &Picture, findings: &[Finding]) -> String {
    if picture.curve {
        let curves = findings.iter().filter_map(|finding| {
            let points: Vec<_> = finding
                .steps()
                .into_iter()
                .filter_map(|step| match step {
                    Some(Step::At(at)) => Some((at as f64, finding.median(step, &picture.figure)?)),
                    _ => None,
                })
                .collect();
            let (name, case) = (finding.target.name().to_owned(), finding.case.clone());
            (!points.is_empty()).then_some(svg::Curve { name, case, points })
        });
        return svg::curves(&picture.title, &picture.figure, &curves.collect::<Vec<_>>());
    }
    let bars = findings.iter().filter_map(|finding| {
        let value = finding.median(finding.steps().first().copied().flatten(), &picture.figure)?;
        Some(svg::Bar { group: finding.case.clone(), name: finding.target.name().to_owned(), value })
    });
    svg::bars(&picture.title, &picture.figure, &bars.collect::<Vec<_>>())
}
