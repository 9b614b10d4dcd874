//! Golden transcripts: `fixtures/README.md` says what they are.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::schema_set::{SchemaSet, read};

/// One file of `fixtures/transcripts`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transcript {
    /// What it shows, in a sentence.
    pub(crate) about: String,
    /// The rules that it shows.
    pub(crate) rules: Vec<String>,
    /// Options of the gateway that are not the default.
    #[serde(default)]
    pub(crate) options: BTreeMap<String, Value>,
    /// What happens, in order.
    pub(crate) steps: Vec<Step>,
    /// What an application has been given at the end.
    pub(crate) client: Seen,
}

/// One thing that happens.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum Step {
    /// A draft is published.
    Publish { publish: String, result: String },
    /// The client opens a connection.
    Connects { connects: Request },
    /// An answer begins.
    Head { head: Head },
    /// The gateway sends a message, or bytes of a stream.
    Sends { sends: String },
    /// The gateway gives a whole answer.
    Answers { answers: Answer },
    /// The client sends a message.
    Receives { receives: String },
    /// Time passes.
    Advance { advance_ms: u64 },
    /// The connection is lost.
    Cuts { cuts: bool },
    /// An operator ends sessions.
    Disconnects { disconnects: String, result: String },
    /// The gateway is asked to stop.
    Drains { drains: bool },
    /// The gateway closes a WebSocket.
    Closes { closes: u16 },
    /// The body of an answer ends.
    Ends { ends: bool },
}

/// What a client asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// The method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Headers beside those that every such request has.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    /// The cursor that it sends, by header or query.
    fn cursor(&self) -> Option<&str> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let after = query.split('&').find_map(|pair| pair.strip_prefix("after="));
        let header = self.headers.get("last-event-id").map(String::as_str);
        header.or(after).filter(|after| *after != "earliest" && *after != "latest")
    }
}

/// How an answer begins.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    /// The status.
    pub(crate) status: u16,
    /// Headers that must be there.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
}

/// A whole answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// Headers that must be there.
    pub(crate) headers: BTreeMap<String, String>,
    /// The exact body.
    pub(crate) body: String,
}

/// What an application has been given.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seen {
    /// The seqs of its events.
    pub(crate) seqs: Vec<u64>,
    /// The reasons of its resets.
    pub(crate) resets: Vec<String>,
    /// Its cursor.
    pub(crate) cursor: Option<String>,
    /// The reason of the last `bye`.
    #[serde(default)]
    pub(crate) bye: Option<String>,
}

impl Transcript {
    /// Reads one.
    pub(crate) fn read(path: &Path) -> Self {
        serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Panics unless every text of it fits its schema, no batch leaves a hole, and a client that follows the protocol
    /// sees what `client` says.
    pub(crate) fn check(&self, name: &str, schemas: &SchemaSet) {
        assert!(!self.about.is_empty() && !self.rules.is_empty(), "{name}");
        let transport = name.split('/').next().expect("a transcript is in the folder of its transport");
        let mut client = Client { name, schemas, expected: None, seen: Seen::default() };
        for step in &self.steps {
            match step {
                Step::Publish { publish, result } => {
                    schemas.check("draft", publish);
                    schemas.check("publish-result", &fill(result));
                }
                Step::Connects { connects } => {
                    assert!(connects.target.starts_with(&format!("/v1/{transport}?")), "{name}");
                    assert!(connects.method == "GET" || transport == "poll", "{name}");
                    client.expected = connects.cursor().map(fill);
                }
                Step::Head { head: Head { status, headers } } => match transport {
                    "ws" => assert_eq!(*status, 101, "{name}"),
                    _ => check_head(name, *status, headers, "text/event-stream; charset=utf-8"),
                },
                Step::Sends { sends } if transport == "sse" => client.event_stream(sends),
                Step::Sends { sends } if sends.starts_with("{\"reply\"") => {
                    schemas.check("reply", &fill(sends));
                }
                Step::Sends { sends } => client.batch(sends),
                Step::Answers { answers } if answers.status == 200 => {
                    check_head(name, answers.status, &answers.headers, "application/json");
                    client.batch(&answers.body);
                }
                Step::Answers { answers } => {
                    assert_eq!(answers.headers["content-type"], "application/problem+json", "{name}");
                    let problem = schemas.check("problem", &fill(&answers.body));
                    assert_eq!(problem["status"], answers.status, "{name}");
                }
                Step::Disconnects { disconnects, result } => {
                    schemas.check("disconnect", disconnects);
                    schemas.check("disconnect-result", &fill(result));
                }
                Step::Receives { receives } => assert!(transport == "ws" && !receives.is_empty(), "{name}"),
                Step::Advance { advance_ms } => assert!(*advance_ms > 0, "{name}"),
                Step::Cuts { cuts: yes } | Step::Drains { drains: yes } => assert!(yes, "{name}"),
                Step::Closes { closes } => {
                    assert!(transport == "ws" && CLOSE_CODES.contains(closes), "{name}")
                }
                Step::Ends { ends } => assert!(transport == "sse" && *ends, "{name}"),
            }
        }
        let mut expected = Seen { cursor: self.client.cursor.as_deref().map(fill), ..Seen::default() };
        expected.seqs.clone_from(&self.client.seqs);
        expected.resets.clone_from(&self.client.resets);
        expected.bye.clone_from(&self.client.bye);
        assert_eq!(client.seen, expected, "{name}: what the application has been given");
    }
}

/// The codes of E5.
const CLOSE_CODES: [u16; 9] = [1001, 1009, 4400, 4401, 4403, 4408, 4410, 4429, 4503];

fn check_head(name: &str, status: u16, headers: &BTreeMap<String, String>, content_type: &str) {
    assert_eq!(status, 200, "{name}");
    assert_eq!(headers["content-type"], content_type, "{name}");
    assert_eq!(headers["cache-control"], "no-store, no-transform", "{name}: T6");
    assert_eq!(headers["x-accel-buffering"], "no", "{name}: T6");
}

/// A client that does what the protocol asks of it.
struct Client<'a> {
    name: &'a str,
    schemas: &'a SchemaSet,
    /// What the next batch's `after` must be, if that is known.
    expected: Option<String>,
    seen: Seen,
}

