//! What stands in the stream.

use redis::Value;

use super::id::Id;
use super::link::text;
use super::notice::Notice;
use crate::Sequenced;
use crate::store::codec::Fields;

pub(super) enum Entry {
    Event(Sequenced),
    /// A generation began; the one before ended there.
    Generation {
        previous: Id,
    },
    /// Acknowledged events are lost.
    Lost(Notice),
    /// Nothing that this version knows.
    Other,
}

/// The answer of XREAD: `[[stream, [[id, [field, value, …]], …]]]`. `None`: it is something else.
pub(super) fn parse(answer: Value) -> Option<Vec<(Id, Entry)>> {
    let array = |value: Value| match value {
        Value::Array(values) => Some(values),
        _ => None,
    };
    let stream = array(array(answer)?.into_iter().next()?)?.into_iter().nth(1)?;
    array(stream)?
        .into_iter()
        .map(|entry| {
            let mut parts = array(entry)?.into_iter();
            let id = text(&parts.next()?)?.parse().ok()?;
            let fields = match parts.next()? {
                Value::Array(fields) => fields,
                _ => Vec::new(),
            };
            Some((id, read(&fields).unwrap_or(Entry::Other)))
        })
        .collect()
}

fn read(fields: &[Value]) -> Option<Entry> {
    let field = |name: &str| {
        let pair = fields.chunks_exact(2).find(|pair| text(&pair[0]) == Some(name));
        pair.map(|pair| &pair[1])
    };
    match field("k").and_then(text) {
        None => {
            let Value::BulkString(bytes) = field("d")? else { return None };
            let (time_ms, draft) = Fields(bytes).draft()?;
            Some(Entry::Event(Sequenced { seq: None, time_ms, draft }))
        }
        Some("gen") => Some(Entry::Generation { previous: text(field("prev")?)?.parse().ok()? }),
        Some("lost") => Some(Entry::Lost(text(field("d")?)?.parse().ok()?)),
        Some(_) => None,
    }
}
