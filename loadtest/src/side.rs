//! One side of a comparison: a server, its sessions and its publisher, in a process of their own, taking turns with the other sides.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::crowd::Crowd;
use crate::dialect::Draft;
use crate::measure::process::{Cpu, Group};
use crate::net::poller::{Poller, Ready};
use crate::payload::Numbers;
use crate::publisher::{FIRST_TOKEN, Publisher};
use crate::server::Server;
use crate::topic::Topic;

/// The token of standard input, which carries the orders of the process that compares.
pub(crate) const ORDERS: u64 = u64::MAX;

/// How long sessions may take to be attached, or deliveries to arrive, without any progress.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(10);

/// How long deliveries may pause before what is missing is given up.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// Events that did not arrive.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Lost {
    /// Without a word: must be zero.
    pub silently: u64,
    /// At sessions that were sent a reset.
    pub told: u64,
}

/// Everything that one side consists of.
pub(crate) struct Side {
    /// What waits for all its sockets.
    pub poller: Poller,
    /// Its sessions.
    pub crowd: Crowd,
    /// Its publisher.
    pub publisher: Publisher,
    /// Its server.
    pub server: Server,
    /// Zero of the clock that payloads carry.
    pub clock: Instant,
    /// For progress lines.
    pub label: String,
    /// The last number of every stream that was published.
    pub published: Vec<u32>,
    /// Whether orders have arrived.
    pub ordered: bool,
    ready: Vec<Ready>,
    progress: Progress,
}

#[derive(Default)]
struct Progress {
    last: Duration,
    received: u64,
}

/// CPU time from one moment on.
pub(crate) struct Meter {
    server: Cpu,
    own: Cpu,
    start: Instant,
}

/// What a meter showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// CPU time of the server, in nanoseconds.
    pub server_ns: f64,
    /// CPU time of the generator, in nanoseconds.
    pub own_ns: f64,
    /// Time that passed, in seconds.
    pub seconds: f64,
}

impl Side {
    /// Puts the parts together; `streams` is how many sequences will be published.
    pub(crate) fn new(
        poller: Poller,
        crowd: Crowd,
        publisher: Publisher,
        server: Server,
        clock: Instant,
        label: String,
        streams: usize,
    ) -> Self {
        Self {
            poller,
            crowd,
            publisher,
            server,
            clock,
            label,
            published: vec![0; streams],
            ordered: false,
            ready: Vec::new(),
            progress: Progress::default(),
        }
    }

    /// Nanoseconds on the clock that payloads carry.
    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// Waits at most `timeout` for something, and serves everything that is ready.
    pub(crate) fn turn(&mut self, timeout: Duration) -> Result<()> {
        self.crowd.open_waiting(&self.poller)?;
        let mut ready = std::mem::take(&mut self.ready);
        let waited = self.poller.wait(timeout.min(Duration::from_millis(100)), &mut ready);
        for &one in &ready {
            match one.token {
                ORDERS => self.ordered = true,
                FIRST_TOKEN.. => self.publisher.serve(one, &self.poller)?,
                _ => self.crowd.serve(one, &self.poller)?,
            }
        }
        self.ready = ready;
        self.show_progress();
        Ok(waited?)
    }

