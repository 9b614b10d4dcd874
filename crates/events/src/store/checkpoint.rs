//! How far a source of events outside the log has been taken over.

use std::fmt;
use std::str::FromStr;

/// The name of a source: 1 to [`SourceName::BYTES_MAX`] bytes of `A-Z a-z 0-9 _ . -`.
///
/// Names come from the operator's configuration, never from clients, so a store keeps one position for each and needs
/// no bound on how many there are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceName(Box<str>);

impl SourceName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SourceName {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        let fits = !text.is_empty() && text.len() <= Self::BYTES_MAX && text.bytes().all(allowed);
        if fits { Ok(Self(text.into())) } else { Err(CheckpointError::Name) }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// "Everything of this source up to this position has been taken over": stored in the same commit as the events that
/// were made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    source: SourceName,
    position: Box<[u8]>,
}

impl Checkpoint {
    /// The longest position, in bytes.
    pub const POSITION_BYTES_MAX: usize = 1024;

    /// A position of a source, in the source's own words: a log sequence number, the id of a row.
    ///
    /// # Errors
    /// When the position is longer than [`Checkpoint::POSITION_BYTES_MAX`].
    pub fn new(source: SourceName, position: impl Into<Box<[u8]>>) -> Result<Self, CheckpointError> {
        let position = position.into();
        if position.len() > Self::POSITION_BYTES_MAX {
            return Err(CheckpointError::Position);
        }
        Ok(Self { source, position })
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &SourceName {
        &self.source
    }

    /// The position.
    #[must_use]
    pub fn position(&self) -> &[u8] {
        &self.position
    }
}

/// Why something is no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The source's name.
    #[error("the name of a source has 1 to 64 bytes of A-Z a-z 0-9 _ . -")]
    Name,
    /// The position.
    #[error("the position of a source has at most 1024 bytes")]
    Position,
}
