//! What `grafana/` asks for is what the gateway exports, and the other way round.
//!
//! Every metric, label and label value in a query of the dashboard or of an alert rule must exist, and every
//! `throughline_` family must be shown or alerted on somewhere: a renamed metric fails here and not in an empty
//! panel on the night when it is needed.

#[path = "grafana/promql.rs"]
mod promql;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use gateway::metrics::Metrics;
use promql::{Query, Selector};
use serde_json::Value;

/// Labels that Prometheus itself puts on every series that it scrapes.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];

/// Series by the name under which they can be queried, with their labels and each label's values.
struct Exposed(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Exposed {
    fn by_the_gateway() -> Self {
        let text = String::from_utf8(Metrics::new().render()).expect("the exposition is UTF-8");
        // Made by Prometheus for every target.
        let mut series = BTreeMap::from([("up".to_owned(), BTreeMap::new())]);
        for sample in text.lines().filter(|line| !line.starts_with('#')) {
            let (sample, _value) = sample.rsplit_once(' ').expect("a sample has a value");
            let Selector { metric, matchers } =
                promql::selector(sample).expect("a sample reads like a selector");
            let labels: &mut BTreeMap<_, BTreeSet<_>> = series.entry(metric).or_default();
            for matcher in matchers {
                labels.entry(matcher.label).or_default().insert(matcher.value);
            }
        }
        Self(series)
    }

    /// Our own families: a histogram counts once, not by suffix.
    fn families(&self) -> BTreeSet<&str> {
        self.0.keys().filter(|name| name.starts_with("throughline_")).map(|name| self.family(name)).collect()
    }

    fn family<'a>(&self, name: &'a str) -> &'a str {
        ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|family| self.0.contains_key(&format!("{family}_bucket")))
            .unwrap_or(name)
    }

    fn has_label(&self, metric: &str, label: &str) -> bool {
        TARGET_LABELS.contains(&label) || self.0.get(metric).is_some_and(|labels| labels.contains_key(label))
    }

    /// Whether everything that a query names exists.
    fn check(&self, query: &Query) -> Result<(), String> {
        for used in &query.selectors {
            let metric = &used.selector.metric;
            let labels = self.0.get(metric).ok_or_else(|| format!("no metric {metric}"))?;
            for matcher in &used.selector.matchers {
                if !self.has_label(metric, &matcher.label) {
                    return Err(format!("{metric} has no label {}", matcher.label));
                }
                let Some(values) = labels.get(&matcher.label) else { continue };
                for value in matcher.value.split('|').filter(|value| !value.starts_with('$')) {
                    if !values.contains(value) {
                        return Err(format!("{metric} has no {}=\"{value}\"", matcher.label));
                    }
                }
            }
            if let Some(label) = used.grouped_by.iter().find(|label| !self.has_label(metric, label)) {
                return Err(format!("{metric} is grouped by {label}, a label that it does not have"));
            }
        }
        Ok(())
    }

    /// Whether a label is left on the result of a query, so that a legend or an annotation can show it.
    fn result_has(&self, query: &Query, label: &str) -> bool {
        query.selectors.iter().any(|used| {
            if used.grouped_by.is_empty() {
                self.has_label(&used.selector.metric, label)
            } else {
                used.grouped_by.iter().any(|kept| kept == label)
            }
        })
    }
}

/// One query of the dashboard or of an alert rule, and the labels that are shown with its result.
struct Shown {
    place: String,
    expr: String,
    labels: Vec<String>,
}