    /// Serves until `done`, and fails when nothing has moved for [`STALL_MAX`].
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) -> Result<()> {
        let mut seen = (usize::MAX, 0);
        let mut moved = Instant::now();
        while !done(self) {
            self.turn(Duration::from_millis(100))?;
            let now = (self.crowd.counts.ready, self.crowd.tally.received);
            if now != seen {
                (seen, moved) = (now, Instant::now());
            } else if moved.elapsed() > STALL_MAX {
                bail!("{what}: nothing moved for {} s; {}", STALL_MAX.as_secs(), self.state());
            }
        }
        Ok(())
    }

    /// Serves for `time`.
    pub(crate) fn rest(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.turn(left)?;
        }
        Ok(())
    }

    /// Connects every session.
    pub(crate) fn attach(&mut self) -> Result<()> {
        self.until("connecting", |side| side.crowd.is_complete())
    }

    /// Publishes the next `count` events of `stream` to `topic` in one request, as meant for `at_ns`.
    pub(crate) fn publish(
        &mut self,
        lane: usize,
        topic: Topic,
        stream: u32,
        count: usize,
        at_ns: u64,
    ) -> Result<()> {
        let mut drafts = Vec::with_capacity(count);
        for _ in 0..count {
            drafts.push(self.draft(topic, stream, at_ns));
        }
        self.publisher.publish(lane, &drafts, &self.poller)
    }

    /// The next event of `stream`, which the caller must publish.
    pub(crate) fn draft(&mut self, topic: Topic, stream: u32, at_ns: u64) -> Draft {
        let last = &mut self.published[stream as usize];
        *last += 1;
        Draft { topic, numbers: Numbers { stream, n: *last, at_ns } }
    }

    /// Events that sessions should have received and have not: those of sessions that were told so by a reset, and those of all others.
    pub(crate) fn lost(&self) -> Lost {
        let mut lost = Lost::default();
        for session in &self.crowd.sessions {
            let count = session.ledger.lost(|stream| self.published[stream as usize]);
            *(if session.resets > 0 { &mut lost.told } else { &mut lost.silently }) += count;
        }
        lost
    }

    /// Serves until `received` events have arrived in all, or nothing has arrived for two seconds: what is then missing is lost.
    pub(crate) fn settle(&mut self, received: u64) -> Result<()> {
        let mut seen = 0;
        let mut moved = Instant::now();
        while self.crowd.tally.received < received && moved.elapsed() < SETTLE_MAX {
            self.turn(Duration::from_millis(100))?;
            if self.crowd.tally.received != seen {
                (seen, moved) = (self.crowd.tally.received, Instant::now());
            }
        }
        Ok(())
    }

    /// Serves until every publish is answered.
    pub(crate) fn answered(&mut self) -> Result<()> {
        let sent = Instant::now();
        while self.publisher.awaited() > 0 {
            self.turn(Duration::from_millis(100))?;
            if sent.elapsed() > STALL_MAX {
                bail!("a publish was not answered within {} s", STALL_MAX.as_secs());
            }
        }
        Ok(())
    }

    /// Starts to measure CPU time.
    pub(crate) fn meter(&self) -> Meter {
        Meter { server: self.server.group.cpu(), own: Group::cpu_of_self(), start: Instant::now() }
    }

    /// What has been used since `meter` was started.
    pub(crate) fn read(&self, meter: &Meter) -> Reading {
        Reading {
            server_ns: self.server.group.cpu().since_ns(&meter.server) as f64,
            own_ns: Group::cpu_of_self().since_ns(&meter.own) as f64,
            seconds: meter.start.elapsed().as_secs_f64(),
        }
    }

    fn state(&self) -> String {
        let counts = &self.crowd.counts;
        let refusal =
            self.publisher.refusal.as_ref().map(|text| format!("; refused: {text}")).unwrap_or_default();
        format!(
            "{} of {} attached, {} received, ended: {:?}{refusal}",
            counts.ready,
            self.crowd.sessions.len(),
            self.crowd.tally.received,
            counts.ended
        )
    }

    fn show_progress(&mut self) {
        let now = self.clock.elapsed();
        let passed = now - self.progress.last;
        if passed < Duration::from_secs(1) {
            return;
        }
        let tally = &self.crowd.tally;
        let rate = (tally.received - self.progress.received) as f64 / passed.as_secs_f64();
        self.progress = Progress { last: now, received: tally.received };
        // Progress is a courtesy: a closed standard error is no reason to stop.
        let _ = writeln!(
            std::io::stderr(),
            "{:>5.0} s  {}: {} of {} sessions, {rate:.0} deliveries/s, {} duplicates, {} reorders",
            now.as_secs_f64(),
            self.label,
            self.crowd.counts.ready,
            self.crowd.sessions.len(),
            tally.duplicates,
            tally.reordered,
        );
    }
}
