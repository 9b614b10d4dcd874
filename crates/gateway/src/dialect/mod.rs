//! The dialect of an application: its own names for the events of Socket.IO clients.
//!
//! A dialect is a JSON file that is read at start. It maps the events that a client sends to
//! commands, and the events of the log that the gateway itself makes (presence) to names that the
//! application's pages know.
//!
//! * `file`: the file, checked; `template`: JSON with places to fill in.

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

/// The names of an application.
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

/// An event to a client that is an answer, and no event of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Emit {
    /// The name, as JSON.
    name: Box<str>,
    data: Option<JsonTemplate>,
}

/// What an event of a client stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct On {
    /// What is to be done.
    pub action: Action,
    ok: Vec<Emit>,
    error: Option<Vec<Emit>>,
}

/// What is to be done at an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing.
    Nothing,
    /// The connection ends.
    Close,
    /// A token is taken.
    Auth(JsonTemplate),
    /// A command is run.
    Command(JsonTemplate),
    /// A draft is published. Its id, which the gateway gives, tells its publisher.
    Publish(JsonTemplate),
}

impl Dialect {
    /// What an event of this name stands for; `None`: the dialect does not have it.
    #[must_use]
    pub(crate) fn on(&self, name: &str) -> Option<&On> {
        self.on.get(name)
    }

    /// Whether a client may come without a token and send it in an event.
    #[must_use]
    pub(crate) fn has_auth(&self) -> bool {
        self.on.values().any(|on| matches!(on.action, Action::Auth(_)))
    }

    /// Whether a client does not get what it published itself.
    #[must_use]
    pub(crate) fn hides_own(&self) -> bool {
        !self.echo
    }

    /// The packets that answer an event that succeeded, or failed.
    #[must_use]
    pub(crate) fn answer(&self, on: &On, is_ok: bool, context: &Context<'_>) -> Vec<String> {
        let emits = if is_ok { &on.ok } else { on.error.as_ref().unwrap_or(&self.error) };
        emits.iter().filter_map(|emit| emit.packet(context).ok()).collect()
    }

    /// The packets behind the answer to a CONNECT.
    #[must_use]
    pub(crate) fn greeting(&self, context: &Context<'_>) -> Vec<String> {
        self.connect.iter().filter_map(|emit| emit.packet(context).ok()).collect()
    }
}

impl Emit {
    /// The packet.
    ///
    /// # Errors
    /// When a part that it needs is missing.
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

/// A dialect, spoken at the time of a clock.
pub(crate) struct Speaker {
    /// The dialect.
    pub dialect: Arc<Dialect>,
    /// What tells the time.
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
