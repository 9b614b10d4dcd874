//! A part of the state of a topic, and its JSON.

use std::fmt;
use std::str::FromStr;

use events::{Cursor, CursorError, Event, Seq, Topic};

/// A part of the state of a topic: of each key the latest event up to a point of the log.
#[derive(Clone, Debug)]
pub struct StatePart {
    /// The topic.
    pub topic: Topic,
    /// The point. The events of the topic behind it follow.
    pub cursor: Cursor,
    /// Keys may be missing.
    pub partial: bool,
    /// Behind which event the next part begins; `None`: this is the last part.
    pub next: Option<Seq>,
    /// The events of this part, oldest first.
    pub events: Vec<Event>,
}

impl StatePart {
    /// What a part has at most beside its topic and its events, in bytes.
    pub const ENVELOPE_BYTES: usize = 192;

    /// Writes the part as JSON, on one line.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        // A topic's alphabet needs no escapes.
        out.extend_from_slice(br#"{"topic":""#);
        out.extend_from_slice(self.topic.as_str().as_bytes());
        out.extend_from_slice(br#"","cursor":""#);
        self.cursor.write(out);
        out.push(b'"');
        if self.partial {
            out.extend_from_slice(br#","partial":true"#);
        }
        if let Some(after) = self.next {
            let next = StatePage { cursor: self.cursor, after };
            out.extend_from_slice(format!(r#","next":"{next}""#).as_bytes());
        }
        out.extend_from_slice(br#","events":["#);
        for (at, event) in self.events.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(event.json());
        }
        out.extend_from_slice(b"]}");
    }
}

/// Where a part of a state begins: the text `CURSOR.SEQ`, which a client sends back as it got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatePage {
    /// The point of the log whose state it is.
    pub cursor: Cursor,
    /// The part has events behind this one.
    pub after: Seq,
}

impl fmt::Display for StatePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.cursor, self.after)
    }
}

impl FromStr for StatePage {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (cursor, after) = text.rsplit_once('.').ok_or(CursorError)?;
        let page = Self {
            cursor: cursor.parse()?,
            after: after.parse().ok().and_then(Seq::new).ok_or(CursorError)?,
        };
        // One text for each place.
        if page.to_string() == text { Ok(page) } else { Err(CursorError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_one_text() {
        let page: StatePage = "k3f9.1042.17".parse().unwrap();
        assert_eq!((page.cursor.to_string(), page.after.number()), ("k3f9.1042".to_owned(), 17));
        assert_eq!(page.to_string(), "k3f9.1042.17");
        for text in ["", "k3f9.1042", "k3f9.1042.", "k3f9.1042.017", "k3f9.1042.+1", "k3f9.x.1", ".1.1"] {
            assert!(text.parse::<StatePage>().is_err(), "{text:?}");
        }
    }
}
