//! Plays the client's part of the golden transcripts against a running gateway, and compares every byte.

use std::time::{Duration, Instant};

use regex::Regex;

use crate::gateway::Gateway;
use crate::schema_set::{files, repository};
use crate::transcript::{Answer, Head, Request, Step, Transcript};
use crate::wire::{self, Connection, PATIENCE, Sent};

#[test]
fn websocket_transcripts_hold() {
    replay_all("ws");
}

#[test]
fn sse_transcripts_hold() {
    replay_all("sse");
}

#[test]
fn poll_transcripts_hold() {
    replay_all("poll");
}

/// How many transcripts are replayed at a time: most of the time is waiting.
const AT_ONCE: usize = 4;

fn replay_all(transport: &str) {
    let paths = files(&repository().join("fixtures/transcripts").join(transport));
    let mut failures = Vec::new();
    for some in paths.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let running: Vec<_> = some
                .iter()
                .map(|path| (path, scope.spawn(move || Replay::of(transport, &Transcript::read(path)))))
                .collect();
            for (path, thread) in running {
                if thread.join().is_err() {
                    failures.push(path.display().to_string());
                }
            }
        });
    }
    assert!(failures.is_empty(), "these transcripts do not hold: {}", failures.join(", "));
}

/// One transcript under way.
struct Replay<'a> {
    transport: &'a str,
    gateway: Gateway,
    connection: Option<Connection>,
    /// The epoch of the gateway's log, once it has been seen.
    epoch: Option<String>,
    /// When the last step was over.
    last: Instant,
    /// How much time is to pass since then.
    wait: Duration,
}

impl<'a> Replay<'a> {
    /// How much earlier than told something may come: on a busy machine, what the step before it was late here.
    const EARLY: Duration = Duration::from_secs(1);

    /// How much later.
    const LATE: Duration = Duration::from_secs(5);

    fn of(transport: &'a str, transcript: &Transcript) {
        let options: Vec<String> = transcript
            .options
            .iter()
            .flat_map(|(name, value)| [format!("--{name}"), value.to_string().trim_matches('"').to_owned()])
            .collect();
        let gateway = Gateway::dev(&options);
        let mut replay = Self {
            transport,
            gateway,
            connection: None,
            epoch: None,
            last: Instant::now(),
            wait: Duration::ZERO,
        };
        for (number, step) in transcript.steps.iter().enumerate() {
            replay.step(&format!("step {number} of {transport}, {:?}", transcript.about), step);
        }
    }

    fn step(&mut self, at: &str, step: &Step) {
        match step {
            Step::Advance { advance_ms } => return self.wait += Duration::from_millis(*advance_ms),
            Step::Head { head } => {
                let by = self.by();
                let real = self.connection(at).head(by);
                check_head(at, &real, head);
            }
            Step::Sends { sends } => {
                let Sent::Text(text) = self.next(at) else { panic!("{at}: the stream ends") };
                self.compare(at, &text, sends);
            }
            Step::Answers { answers: Answer { status, headers, body } } => {
                let by = self.by();
                let real = self.connection(at).answer(by);
                check_head(at, &real.head, &Head { status: *status, headers: headers.clone() });
                self.compare(at, &real.body, body);
                self.check_time(at);
                self.connection = None;
            }
            Step::Closes { closes } => assert_eq!(self.next(at), Sent::Close(*closes), "{at}"),
            Step::Ends { .. } => assert_eq!(self.next(at), Sent::End, "{at}"),
            Step::Publish { publish, result } => {
                self.settle(at);
                let answer = self.gateway.post("/v1/publish", &[], publish);
                self.compare(at, &answer.body, result);
            }
            Step::Disconnects { disconnects, result } => {
                self.settle(at);
                let answer = self.gateway.post("/v1/disconnect", &[], disconnects);
                self.compare(at, &answer.body, result);
            }
            Step::Connects { connects } => {
                self.settle(at);
                self.connect(connects);
            }
            Step::Receives { receives } => {
                self.settle(at);
                self.connection(at).send_text(receives);
            }
            Step::Cuts { .. } => {
                self.settle(at);
                self.connection = None;
            }
            Step::Drains { .. } => {
                self.settle(at);
                self.gateway.drain();
            }
        }
        self.last = Instant::now();
        self.wait = Duration::ZERO;
    }

