//! The events of Socket.IO clients, as commands: those of the protocol, and those of a dialect.

use std::time::SystemTime;

use events::{Chance, Topic};
use ring::digest;
use serde::Deserialize;
use serde_json::value::RawValue;
use transport::socketio::{Packet, SEPARATOR};
use transport::{CloseCode, End, Outcome};

use super::commands::{self, Sender};
use crate::app::App;
use crate::dialect::{Action, Context, Dialect, On};
use crate::limits::rates::Use;
use crate::problem::Problem;

/// An event packet of a client, read.
struct ClientEvent<'a> {
    name: String,
    /// Its one argument.
    argument: Option<&'a RawValue>,
    ack: Option<&'a str>,
}

/// How the ids of a session's drafts begin, from which its events are known as its own. The session's
/// id itself is nobody else's business.
#[must_use]
fn tag_of(session: &str) -> Box<str> {
    let hash = digest::digest(&digest::SHA256, session.as_bytes());
    data_encoding::BASE64URL_NOPAD.encode(&hash.as_ref()[..9]).into()
}

/// How the ids of a session's own drafts begin, if its client does not get them back; else empty.
#[must_use]
pub(crate) fn hidden_tag(app: &App, session: &str) -> Box<str> {
    app.dialect().filter(|dialect| dialect.hides_own()).map(|_| tag_of(session)).unwrap_or_default()
}

/// Runs an event packet: `["publish", {…}]`. The reply is made of packets, with a separator between
/// them: the acknowledgement that the client waits for, or else an event `throughline.error` if the
/// command failed; and what the dialect answers.
pub(crate) async fn run(sender: &Sender<'_>, message: &str) -> Outcome {
    let read = Packet::parse(message)
        .map_err(|error| (None, Problem::bad_request(error.to_string())))
        .and_then(|packet| ClientEvent::of(&packet).map_err(|problem| (packet.ack, problem)));
    let event = match read {
        Ok(event) => event,
        Err((ack, problem)) => return refuse(sender, ack, problem),
    };
    let dialect = sender.app.dialect();
    if let Some((dialect, on)) = dialect.and_then(|dialect| Some((dialect, dialect.on(&event.name)?))) {
        return run_in(dialect, on, sender, &event).await;
    }
    let command = match event.command() {
        Ok(command) => command,
        Err(problem) => return refuse(sender, event.ack, problem),
    };
    let Outcome { reply, end } = sender.run(&command).await;
    let mut packets = vec![answer(event.ack, &reply)];
    if event.name == "ping"
        && event.ack.is_none()
        && serde_json::from_slice::<ReplyMembers<'_>>(&reply).is_ok_and(|reply| reply.ok.is_some())
    {
        packets.push(format!("42[\"pong\",{{\"timestamp\":{}}}]", Context::at(now(sender)).time_ms));
    }
    Outcome { reply: join(packets), end }
}

/// The token in an event by which a client without one authenticates; `None`: it is another event.
pub(crate) fn token_of<'a>(
    dialect: &Dialect,
    message: &'a str,
    now: SystemTime,
) -> Option<(Packet<'a>, Result<String, Problem>)> {
    let packet = Packet::parse(message).ok()?;
    let event = ClientEvent::of(&packet).ok()?;
    let Action::Auth(token) = &dialect.on(&event.name)?.action else { return None };
    let context = Context { payload: event.argument, ..Context::at(now) };
    let token = token.render(&context).map_err(|missing| Problem::bad_request(missing.to_string()));
    let text =
        |json: String| serde_json::from_str(&json).map_err(|_| Problem::bad_request("the token is no text"));
    Some((packet, token.and_then(text)))
}

/// What the dialect answers to an event by which a client authenticated, or could not.
#[must_use]
pub(crate) fn authenticated(
    dialect: &Dialect,
    packet: &Packet<'_>,
    result: Result<&str, &Problem>,
    now: SystemTime,
) -> Vec<String> {
    let Ok(event) = ClientEvent::of(packet) else { return Vec::new() };
    let Some(on) = dialect.on(&event.name) else { return Vec::new() };
    let context = Context { payload: event.argument, ..Context::at(now) };
    match result {
        Ok(user) => dialect.answer(on, true, &Context { user, ..context }),
        Err(problem) => {
            let (message, code) = (&*problem.detail, problem.code.as_str());
            dialect.answer(on, false, &Context { message, code, ..context })
        }
    }
}

