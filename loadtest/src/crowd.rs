//! All sessions of a side on one epoll set: opening, reading, cutting, and coming back when the server ends a stream.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::dialect::{Attached, Dialect};
use crate::ledger::Tally;
use crate::measure::histogram::Histogram;
use crate::net::poller::{Interest, Poller, Ready};
use crate::net::socket::{self, Read};
use crate::payload::Scanner;
use crate::session::{Findings, Outcome, Phase, Session};

/// How many different reasons of ended connections are kept apart.
const REASONS_MAX: usize = 16;
/// However long a server wants a client away, it tries again after this.
const LEAVE_MAX_MS: u32 = 30_000;

/// What happened to the sessions, beside what they received.
#[derive(Default, Debug)]
pub(crate) struct Counts {
    /// Sessions that are attached now.
    pub ready: usize,
    /// Connections that ended without having been cut by this side, by reason.
    pub ended: BTreeMap<String, u64>,
    /// Resets that the server sent.
    pub resets: u64,
    /// Batches that did not start where the one before ended.
    pub broken: u64,
    /// Bytes that arrived.
    pub bytes: u64,
    /// System calls that brought some.
    pub reads: u64,
    /// Messages (batches) that arrived.
    pub messages: u64,
}

/// The sessions.
pub(crate) struct Crowd {
    /// Every session by its token.
    pub sessions: Vec<Session>,
    /// What they received.
    pub tally: Tally,
    /// What else happened.
    pub counts: Counts,
    /// Publish-to-receive by transport.
    pub latency: [Histogram; 3],
    /// How many may be on their way to being attached at once.
    pub opening_max: usize,
    address: SocketAddr,
    host: String,
    sources: u32,
    dialect: Box<dyn Dialect>,
    scanner: Scanner,
    waiting: VecDeque<usize>,
    returning: Vec<(Instant, usize)>,
    opening: usize,
    scratch: Vec<u8>,
    reply: Vec<u8>,
    clock: Instant,
}

impl Crowd {
    /// No sessions yet, for the server at `address`. With `sources` above zero, connections come from 127.0.0.2 and so many addresses after it in turn.
    pub(crate) fn new(address: SocketAddr, dialect: Box<dyn Dialect>, sources: u32, clock: Instant) -> Self {
        Self {
            sessions: Vec::new(),
            tally: Tally::default(),
            counts: Counts::default(),
            latency: [Histogram::new(), Histogram::new(), Histogram::new()],
            opening_max: 256,
            address,
            host: address.to_string(),
            sources,
            dialect,
            scanner: Scanner::new(),
            waiting: VecDeque::new(),
            returning: Vec::new(),
            opening: 0,
            scratch: vec![0; 256 << 10],
            reply: Vec::new(),
            clock,
        }
    }

    /// Adds a session and puts it in line to be connected.
    pub(crate) fn join(&mut self, session: Session) {
        self.waiting.push_back(self.sessions.len());
        self.sessions.push(session);
    }

    /// Puts a cut session in line again.
    pub(crate) fn reopen(&mut self, index: usize) {
        self.waiting.push_back(index);
    }

    /// Whether every session is attached.
    pub(crate) fn is_complete(&self) -> bool {
        self.counts.ready == self.sessions.len()
    }

    /// Starts connections, as far as `opening_max` allows.
    pub(crate) fn open_waiting(&mut self, poller: &Poller) -> io::Result<()> {
        if !self.returning.is_empty() {
            let now = Instant::now();
            let waiting = &mut self.waiting;
            self.returning.retain(|&(at, index)| {
                if at <= now {
                    waiting.push_back(index);
                }
                at > now
            });
        }
        while self.opening < self.opening_max {
            let Some(index) = self.waiting.pop_front() else { break };
            let source =
                (self.sources > 0).then(|| Ipv4Addr::from(0x7f00_0002 + index as u32 % self.sources));
            let fd = socket::connect(self.address, source)?;
            poller.add(&fd, index as u64, Interest::Write)?;
            let session = &mut self.sessions[index];
            session.phase = Phase::Connecting;
            session.socket = Some(fd);
            self.opening += 1;
        }
        Ok(())
    }

    /// Ends a session's connection without a word, as a lost network would.
    pub(crate) fn cut(&mut self, index: usize) {
        self.count_out(index);
        if let Some(fd) = self.sessions[index].detach() {
            socket::cut(fd);
        }
    }