    fn connect(&mut self, request: &Request) {
        let target = self.known(&request.target);
        let headers: Vec<(String, String)> =
            request.headers.iter().map(|(name, value)| (name.clone(), self.known(value))).collect();
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let mut connection = Connection::open(self.gateway.address());
        if self.transport == "ws" {
            connection.ask_for_websocket(&target, &headers);
        } else {
            connection.ask(&request.method, &target, &headers, b"");
        }
        self.connection = Some(connection);
    }

    fn connection(&mut self, at: &str) -> &mut Connection {
        self.connection.as_mut().unwrap_or_else(|| panic!("{at}: there is no connection"))
    }

    /// Until when the next thing must have come.
    fn by(&self) -> Instant {
        self.last + self.wait + PATIENCE
    }

    /// What comes next on the stream, at its time.
    fn next(&mut self, at: &str) -> Sent {
        let by = self.by();
        let sent = self.receive(by).unwrap_or_else(|| panic!("{at}: nothing came"));
        self.check_time(at);
        sent
    }

    fn receive(&mut self, by: Instant) -> Option<Sent> {
        let is_websocket = self.transport == "ws";
        let connection = self.connection.as_mut()?;
        if is_websocket { connection.next_frame(by) } else { connection.next_message(by) }
    }

    fn check_time(&self, at: &str) {
        let passed = self.last.elapsed();
        assert!(passed + Self::EARLY >= self.wait, "{at}: came {passed:?} after the step before");
        assert!(passed <= self.wait + Self::LATE, "{at}: came {passed:?} after the step before");
    }

    /// Lets the time pass that is to pass; nothing may come in it.
    fn settle(&mut self, at: &str) {
        if !self.wait.is_zero() {
            self.nothing_comes(at, self.wait);
        }
    }

    fn nothing_comes(&mut self, at: &str, time: Duration) {
        let by = Instant::now() + time;
        if self.transport == "poll" {
            return std::thread::sleep(time);
        }
        let came = self.receive(by).filter(|sent| *sent != Sent::End);
        assert_eq!(came, None, "{at}: nothing is due");
    }

    /// The text with what is known in the place of its placeholders.
    fn known(&self, text: &str) -> String {
        self.epoch.as_ref().map_or_else(|| text.to_owned(), |epoch| text.replace("<epoch>", epoch))
    }

    fn compare(&mut self, at: &str, real: &str, golden: &str) {
        const ANY: [(&str, &str); 5] = [
            ("<session>", "[A-Za-z0-9_-]{1,64}"),
            ("<time>", r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"),
            ("<deployment>", r#"[^"]{1,64}"#),
            ("<ms>", "[0-9]{1,9}"),
            ("<detail>", r#"[^"]+"#),
        ];
        let golden = self.known(golden);
        let mut pattern = regex::escape(&golden).replacen("<epoch>", "(?P<seen>[0-9a-z]{1,13})", 1);
        pattern = pattern.replace("<epoch>", "[0-9a-z]{1,13}");
        for (name, any) in ANY {
            pattern = pattern.replace(name, any);
        }
        let pattern = Regex::new(&format!(r"\A{pattern}\z")).expect("a pattern");
        let found =
            pattern.captures(real).unwrap_or_else(|| panic!("{at}\n  golden: {golden}\n  real:   {real}"));
        if let Some(epoch) = found.name("seen") {
            self.epoch = Some(epoch.as_str().to_owned());
        }
    }
}

fn check_head(at: &str, real: &wire::Head, golden: &Head) {
    assert_eq!(real.status, golden.status, "{at}: {:?}", real.headers);
    for (name, value) in &golden.headers {
        assert_eq!(real.headers.get(name), Some(value), "{at}: the header {name}");
    }
}
