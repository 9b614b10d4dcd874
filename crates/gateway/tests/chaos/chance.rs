//! Chance that can be repeated.

use std::time::Duration;

/// What comes is the same again with the same `CHAOS_SEED`.
pub(crate) struct Chance(u64);

impl Chance {
    /// `more` tells one who takes chances from another.
    pub(crate) fn new(more: u64) -> Self {
        let seed = std::env::var("CHAOS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        Self((seed ^ more.wrapping_mul(0x2545_f491_4f6c_dd1d)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 to below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// Waits for less than so many milliseconds.
    pub(crate) async fn pause(&mut self, most_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.below(most_ms))).await;
    }
}
