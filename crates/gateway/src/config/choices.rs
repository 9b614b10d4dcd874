//! Options with a fixed set of values.

use clap::ValueEnum;
use transport::socketio::CursorStyle;

/// When an acknowledged event is synced to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DiskFsync {
    /// Before the publisher gets its answer
    #[default]
    Always,
    /// Up to 200 ms after the answer: a power failure may lose the last events
    Interval,
    /// When the operating system decides
    Never,
}

/// What happens to publishes while Redis is unreachable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RedisDown {
    /// Answer 503 with Retry-After
    #[default]
    Refuse,
    /// Each gateway accepts them alone, in an epoch of its own, until Redis is back
    Local,
}

/// How Socket.IO clients get the cursor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SocketIoCursor {
    /// In an event `throughline.cursor` behind the events of each read
    #[default]
    Event,
    /// As the last argument of every event: handlers in Python must take it
    Argument,
}

impl From<SocketIoCursor> for CursorStyle {
    fn from(cursor: SocketIoCursor) -> Self {
        match cursor {
            SocketIoCursor::Event => Self::Event,
            SocketIoCursor::Argument => Self::Argument,
        }
    }
}

/// Whether Socket.IO clients may speak Engine.IO 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Eio3 {
    /// Only Engine.IO 4
    #[default]
    Off,
    /// Engine.IO 4 and 3
    On,
}

/// The echo that a Socket.IO client gets from an endpoint for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SocketIoEcho {
    /// Every message of Engine.IO as it came
    Engine,
    /// In the namespaces `/` and `/custom`, what the test suite of Socket.IO expects of its server
    Socket,
}

/// The form of a temporary refusal of a request for server-sent events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SseRefusals {
    /// 200 with `retry` and `bye`, after which an EventSource comes back by itself
    #[default]
    Bye,
    /// 503 or 429, which load balancers understand, and after which an EventSource never comes back
    Status,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// The report that readers get when messages of a source may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SourceGap {
    /// Readers of the source's topics get a reset and fetch their state again
    #[default]
    Reset,
    /// Nothing: the gap is only counted
    Ignore,
}
