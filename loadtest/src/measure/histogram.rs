//! Latencies in buckets whose width is at most 1/32 of their value.

const STEPS: u64 = 32;

/// Counts of values, in nanoseconds.
#[derive(Clone)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; bucket(u64::MAX) + 1], count: 0, max: 0 }
    }

    /// Enters a value.
    pub(crate) fn enter(&mut self, value_ns: u64) {
        self.buckets[bucket(value_ns)] += 1;
        self.count += 1;
        self.max = self.max.max(value_ns);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
        self.max = 0;
    }

    /// The value that `share` (0 to 1) of all values do not exceed, in microseconds; 0 when there are none.
    pub(crate) fn quantile_us(&self, share: f64) -> f64 {
        let rank = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, &count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_bound(index).min(self.max) as f64 / 1e3;
            }
        }
        0.0
    }
}

/// Values below 32 have a bucket each; above, every doubling has 32.
fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let shift = u64::from(63 - value.leading_zeros() - STEPS.trailing_zeros());
    ((shift + 1) * STEPS + (value >> shift) - STEPS) as usize
}

fn upper_bound(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    let low = (index % STEPS + STEPS) << shift;
    low + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_close_above_it() {
        let mut value = 1_u64;
        while value < u64::MAX / 3 {
            for value in [value - 1, value, value + 1] {
                let bound = upper_bound(bucket(value));
                assert!(bound >= value && bound <= value + value / STEPS, "{value} {bound}");
            }
            value = value * 3 / 2 + 1;
        }
        bucket(u64::MAX);
    }

    #[test]
    fn quantiles_of_a_known_spread() {
        let mut histogram = Histogram::new();
        for value in 1..=1000 {
            histogram.enter(value * 1000);
        }
        for (share, expected) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.quantile_us(share);
            assert!((expected..=expected * 1.04).contains(&found), "{share}: {found}");
        }
        assert_eq!(Histogram::new().quantile_us(0.99), 0.0);
    }
}
