//! The dialect of an application: its own names for the events of Socket.IO clients.
//!
//! A dialect is a JSON file that is read at start. It maps events of clients to commands. It also
//! maps the log events that the gateway itself creates (presence) to names that the application's
//! pages know.
//!
//! * `file`: the validated file; `template`: JSON with placeholders.

mod file;
mod template;

use std::collections::HashMap;
use std::sync::Arc;

use events::{Clock, Event};
use serde::Deserialize;
use serde_json::value::RawValue;
use transport::socketio::Speech;

pub use file::DialectError;
use template::JsonTemplate;
pub(crate) use template::{Context, Missing};

/// The event names of an application.
#[derive(Debug, PartialEq, Eq)]
pub struct Dialect {
    connect: Vec<Emit>,
    on: HashMap<Box<str>, On>,
    error: Vec<Emit>,
    join: Option<Emit>,
    leave: Option<Emit>,
    update: Option<Emit>,
    echo: bool,
}

/// An event to a client that is an answer and not an event of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Emit {
    /// The name, as JSON.
    name: Box<str>,
    data: Option<JsonTemplate>,
}

/// The meaning of a client's event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct On {
    /// The action of the event.
    pub action: Action,
    ok: Vec<Emit>,
    error: Option<Vec<Emit>>,
}

/// The action of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Does nothing.
    Nothing,
    /// Ends the connection.
    Close,
    /// Accepts a token.
    Auth(JsonTemplate),
    /// Runs a command.
    Command(JsonTemplate),
    /// Publishes a draft. The gateway assigns the draft's id, which identifies the publisher.
    Publish(JsonTemplate),
}

impl Dialect {
    /// The meaning of an event with this name; `None`: the dialect does not define it.
    #[must_use]
    pub(crate) fn on(&self, name: &str) -> Option<&On> {
        self.on.get(name)
    }

    /// Whether a client may connect without a token and send it in an event.
    #[must_use]
    pub(crate) fn has_auth(&self) -> bool {
        self.on.values().any(|on| matches!(on.action, Action::Auth(_)))
    }

    /// Whether a client does not receive its own events.
    #[must_use]
    pub(crate) fn hides_own(&self) -> bool {
        !self.echo
    }

    /// The packets that answer an event, after its success or failure.
    #[must_use]
    pub(crate) fn answer(&self, on: &On, is_ok: bool, context: &Context<'_>) -> Vec<String> {
        let emits = if is_ok { &on.ok } else { on.error.as_ref().unwrap_or(&self.error) };
        emits.iter().filter_map(|emit| emit.packet(context).ok()).collect()
    }

    /// The packets that follow the answer to a CONNECT.
    #[must_use]
    pub(crate) fn greeting(&self, context: &Context<'_>) -> Vec<String> {
        self.connect.iter().filter_map(|emit| emit.packet(context).ok()).collect()
    }
}

impl Emit {
    /// The packet of the event.
    ///
    /// # Errors
    /// When a required value is missing.
    fn packet(&self, context: &Context<'_>) -> Result<String, Missing> {
        let Self { name, data } = self;
        Ok(match data {
            Some(data) => format!("42[{name},{}]", data.render(context)?),
            None => format!("42[{name}]"),
        })
    }
}

/// The data of a presence event.
#[derive(Deserialize)]
struct Member<'a> {
    #[serde(borrow)]
    user: std::borrow::Cow<'a, str>,
    count: u64,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
}

/// A dialect together with a clock for its time values.
pub(crate) struct Speaker {
    /// The dialect.
    pub dialect: Arc<Dialect>,
    /// The clock.
    pub clock: Clock,
}

impl Speech for Speaker {
    fn translate(&self, event: &Event, own_tag: &str, emit: &mut dyn FnMut(&[u8])) -> bool {
        let is_own =
            || event.id().is_some_and(|id| !own_tag.is_empty() && id.starts_with(own_tag.as_bytes()));
        if !self.dialect.echo && is_own() {
            return true;
        }
        let translated = match event.kind() {
            b"presence.join" => &self.dialect.join,
            b"presence.leave" => &self.dialect.leave,
            b"presence.update" => &self.dialect.update,
            _ => return false,
        };
        let member = serde_json::from_slice::<Member<'_>>(event.data());
        if let (Some(translated), Ok(Member { user, count, info })) = (translated, member) {
            let context = Context {
                user: &user,
                count: Some(count),
                payload: info,
                topic: event.topic(),
                ..Context::at(self.clock.system_time())
            };
            if let Ok(packet) = translated.packet(&context) {
                emit(packet.as_bytes());
            }
        }
        true
    }

    fn greet(&self, user: &str, emit: &mut dyn FnMut(&[u8])) {
        let context = Context { user, ..Context::at(self.clock.system_time()) };
        self.dialect.greeting(&context).iter().for_each(|packet| emit(packet.as_bytes()));
    }
}

#[cfg(test)]
mod tests;
