//! What every line provides.

use std::time::Duration;

use events::Clock;

use crate::batch::Batch;
use crate::close::CloseCode;
use crate::request::Transport;

/// Headers that the gateway adds to a stream's response: CORS, and `Vary`. Complete lines, each
/// with its CRLF.
pub type ExtraHeaders = Box<str>;

/// What a session asks of its line.
///
/// The defaults are those of a stream that begins with `hello` and on which the client says
/// nothing.
pub(crate) trait Protocol {
    /// The transport, as `hello` names it.
    fn transport(&self) -> Transport;

    /// Whether the line carries a single batch, with which the session ends.
    fn is_answer(&self) -> bool {
        false
    }

    /// Whether the first batch is `hello`. Otherwise it is what the log already holds.
    fn begins_with_hello(&self) -> bool {
        true
    }

    /// Whether a reset begins the session again in place. Otherwise it ends the connection, and the
    /// client begins again with the next one.
    fn resets_in_place(&self) -> bool {
        true
    }

    /// Within which time the client answers a heartbeat that comes at fixed times, whatever else is
    /// sent. The batches that probe a path are not sent then. `None`: the heartbeat is another.
    fn pong_timeout(&self) -> Option<Duration> {
        None
    }

    /// How long the first batch may take to come, in place of the heartbeat.
    fn wait(&self) -> Option<Duration> {
        None
    }

    /// Whether the client sends commands here. Such a client is read only once it has taken
    /// everything that was written and no command of it is running.
    fn takes_commands(&self) -> bool {
        false
    }

    /// Whether the client answers pings, so that one that does not has gone.
    fn answers_pings(&self) -> bool {
        false
    }

    /// Writes a ping. A line whose client answers none has none to write.
    fn write_ping(&self, _out: &mut Vec<u8>) {}

    /// Whether the client answers the end of the session, so that the socket stays open for that
    /// answer.
    fn awaits_close(&self) -> bool {
        false
    }

    /// Whether the end without a batch needs the head of the response in front of it.
    fn ends_behind_head(&self) -> bool {
        false
    }

    /// Writes what stands before the first batch.
    fn write_head(&self, _out: &mut Vec<u8>) {}

    /// Writes a batch.
    fn write_batch(&mut self, batch: &Batch<'_>, out: &mut Vec<u8>);

    /// The session took up topics that its client asked for in a command. `true`: the client is to
    /// be told of its cursor now.
    fn topics_added(&mut self) -> bool {
        false
    }

    /// Writes the reply to a command. A line without commands has none to write.
    fn write_reply(&self, _reply: &[u8], _out: &mut Vec<u8>) {}

    /// Writes what ends the line behind its last batch.
    fn write_end(&self, _code: CloseCode, _reason: &str, _out: &mut Vec<u8>) {}

    /// Whether more bytes of the client can be taken in. They stay in the kernel otherwise.
    fn wants_bytes(&self) -> bool {
        true
    }

    /// Takes in what the client sent.
    fn receive(&mut self, _bytes: &[u8]) {}

    /// Whether something was received that [`Protocol::next_input`] has not given yet.
    fn has_input(&self) -> bool {
        false
    }

    /// Takes the next of what was received, and writes to `out` what the transport itself owes the
    /// client for it.
    fn next_input(&mut self, _out: &mut Vec<u8>) -> Input {
        Input::None
    }

    /// Takes in what the client sent after the session's last bytes. `true`: the client has closed
    /// the line.
    fn receive_close(&mut self, _bytes: &[u8]) -> bool {
        false
    }

    /// What the client sent behind its request, if the connection can be used for another one.
    fn into_pipelined(self) -> Option<Vec<u8>>
    where
        Self: Sized,
    {
        None
    }
}

/// What a client said.
#[derive(Debug)]
pub(crate) enum Input {
    /// Nothing that is complete.
    None,
    /// A part of a message; the next part may be here already.
    Part,
    /// A command.
    Command(String),
    /// A message that cannot be a command.
    NotACommand,
    /// A control frame, which has been answered.
    Control,
    /// The client closed with this code, and that has been answered.
    Closed(CloseCode),
    /// The client broke a rule of the transport, and has been told so.
    Violated(CloseCode),
}

/// The head of a response that carries batches.
pub(super) fn write_response_head(content_type: &str, rest: &str, out: &mut Vec<u8>) {
    #[expect(clippy::disallowed_methods, reason = "a Date header, which nothing here decides by")]
    let date = httpdate::fmt_http_date(Clock::system().system_time());
    let head = format!(
        "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: {content_type}\r\nCache-Control: no-store, no-transform\r\n{rest}\r\n"
    );
    out.extend_from_slice(head.as_bytes());
}
