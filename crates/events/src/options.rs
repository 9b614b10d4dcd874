//! How much a log may hold.

use std::time::Duration;

use crate::StateOptions;

/// What the log may hold.
#[derive(Clone, Debug)]
pub struct Options {
    /// Events kept in one topic.
    pub ring_events_max: usize,
    /// Bytes kept in one topic, overhead included; its newest event stays whatever its size.
    pub ring_bytes_max: usize,
    /// How long an event is kept.
    pub ring_age_max: Duration,
    /// Bytes kept in all topics together, overhead included.
    pub log_bytes_max: usize,
    /// How long a topic without readers is remembered after its last event, for `expect`.
    pub topic_idle_max: Duration,
    /// Which topics keep their state beyond their rings; `None`: none does.
    pub state: Option<StateOptions>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ring_events_max: 256,
            ring_bytes_max: 64 << 20,
            ring_age_max: Duration::from_secs(600),
            log_bytes_max: 1 << 30,
            topic_idle_max: Duration::from_secs(3600),
            state: None,
        }
    }
}