fn grafana(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../grafana").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn dashboard() -> Value {
    serde_json::from_str(&grafana("dashboard.json")).expect("dashboard.json is JSON")
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().expect("panels")
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

fn dashboard_queries() -> Vec<Shown> {
    let dashboard = dashboard();
    let mut shown = Vec::new();
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            shown.push(Shown {
                place: format!("panel {:?}", text(panel, "title")),
                expr: text(target, "expr").to_owned(),
                labels: placeholders(text(target, "legendFormat"), ""),
            });
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().into_iter().flatten() {
        if annotation["expr"].is_string() {
            shown.push(Shown {
                place: format!("annotation {:?}", text(annotation, "name")),
                expr: text(annotation, "expr").to_owned(),
                labels: placeholders(text(annotation, "titleFormat"), ""),
            });
        }
    }
    for variable in dashboard["templating"]["list"].as_array().into_iter().flatten() {
        if let Some(query) = variable["query"]["query"].as_str() {
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (expr, label) =
                inner.and_then(|inner| inner.rsplit_once(", ")).expect("label_values(METRIC, LABEL)");
            shown.push(Shown {
                place: format!("variable {:?}", text(variable, "name")),
                expr: expr.to_owned(),
                labels: vec![label.to_owned()],
            });
        }
    }
    shown
}

/// The rules are read by their indentation, which is all of YAML that they use.
fn alert_queries() -> Vec<Shown> {
    let alerts = grafana("alerts.yaml");
    let rules = alerts.split("\n      - alert: ").skip(1);
    rules
        .map(|rule| {
            let mut lines = rule.lines();
            let place = format!("alert {}", lines.next().unwrap_or_default());
            let first = lines.find_map(|line| line.strip_prefix("        expr: "));
            let expr = match first.unwrap_or_else(|| panic!("{place} has no expr")) {
                ">-" => lines
                    .by_ref()
                    .map_while(|line| line.strip_prefix("          "))
                    .collect::<Vec<_>>()
                    .join(" "),
                expr => expr.to_owned(),
            };
            Shown { place, expr, labels: placeholders(rule, "$labels.") }
        })
        .collect()
}

/// The names in `{{ PREFIXname }}`.
fn placeholders(text: &str, prefix: &str) -> Vec<String> {
    text.split("{{")
        .skip(1)
        .filter_map(|rest| rest.split("}}").next()?.trim().strip_prefix(prefix))
        .map(str::to_owned)
        .collect()
}

#[test]
fn everything_that_is_asked_for_is_exported() {
    let exposed = Exposed::by_the_gateway();
    let shown: Vec<Shown> = dashboard_queries().into_iter().chain(alert_queries()).collect();
    assert!(shown.len() > 50, "found only {} queries", shown.len());
    let mut faults = Vec::new();
    for Shown { place, expr, labels } in shown {
        let checked = Query::parse(&expr).and_then(|query| {
            exposed.check(&query)?;
            match labels.iter().find(|label| !exposed.result_has(&query, label)) {
                Some(label) => Err(format!("shows the label {label}, which its result does not have")),
                None => Ok(()),
            }
        });
        if let Err(fault) = checked {
            faults.push(format!("{place}: {fault}\n    {expr}"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn everything_that_is_exported_is_shown_or_alerted_on() {
    let exposed = Exposed::by_the_gateway();
    let mut unseen = exposed.families();
    assert!(unseen.len() > 25, "found only {} families", unseen.len());
    for shown in dashboard_queries().iter().chain(&alert_queries()) {
        for used in Query::parse(&shown.expr).expect(&shown.place).selectors {
            unseen.remove(exposed.family(&used.selector.metric));
        }
    }
    assert!(unseen.is_empty(), "neither on the dashboard nor in an alert: {unseen:?}");
}

#[test]
fn wrong_names_are_found() {
    let exposed = Exposed::by_the_gateway();
    let check = |expr: &str| Query::parse(expr).and_then(|query| exposed.check(&query));
    let fault = |expr: &str| check(expr).expect_err(expr);

    assert_eq!(fault("rate(throughline_resets[5m])"), "no metric throughline_resets");
    assert_eq!(fault("sum(throughline_store_append_seconds)"), "no metric throughline_store_append_seconds");
    assert_eq!(fault("throughline_resets_total_sum"), "no metric throughline_resets_total_sum");
    assert_eq!(fault("throughline_log_bytes{user=\"a\"}"), "throughline_log_bytes has no label user");
    assert_eq!(
        fault("throughline_resets_total{reason=~\"epoch|gone\"}"),
        "throughline_resets_total has no reason=\"gone\""
    );
    assert_eq!(
        fault("throughline_log_bytes / sum by (cause) (throughline_resets_total)"),
        "throughline_resets_total is grouped by cause, a label that it does not have"
    );
    assert_eq!(
        fault("sum by (le) (throughline_store_append_seconds_count)"),
        "throughline_store_append_seconds_count is grouped by le, a label that it does not have"
    );
    assert!(fault("sum(throughline_sessions) by (transport)").contains("before"));
    check("histogram_quantile(0.9, sum by (le) (rate(throughline_store_append_seconds_bucket{job=~\"$job\"}[5m])))")
        .expect("a right query passes");
}

#[test]
fn the_alert_rules_are_all_read() {
    let alerts = grafana("alerts.yaml");
    assert_eq!(alert_queries().len(), alerts.matches("alert: ").count());
    for part in alerts.split("- alert: ").skip(1) {
        for member in ["severity: ", "summary: ", "description: "] {
            assert!(part.contains(member), "no {member}in {part}");
        }
    }
    let scrape = grafana("prometheus.yaml");
    assert!(scrape.contains("job_name: throughline\n") && scrape.contains("- alerts.yaml\n"));
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "throughline");
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = text(panel, "title");
        assert!(
            !title.is_empty() && ids.insert(panel["id"].as_u64()),
            "{title:?}: no title, or its id is taken"
        );
        let side = |member: &str| panel["gridPos"][member].as_u64().expect("gridPos");
        for y in side("y")..side("y") + side("h") {
            for x in side("x")..side("x") + side("w") {
                assert!(
                    x < 24 && taken.insert((x, y)),
                    "{title:?} overlaps another panel or the edge at {x},{y}"
                );
            }
        }
        if panel["type"] != "row" {
            assert!(!text(panel, "description").is_empty(), "{title:?} has no description");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title:?}");
            for target in panel["targets"].as_array().expect("targets") {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{title:?}");
            }
        }
    }
}
