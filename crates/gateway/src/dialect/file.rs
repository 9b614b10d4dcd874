//! The file of a dialect, validated once.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::template::{JsonTemplate, Place};
use super::{Action, Dialect, Emit, On};
use crate::object;

/// Event names that Socket.IO clients reserve.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Why a dialect cannot be used, as one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DialectError(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    connect: Vec<EmitFile>,
    #[serde(default)]
    on: BTreeMap<String, OnFile>,
    #[serde(default)]
    error: Vec<EmitFile>,
    #[serde(default)]
    presence: PresenceFile,
    #[serde(default = "yes")]
    echo: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct PresenceFile {
    join: Option<EmitFile>,
    leave: Option<EmitFile>,
    update: Option<EmitFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmitFile {
    emit: String,
    data: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnFile {
    op: Op,
    token: Option<Value>,
    topics: Option<Value>,
    presence: Option<Value>,
    topic: Option<Value>,
    r#type: Option<Value>,
    data: Option<Value>,
    key: Option<Value>,
    expect: Option<Value>,
    ttl_ms: Option<Value>,
    ephemeral: Option<bool>,
    #[serde(default)]
    ok: Vec<EmitFile>,
    error: Option<Vec<EmitFile>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Op {
    Auth,
    Subscribe,
    Unsubscribe,
    Publish,
    Ping,
    None,
    Close,
}

impl Dialect {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The fault, and its place in the file.
    pub fn read(path: &Path) -> Result<Self, DialectError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| DialectError(format!("{} cannot be read: {error}", path.display())))?;
        Self::parse(&text).map_err(|DialectError(why)| DialectError(format!("{}: {why}", path.display())))
    }

    /// Parses the text of a file.
    ///
    /// # Errors
    /// The fault, and its place in the file.
    pub fn parse(text: &str) -> Result<Self, DialectError> {
        let file: File = object::from_str(text).map_err(|error| DialectError(error.to_string()))?;
        let File { connect, on, error, presence, echo } = file;
        let on = on.into_iter().map(|(name, on)| {
            let checked = on.check().map_err(|why| DialectError(format!("on.{name}: {why}")))?;
            Ok((name.into(), checked))
        });
        let PresenceFile { join, leave, update } = presence;
        let one = |emit: Option<EmitFile>| emit.map(EmitFile::check).transpose().map_err(DialectError);
        Ok(Self {
            connect: emits(connect).map_err(DialectError)?,
            on: on.collect::<Result<_, DialectError>>()?,
            error: emits(error).map_err(DialectError)?,
            join: one(join)?,
            leave: one(leave)?,
            update: one(update)?,
            echo,
        })
    }
}

fn emits(files: Vec<EmitFile>) -> Result<Vec<Emit>, String> {
    files.into_iter().map(EmitFile::check).collect()
}

impl EmitFile {
    fn check(self) -> Result<Emit, String> {
        let Self { emit, data } = self;
        if RESERVED.contains(&&*emit) {
            return Err(format!("emit {emit:?}: Socket.IO clients keep this name for themselves"));
        }
        let data = data.as_ref().map(JsonTemplate::parse).transpose()?;
        Ok(Emit { name: Value::from(emit).to_string().into(), data })
    }
}

impl OnFile {
    fn check(self) -> Result<On, String> {
        let template = |value: &Option<Value>, name: &str| -> Result<JsonTemplate, String> {
            let value = value.as_ref().ok_or_else(|| format!("{name} is missing"))?;
            JsonTemplate::parse(value)
        };
        let topics = || -> Result<JsonTemplate, String> {
            if self.topics.as_ref().is_some_and(Value::is_array) {
                template(&self.topics, "topics")
            } else {
                Err("topics: a list is expected".to_owned())
            }
        };
        let op = |name: &str| ("op", JsonTemplate::json(&json!(name)));
        let action = match self.op {
            Op::None => Action::Nothing,
            Op::Close => Action::Close,
            Op::Auth => Action::Auth(template(&self.token, "token")?),
            Op::Ping => Action::Command(JsonTemplate::object(vec![op("ping")])),
            Op::Unsubscribe => {
                Action::Command(JsonTemplate::object(vec![op("unsubscribe"), ("topics", topics()?)]))
            }
            Op::Subscribe => {
                let mut members = vec![op("subscribe"), ("topics", topics()?)];
                if self.presence.is_some() {
                    let status = template(&self.presence, "presence")?;
                    members.push(("presence", JsonTemplate::object(vec![("status", status)])));
                }
                Action::Command(JsonTemplate::object(members))
            }
            Op::Publish => {
                let mut members = vec![
                    op("publish"),
                    ("topic", template(&self.topic, "topic")?),
                    ("type", template(&self.r#type, "type")?),
                    ("data", template(&self.data, "data")?),
                    ("event_id", JsonTemplate::place(Place::Tag)),
                ];
                for (name, value) in [("key", &self.key), ("expect", &self.expect), ("ttl_ms", &self.ttl_ms)]
                {
                    if value.is_some() {
                        members.push((name, template(value, name)?));
                    }
                }
                if let Some(ephemeral) = self.ephemeral {
                    members.push(("ephemeral", JsonTemplate::json(&json!(ephemeral))));
                }
                Action::Publish(JsonTemplate::object(members))
            }
        };
        Ok(On { action, ok: emits(self.ok)?, error: self.error.map(emits).transpose()? })
    }
}