impl<'a> ClientEvent<'a> {
    fn of(packet: &Packet<'a>) -> Result<Self, Problem> {
        if packet.attachments > 0 {
            return Err(Problem::bad_request("binary data is not taken"));
        }
        let arguments: Vec<&RawValue> = serde_json::from_str(packet.data)
            .map_err(|error| Problem::bad_request(format!("not an event: {error}")))?;
        let no_name = || Problem::bad_request("an event has a name");
        let (name, rest) = arguments.split_first().ok_or_else(no_name)?;
        let name = serde_json::from_str(name.get()).map_err(|_| no_name())?;
        match rest {
            [] => Ok(Self { name, argument: None, ack: packet.ack }),
            [argument] => Ok(Self { name, argument: Some(argument), ack: packet.ack }),
            _ => Err(Problem::bad_request("an event has one argument")),
        }
    }

    /// The command of the same name.
    fn command(&self) -> Result<String, Problem> {
        let members = match self.argument {
            None => "",
            Some(body) => {
                let body = body.get().strip_prefix('{').and_then(|body| body.strip_suffix('}'));
                body.ok_or_else(|| Problem::bad_request("the argument of an event is an object"))?.trim()
            }
        };
        let comma = if members.is_empty() { "" } else { "," };
        let op = serde_json::Value::from(&*self.name);
        Ok(format!("{{\"op\":{op}{comma}{members}}}"))
    }
}

/// Runs what an event stands for in a dialect.
async fn run_in(dialect: &Dialect, on: &On, sender: &Sender<'_>, event: &ClientEvent<'_>) -> Outcome {
    let user = &*sender.connection.user;
    let tag = match &on.action {
        Action::Publish(_) => sender
            .connection
            .id
            .as_deref()
            .map(|session| draft_id(session, sender.app.log.chance()))
            .unwrap_or_default(),
        _ => String::new(),
    };
    let context = Context { payload: event.argument, user, tag: &tag, ..Context::at(now(sender)) };
    let command = match &on.action {
        Action::Nothing => return Outcome { reply: Vec::new(), end: None },
        Action::Close => {
            return Outcome { reply: Vec::new(), end: Some(End::Close(CloseCode::NORMAL, "")) };
        }
        Action::Auth(token) => {
            token.render(&context).map(|token| format!("{{\"op\":\"auth\",\"token\":{token}}}"))
        }
        Action::Command(command) | Action::Publish(command) => command.render(&context),
    };
    let Outcome { reply, end } = match &command {
        Ok(command) => sender.run(command).await,
        Err(missing) => not_run(sender, Problem::bad_request(missing.to_string())),
    };
    let mut packets = Vec::new();
    if event.ack.is_some() {
        packets.push(answer(event.ack, &reply));
    }
    let failure = serde_json::from_slice::<Failed>(&reply).ok();
    packets.extend(match failure {
        Some(Failed { error: Failure { code, message } }) => {
            dialect.answer(on, false, &Context { message: &message, code: &code, ..context })
        }
        None => {
            let topic = command.ok().as_deref().and_then(topic_of);
            let count = topic.as_ref().map(|topic| sender.app.presence.present(topic) as u64);
            let topic = topic.as_ref().map_or("", |topic| topic.as_str());
            dialect.answer(on, true, &Context { count, topic, ..context })
        }
    });
    Outcome { reply: join(packets), end }
}

fn now(sender: &Sender<'_>) -> SystemTime {
    sender.app.log.clock().system_time()
}

/// An id for a draft of this session.
fn draft_id(session: &str, chance: &Chance) -> String {
    let mut bits = [0; 12];
    // Without chance an id may repeat, and its draft be taken for a repeat.
    if chance.fill(&mut bits).is_err() {
        return String::new();
    }
    format!("{}.{}", tag_of(session), data_encoding::BASE64URL_NOPAD.encode(&bits))
}

