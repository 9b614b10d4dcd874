//! How much of the log Redis keeps, and where a starting node begins to read.

use std::time::Duration;

use redis::Value;

use super::entry_id::EntryId;
use super::log_state::LogState;
use super::reply::text;

/// How much of the log Redis keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    /// Approximate bytes of events.
    pub(super) bytes_max: u64,
    /// Milliseconds for which an event is kept.
    pub(super) age_ms: u64,
    /// Milliseconds for which the id of a topic's last event is kept.
    pub(super) last_ms: u64,
}

/// One of the marks that `publish.lua` makes as the stream grows.
struct Mark {
    id: EntryId,
    /// Number of bytes appended up to this id.
    bytes: u64,
    /// Time of the mark, in milliseconds by the server's clock.
    at_ms: u64,
}

/// A server's record of the appended bytes and their times.
pub(super) struct Marks {
    marks: Vec<Mark>,
    /// Number of bytes ever appended.
    bytes: u64,
    /// Time of the last append, in milliseconds by the server's clock; `None`: unknown.
    last_ms: Option<u64>,
    now_ms: u64,
}

impl Marks {
    /// Parses the answers to `LRANGE`, to `HMGET` of `bytes` and `last`, and to `TIME`; `None`: an
    /// answer has another form.
    pub(super) fn parse(marks: &Value, retention: &Value, time: &Value) -> Option<Self> {
        let (Value::Array(marks), Value::Array(fields)) = (marks, retention) else { return None };
        let field = |at: usize| fields.get(at).and_then(text).and_then(|number| number.parse().ok());
        let marks = marks.iter().map(|mark| {
            let mut parts = text(mark)?.split(' ');
            let number = |text: Option<&str>| text?.parse().ok();
            let id = parts.next()?.parse().ok()?;
            Some(Mark { id, bytes: number(parts.next())?, at_ms: number(parts.next())? })
        });
        Some(Self {
            marks: marks.collect::<Option<_>>()?,
            bytes: field(0).unwrap_or(0),
            last_ms: field(1),
            now_ms: unix_ms(time)?,
        })
    }

    /// The end of the useless part of the log: its entries are older than `retention`, or are
    /// followed by more bytes than `retention` keeps. `None`: all entries may be useful.
    pub(super) fn useless_up_to(&self, retention: Retention, state: &LogState) -> Option<EntryId> {
        let is_too_old = |at_ms: u64| self.now_ms.saturating_sub(at_ms) > retention.age_ms;
        if self.last_ms.is_some_and(is_too_old) {
            return state.last;
        }
        let is_history = |id: EntryId| state.end_of(id.generation).is_some_and(|end| id.seq <= end);
        let is_over = |mark: &Mark| {
            self.bytes.saturating_sub(mark.bytes) >= retention.bytes_max || is_too_old(mark.at_ms)
        };
        let over = self.marks.iter().filter(|mark| is_over(mark) && is_history(mark.id));
        over.map(|mark| mark.id).max()
    }
}

/// The answer to `TIME`, in milliseconds since 1970.
pub(super) fn unix_ms(time: &Value) -> Option<u64> {
    let Value::Array(parts) = time else { return None };
    let [seconds, micros] = &parts[..] else { return None };
    let number = |value: &Value| text(value)?.parse::<u64>().ok();
    Some(number(seconds)? * 1000 + number(micros)? / 1000)
}

/// A duration in whole milliseconds.
pub(super) fn duration_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
