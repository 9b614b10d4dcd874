//! The floor: the least that a server can do for a delivery. One thread, one epoll set, one write(2) of one finished frame to each
//! session. What a gateway needs beyond it is what its features cost.
//!
//! It understands just enough to stand where a gateway stands: `GET /TOPIC` with a WebSocket handshake attaches a session,
//! `POST /publish` with lines of `TOPIC DATA` sends a frame to each session of the topic and then answers.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::net::http::Head;
use crate::net::poller::{Interest, Poller, Ready};
use crate::net::socket::{self, Read};
use crate::net::websocket;

/// The largest backlog of one session; one that is further behind is cut.
const UNSENT_MAX: usize = 16 << 20;

/// How the floor behaves.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Length of a frame on the wire, head included; data that is longer makes it longer
    #[arg(long, default_value_t = 220)]
    pub frame_bytes: usize,
    /// Join the frames that are there at once into one write a session
    #[arg(long)]
    pub join: bool,
    /// Deliver wrongly on purpose, to see that the generator notices
    #[arg(long)]
    pub fault: Option<Fault>,
}

/// Wrong deliveries, each at every seventh event of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fault {
    /// It is not delivered.
    Lose,
    /// It is delivered twice.
    Repeat,
    /// It is delivered after the next one.
    Swap,
}

struct Peer {
    socket: OwnedFd,
    partial: Vec<u8>,
    unsent: Vec<u8>,
    is_behind: bool,
    is_session: bool,
    delivered: u64,
    held: Vec<u8>,
}

struct Floor {
    options: Options,
    poller: Poller,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    /// The place of each topic in `sessions`.
    topics: HashMap<Vec<u8>, usize>,
    sessions: Vec<Vec<usize>>,
    scratch: Vec<u8>,
    /// With `join`: what this turn has for each topic.
    pending: HashMap<Vec<u8>, Vec<u8>>,
    answers: Vec<usize>,
}

/// Serves until the process is ended.
pub(crate) fn serve(options: Options) -> Result<()> {
    let (listener, address) = socket::listen(options.port)?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on http://{address}")?;
    stdout.flush()?;
    let mut floor = Floor {
        options,
        poller: Poller::new()?,
        peers: Vec::new(),
        free: Vec::new(),
        topics: HashMap::new(),
        sessions: Vec::new(),
        scratch: vec![0; 256 << 10],
        pending: HashMap::new(),
        answers: Vec::new(),
    };
    floor.poller.add(&listener, u64::MAX, Interest::Read)?;
    let mut ready = Vec::new();
    loop {
        floor.poller.wait(Duration::from_secs(3600), &mut ready)?;
        for &one in &ready {
            if one.token == u64::MAX {
                floor.accept(&listener)?;
            } else {
                floor.serve(one)?;
            }
        }
        floor.end_of_turn();
    }
}

impl Fault {
    /// The option's value.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lose => "lose",
            Self::Repeat => "repeat",
            Self::Swap => "swap",
        }
    }
}

impl Floor {
    fn accept(&mut self, listener: &OwnedFd) -> Result<()> {
        while let Some(socket) = socket::accept(listener)? {
            let index = self.free.pop().unwrap_or_else(|| {
                self.peers.push(None);
                self.peers.len() - 1
            });
            self.poller.add(&socket, index as u64, Interest::Read)?;
            self.peers[index] = Some(Peer {
                socket,
                partial: Vec::new(),
                unsent: Vec::new(),
                is_behind: false,
                is_session: false,
                delivered: 0,
                held: Vec::new(),
            });
        }
        Ok(())
    }