#[derive(Deserialize)]
struct Failed {
    error: Failure,
}

#[derive(Deserialize)]
struct Failure {
    code: String,
    message: String,
}

/// The topic that a command is about; the first of several.
fn topic_of(command: &str) -> Option<Topic> {
    #[derive(Deserialize)]
    struct Subject {
        topic: Option<Topic>,
        topics: Option<Vec<Topic>>,
    }
    let Subject { topic, topics } = serde_json::from_str(command).ok()?;
    topic.or_else(|| topics?.into_iter().next())
}

/// The outcome of a command that cannot be run. It counts against the rate as every command does.
fn not_run(sender: &Sender<'_>, problem: Problem) -> Outcome {
    let refusal = || Outcome { reply: commands::refusal("{}", problem), end: None };
    sender.limit(Use::Command, None).err().unwrap_or_else(refusal)
}

fn refuse(sender: &Sender<'_>, ack: Option<&str>, problem: Problem) -> Outcome {
    let Outcome { reply, end } = not_run(sender, problem);
    Outcome { reply: answer(ack, &reply).into_bytes(), end }
}

/// A reply to a command. An argument of the application may have had an `id`, which is nobody's here.
#[derive(Deserialize)]
struct ReplyMembers<'a> {
    #[serde(borrow)]
    ok: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// The reply to a command, as a packet; empty where there is none.
fn answer(ack: Option<&str>, reply: &[u8]) -> String {
    match (serde_json::from_slice(reply), ack) {
        (Ok(ReplyMembers { ok: Some(ok), .. }), Some(ack)) => format!("43{ack}[{{\"ok\":{ok}}}]"),
        (Ok(ReplyMembers { error: Some(error), .. }), Some(ack)) => format!("43{ack}[{{\"error\":{error}}}]"),
        (Ok(ReplyMembers { error: Some(error), .. }), None) => format!("42[\"throughline.error\",{error}]"),
        _ => String::new(),
    }
}

fn join(mut packets: Vec<String>) -> Vec<u8> {
    packets.retain(|packet| !packet.is_empty());
    packets.join(SEPARATOR.encode_utf8(&mut [0; 4])).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(message: &str) -> Result<String, String> {
        let event = ClientEvent::of(&Packet::parse(message).unwrap());
        event.and_then(|event| event.command()).map_err(|problem| problem.detail)
    }

    #[test]
    fn an_event_is_the_command_of_its_name() {
        assert_eq!(command(r#"2["ping"]"#).unwrap(), r#"{"op":"ping"}"#);
        assert_eq!(command(r#"27["ping",{}]"#).unwrap(), r#"{"op":"ping"}"#);
        assert_eq!(
            command(r#"2["subscribe",{"topics":["room:1"]}]"#).unwrap(),
            r#"{"op":"subscribe","topics":["room:1"]}"#
        );
        for message in ["2", "2[]", "2[1]", r#"2["a",1]"#, r#"2["a",{},{}]"#, r#"2{"a":1}"#, r#"51-["a"]"#] {
            assert!(command(message).is_err(), "{message}");
        }
    }

    #[test]
    fn replies_are_acknowledgements_or_errors() {
        let ok = br#"{"reply":null,"ok":{"time":"t"}}"#;
        let error = br#"{"reply":null,"error":{"code":"bad_request","message":"m"}}"#;
        assert_eq!(answer(Some("7"), ok), r#"437[{"ok":{"time":"t"}}]"#);
        assert_eq!(answer(Some("7"), error), r#"437[{"error":{"code":"bad_request","message":"m"}}]"#);
        assert_eq!(answer(None, ok), "");
        assert_eq!(answer(None, error), r#"42["throughline.error",{"code":"bad_request","message":"m"}]"#);
    }

    #[test]
    fn the_id_of_a_draft_tells_its_session_to_nobody_but_itself() {
        let id = draft_id("session", &Chance::system());
        assert!(id.starts_with(&*tag_of("session")) && !id.contains("session"));
        assert_ne!(tag_of("session"), tag_of("session2"));
    }
}
