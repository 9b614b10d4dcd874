//! JSON with placeholders.

use std::borrow::Cow;
use std::time::SystemTime;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::json_pointer::JsonPointer;

/// JSON with placeholders: `{"user": "{user}", "text": "{/message}"}`.
///
/// A string that consists of exactly one placeholder becomes the JSON of the value. Inside other
/// text the value becomes text. `{{` and `}}` are braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonTemplate(Node);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// JSON without a placeholder.
    Json(Box<str>),
    Whole(Place),
    Text(Vec<Piece>),
    List(Vec<Node>),
    /// Object members. The names are JSON strings.
    Object(Vec<(Box<str>, Node)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Place(Place),
}

/// A placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `{/a/b}`: a part of the client's argument.
    Argument(JsonPointer),
    /// `{user}`: the user of the session, or the user of a presence event.
    User,
    /// `{count}`: the number of members of the topic.
    Count,
    /// `{time}`: milliseconds since 1970 (UTC).
    Time,
    /// `{message}` and `{code}` of an error.
    Message,
    Code,
    /// `{topic}`: the topic; `{topic:room:}`: the topic without this prefix.
    Topic(Box<str>),
    /// `{tag}`: the id that the gateway assigns to a draft.
    Tag,
}

/// The values for the placeholders.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    /// The client's argument.
    pub payload: Option<&'a RawValue>,
    /// The user.
    pub user: &'a str,
    /// The number of members of the topic.
    pub count: Option<u64>,
    /// Milliseconds since 1970 (UTC).
    pub time_ms: u64,
    /// The message of an error.
    pub message: &'a str,
    /// The code of an error.
    pub code: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The id of a draft.
    pub tag: &'a str,
}

/// A placeholder has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is missing, or no text, number or boolean")]
pub(crate) struct Missing(String);

impl Context<'_> {
    /// A context with only the time.
    #[must_use]
    pub(crate) fn at(now: SystemTime) -> Self {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            payload: None,
            user: "",
            count: None,
            time_ms: since.as_millis() as u64,
            message: "",
            code: "",
            topic: "",
            tag: "",
        }
    }
}

impl JsonTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// The invalid placeholder.
    pub(super) fn parse(value: &Value) -> Result<Self, String> {
        node(value).map(Self)
    }

    /// An object of templates.
    pub(super) fn object(members: Vec<(&str, Self)>) -> Self {
        let members = members.into_iter().map(|(name, Self(node))| (json_of(name).into(), node));
        Self(Node::Object(members.collect()))
    }

    /// Plain JSON.
    pub(super) fn json(value: &Value) -> Self {
        Self(Node::Json(value.to_string().into()))
    }

    /// A template that consists of exactly this placeholder.
    pub(super) fn place(place: Place) -> Self {
        Self(Node::Whole(place))
    }

    /// The JSON with all placeholders filled in.
    ///
    /// # Errors
    /// The first placeholder without a value.
    pub(crate) fn render(&self, context: &Context<'_>) -> Result<String, Missing> {
        let mut out = String::new();
        write(&self.0, context, &mut out)?;
        Ok(out)
    }
}

fn json_of(text: &str) -> String {
    Value::from(text).to_string()
}

