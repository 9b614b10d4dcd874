use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use super::labels::*;
use super::*;

fn text(metrics: &Metrics) -> String {
    String::from_utf8(metrics.render()).expect("the exposition is UTF-8")
}

fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no line {line:?} in:\n{text}");
}

#[test]
fn what_is_counted_is_rendered_under_its_name_and_labels() {
    let metrics = Metrics::new();
    metrics.session_opened(Transport::Ws);
    metrics.session_opened(Transport::Ws);
    metrics.session_closed(Transport::Ws, CloseReason::Slow);
    metrics.sent(Transport::Sse, 2, 600, None);
    std::thread::scope(|scope| drop(scope.spawn(|| metrics.sent(Transport::Sse, 1, 40, None)).join()));
    let live = Live { latency: Duration::from_micros(70), lag: 3 };
    metrics.sent(Transport::Poll, 1, 20, Some(live));
    metrics.switched(Transport::Ws, Transport::Poll);
    metrics.request(Route::Publish, 503, 0.2);
    metrics.set_log(5, u64::MAX, 2);
    metrics.set_drain(true, 7);

    let text = text(&metrics);
    assert_line(&text, r#"throughline_sessions{transport="ws"} 1"#);
    assert_line(&text, r#"throughline_sessions_opened_total{transport="ws"} 2"#);
    assert_line(&text, r#"throughline_sessions_closed_total{reason="slow",transport="ws"} 1"#);
    assert_line(&text, r#"throughline_slow_readers_total{transport="ws"} 1"#);
    assert_line(&text, r#"throughline_events_delivered_total{transport="sse"} 3"#);
    assert_line(&text, r#"throughline_batches_sent_total{transport="sse"} 2"#);
    assert_line(&text, r#"throughline_sent_bytes_total{transport="sse"} 640"#);
    assert_line(&text, r#"throughline_publish_to_write_seconds_bucket{transport="poll",le="0.00005"} 0"#);
    assert_line(&text, r#"throughline_publish_to_write_seconds_bucket{transport="poll",le="0.0001"} 1"#);
    assert_line(&text, r#"throughline_reader_lag_events_bucket{le="4"} 1"#);
    assert_line(&text, r#"throughline_transport_switches_total{from="ws",to="poll"} 1"#);
    assert_line(&text, r#"throughline_http_requests_total{route="publish",status="5xx"} 1"#);
    assert_line(&text, r#"throughline_http_request_seconds_count{class="backend"} 1"#);
    assert_line(&text, "throughline_log_bytes 9223372036854776000");
    assert_line(&text, "throughline_draining 1");
    assert_line(&text, "throughline_drain_sessions 7");
}

#[test]
fn going_on_over_the_same_transport_is_no_switch() {
    let metrics = Metrics::new();
    metrics.switched(Transport::Ws, Transport::Ws);
    let text = text(&metrics);
    assert!(!text.contains(r#"{from="ws",to="ws"}"#), "{text}");
    assert_eq!(text.matches("\nthroughline_transport_switches_total{").count(), 6);
}

#[test]
fn two_gateways_in_one_process_count_apart() {
    let (first, second) = (Metrics::new(), Metrics::new());
    first.tcp_opened();
    assert_line(&text(&first), "throughline_tcp_connections 1");
    assert_line(&text(&second), "throughline_tcp_connections 0");
}

#[test]
fn names_follow_the_conventions() {
    for family in Metrics::new().registry.gather() {
        let name = family.name();
        assert!(name.starts_with("throughline_") || name.starts_with("process_"), "{name}: prefix");
        let counts = family.get_field_type() == prometheus::proto::MetricType::COUNTER;
        assert_eq!(name.ends_with("_total"), counts, "{name}: counters and only counters end in _total");
        assert!(family.help().ends_with('.') && family.help().len() > 10, "{name}: help");
    }
}

#[test]
fn the_number_of_series_is_fixed() {
    let metrics = Metrics::new();
    let before = text(&metrics).lines().count();
    for transport in Transport::ALL {
        for &reason in CloseReason::ALL {
            metrics.session_opened(transport);
            metrics.session_closed(transport, reason);
        }
    }
    for status in [0, 100, 204, 304, 404, 500, u16::MAX] {
        Route::ALL.iter().for_each(|&route| metrics.request(route, status, 1.0));
    }
    assert_eq!(text(&metrics).lines().count(), before);
    assert!(before < 700, "{before} lines");
}

#[test]
fn labels_are_distinct_and_know_their_places() {
    fn check<L: Label + Debug + PartialEq>() {
        let texts: HashSet<_> = L::ALL.iter().map(|label| label.as_str()).collect();
        assert_eq!(texts.len(), L::ALL.len(), "{:?}", L::ALL);
        for (place, &label) in L::ALL.iter().enumerate() {
            assert_eq!(label.index(), place);
        }
    }
    check::<Transport>();
    check::<CloseReason>();
    check::<RefuseReason>();
    check::<Source>();
    check::<SourceKind>();
    check::<RejectReason>();
    check::<ResumeOutcome>();
    check::<ResetReason>();
    check::<AuthFailure>();
    check::<RateLimit>();
    check::<EvictionCause>();
    check::<AppendOutcome>();
    check::<Route>();
    check::<RouteClass>();
    check::<StatusClass>();
}

#[test]
fn metrics_are_shared_between_threads() {
    let metrics = Arc::new(Metrics::new());
    let threads = [(); 4].map(|()| {
        let metrics = Arc::clone(&metrics);
        std::thread::spawn(move || (0..1_000).for_each(|_| metrics.published(Source::Http, 2)))
    });
    for thread in threads {
        thread.join().expect("counting does not panic");
    }
    assert_line(&text(&metrics), r#"throughline_events_published_total{source="http"} 8000"#);
}

#[test]
fn a_refused_token_has_one_name_in_the_metrics_and_the_audit_log() {
    for refusal in crate::auth::Refusal::ALL {
        assert_eq!(AuthFailure::from(refusal).as_str(), refusal.reason());
    }
}
