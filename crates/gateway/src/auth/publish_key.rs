//! Publish keys: compared without telling, by the time it takes, how much of a guess was right.

use events::Chance;
use ring::hmac;

use crate::config::error::ConfigError;
use crate::secret::Secret;

/// Bytes of the longest key that is compared.
const KEY_BYTES_MAX: usize = 8 * 1024;

/// The keys with which backends may publish. Only their tags under a random key of this process are kept.
#[derive(Debug)]
pub(super) struct PublishKeys {
    hide: hmac::Key,
    tags: Vec<hmac::Tag>,
}

impl PublishKeys {
    pub(super) fn new(keys: &[Secret], chance: &Chance) -> Result<Self, ConfigError> {
        let mut hide = [0; 32];
        chance.fill(&mut hide).map_err(|error| ConfigError::new(error.to_string()))?;
        let hide = hmac::Key::new(hmac::HMAC_SHA256, &hide);
        let tags = keys
            .iter()
            .filter(|key| !key.is_empty())
            .map(|key| hmac::sign(&hide, key.expose().as_bytes()))
            .collect();
        Ok(Self { hide, tags })
    }

    /// Whether this is one of the keys. Every key is looked at, whichever fits.
    pub(super) fn contains(&self, presented: &str) -> bool {
        if presented.len() > KEY_BYTES_MAX {
            return false;
        }
        self.tags.iter().fold(false, |found, tag| {
            found | hmac::verify(&self.hide, presented.as_bytes(), tag.as_ref()).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_key_counts() {
        let chance = Chance::seeded(1);
        let keys = [Secret::new("first-key"), Secret::new("second"), Secret::new("")];
        let keys = PublishKeys::new(&keys, &chance).unwrap();
        assert!(keys.contains("first-key") && keys.contains("second"));
        for wrong in ["", "first", "first-key ", "first-keyy", "FIRST-KEY", "second\0", &"x".repeat(10_000)] {
            assert!(!keys.contains(wrong), "{wrong:?}");
        }
        assert!(!PublishKeys::new(&[], &chance).unwrap().contains(""));
    }
}
