//! `POST /v1/send`: commands of clients whose transport carries only what the gateway sends.

use std::sync::Arc;

use http::Response;
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::value::RawValue;

use transport::Outcome;

use super::call::Call;
use crate::http::answer::{Body, json_bytes};
use crate::problem::{Code, Problem};
use crate::registry::Connection;
use crate::registry::SessionHandle;
use crate::session::commands::{self, Sender};

/// The most commands in one request.
const COMMANDS_MAX: usize = 64;

/// Runs one command or an array of them; answers the reply or the array.
pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Result<Response<Body>, Problem> {
    call.check_origin(&call.query)?;
    let grant = call.grant(&call.query).await?;
    let body = call.collect(body).await?;
    let session = call.parameter("session");
    let target = session.and_then(|id| call.app.registry.session_handle(&grant.user, id));
    if session.is_some() && target.is_none() {
        return Err(Problem::new(Code::NotFound, "session: this user has no such session here"));
    }
    // The token of this request decides what the commands may do, not the token of the session.
    let mut connection = Connection::new(grant, Vec::new(), None, call.address());
    if let Some(SessionHandle { id, handle }) = target {
        (connection.id, connection.handle) = (Some(id), handle);
    }
    let connection = Arc::new(connection);
    let refusals = Mutex::default();
    let sender =
        Sender { app: call.app, connection: &connection, refusals: &refusals, may_change_topics: false };
    let bytes_max = call.app.limits().command_bytes_max;
    let check = |command: &str| {
        let too_large = || Problem::new(Code::TooLarge, format!("a command has at most {bytes_max} bytes"));
        if command.len() > bytes_max { Err(too_large()) } else { Ok(()) }
    };
    let run = async |command: &str| {
        let Outcome { reply, end } = sender.run(command).await;
        if let Some(end) = end {
            connection.handle.end(end);
        }
        reply
    };
    let text = str::from_utf8(&body).map_err(|_| Problem::bad_request("the body is not UTF-8"))?;
    let is_many = text.trim_ascii_start().starts_with('[');
    let answer = if is_many {
        let commands: Vec<Box<RawValue>> = serde_json::from_str(text)
            .map_err(|error| Problem::bad_request(format!("not an array of commands: {error}")))?;
        if commands.len() > COMMANDS_MAX {
            return Err(Problem::new(
                Code::TooLarge,
                format!("more than {COMMANDS_MAX} commands in one request"),
            ));
        }
        let mut replies = b"[".to_vec();
        for (at, command) in commands.iter().enumerate() {
            if at > 0 {
                replies.push(b',');
            }
            // The commands before it have run, so it is refused in its place.
            replies.extend(match check(command.get()) {
                Ok(()) => run(command.get()).await,
                Err(problem) => commands::refusal(command.get(), problem),
            });
        }
        replies.push(b']');
        replies
    } else {
        check(text)?;
        run(text).await
    };
    Ok(json_bytes(answer))
}
