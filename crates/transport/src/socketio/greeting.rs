//! The answer to a client's CONNECT.

use super::payload::Revision;
use crate::batch::{Batch, Hello};

/// What a client said in its CONNECT about the connection before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// The id of the connection before, as the client gave it: `pid`.
    pub pid: Option<Box<str>>,
    /// What it sent as its offset.
    pub offset: Offset,
}

/// What a client sent as its offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offset {
    /// Nothing: it begins at the tail.
    #[default]
    None,
    /// A cursor.
    Cursor,
    /// A cursor of a client that had more topics than it asks for now, and which ones is not known
    /// here.
    Partial,
    /// Some other text. Clients take the last text argument of any event for their offset.
    Foreign,
}

impl Greeting {
    /// The `pid` of the answer. A client takes its connection for recovered if, and only if, it gets
    /// its own `pid` back.
    fn answered_pid(&self, session: &str, is_complete: bool) -> String {
        match &self.pid {
            Some(pid) if is_complete => pid.to_string(),
            // Different from the client's, and still the name of its session for `session_of`.
            Some(pid) if **pid == *session => format!("{session}."),
            _ => session.to_owned(),
        }
    }

    /// The session that a `pid` names.
    #[must_use]
    pub fn session_of(pid: &str) -> &str {
        pid.trim_end_matches('.')
    }

    /// Writes the CONNECT packet of a batch that begins a session: `40{"sid":…,"pid":…}`; in
    /// revision 3 it is `40`.
    pub(super) fn write(&self, revision: Revision, hello: &Hello<'_>, batch: &Batch<'_>, out: &mut Vec<u8>) {
        if revision == Revision::Three {
            out.extend_from_slice(b"40");
            return;
        }
        let is_complete = self.offset == Offset::Cursor && batch.reset.is_none();
        let pid = self.answered_pid(hello.session, is_complete);
        out.extend_from_slice(b"40{\"sid\":");
        write_text(hello.session, out);
        out.extend_from_slice(b",\"pid\":");
        write_text(&pid, out);
        out.push(b'}');
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_its_pid_back_only_if_nothing_is_missing() {
        let with = |pid: Option<&str>| Greeting { pid: pid.map(Into::into), offset: Offset::Cursor };
        assert_eq!(with(None).answered_pid("s", true), "s");
        assert_eq!(with(Some("p")).answered_pid("s", true), "p");
        assert_eq!(with(Some("p")).answered_pid("s", false), "s");
        assert_eq!(with(Some("s")).answered_pid("s", false), "s.");
        assert_eq!(with(Some("s.")).answered_pid("s", false), "s");
        assert_eq!(Greeting::session_of("s."), "s");
    }
}