    /// Makes a session a slow reader, or a normal one again.
    pub(crate) fn set_reading(&mut self, index: usize, reading: bool, poller: &Poller) -> io::Result<()> {
        let session = &mut self.sessions[index];
        session.reading = reading;
        match &session.socket {
            Some(_) if matches!(session.phase, Phase::Connecting) => Ok(()),
            Some(fd) => {
                poller.set(fd, index as u64, if reading { Interest::Read } else { Interest::Nothing })
            }
            None => Ok(()),
        }
    }

    /// Serves one session that is ready for something.
    pub(crate) fn serve(&mut self, ready: Ready, poller: &Poller) -> io::Result<()> {
        let index = ready.token as usize;
        let Some(session) = self.sessions.get_mut(index) else { return Ok(()) };
        let Some(fd) = &session.socket else { return Ok(()) };
        if matches!(session.phase, Phase::Connecting) {
            if let Err(error) = socket::connected(fd) {
                self.ended(index, &format!("not connected: {}", error.kind()));
                return Ok(());
            }
            if ready.writable {
                session.phase = Phase::Head;
                poller.set(
                    fd,
                    ready.token,
                    if session.reading { Interest::Read } else { Interest::Nothing },
                )?;
                self.reply.clear();
                self.dialect.request(&session.ask(&self.host), &mut self.reply);
                if self.dialect.attached(session.transport) == Attached::Request {
                    session.ready = true;
                    self.counts.ready += 1;
                    self.opening -= 1;
                }
                self.send_reply(index);
            }
            return Ok(());
        }
        if !session.reading {
            // Reported although nothing was asked for: the connection is gone.
            self.ended(index, "ended while not reading");
            return Ok(());
        }
        self.read(index);
        Ok(())
    }

    fn read(&mut self, index: usize) {
        // A bounded number of reads, so that one busy session does not keep the others waiting.
        for _ in 0..4 {
            let session = &mut self.sessions[index];
            let Some(fd) = &session.socket else { return };
            let count = match socket::read(fd, &mut self.scratch) {
                Read::Bytes(count) => count,
                Read::Empty => return,
                Read::End => return self.ended(index, "end of connection"),
            };
            self.counts.bytes += count as u64;
            self.counts.reads += 1;
            self.reply.clear();
            let mut findings = Findings {
                dialect: &*self.dialect,
                scanner: &self.scanner,
                tally: &mut self.tally,
                latency: &mut self.latency[session.transport as usize],
                now_ns: self.clock.elapsed().as_nanos() as u64,
                reply: &mut self.reply,
                outcome: Outcome::default(),
            };
            session.arrived(&self.scratch[..count], &mut findings);
            let outcome = findings.outcome;
            self.counts.resets += outcome.resets;
            self.counts.broken += outcome.broken;
            self.counts.messages += outcome.messages;
            if outcome.became_ready {
                self.counts.ready += 1;
                self.opening -= 1;
            }
            if outcome.ask_again {
                self.dialect.request(&session.ask(&self.host), &mut self.reply);
            }
            if let Some(reason) = outcome.ended {
                return self.ended(index, &reason);
            }
            if !self.reply.is_empty() {
                self.send_reply(index);
            }
            if count < self.scratch.len() {
                return;
            }
        }
    }

    /// Clients say little, so what they say fits in the socket's buffer, or the connection is of no use.
    fn send_reply(&mut self, index: usize) {
        let Some(fd) = &self.sessions[index].socket else { return };
        if socket::write(fd, &self.reply) != Some(self.reply.len()) {
            self.ended(index, "not writable");
        }
    }

    /// The connection ended without having been cut here: the session comes back with its position, when the server asked it to.
    fn ended(&mut self, index: usize, reason: &str) {
        if self.counts.ended.len() < REASONS_MAX || self.counts.ended.contains_key(reason) {
            *self.counts.ended.entry(reason.to_owned()).or_default() += 1;
        }
        self.count_out(index);
        let session = &mut self.sessions[index];
        drop(session.detach());
        session.reading = true;
        let wait = Duration::from_millis(u64::from(session.leave_ms.take().unwrap_or(100).min(LEAVE_MAX_MS)));
        self.returning.push((Instant::now() + wait, index));
    }

    fn count_out(&mut self, index: usize) {
        let session = &self.sessions[index];
        match (session.ready, &session.socket) {
            (true, _) => self.counts.ready -= 1,
            (false, Some(_)) => self.opening -= 1,
            (false, None) => {}
        }
    }
}