fn node(value: &Value) -> Result<Node, String> {
    Ok(match value {
        Value::String(text) => {
            let mut pieces = pieces(text)?;
            match (pieces.len(), pieces.pop()) {
                (1, Some(Piece::Place(place))) => Node::Whole(place),
                (1, Some(Piece::Literal(text))) => Node::Json(json_of(&text).into()),
                (_, Some(last)) => {
                    pieces.push(last);
                    Node::Text(pieces)
                }
                (_, None) => Node::Json("\"\"".into()),
            }
        }
        Value::Array(list) => Node::List(list.iter().map(node).collect::<Result<_, _>>()?),
        Value::Object(members) => Node::Object(
            members
                .iter()
                .map(|(name, value)| Ok((json_of(name).into(), node(value)?)))
                .collect::<Result<_, String>>()?,
        ),
        plain => Node::Json(plain.to_string().into()),
    })
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            literal.push_str(brace);
            rest = after;
            continue;
        }
        let end = if brace == "{" { rest.find('}') } else { None };
        let Some(end) = end else { return Err(format!("{text:?}: a single brace; write it twice")) };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Place(place(&rest[..end])?));
        rest = &rest[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

fn place(name: &str) -> Result<Place, String> {
    Ok(match name {
        "user" => Place::User,
        "count" => Place::Count,
        "time" => Place::Time,
        "message" => Place::Message,
        "code" => Place::Code,
        "topic" => Place::Topic("".into()),
        _ => match (name.strip_prefix("topic:"), name.parse()) {
            (Some(prefix), _) => Place::Topic(prefix.into()),
            (None, Ok(pointer)) => Place::Argument(pointer),
            (None, Err(_)) => {
                return Err(format!(
                    "{{{name}}} is no place: use {{/pointer}}, {{user}}, {{count}}, {{time}}, {{message}}, \
                     {{code}}, {{topic}} or {{topic:PREFIX}}"
                ));
            }
        },
    })
}

fn write(node: &Node, context: &Context<'_>, out: &mut String) -> Result<(), Missing> {
    match node {
        Node::Json(json) => out.push_str(json),
        Node::Whole(place) => out.push_str(&place.json(context)?),
        Node::Text(pieces) => {
            let mut text = String::new();
            for piece in pieces {
                match piece {
                    Piece::Literal(literal) => text.push_str(literal),
                    Piece::Place(place) => text.push_str(&place.text(context)?),
                }
            }
            out.push_str(&json_of(&text));
        }
        Node::List(list) => {
            out.push('[');
            for (at, node) in list.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(node, context, out)?;
            }
            out.push(']');
        }
        Node::Object(members) => {
            out.push('{');
            for (at, (name, node)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(name);
                out.push(':');
                write(node, context, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

impl Place {
    fn name(&self) -> &'static str {
        match self {
            Self::Argument(_) => "a part of the argument",
            Self::User => "user",
            Self::Count => "count",
            Self::Time => "time",
            Self::Message => "message",
            Self::Code => "code",
            Self::Topic(_) => "topic",
            Self::Tag => "tag",
        }
    }

    fn missing(&self) -> Missing {
        Missing(self.name().to_owned())
    }

    fn json<'a>(&self, context: &Context<'a>) -> Result<Cow<'a, str>, Missing> {
        Ok(match self {
            Self::Argument(pointer) => {
                let found = context.payload.and_then(|payload| pointer.find(payload));
                found.ok_or_else(|| self.missing())?.get().into()
            }
            Self::Count => context.count.ok_or_else(|| self.missing())?.to_string().into(),
            Self::Time => context.time_ms.to_string().into(),
            _ => json_of(&self.text(context)?).into(),
        })
    }

    fn text<'a>(&self, context: &Context<'a>) -> Result<Cow<'a, str>, Missing> {
        Ok(match self {
            Self::Argument(_) => {
                let json = self.json(context)?;
                match serde_json::from_str::<Value>(&json) {
                    Ok(Value::String(text)) => text.into(),
                    Ok(Value::Number(_) | Value::Bool(_)) => json,
                    _ => return Err(self.missing()),
                }
            }
            Self::Count | Self::Time => self.json(context)?,
            Self::User => context.user.into(),
            Self::Message => context.message.into(),
            Self::Code => context.code.into(),
            Self::Tag => context.tag.into(),
            Self::Topic(prefix) => {
                context.topic.strip_prefix(&**prefix).ok_or_else(|| self.missing())?.into()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: Value) -> Result<String, Missing> {
        let payload: Box<RawValue> =
            serde_json::from_str(r#"{"id":7,"name":"a\"b","price":1.50,"list":[1]}"#).unwrap();
        let context = Context {
            payload: Some(&payload),
            user: "al\"ice",
            count: Some(3),
            time_ms: 12,
            topic: "room:1",
            ..Context::at(SystemTime::UNIX_EPOCH)
        };
        JsonTemplate::parse(&template).unwrap().render(&context)
    }

    #[test]
    fn a_whole_place_keeps_its_bytes_and_one_in_text_is_text() {
        assert_eq!(render(json!({"price": "{/price}", "n": 1})).unwrap(), r#"{"n":1,"price":1.50}"#);
        assert_eq!(render(json!("{/list}")).unwrap(), "[1]");
        assert_eq!(render(json!("room:{/id}/{/name}")).unwrap(), r#""room:7/a\"b""#);
        assert_eq!(render(json!(["{user}", "{count}", "{time}"])).unwrap(), r#"["al\"ice",3,12]"#);
        assert_eq!(render(json!("{topic:room:} of {topic}")).unwrap(), r#""1 of room:1""#);
        assert_eq!(render(json!("{{{user}}}")).unwrap(), r#""{al\"ice}""#);
        assert_eq!(render(json!("")).unwrap(), r#""""#);
    }

    #[test]
    fn what_is_missing_is_told() {
        for template in ["{/x}", "x{/list}", "{topic:other:}"] {
            assert!(render(json!(template)).is_err(), "{template}");
        }
        for template in ["{", "}", "{x}", "a{b", "{user"] {
            assert!(JsonTemplate::parse(&json!(template)).is_err(), "{template}");
        }
    }
}