impl Client<'_> {
    fn event_stream(&mut self, bytes: &str) {
        let block = bytes.strip_suffix("\n\n").filter(|block| !block.contains("\n\n"));
        let block = block.unwrap_or_else(|| panic!("{}: not one block: {bytes:?}", self.name));
        // A comment may come first (T32), then `retry` (T30).
        let (before, rest) = block.split_at(block.find("data: ").expect("a line of data"));
        let may_precede = |line: &str| line.starts_with(':') || line.starts_with("retry: ");
        assert!(before.lines().all(may_precede), "{}: before the data: {before:?}", self.name);
        let (data, id) = rest["data: ".len()..]
            .split_once("\nid: ")
            .unwrap_or_else(|| panic!("{}: not an SSE message: {bytes:?}", self.name));
        let retries = data.contains("\"hello\":") || data.contains("\"bye\":");
        assert_eq!(before.contains("retry: "), retries, "{}: retry comes with hello and bye", self.name);
        assert!(!data.contains(['\n', '\r']), "{}: more than one line of data", self.name);
        self.batch(data);
        // Before a state is whole there is none (S8).
        let is_unfinished = data.contains("\"state\":[\"") || data.contains("\"next\":");
        let expected = if is_unfinished { Some(String::new()) } else { self.seen.cursor.clone() };
        assert_eq!(expected, Some(fill(id)), "{}: the id is the cursor", self.name);
    }

    fn batch(&mut self, text: &str) {
        let batch = self.schemas.check("batch", &fill(text));
        let (after, cursor) = (batch["after"].as_str(), batch["cursor"].as_str());
        let goes_on_elsewhere = matches!(batch["reset"]["reason"].as_str(), Some("epoch" | "ahead"));
        if let Some(expected) = self.expected.as_deref().filter(|_| !goes_on_elsewhere) {
            assert_eq!(after, Some(expected), "{}: a hole before {text}", self.name);
        }
        for seq in batch["events"].as_array().into_iter().flatten().filter_map(|event| event["seq"].as_u64())
        {
            if self.seen.seqs.last().is_none_or(|last| *last < seq) {
                self.seen.seqs.push(seq);
            }
        }
        self.seen.resets.extend(batch["reset"]["reason"].as_str().map(str::to_owned));
        self.seen.bye = batch["bye"]["reason"].as_str().map(str::to_owned).or(self.seen.bye.take());
        self.seen.cursor = cursor.map(str::to_owned);
        self.expected.clone_from(&self.seen.cursor);
    }
}

/// The text with an example in the place of each placeholder.
fn fill(text: &str) -> String {
    let examples = [
        ("<epoch>", "k3f9"),
        ("<session>", "nV3xq8m2LrT0aZ9d"),
        ("<time>", "2026-11-20T03:30:12.123Z"),
        ("<deployment>", "0.1.0"),
        ("<ms>", "1830"),
        ("<detail>", "this is why"),
    ];
    let filled = examples.iter().fold(text.to_owned(), |text, (name, example)| text.replace(name, example));
    assert!(!filled.contains('<'), "an unknown placeholder: {text}");
    filled
}
