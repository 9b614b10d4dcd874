//! Why a gateway cannot run with its configuration.

/// A wrong or missing option, as one line for standard error. It never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    /// An error with this text. Line breaks and other control characters are escaped.
    #[must_use]
    pub fn new(text: impl AsRef<str>) -> Self {
        let mut line = String::new();
        for character in text.as_ref().chars() {
            if character.is_control() {
                line.extend(character.escape_default())
            } else {
                line.push(character)
            }
        }
        Self(line)
    }
}
