//! A draft inside a `publish` command, among whose members are the command's own.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, IntoDeserializer as _, MapAccess, Visitor,
};

use super::draft::DraftBody;
use crate::object;
use crate::problem::Problem;

/// The draft of a `publish` command, where `id` is the command's and `event_id` the event's.
///
/// # Errors
/// When a member is missing, wrong or unknown, or several topics are named (C13).
pub(crate) fn draft_of_command(text: &str) -> Result<DraftBody<'_>, Problem> {
    let CommandDraft(draft) = object::from_str(text).map_err(|error| {
        Problem::bad_request(format!("not a valid draft, whose id is event_id in a command: {error}"))
    })?;
    if draft.topics.is_some() {
        return Err(Problem::bad_request("topics: a command publishes to one topic"));
    }
    Ok(draft)
}

/// A draft that is read from a command. serde cannot flatten a struct that refuses unknown members, so
/// the command's own members are taken out while the draft is read.
struct CommandDraft<'a>(DraftBody<'a>);

impl<'de> Deserialize<'de> for CommandDraft<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(CommandVisitor).map(Self)
    }
}

struct CommandVisitor;

impl<'de> Visitor<'de> for CommandVisitor {
    type Value = DraftBody<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a command")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<DraftBody<'de>, A::Error> {
        let members = DraftMembers { members, has_id: false };
        DraftBody::deserialize(MapAccessDeserializer::new(members))
    }
}

/// The members of a command as those of its draft: without `id` and `op`, and with `event_id` under the
/// name that it has in a draft, `id`.
struct DraftMembers<A> {
    members: A,
    /// The command's `id` has been read.
    has_id: bool,
}

/// The name of a member, borrowed where it is written without escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for DraftMembers<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(Name(name)) = self.members.next_key()? {
            match &*name {
                "id" if std::mem::replace(&mut self.has_id, true) => {
                    return Err(A::Error::duplicate_field("id"));
                }
                "id" | "op" => {
                    self.members.next_value::<IgnoredAny>()?;
                }
                "event_id" => return seed.deserialize("id".into_deserializer()).map(Some),
                _ => return seed.deserialize(name.into_deserializer()).map(Some),
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.members.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;
    use crate::auth::Grant;
    use crate::publish::Author;

    fn checked(read: Result<DraftBody<'_>, Problem>) -> Result<events::Draft, String> {
        let author =
            Author::Grant(Arc::new(Grant::of_developer("alice").unwrap()), Ipv4Addr::LOCALHOST.into());
        read.and_then(|draft| draft.check(&author, 100)).map_err(|problem| problem.detail)
    }

    #[test]
    fn a_command_holds_the_draft_that_a_request_holds() {
        const MEMBERS: &str =
            r#""topic":"t","type":"a\u0062","data":{"x":1},"key":"k","ttl_ms":7,"expect":3"#;
        let request = format!(r#"{{{MEMBERS},"id":"e"}}"#);
        let alone = checked(DraftBody::parse(request.as_bytes())).unwrap();
        for command in [
            format!(r#"{{"id":"c","op":"publish",{MEMBERS},"event_id":"e"}}"#),
            format!(r#"{{"event_id":"e",{MEMBERS},"op":"publish","id":7}}"#),
            format!(r#"{{"event\u005fid":"e",{MEMBERS},"\u006fp":"publish","id":{{"a":[]}}}}"#),
        ] {
            let draft = checked(draft_of_command(&command)).unwrap();
            assert_eq!(format!("{draft:?}"), format!("{alone:?}"), "{command}");
        }
    }

    #[test]
    fn a_command_with_another_member_or_shape_is_no_draft() {
        for (command, reason) in [
            (r#"{"op":"publish","topic":"t","type":"x","data":1,"ttl":5}"#, "unknown field `ttl`"),
            (
                r#"{"op":"publish","topics":["t"],"type":"x","data":1}"#,
                "topics: a command publishes to one topic",
            ),
            (r#"{"op":"publish","id":1,"id":2,"topic":"t","type":"x","data":1}"#, "duplicate field `id`"),
            (
                r#"{"op":"publish","event_id":"a","event_id":"b","topic":"t","type":"x","data":1}"#,
                "duplicate",
            ),
            (r#"{"op":"publish","type":"x","data":1}"#, "a draft has either topic or topics"),
            (r#"["publish","t","x",1]"#, "expected an object"),
        ] {
            let problem = checked(draft_of_command(command)).unwrap_err();
            assert!(problem.contains(reason), "{command}: {problem}");
        }
    }
}
