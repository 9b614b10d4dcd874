//! Pictures: bars or curves, as plain SVG that a browser and a repository's page show without anything else.

use std::fmt::Write;

use super::table::figure;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 210.0;
const RIGHT: f64 = 90.0;
/// Distinguishable also by those who do not see red and green apart (Okabe and Ito's palette).
const COLOURS: [&str; 8] =
    ["#0072b2", "#999999", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#b8a800"];

/// The strokes of curves, as `stroke-dasharray` wants them.
const STROKES: [&str; 4] = ["none", "8 4", "2 4", "12 4 2 4"];

/// One bar.
pub(crate) struct Bar {
    /// The bars of a group stand together.
    pub group: String,
    /// What it is; the same name has the same colour everywhere.
    pub name: String,
    /// Its length.
    pub value: f64,
}

/// One curve.
pub(crate) struct Curve {
    /// Of what; the same name has the same colour everywhere.
    pub name: String,
    /// In which case; the same case is drawn in the same strokes.
    pub case: String,
    /// Where it goes through.
    pub points: Vec<(f64, f64)>,
}

/// Horizontal bars, grouped, each with its figure at its end.
pub(crate) fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let names = distinct(bars.iter().map(|bar| bar.name.as_str()));
    let mut body = String::new();
    let mut y = 56.0;
    for group in distinct(bars.iter().map(|bar| bar.group.as_str())) {
        y += 6.0;
        text(&mut body, 12.0, y + 8.0, "start", "bold", group);
        y += 16.0;
        for bar in bars.iter().filter(|bar| bar.group == group) {
            let length = (bar.value / most * (WIDTH - LEFT - RIGHT)).max(1.0);
            let colour = colour(&names, &bar.name);
            text(&mut body, LEFT - 8.0, y + 12.0, "end", "normal", &bar.name);
            let _ = writeln!(
                body,
                r#"<rect x="{LEFT}" y="{y}" width="{length:.1}" height="15" fill="{colour}"/>"#
            );
            text(&mut body, LEFT + length + 6.0, y + 12.0, "start", "normal", &figure(bar.value));
            y += 19.0;
        }
    }
    document(title, unit, y + 12.0, &body)
}

