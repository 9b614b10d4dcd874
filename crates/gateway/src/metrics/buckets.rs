//! The upper bounds of the histograms' buckets.

/// Seconds: 50 us, well below the fastest fan-out, to 10 s, well past the slowest that anyone would accept.
pub(super) const LATENCY_BUCKETS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Seconds: from a request that touches memory only to a poll that waits for its 60 s.
pub(super) const REQUEST_BUCKETS: [f64; 15] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0];

/// Events: a reader that is up to date has none, and no ring holds more than the last bucket by default.
pub(super) const LAG_BUCKETS: [f64; 9] = [0.0, 1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0];
