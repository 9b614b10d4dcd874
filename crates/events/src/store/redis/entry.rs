//! The entries of the stream.

use redis::Value;

use super::entry_id::EntryId;
use super::loss_notice::Notice;
use super::reply::text;
use crate::Sequenced;
use crate::store::codec::Fields;

pub(super) enum StreamEntry {
    Event(Sequenced),
    /// A new generation began. The previous one ended at this id.
    Generation {
        previous: EntryId,
    },
    /// Acknowledged events were lost.
    Lost(Notice),
    /// An entry that this version does not know.
    Other,
}

/// Parses the answer of XREAD: `[[stream, [[id, [field, value, …]], …]]]`. `None`: the answer has
/// another form.
pub(super) fn parse(answer: Value) -> Option<Vec<(EntryId, StreamEntry)>> {
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
            Some((id, read(&fields).unwrap_or(StreamEntry::Other)))
        })
        .collect()
}

fn read(fields: &[Value]) -> Option<StreamEntry> {
    let field = |name: &str| {
        let pair = fields.chunks_exact(2).find(|pair| text(&pair[0]) == Some(name));
        pair.map(|pair| &pair[1])
    };
    match field("k").and_then(text) {
        None => {
            let Value::BulkString(bytes) = field("d")? else { return None };
            let draft = Fields(bytes).draft()?;
            let time_ms = text(field("t")?)?.parse().ok()?;
            Some(StreamEntry::Event(Sequenced { seq: None, time_ms, age_ms: 0, draft }))
        }
        Some("gen") => Some(StreamEntry::Generation { previous: text(field("prev")?)?.parse().ok()? }),
        Some("lost") => Some(StreamEntry::Lost(text(field("d")?)?.parse().ok()?)),
        Some(_) => None,
    }
}
