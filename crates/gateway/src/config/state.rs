//! The topics that keep their state, and the bounds of the state.

use std::time::Duration;

use clap::Args;
use events::{StateOptions, TopicError, TopicPattern};

use super::ConfigError;

/// Most `--state` patterns. A new topic is compared with all of them.
const PATTERNS_MAX: usize = 64;

#[derive(Debug, Args)]
#[command(next_help_heading = "State")]
pub(super) struct StateArgs {
    /// Topics that keep the latest event of each key beyond the ring, such as `job:*`, so that a client that
    /// comes late sees where things stand; repeatable, or separated by commas
    #[arg(long = "state", env = "GATEWAY_STATE", value_name = "TOPICS", value_delimiter = ',', value_parser = topics)]
    pub(super) topics: Vec<TopicPattern>,
    /// Keys in the state of one topic; beyond it, the key that changed longest ago leaves
    #[arg(long, env = "GATEWAY_STATE_KEYS", value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) state_keys: u32,
    /// Bytes of memory for the state of one topic; beyond it, the key that changed longest ago leaves
    #[arg(long, env = "GATEWAY_STATE_BYTES", value_name = "N", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1 << 10..))]
    pub(super) state_bytes: u64,
    /// Seconds that a key stays in a state after its last event
    #[arg(long, env = "GATEWAY_STATE_SECONDS", value_name = "N", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..=315_360_000))]
    pub(super) state_seconds: u64,
}

fn topics(text: &str) -> Result<TopicPattern, TopicError> {
    text.trim().parse()
}

/// The options for the log; `None`: no topic keeps its state.
pub(super) fn state(typed: StateArgs) -> Result<Option<StateOptions>, ConfigError> {
    if typed.topics.len() > PATTERNS_MAX {
        return Err(ConfigError::new(format!(
            "--state is set too often: at most {PATTERNS_MAX} are possible"
        )));
    }
    Ok((!typed.topics.is_empty()).then(|| StateOptions {
        topics: typed.topics,
        keys_max: usize::try_from(typed.state_keys).unwrap_or(usize::MAX),
        bytes_max: usize::try_from(typed.state_bytes).unwrap_or(usize::MAX),
        age_max: Duration::from_secs(typed.state_seconds),
    }))
}
