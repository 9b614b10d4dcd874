//! Which types of events a reader wants.

use crate::event::escaped;
use crate::{Event, Kind};

/// A list of types, each exact or a prefix that ends in `*`.
#[derive(Clone, Debug)]
pub struct TypeFilter(Box<[Pattern]>);

/// Escaped as in an event's JSON, where it is looked for. Escaping goes character by character, so a prefix stays one.
#[derive(Clone, Debug)]
enum Pattern {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
}

/// The text is not a list of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("types: at most 64 types of 1 to 64 bytes, separated by commas, each exact or with a trailing *")]
pub struct FilterError;

impl TypeFilter {
    /// The most types in one filter.
    pub const MAX: usize = 64;

    /// Parses `a,b:*,c`.
    ///
    /// # Errors
    /// When a type is empty or too long, or there are too many.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let patterns = text.split(',').map(|part| match part.strip_suffix('*') {
            Some("") => Ok(Pattern::Prefix(Box::default())),
            Some(prefix) => prefix.parse::<Kind>().map(|_| Pattern::Prefix(escaped(prefix))),
            None => part.parse::<Kind>().map(|_| Pattern::Exact(escaped(part))),
        });
        let patterns: Box<[Pattern]> = patterns.collect::<Result<_, _>>().map_err(|_| FilterError)?;
        if patterns.len() > Self::MAX { Err(FilterError) } else { Ok(Self(patterns)) }
    }

    /// Whether the event's type is one of these.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        let kind = event.kind();
        self.0.iter().any(|pattern| match pattern {
            Pattern::Exact(exact) => kind == &**exact,
            Pattern::Prefix(prefix) => kind.starts_with(prefix),
        })
    }
}
