//! Chance: the only module that asks the system for random bits.
//!
//! A [`Chance`] is handed to whatever needs chance, so that a test can repeat a run. The log carries one
//! ([`crate::Log::chance`]).

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ring::rand::{SecureRandom as _, SystemRandom};

/// A source of random bits. Cheap to clone; clones of a seeded one draw from the same sequence.
#[derive(Clone, Debug, Default)]
pub struct Chance(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    /// How many times the sequence has moved on, times its step.
    Seeded(Arc<AtomicU64>),
}

/// The operating system gives no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomBytes;

impl Chance {
    /// The operating system's random bits, fit for secrets.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A sequence that is the same for the same seed. For tests only: the seed determines every bit.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(AtomicU64::new(seed))))
    }

    /// Fills `bytes`. For everything that must not be guessed.
    ///
    /// # Errors
    /// When the operating system gives none.
    pub fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomBytes> {
        match &self.0 {
            Source::System => system_fill(bytes),
            Source::Seeded(state) => {
                for chunk in bytes.chunks_mut(8) {
                    chunk.copy_from_slice(&split_mix(state).to_le_bytes()[..chunk.len()]);
                }
                Ok(())
            }
        }
    }

    /// A number for what should differ from others or be spread, but is no secret. Never fails.
    #[must_use]
    pub fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        match self.fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            // Keyed differently for each process and each call, so that two numbers still differ.
            Err(NoRandomBytes) => RandomState::new().hash_one(std::process::id()),
        }
    }

    /// A number below `end`, each about as likely as the others; 0 if `end` is 0.
    #[must_use]
    pub fn below(&self, end: u64) -> u64 {
        // The upper half of the product: no division, and unlike a remainder it uses the upper bits.
        ((u128::from(self.number()) * u128::from(end)) >> 64) as u64
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where random bits are drawn")]
fn system_fill(bytes: &mut [u8]) -> Result<(), NoRandomBytes> {
    SystemRandom::new().fill(bytes).map_err(|_| NoRandomBytes)
}

/// SplitMix64 (Steele, Lea, Flood 2014): one step of a counter, mixed.
fn split_mix(state: &AtomicU64) -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut mixed = state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_sequence_again() {
        let draw = |seed| {
            let chance = Chance::seeded(seed);
            let mut bytes = [0; 11];
            chance.fill(&mut bytes).unwrap();
            (bytes, chance.number(), chance.clone().below(1000), chance.number())
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        // The first outputs of the published algorithm for the seed 0.
        let chance = Chance::seeded(0);
        assert_eq!([chance.number(), chance.number()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn below_stays_below_and_reaches_all() {
        for chance in [Chance::system(), Chance::seeded(1)] {
            let drawn: std::collections::BTreeSet<u64> = (0..1000).map(|_| chance.below(10)).collect();
            assert_eq!(drawn.into_iter().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
            assert_eq!(chance.below(0), 0);
        }
    }
}
