//! The query parameters of a request for a stream, checked once.

use std::collections::HashSet;
use std::time::Duration;

use events::{Cursor, Topic, TypeFilter};

/// A transport of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// WebSocket (RFC 6455).
    Ws,
    /// Server-Sent Events (the `text/event-stream` of the HTML standard).
    Sse,
    /// Long-polling.
    Poll,
}

impl Transport {
    /// All of them, in the order of preference.
    pub const ALL: [Self; 3] = [Self::Ws, Self::Sse, Self::Poll];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Sse => "sse",
            Self::Poll => "poll",
        }
    }
}

/// Where a client wants its stream to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// At the tail: with events that are published from now on.
    Latest,
    /// With everything that is retained.
    Earliest,
    /// After the last event that the client has seen.
    Cursor(Cursor),
}

/// What a client asks for, within the bounds of the protocol.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where to begin.
    pub after: After,
    /// The topics that are wanted beside the client's own and `all`; each once. Their number is
    /// bounded by the size of the request alone.
    pub topics: Vec<Topic>,
    /// The types to deliver; `None`: all.
    pub types: Option<TypeFilter>,
    /// The longest time between two batches; `None`: see [`Request::heartbeat_on`].
    pub heartbeat: Option<Duration>,
    /// The shortest time between two batches; zero: no minimum.
    pub interval: Duration,
    /// The session that this connection continues.
    pub session: Option<String>,
    /// How long a poll may wait.
    pub wait: Duration,
    /// How many events with a seq one batch may carry.
    pub limit: usize,
    /// Bytes of comment before the first SSE message.
    pub pad: usize,
    /// Whether to begin with the states of those topics that keep one.
    pub state: bool,
    /// How many bytes a message on a stream may have; `None`: as the application sets it.
    pub batch: Option<usize>,
}

