//! Publishing over keep-alive HTTP connections ("lanes"), each with its requests in order.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::dialect::{Dialect, Draft};
use crate::measure::histogram::Histogram;
use crate::net::chunked::Chunked;
use crate::net::http::{Body, Head};
use crate::net::poller::{Interest, Poller, Ready};
use crate::net::socket::{self, Read};

/// Lanes have the tokens from here on; sessions those below.
pub(crate) const FIRST_TOKEN: u64 = 1 << 32;

/// The lanes.
pub(crate) struct Publisher {
    lanes: Vec<Lane>,
    dialect: Box<dyn Dialect>,
    address: SocketAddr,
    host: String,
    data_bytes: usize,
    clock: Instant,
    scratch: Vec<u8>,
    /// From the request's first byte to the last of its answers.
    pub acknowledged: Histogram,
    /// Answers that were not a plain success.
    pub refused: u64,
    /// The first of them.
    pub refusal: Option<String>,
}

struct Lane {
    /// None before the first publish, and after the server has ended an idle connection.
    socket: Option<OwnedFd>,
    unsent: Vec<u8>,
    /// Whether the socket is waited on for room.
    is_behind: bool,
    partial: Vec<u8>,
    awaited: VecDeque<u64>,
}

impl Publisher {
    /// `count` lanes, each connected with its first publish.
    pub(crate) fn new(
        address: SocketAddr,
        dialect: Box<dyn Dialect>,
        count: usize,
        data_bytes: usize,
        clock: Instant,
    ) -> Self {
        let lane = || Lane {
            socket: None,
            unsent: Vec::new(),
            is_behind: false,
            partial: Vec::new(),
            awaited: VecDeque::new(),
        };
        Self {
            lanes: (0..count).map(|_| lane()).collect(),
            dialect,
            address,
            host: address.to_string(),
            data_bytes,
            clock,
            scratch: vec![0; 64 << 10],
            acknowledged: Histogram::new(),
            refused: 0,
            refusal: None,
        }
    }

    /// How many lanes there are.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Whether every answer of a lane has come.
    pub(crate) fn is_idle(&self, lane: usize) -> bool {
        self.lanes[lane].awaited.is_empty()
    }

    /// How many answers are awaited in all.
    pub(crate) fn awaited(&self) -> usize {
        self.lanes.iter().map(|lane| lane.awaited.len()).sum()
    }

    /// Publishes `drafts` over a lane, behind what it has not yet sent.
    pub(crate) fn publish(&mut self, lane: usize, drafts: &[Draft], poller: &Poller) -> Result<()> {
        let now_ns = self.now_ns();
        let token = FIRST_TOKEN + lane as u64;
        let lane = &mut self.lanes[lane];
        let answers = self.dialect.publish(&self.host, drafts, self.data_bytes, &mut lane.unsent);
        lane.awaited.extend(std::iter::repeat_n(now_ns, answers));
        lane.connect(self.address, token, poller)?;
        lane.flush(token, poller)
    }

    /// Serves a lane that is ready for something.
    pub(crate) fn serve(&mut self, ready: Ready, poller: &Poller) -> Result<()> {
        let index = (ready.token - FIRST_TOKEN) as usize;
        if ready.writable && !self.lanes[index].unsent.is_empty() {
            self.lanes[index].flush(ready.token, poller)?;
        }
        while let Some(socket) = &self.lanes[index].socket {
            match socket::read(socket, &mut self.scratch) {
                Read::Empty => return Ok(()),
                // A server may end a keep-alive connection between two requests, and say why before it does.
                Read::End if self.lanes[index].awaited.is_empty() => self.lanes[index].socket = None,
                Read::Bytes(_) if self.lanes[index].awaited.is_empty() => {}
                Read::End => bail!("the server ended a publishing connection before it had answered"),
                Read::Bytes(count) => {
                    self.lanes[index].partial.extend_from_slice(&self.scratch[..count]);
                    self.read_answers(index)?;
                    if count < self.scratch.len() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn read_answers(&mut self, index: usize) -> Result<()> {
        let now_ns = self.now_ns();
        let lane = &mut self.lanes[index];
        let mut used = 0;
        while let Some(head) = Head::parse(&lane.partial[used..]) {
            let start = used + head.bytes.len();
            if head.status == 100 {
                used = start;
                continue;
            }
            let status = head.status;
            let Some((body, length)) = body_of(head.body(), &lane.partial[start..])? else { break };
            let Some(sent_ns) = lane.awaited.pop_front() else { bail!("an answer without a request") };
            self.acknowledged.enter(now_ns.saturating_sub(sent_ns));
            let failed = memchr::memmem::find(&body, b"\"error\"").is_some();
            if !(200..300).contains(&status) || failed {
                self.refused += 1;
                let text = || format!("{} {}", status, String::from_utf8_lossy(&body[..body.len().min(300)]));
                self.refusal.get_or_insert_with(text);
            }
            used = start + length;
        }
        lane.partial.drain(..used);
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }
}

/// The body at the start of `bytes` and how many of them it takes, or `None` while it is incomplete.
fn body_of(kind: Body, bytes: &[u8]) -> Result<Option<(Cow<'_, [u8]>, usize)>> {
    match kind {
        Body::Length(length) => Ok(bytes.get(..length).map(|body| (Cow::Borrowed(body), length))),
        Body::Chunked => {
            let (mut decoder, mut body) = (Chunked::new(), Vec::new());
            let used = decoder
                .read(bytes, |data| body.extend_from_slice(data))
                .context("an answer that is not in chunks")?;
            Ok(decoder.is_done().then_some((Cow::Owned(body), used)))
        }
        Body::UntilClose => bail!("an answer to a publish has no length"),
    }
}

impl Lane {
    fn connect(&mut self, address: SocketAddr, token: u64, poller: &Poller) -> io::Result<()> {
        if self.socket.is_none() {
            let socket = socket::connect(address, None)?;
            poller.add(&socket, token, Interest::Read)?;
            self.partial.clear();
            self.is_behind = false;
            self.socket = Some(socket);
        }
        Ok(())
    }

    fn flush(&mut self, token: u64, poller: &Poller) -> Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let sent = match socket::write(socket, &self.unsent) {
            Some(count) => count,
            // Before the connection is there, writing fails without an error on the socket.
            None if matches!(rustix::net::sockopt::socket_error(socket), Ok(Ok(()))) => 0,
            None => bail!("a publishing connection is gone"),
        };
        self.unsent.drain(..sent);
        if self.is_behind == self.unsent.is_empty() {
            self.is_behind = !self.unsent.is_empty();
            poller.set(socket, token, if self.is_behind { Interest::Both } else { Interest::Read })?;
        }
        Ok(())
    }
}
