//! What is counted of requests, and of what was refused.

use prometheus::{Histogram, IntCounter, Result};

use super::buckets::REQUEST_BUCKETS;
use super::families::{By, CountersByPair, Families};
use super::labels::{AuthFailure, RateLimit, Route, RouteClass, StatusClass};

/// The counts of requests and refusals.
pub(super) struct RequestMetrics {
    pub(super) auth_failures: By<AuthFailure, IntCounter>,
    pub(super) rate_limited: By<RateLimit, IntCounter>,
    pub(super) answered: CountersByPair<Route, StatusClass>,
    pub(super) duration: By<RouteClass, Histogram>,
}

impl RequestMetrics {
    pub(super) fn register(families: &Families<'_>) -> Result<Self> {
        Ok(Self {
            auth_failures: families.counters(
                "throughline_auth_failures_total",
                "Tokens and publish keys refused.",
                "reason",
            )?,
            rate_limited: families.counters(
                "throughline_rate_limited_total",
                "Requests, commands and connections refused because a limit was reached.",
                "kind",
            )?,
            answered: families.counters_by_pair(
                "throughline_http_requests_total",
                "HTTP requests answered.",
                ["route", "status"],
            )?,
            duration: families.histograms(
                "throughline_http_request_seconds",
                "Seconds from a request's head to its response's head; a poll's wait is part of it.",
                "class",
                &REQUEST_BUCKETS,
            )?,
        })
    }
}