/// Why a parameter cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Neither a cursor nor a word.
    #[error("after: a cursor as an earlier batch gave it, or earliest, or latest")]
    After,
    /// A topic's name is wrong.
    #[error("topics: {0}")]
    Topic(#[from] events::TopicError),
    /// The filter is wrong.
    #[error(transparent)]
    Types(#[from] events::FilterError),
    /// The value is not a number.
    #[error("{0}: a whole number")]
    Number(&'static str),
    /// The session id is wrong.
    #[error("session: an id as an earlier hello gave it")]
    Session,
}

impl Request {
    /// The most events with a seq in one batch.
    pub const LIMIT_MAX: usize = 1000;

    /// The longest comment before the first SSE message, in bytes.
    pub const PAD_MAX: usize = 64 << 10;

    /// The fewest bytes to which a client can bound its messages.
    pub const BATCH_MIN: usize = 4 << 10;

    /// The most bytes to which a client can bound its messages.
    pub const BATCH_MAX: usize = 256 << 10;

    /// Reads decoded query parameters. Unknown ones are ignored, numbers out of range are clamped,
    /// and of a repeated one the last counts.
    ///
    /// # Errors
    /// The first parameter that cannot be understood.
    pub fn parse<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, RequestError> {
        let mut request = Self::default();
        for (name, value) in parameters {
            match name {
                "after" => request.after = parse_after(value)?,
                "topics" => request.topics = parse_topics(value)?,
                "types" if value.is_empty() => request.types = None,
                "types" => request.types = Some(TypeFilter::parse(value)?),
                "heartbeat" => {
                    request.heartbeat = Some(Duration::from_secs(number("heartbeat", value, 2, 60)?));
                }
                "interval" => request.interval = Duration::from_millis(number("interval", value, 0, 60_000)?),
                "wait" => request.wait = Duration::from_secs(number("wait", value, 0, 60)?),
                "limit" => request.limit = number("limit", value, 1, Self::LIMIT_MAX as u64)? as usize,
                "pad" => request.pad = number("pad", value, 0, Self::PAD_MAX as u64)? as usize,
                "state" => request.state = number("state", value, 0, 1)? == 1,
                "batch" => {
                    let (min, max) = (Self::BATCH_MIN as u64, Self::BATCH_MAX as u64);
                    request.batch = Some(number("batch", value, min, max)? as usize);
                }
                "session" => request.session = parse_session(value)?,
                _ => {}
            }
        }
        Ok(request)
    }

    /// The longest time between two batches. A client that asks for none gets 15 s, and on
    /// server-sent events 4 s if it is no browser: popular libraries drop a stream that is quiet for
    /// 5 s.
    #[must_use]
    pub fn heartbeat_on(&self, transport: Transport, is_browser: bool) -> Duration {
        self.heartbeat.unwrap_or(match transport {
            Transport::Sse if !is_browser => Duration::from_secs(4),
            Transport::Sse | Transport::Ws | Transport::Poll => Duration::from_secs(15),
        })
    }

    /// Lets the cursor of a `Last-Event-ID` header win over `after`. Its absence and an empty one
    /// change nothing.
    ///
    /// # Errors
    /// When it is no cursor.
    pub fn resume_from(&mut self, last_event_id: &str) -> Result<(), RequestError> {
        if !last_event_id.is_empty() {
            self.after = parse_after(last_event_id)?;
        }
        Ok(())
    }
}

impl Default for Request {
    fn default() -> Self {
        Self {
            after: After::Latest,
            topics: Vec::new(),
            types: None,
            heartbeat: None,
            interval: Duration::ZERO,
            session: None,
            wait: Duration::from_secs(25),
            limit: Self::LIMIT_MAX,
            pad: 0,
            state: false,
            batch: None,
        }
    }
}

/// Reads the value of `after`.
///
/// # Errors
/// When it is neither a cursor nor `earliest` nor `latest` nor empty.
pub fn parse_after(value: &str) -> Result<After, RequestError> {
    match value {
        "" | "latest" => Ok(After::Latest),
        "earliest" => Ok(After::Earliest),
        cursor => cursor.parse().map(After::Cursor).map_err(|_| RequestError::After),
    }
}

fn parse_topics(value: &str) -> Result<Vec<Topic>, RequestError> {
    let mut seen = HashSet::new();
    let mut topics: Vec<Topic> = Vec::new();
    for name in value.split(',').filter(|name| !name.is_empty()) {
        let topic: Topic = name.parse()?;
        if seen.insert(topic.clone()) {
            topics.push(topic);
        }
    }
    Ok(topics)
}

fn parse_session(value: &str) -> Result<Option<String>, RequestError> {
    let plausible =
        value.len() <= 64 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if plausible { Ok((!value.is_empty()).then(|| value.to_owned())) } else { Err(RequestError::Session) }
}

/// A whole number, clamped to its range. A number too large to hold is a number out of range.
fn number(name: &'static str, value: &str, min: u64, max: u64) -> Result<u64, RequestError> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RequestError::Number(name));
    }
    if digits.len() < value.len() {
        return Ok(min);
    }
    Ok(value.parse().unwrap_or(u64::MAX).clamp(min, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_protocols() {
        let request = Request::parse([]).unwrap();
        assert_eq!(request.after, After::Latest);
        assert_eq!(request.wait, Duration::from_secs(25));
        for (transport, is_browser, seconds) in
            [(Transport::Sse, false, 4), (Transport::Sse, true, 15), (Transport::Ws, false, 15)]
        {
            assert_eq!(request.heartbeat_on(transport, is_browser), Duration::from_secs(seconds));
        }
        assert_eq!((request.interval, request.limit, request.pad), (Duration::ZERO, 1000, 0));
        assert_eq!(request.batch, None);
    }

    #[test]
    fn numbers_are_clamped_and_words_refused() {
        let of = |name, value| Request::parse([(name, value)]);
        assert_eq!(of("heartbeat", "1").unwrap().heartbeat, Some(Duration::from_secs(2)));
        assert_eq!(
            of("heartbeat", "99999999999999999999999").unwrap().heartbeat,
            Some(Duration::from_secs(60))
        );
        assert_eq!(of("wait", "-3").unwrap().wait, Duration::ZERO);
        assert_eq!(of("limit", "0").unwrap().limit, 1);
        assert_eq!(of("pad", "1000000").unwrap().pad, 64 << 10);
        for (typed, bytes) in [("1", 4096), ("8192", 8192), ("1000000", 262_144)] {
            assert_eq!(of("batch", typed).unwrap().batch, Some(bytes));
        }
        for value in ["", "x", "1.5", "1e3", "--1", "+1", " 1"] {
            assert_eq!(of("wait", value).unwrap_err(), RequestError::Number("wait"), "{value:?}");
        }
    }

    #[test]
    fn topics_are_checked_and_unique() {
        let of = |value: &str| Request::parse([("topics", value)]).map(|request| request.topics.len());
        assert_eq!(of("a,b,a,,room:1"), Ok(3));
        assert_eq!(of("a b"), Err(RequestError::Topic(events::TopicError::Alphabet)));
        let many = (0..2000).map(|n| format!("t{n}")).collect::<Vec<_>>().join(",");
        assert_eq!(of(&many), Ok(2000), "how many a session has is for the application to decide");
    }

    #[test]
    fn the_last_event_id_wins() {
        let mut request = Request::parse([("after", "earliest")]).unwrap();
        request.resume_from("").unwrap();
        assert_eq!(request.after, After::Earliest);
        request.resume_from("k3f9.7").unwrap();
        assert_eq!(request.after, After::Cursor("k3f9.7".parse().unwrap()));
        assert_eq!(request.resume_from("nonsense"), Err(RequestError::After));
        assert_eq!(Request::parse([("after", "a.01")]).unwrap_err(), RequestError::After);
    }
}
