//! A connection in memory that delays, splits, holds back and cuts what it carries, as the seed decides.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use events::Chance;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What one direction holds at most before its writer has to wait.
const LANE_BYTES: usize = 4 << 10;

/// Both directions of a connection.
struct Link {
    chance: Chance,
    lanes: [Lane; 2],
    /// The connection is gone, with all that was under way.
    is_cut: bool,
}

#[derive(Default)]
struct Lane {
    /// What is under way, and when each part arrives.
    parcels: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Its writer has said all.
    is_closed: bool,
}

/// One end of a connection.
pub(crate) struct Socket {
    link: Arc<Mutex<Link>>,
    side: usize,
    /// Until the next parcel arrives.
    arrival: Pin<Box<Sleep>>,
}

/// Cuts a connection from outside.
#[derive(Clone)]
pub(crate) struct Scissors(Arc<Mutex<Link>>);

/// The two ends of a new connection.
pub(crate) fn connect(chance: &Chance) -> (Socket, Socket) {
    let link = Link { chance: chance.clone(), lanes: Default::default(), is_cut: false };
    let link = Arc::new(Mutex::new(link));
    let end = |side| Socket {
        link: Arc::clone(&link),
        side,
        arrival: Box::pin(tokio::time::sleep_until(Instant::now())),
    };
    (end(0), end(1))
}

impl Socket {
    pub(crate) fn scissors(&self) -> Scissors {
        Scissors(Arc::clone(&self.link))
    }
}

impl Scissors {
    pub(crate) fn cut(&self) {
        let mut link = self.0.lock();
        link.is_cut = true;
        link.lanes.iter_mut().for_each(Lane::wake);
    }
}

impl Lane {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        let mut link = socket.link.lock();
        if link.is_cut {
            return Poll::Ready(Ok(()));
        }
        let chance = link.chance.clone();
        let lane = &mut link.lanes[1 - socket.side];
        let Some((arrives, bytes)) = lane.parcels.front_mut() else {
            if lane.is_closed {
                return Poll::Ready(Ok(()));
            }
            lane.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if *arrives > Instant::now() {
            socket.arrival.as_mut().reset(*arrives);
            if socket.arrival.as_mut().poll(cx).is_pending() {
                lane.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        let most = bytes.len().min(out.remaining()) as u64;
        let taken = 1 + chance.below(most) as usize;
        out.put_slice(&bytes[..taken]);
        bytes.drain(..taken);
        if bytes.is_empty() {
            lane.parcels.pop_front();
        }
        lane.bytes -= taken;
        lane.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut link = self.link.lock();
        if link.is_cut || link.lanes[1 - self.side].is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let chance = link.chance.clone();
        let lane = &mut link.lanes[self.side];
        let room = LANE_BYTES - lane.bytes;
        if room == 0 {
            lane.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let most = data.len().min(room);
        let taken = if chance.below(3) == 0 { 1 + chance.below(most as u64) as usize } else { most };
        let earliest = lane.parcels.back().map_or_else(Instant::now, |(at, _)| (*at).max(Instant::now()));
        let arrives = earliest + Duration::from_millis(chance.below(25));
        lane.parcels.push_back((arrives, data[..taken].to_vec()));
        lane.bytes += taken;
        lane.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut link = self.link.lock();
        link.lanes[self.side].is_closed = true;
        link.lanes[self.side].wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut link = self.link.lock();
        link.lanes[self.side].is_closed = true;
        link.lanes.iter_mut().for_each(Lane::wake);
    }
}