    fn serve(&mut self, ready: Ready) -> Result<()> {
        let index = ready.token as usize;
        let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) else { return Ok(()) };
        if ready.writable && !peer.unsent.is_empty() {
            let unsent = std::mem::take(&mut peer.unsent);
            self.write(index, &unsent);
        }
        let Some(peer) = self.peers[index].as_mut() else { return Ok(()) };
        match socket::read(&peer.socket, &mut self.scratch) {
            Read::Empty => {}
            Read::End => self.remove(index),
            // What sessions say (pongs) means nothing here.
            Read::Bytes(_) if peer.is_session => {}
            Read::Bytes(count) => {
                peer.partial.extend_from_slice(&self.scratch[..count]);
                let partial = std::mem::take(&mut peer.partial);
                let used = self.requests(index, &partial);
                if let Some(peer) = self.peers[index].as_mut() {
                    peer.partial = if used == partial.len() { Vec::new() } else { partial[used..].to_vec() };
                }
            }
        }
        Ok(())
    }

    fn requests(&mut self, index: usize, bytes: &[u8]) -> usize {
        let mut used = 0;
        while let Some(head) = Head::parse(&bytes[used..]) {
            let start = used + head.bytes.len();
            let mut words = head.bytes.split(|&byte| byte == b' ');
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            if method == b"GET" {
                let topic = path.strip_prefix(b"/").unwrap_or(path).to_vec();
                self.attach(index, topic);
                return bytes.len();
            }
            let length = head.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
            let Some(body) = bytes.get(start..start + length) else { break };
            for line in body.split(|&byte| byte == b'\n') {
                if let Some(space) = memchr::memchr(b' ', line) {
                    self.publish(&line[..space], &line[space + 1..]);
                }
            }
            self.answers.push(index);
            used = start + length;
        }
        used
    }

    fn attach(&mut self, index: usize, topic: Vec<u8>) {
        let place = *self.topics.entry(topic).or_insert_with(|| {
            self.sessions.push(Vec::new());
            self.sessions.len() - 1
        });
        self.sessions[place].push(index);
        if let Some(peer) = self.peers[index].as_mut() {
            peer.is_session = true;
        }
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            websocket::ACCEPT
        );
        self.write(index, answer.as_bytes());
    }

    fn publish(&mut self, topic: &[u8], data: &[u8]) {
        let mut frame = Vec::with_capacity(self.options.frame_bytes);
        // Four bytes of head for payloads of 126 bytes and more.
        let length = data.len().max(self.options.frame_bytes.saturating_sub(4));
        websocket::write_server_head(&mut frame, websocket::TEXT, length);
        frame.extend_from_slice(data);
        frame.resize(frame.len() + length - data.len(), b' ');
        if self.options.join {
            self.pending.entry(topic.to_vec()).or_default().extend_from_slice(&frame);
            return;
        }
        self.deliver(topic, &frame);
    }

    fn deliver(&mut self, topic: &[u8], frame: &[u8]) {
        let Some(&place) = self.topics.get(topic) else { return };
        let mut sessions = std::mem::take(&mut self.sessions[place]);
        for &index in &sessions {
            match self.options.fault {
                None => self.write(index, frame),
                Some(fault) => self.write_wrongly(index, frame, fault),
            }
        }
        // A session whose write failed is gone.
        sessions.retain(|&index| self.peers[index].is_some());
        self.sessions[place] = sessions;
    }

    fn end_of_turn(&mut self) {
        for (topic, frames) in std::mem::take(&mut self.pending) {
            self.deliver(&topic, &frames);
        }
        for index in std::mem::take(&mut self.answers) {
            self.write(index, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        }
    }

    fn write_wrongly(&mut self, index: usize, frame: &[u8], fault: Fault) {
        let Some(peer) = self.peers[index].as_mut() else { return };
        peer.delivered += 1;
        let seventh = peer.delivered.is_multiple_of(7);
        let held = std::mem::take(&mut peer.held);
        match fault {
            Fault::Lose if seventh => return,
            Fault::Swap if seventh => {
                peer.held = frame.to_vec();
                return;
            }
            Fault::Repeat if seventh => self.write(index, frame),
            _ => {}
        }
        self.write(index, frame);
        if !held.is_empty() {
            self.write(index, &held);
        }
    }

    fn write(&mut self, index: usize, bytes: &[u8]) {
        let Some(peer) = self.peers[index].as_mut() else { return };
        if !peer.unsent.is_empty() {
            peer.unsent.extend_from_slice(bytes);
            if peer.unsent.len() > UNSENT_MAX {
                self.remove(index);
            }
            return;
        }
        let count = match rustix::io::write(&peer.socket, bytes) {
            Ok(count) => count,
            Err(rustix::io::Errno::AGAIN) => 0,
            Err(_) => return self.remove(index),
        };
        let is_behind = count < bytes.len();
        peer.unsent.extend_from_slice(&bytes[count..]);
        if is_behind != peer.is_behind {
            peer.is_behind = is_behind;
            let interest = if is_behind { Interest::Both } else { Interest::Read };
            if self.poller.set(&peer.socket, index as u64, interest).is_err() {
                self.remove(index);
            }
        }
    }

    fn remove(&mut self, index: usize) {
        if self.peers[index].take().is_some_and(|peer| peer.is_session) {
            for sessions in &mut self.sessions {
                sessions.retain(|&session| session != index);
            }
        }
        self.free.push(index);
    }
}
