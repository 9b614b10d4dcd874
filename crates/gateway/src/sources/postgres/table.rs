//! The name of an outbox table, and of the objects that belong to it.

use std::fmt;
use std::str::FromStr;

/// The longest name that PostgreSQL does not truncate, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 63;

/// A table: `NAME` in the schema `public`, or `SCHEMA.NAME`. Names are used as written, including
/// capitals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutboxTable {
    schema: String,
    name: String,
}

/// Why a text is not the name of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected TABLE or SCHEMA.TABLE, each of 1 to 63 bytes without control characters")]
pub(crate) struct OutboxTableError;

impl OutboxTable {
    /// The name with its schema, quoted for SQL.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// The name of another object in the same schema, quoted for SQL.
    pub(super) fn beside(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(name))
    }

    /// The schema.
    pub(super) fn schema(&self) -> &str {
        &self.schema
    }
}

impl FromStr for OutboxTable {
    type Err = OutboxTableError;

    fn from_str(text: &str) -> Result<Self, OutboxTableError> {
        let (schema, name) = text.split_once('.').unwrap_or(("public", text));
        let is_name =
            |name: &str| !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control);
        if !is_name(schema) || !is_name(name) || name.contains('.') {
            return Err(OutboxTableError);
        }
        Ok(Self { schema: schema.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for OutboxTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// Quotes an identifier for SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text for SQL, for any setting of `standard_conforming_strings`.
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_as_they_are_written() {
        let quoted = |text: &str| text.parse::<OutboxTable>().map(|table| table.quoted());
        assert_eq!(quoted("throughline_outbox").unwrap(), r#""public"."throughline_outbox""#);
        assert_eq!(quoted("App.Out\"box").unwrap(), r#""App"."Out""box""#);
        for wrong in ["", ".a", "a.", "a.b.c", "a\0", "a\n", &"x".repeat(64)] {
            assert_eq!(quoted(wrong), Err(OutboxTableError), "{wrong:?}");
        }
        assert_eq!(literal(r"it's a \"), r"E'it\'s a \\'");
    }
}
