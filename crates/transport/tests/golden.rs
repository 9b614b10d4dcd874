//! Plays the golden transcripts against sessions, and compares every byte of every batch.
//! `fixtures/README.md` says what a transcript is; what the gateway does before a session begins
//! and around it is played by this test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use events::{Data, Draft, Located, Options, ResetReason, Start, StateOptions, Store as _, Topics};
use regex::Regex;
use rig::{Client, Rig, ms, poll_line, topic};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;
use transport::ws::Decoder;
use transport::{
    After, Bye, ByeReason, Line, PollLine, Refused, RefusedCode, Request, RequestError, SseLine, Transport,
    WsLine,
};

mod rig;

#[derive(Deserialize)]
struct Transcript {
    #[serde(default)]
    options: BTreeMap<String, Value>,
    steps: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Step {
    Publish {
        publish: String,
        result: String,
    },
    Connects {
        connects: Connects,
    },
    Head {
        head: Head,
    },
    Sends {
        sends: String,
    },
    Answers {
        answers: Answer,
    },
    Receives {
        receives: String,
    },
    Advance {
        advance_ms: u64,
    },
    Cuts {
        cuts: bool,
    },
    /// The result counts the sessions of the user, which only the gateway knows.
    Disconnects {
        disconnects: String,
        #[serde(rename = "result")]
        _result: IgnoredAny,
    },
    Drains {
        drains: bool,
    },
    Closes {
        closes: u16,
    },
    Ends {
        ends: bool,
    },
}

#[derive(Deserialize)]
struct Connects {
    target: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Head {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

#[tokio::test(start_paused = true)]
async fn websocket_transcripts_hold() {
    play_all("ws", 15).await;
}

#[tokio::test(start_paused = true)]
async fn sse_transcripts_hold() {
    play_all("sse", 16).await;
}

#[tokio::test(start_paused = true)]
async fn poll_transcripts_hold() {
    play_all("poll", 15).await;
}

#[test]
fn every_transport_of_the_fixtures_is_played() {
    let transcripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/transcripts");
    assert_eq!(names(&transcripts), ["poll", "sse", "ws"]);
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Plays every file of a transport; there are `at_least` so many.
async fn play_all(transport: &'static str, at_least: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/transcripts").join(transport);
    let paths: Vec<PathBuf> = names(&folder).iter().map(|name| folder.join(name)).collect();
    assert!(paths.len() >= at_least, "transcripts are missing from {}", folder.display());
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let transcript: Transcript =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut player = Player::new(transport, &transcript.options);
        for (number, step) in transcript.steps.iter().enumerate() {
            player.at = format!("{} step {number}", path.display());
            player.step(step.get()).await;
        }
        player.nothing_comes(20).await;
    }
}

struct Player {
    transport: &'static str,
    at: String,
    rig: Rig,
    age_max_ms: u64,
    topics_max: usize,
    client: Option<Client>,
    /// Why the gateway refused the last request.
    refused: Option<RequestError>,
    last: Instant,
    wait_ms: u64,
}

/// The states of these topics, without bounds that matter here.
fn state_of(topics: &str) -> StateOptions {
    StateOptions {
        topics: vec![topics.parse().unwrap()],
        keys_max: 1000,
        bytes_max: 1 << 20,
        age_max: Duration::from_secs(3600),
    }
}

impl Player {
    fn new(transport: &'static str, options: &BTreeMap<String, Value>) -> Self {
        let mut log = Options::default();
        let (mut age_max_ms, mut topics_max) = (300_000, 64);
        for (name, value) in options {
            let number = value.as_u64().unwrap_or_default();
            match &**name {
                "ring-events" => log.ring_events_max = number as usize,
                "max-topics-per-session" => topics_max = number as usize,
                "max-stream-seconds" => age_max_ms = number * 1000,
                "state" => log.state = value.as_str().map(state_of),
                _ => panic!("an option that this test does not know: {name}"),
            }
        }
        let rig = Rig::with(&log);
        *rig.application.reply.lock() = Some(reply);
        let (at, last) = (String::new(), Instant::now());
        Self { transport, at, rig, age_max_ms, topics_max, client: None, refused: None, last, wait_ms: 0 }
    }

    async fn step(&mut self, json: &str) {
        let step: &Step = &serde_json::from_str(json).unwrap_or_else(|error| panic!("{}: {error}", self.at));
        if !matches!(
            step,
            Step::Sends { .. } | Step::Answers { .. } | Step::Closes { .. } | Step::Ends { .. }
        ) {
            let time_ms = std::mem::take(&mut self.wait_ms);
            self.nothing_comes(time_ms).await;
        }
        match step {
            Step::Advance { advance_ms } => self.wait_ms = *advance_ms,
            Step::Publish { publish, result } => {
                let done = self.rig.store.append(vec![draft(publish)]).await.remove(0).unwrap();
                let seq = done.seq.map_or(String::new(), |seq| format!(r#""seq":{seq},"#));
                let real = format!(r#"{{"cursor":"{}",{seq}"duplicate":{}}}"#, done.cursor, done.duplicate);
                self.compare(&real, result);
            }
            Step::Connects { connects } => self.connect(connects).await,
            Step::Head { head } if self.transport == "ws" => assert_eq!(head.status, 101, "{}", self.at),
            Step::Head { head } => {
                let real = self.client().head().await;
                self.compare_head(&real, head.status, &head.headers);
            }
            Step::Sends { sends } => {
                let real = match self.transport {
                    "ws" => self.client().text().await,
                    _ => self.client().message().await.expect("the body goes on") + "\n\n",
                };
                self.compare(&real, sends);
                self.check_time();
            }
            Step::Answers { answers } if self.refused.take().is_some() => {
                assert_eq!(answers.status, 400, "{}", self.at);
            }
            Step::Answers { answers } => {
                let (head, body) = self.client().answer().await;
                self.compare_head(&head, answers.status, &answers.headers);
                self.compare(&body, &answers.body);
                self.check_time();
                self.client = None;
            }
            Step::Receives { receives } => self.client().send_frame(0x81, receives.as_bytes()).await,
            Step::Cuts { cuts } => {
                assert!(cuts);
                self.client = None;
            }
            Step::Disconnects { disconnects, .. } => {
                assert_eq!(disconnects, r#"{"user":"alice"}"#);
                self.client().handle.end(Bye { reason: ByeReason::Disconnected, reconnect_after: ms(1) });
            }
            Step::Drains { drains } => {
                assert!(drains);
                self.client().handle.end(Bye { reason: ByeReason::Drain, reconnect_after: ms(1) });
            }
            Step::Closes { closes } if self.refused.take().is_some() => {
                assert_eq!(*closes, 4400, "{}", self.at)
            }
            Step::Closes { closes } => assert_eq!(self.client().close_code().await, *closes, "{}", self.at),
            Step::Ends { ends } => {
                assert!(ends);
                assert_eq!(self.client().message().await, None, "{}", self.at);
            }
        }
        if !matches!(step, Step::Advance { .. }) {
            (self.last, self.wait_ms) = (Instant::now(), 0);
        }
        settle().await;
    }

    fn client(&mut self) -> &mut Client {
        self.client.as_mut().unwrap_or_else(|| panic!("{}: there is no connection", self.at))
    }

    fn check_time(&self) {
        let passed = self.last.elapsed().as_millis() as u64;
        assert!((self.wait_ms..=self.wait_ms + 2).contains(&passed), "{}: came after {passed} ms", self.at);
    }

    async fn nothing_comes(&mut self, time_ms: u64) {
        match &mut self.client {
            // What is told of the time around it, the session is not.
            Some(client) if time_ms > 0 => client.quiet(ms(time_ms)).await,
            _ => tokio::time::sleep(ms(time_ms)).await,
        }
    }

    async fn connect(&mut self, connects: &Connects) {
        let epoch = self.rig.log.tail_cursor().epoch.to_string();
        let target = connects.target.replace("<epoch>", &epoch);
        let (path, query) = target.split_once('?').unwrap();
        assert_eq!(path, format!("/v1/{}", self.transport));
        let pairs: Vec<_> = query.split('&').map(|pair| pair.split_once('=').unwrap()).collect();
        let mut request = match Request::parse(pairs) {
            Ok(request) => request,
            Err(error) => return self.refused = Some(error),
        };
        if let Some(id) = connects.headers.get("last-event-id") {
            request.resume_from(&id.replace("<epoch>", &epoch)).unwrap();
        }
        let transport = Transport::ALL.into_iter().find(|known| known.as_str() == self.transport).unwrap();
        let heartbeat = request.heartbeat_on(transport, connects.headers.contains_key("sec-fetch-mode"));
        self.rig.topics = vec![topic("user:alice"), topic("all")];
        let room = (self.topics_max - 2).min(request.topics.len());
        let refused = request.topics.split_off(room);
        *self.rig.application.refused.lock() =
            refused.into_iter().map(|topic| Refused { topic, code: RefusedCode::TooManyTopics }).collect();
        self.rig.topics.extend(request.topics);
        self.rig.types = request.types;
        self.rig.start = self.start_at(request.after);
        let terms = &mut self.rig.terms;
        (terms.heartbeat, terms.interval) = (heartbeat, request.interval);
        terms.limit.events = request.limit;
        terms.resumed = request.after != After::Latest;
        terms.states = request.state;
        terms.age_max = (self.transport == "sse").then(|| ms(self.age_max_ms));
        let headers = "".into();
        self.client = Some(self.rig.start(match self.transport {
            "ws" => Line::Ws(WsLine::new(Decoder::new(16 << 10))),
            "sse" => Line::Sse(SseLine { chunked: true, pad: request.pad, headers }),
            _ => Line::Poll(PollLine {
                hello: request.after == After::Latest,
                ..poll_line(request.wait.as_millis() as u64)
            }),
        }));
    }

    /// Where a gateway has a session begin whose store is this process.
    fn start_at(&self, after: After) -> Start {
        let log = &self.rig.log;
        match after {
            After::Latest => Start::Latest,
            After::Earliest => Start::Earliest,
            After::Cursor(cursor) => match log.locate(cursor) {
                Located::Here(cursor) => Start::After(cursor),
                Located::Phantom { end } => Start::Broken(ResetReason::Epoch, end),
                Located::Ahead => Start::Broken(ResetReason::Ahead, log.tail_cursor()),
                Located::Unknown => Start::Broken(ResetReason::Epoch, log.tail_cursor()),
            },
        }
    }

    fn compare_head(&self, real: &str, status: u16, headers: &BTreeMap<String, String>) {
        assert!(real.starts_with(&format!("HTTP/1.1 {status} ")), "{}: {real}", self.at);
        let lines: Vec<String> = real
            .split("\r\n")
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| format!("{}: {value}", name.to_ascii_lowercase()))
            .collect();
        for (name, value) in headers {
            assert!(lines.contains(&format!("{name}: {value}")), "{}: {name}: {value} in {real}", self.at);
        }
    }

    fn compare(&self, real: &str, golden: &str) {
        const ANY: [(&str, &str); 5] = [
            ("<session>", "[A-Za-z0-9_-]{16,64}"),
            ("<time>", r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"),
            ("<deployment>", r#"[^"]{1,64}"#),
            ("<ms>", "[0-9]{1,9}"),
            ("<detail>", r#"[^"]+"#),
        ];
        let golden = golden.replace("<epoch>", &self.rig.log.tail_cursor().epoch.to_string());
        let mut pattern = regex::escape(&golden);
        for (name, any) in ANY {
            pattern = pattern.replace(name, any);
        }
        let holds = Regex::new(&format!(r"\A{pattern}\z")).unwrap().is_match(real);
        assert!(holds, "{}\n  golden: {golden}\n  real:   {real}", self.at);
    }
}

/// Lets the session do what it can at this moment.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// The draft of a step; its data as the text of the step has them, members in order.
fn draft(text: &str) -> Draft {
    #[derive(Deserialize)]
    struct WithData<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let json: Value = serde_json::from_str(text).unwrap();
    let data = serde_json::from_str::<WithData<'_>>(text).unwrap().data;
    let text = |name: &str| json[name].as_str();
    Draft {
        topics: match json["topics"].as_array() {
            Some(names) => Topics::new(names.iter().map(|name| topic(name.as_str().unwrap()))).unwrap(),
            None => Topics::one(topic(text("topic").unwrap())),
        },
        kind: text("type").unwrap().parse().unwrap(),
        data: Data::from_raw(data).unwrap(),
        key: text("key").map(|key| key.parse().unwrap()),
        id: text("id").map(|id| id.parse().unwrap()),
        once: None,
        ttl_ms: json["ttl_ms"].as_u64(),
        ephemeral: json["ephemeral"].as_bool().unwrap_or(false),
        expect: None,
    }
}

/// What a gateway answers to the commands of the transcripts.
fn reply(command: &str) -> String {
    const MALFORMED: &str = r#""error":{"code":"bad_request","message":"not a command"}"#;
    match serde_json::from_str::<Value>(command) {
        Ok(command) if command["op"] == "ping" => {
            format!(r#"{{"reply":{},"ok":{{"time":"2026-01-01T00:00:00.000Z"}}}}"#, command["id"])
        }
        Ok(command) => format!(r#"{{"reply":{},{MALFORMED}}}"#, command["id"]),
        Err(_) => format!(r#"{{"reply":null,{MALFORMED}}}"#),
    }
}