/// Curves over a logarithmic axis, from zero upward.
pub(crate) fn curves(title: &str, unit: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let most = round_up(points().map(|(_, y)| y).fold(0.0, f64::max));
    let low = points().map(|(x, _)| x).fold(f64::MAX, f64::min).max(1.0).log10();
    let high = points().map(|(x, _)| x).fold(1.0, f64::max).log10();
    let (left, top, bottom) = (80.0, 60.0, 330.0);
    let across = |x: f64| left + (x.max(1.0).log10() - low) / (high - low).max(1e-9) * (WIDTH - left - 60.0);
    let up = |y: f64| bottom - y / most * (bottom - top);
    let mut body = String::new();
    for quarter in 0..=4 {
        let value = most / 4.0 * f64::from(quarter);
        let y = up(value);
        let _ = writeln!(body, r##"<path d="M{left} {y:.1}H{:.1}" stroke="#ddd"/>"##, WIDTH - 60.0);
        text(&mut body, left - 8.0, y + 4.0, "end", "normal", &figure(value));
    }
    let mut places: Vec<f64> = points().map(|(x, _)| x).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    for &x in &places {
        text(&mut body, across(x), bottom + 18.0, "middle", "normal", &figure(x));
    }
    let names = distinct(curves.iter().map(|curve| curve.name.as_str()));
    let cases = distinct(curves.iter().map(|curve| curve.case.as_str()));
    let mut legend = bottom + 42.0;
    for Curve { name, case, points } in curves {
        let colour = colour(&names, name);
        let dashes = STROKES[cases.iter().position(|other| other == case).unwrap_or(0) % STROKES.len()];
        let style = format!(r#"fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}""#);
        let path: String = points.iter().enumerate().fold(String::new(), |mut path, (index, &(x, y))| {
            let _ = write!(path, "{}{:.1} {:.1}", if index == 0 { 'M' } else { 'L' }, across(x), up(y));
            path
        });
        let _ = writeln!(body, r#"<path d="{path}" {style}/>"#);
        for &(x, y) in points {
            let _ =
                writeln!(body, r#"<circle cx="{:.1}" cy="{:.1}" r="3" fill="{colour}"/>"#, across(x), up(y));
        }
        let _ = writeln!(body, r#"<path d="M{left} {:.1}h36" {style}/>"#, legend - 4.0);
        text(&mut body, left + 44.0, legend, "start", "normal", &format!("{name}, {case}"));
        legend += 18.0;
    }
    document(title, unit, legend, &body)
}

/// The next number above that divides into four ticks with short names.
fn round_up(value: f64) -> f64 {
    let magnitude = 10_f64.powf(value.max(1e-3).log10().floor());
    let steps = [1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    let step = steps.into_iter().find(|step| step * magnitude >= value).unwrap_or(10.0);
    step * magnitude
}

fn document(title: &str, unit: &str, height: f64, body: &str) -> String {
    let mut head = String::new();
    text(&mut head, 12.0, 24.0, "start", "bold", title);
    text(&mut head, 12.0, 42.0, "start", "normal", unit);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="system-ui, sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#fff"/>
{head}{body}</svg>
"##
    )
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, weight: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        out,
        r##"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-weight="{weight}" fill="#222">{words}</text>"##
    );
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    names.for_each(|name| {
        if !seen.contains(&name) {
            seen.push(name);
        }
    });
    seen
}

fn colour(names: &[&str], name: &str) -> &'static str {
    COLOURS[names.iter().position(|&other| other == name).unwrap_or(0) % COLOURS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_room_and_names_are_escaped() {
        let bar = |name: &str, value| Bar { group: "a & b".to_owned(), name: name.to_owned(), value };
        let picture = bars("t", "us", &[bar("one", 2.0), bar("two", 4.0)]);
        let full = WIDTH - LEFT - RIGHT;
        assert!(
            picture.contains(&format!(r#"width="{full:.1}""#))
                && picture.contains(&format!(r#"width="{:.1}""#, full / 2.0))
        );
        assert!(picture.contains("a &amp; b") && picture.ends_with("</svg>\n"));
    }

    #[test]
    fn an_axis_ends_at_a_short_number_above_everything() {
        let ends = [0.0, 0.9, 3.5, 16_519.0, 100.0].map(round_up);
        assert_eq!(ends.map(|end| (end * 1e6).round() / 1e6), [0.0012, 1.0, 4.0, 20_000.0, 120.0]);
    }

    #[test]
    fn a_curve_of_one_point_and_none_at_all_are_drawn_without_nonsense() {
        for curves in [vec![], vec![curve("one", "a", 0.0)]] {
            let picture = super::curves("t", "bytes", &curves);
            assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
        }
    }

    fn curve(name: &str, case: &str, value: f64) -> Curve {
        Curve { name: name.to_owned(), case: case.to_owned(), points: vec![(1.0, value)] }
    }

    #[test]
    fn colours_tell_servers_apart_and_strokes_cases() {
        let all = [curve("one", "a", 1.0), curve("two", "a", 2.0), curve("one", "b", 3.0)];
        let picture = curves("t", "bytes", &all);
        // Each is there as a curve and in the legend.
        let times = |colour: &str, strokes: &str| {
            let style = format!(r#"stroke="{colour}" stroke-width="2" stroke-dasharray="{strokes}""#);
            picture.matches(&style).count()
        };
        let [first, second, ..] = COLOURS;
        let [solid, dashed, ..] = STROKES;
        assert_eq!([times(first, solid), times(second, solid), times(first, dashed)], [2, 2, 2], "{picture}");
    }
}
