//! The one table of a scenario: a row for each case, server and step.

use crate::compare::Finding;
use crate::play::Step;
use crate::scenario::Kind;
use crate::target::Target;

/// Rows of text under headers.
pub(crate) struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// The figures that a kind of scenario shows, the one that is compared with the floor first. All others are in the JSON file.
pub(crate) fn columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Idle => &["user bytes", "kernel bytes", "bytes", "us a second"],
        Kind::FanOut => &[
            "us a delivery",
            "deliveries/s",
            "messages a delivery",
            "bytes a delivery",
            "p50 us",
            "p99 us",
            "generator us",
        ],
        Kind::PerUser => &[
            "us a publish",
            "publishes/s",
            "messages a publish",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "answer p50 us",
            "generator us",
        ],
        Kind::Storm => &["us a reconnect", "seconds", "us an event", "turned away", "resets", "generator us"],
        Kind::Publish => &["us a publish", "publishes/s", "answer p50 us", "answer p99 us", "generator us"],
        Kind::Latency => {
            &["p99 us", "p50 us", "p99.9 us", "publishes/s", "saturation/s", "server busy", "generator busy"]
        }
        Kind::Slow => &[
            "p99 us",
            "p50 us",
            "p99.9 us",
            "memory growth MiB",
            "KiB a slow session",
            "slow ones ended",
            "resets",
        ],
        Kind::Mixed => &[
            "us a delivery",
            "deliveries/s",
            "ws p50 us",
            "ws p99 us",
            "sse p50 us",
            "sse p99 us",
            "poll p50 us",
            "poll p99 us",
        ],
        Kind::IdleTopics => {
            &["us a delivery", "us a publish", "us a new topic", "bytes a topic", "p50 us", "p99 us"]
        }
    }
}

/// The table of what was found.
pub(crate) fn table(kind: Kind, findings: &[Finding]) -> Table {
    let columns = columns(kind);
    let mut headers = vec!["case".to_owned(), "server".to_owned()];
    headers.extend(columns.iter().map(|&column| column.to_owned()));
    headers.extend(["over the floor", "lost", "twice", "out of order"].map(str::to_owned));
    let mut rows = Vec::new();
    for finding in findings {
        let floor = findings.iter().find(|other| other.case == finding.case && other.target == Target::Floor);
        for step in finding.steps() {
            let name = match step {
                None => finding.case.clone(),
                Some(Step::At(at)) => format!("{}, {}", finding.case, grouped(at as f64)),
                Some(Step::AfterBurst(at)) => {
                    format!("{}, {} after large events", finding.case, grouped(at as f64))
                }
            };
            let mut row = vec![name, finding.target.name().to_owned()];
            row.extend(
                columns.iter().map(|&column| finding.median(step, column).map_or_else(String::new, figure)),
            );
            let ratio = floor
                .filter(|_| finding.target != Target::Floor)
                .and_then(|floor| finding.ratio(floor, step, columns[0]));
            row.push(ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")));
            row.extend(wrong(finding));
            rows.push(row);
        }
        if let Some(reason) = &finding.failure {
            let mut row = vec![
                finding.case.clone(),
                finding.target.name().to_owned(),
                format!("failed: {reason}").replace('|', "/"),
            ];
            row.resize(headers.len(), String::new());
            rows.push(row);
        }
    }
    Table { headers, rows }
}

fn wrong(finding: &Finding) -> [String; 3] {
    let Some(verdict) = &finding.verdict else { return Default::default() };
    let told = if verdict.lost_told > 0 { format!(" (+{} told)", verdict.lost_told) } else { String::new() };
    [
        format!("{}{told}", verdict.lost),
        (verdict.duplicates + verdict.strays).to_string(),
        (verdict.reordered + verdict.broken).to_string(),
    ]
}

/// A figure with as many digits as mean something.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        0.0..0.1 => format!("{value:.3}"),
        0.1..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => grouped(value),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

impl Table {
    /// As a Markdown table whose columns also line up in a terminal.
    pub(crate) fn markdown(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| &row[column]).chain([&self.headers[column]]);
            // A failure's reason is as long as it is, and must not widen its column.
            cells
                .filter(|cell| !cell.starts_with("failed: "))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
                .max(3)
        };
        let widths: Vec<_> = (0..self.headers.len()).map(width).collect();
        let line = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).enumerate().map(|(index, (cell, &width))| {
                if index < 2 { format!(" {cell:<width$} |") } else { format!(" {cell:>width$} |") }
            });
            format!("|{}\n", padded.collect::<String>())
        };
        let rule: Vec<_> = widths
            .iter()
            .enumerate()
            .map(|(index, &width)| if index < 2 { "-".repeat(width) } else { "-".repeat(width - 1) + ":" })
            .collect();
        let mut text = line(&self.headers) + &line(&rule);
        self.rows.iter().for_each(|row| text.push_str(&line(row)));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_long_as_they_are_sure() {
        let shown = [0.0, 0.0123, 3.456, 45.67, 123.4, 12_345.6, -1_234_567.0].map(figure);
        assert_eq!(shown, ["0", "0.012", "3.46", "45.7", "123", "12,346", "-1,234,567"]);
    }
}
