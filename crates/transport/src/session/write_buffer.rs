//! The bytes that a session has framed and its socket has not taken yet.

use std::cell::Cell;
use std::sync::Arc;

use crate::unsent::{CountedBytes, UnsentBytes};

/// Framed bytes on their way out. While there are none, no buffer is held: it is the worker's, and
/// serves all its sessions.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer(Option<Box<Frames>>);

#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
    /// How many of them were taken.
    taken: usize,
    /// Bytes that the socket has yet to take until its time to write begins anew.
    owed: usize,
    /// Its part of the unsent bytes of all sessions, once the socket has blocked.
    counted: Option<CountedBytes>,
}

thread_local! {
    /// Where frames are made before they are written.
    static FRAMES: Cell<Option<Box<Frames>>> = const { Cell::new(None) };
}

/// A buffer that has grown past this is given back.
const BYTES_KEPT: usize = 256 << 10;
/// A client that does not read may keep so much of a buffer, however little of it is still to be
/// written.
const BLOCKED_BYTES_KEPT: usize = 4 << 10;
/// A blocked socket has to take an eighth of what is left within the write timeout, and at least so
/// many bytes, or all of fewer. Otherwise a client that reads a byte now and then keeps them
/// forever.
const OWED_BYTES_MIN: usize = 4 << 10;

impl WriteBuffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Has `write` append bytes, perhaps none.
    pub(crate) fn write<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut frames = self.0.take().or_else(|| FRAMES.take()).unwrap_or_default();
        let result = write(&mut frames.bytes);
        self.hold(frames);
        result
    }

    /// What is still to be written.
    pub(crate) fn rest(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |frames| &frames.bytes[frames.taken..])
    }

    /// The next `count` bytes were taken. Says whether the socket has taken as many as it owed.
    pub(crate) fn advance(&mut self, count: usize) -> bool {
        let Some(mut frames) = self.0.take() else { return true };
        frames.taken += count;
        frames.owed = frames.owed.saturating_sub(count);
        let has_progressed = frames.owed == 0;
        self.hold(frames);
        has_progressed
    }

    /// The socket takes no more now. What is left is counted in `unsent`, and no more memory is
    /// held for it than it needs.
    pub(crate) fn block(&mut self, unsent: &Arc<UnsentBytes>) {
        let rest = self.rest().len();
        if let Some(frames) =
            self.0.take_if(|frames| frames.bytes.capacity() > (rest + rest / 4).max(BLOCKED_BYTES_KEPT))
        {
            let bytes = frames.bytes[frames.taken..].to_vec();
            self.0 = Some(Box::new(Frames { bytes, taken: 0, owed: frames.owed, counted: None }));
            give_back(frames);
        }
        if let Some(frames) = &mut self.0 {
            if frames.owed == 0 {
                frames.owed = (rest / 8).max(OWED_BYTES_MIN).min(rest);
            }
            frames.counted = None;
            frames.counted = Some(unsent.count(frames.bytes.capacity()));
        }
    }

    fn hold(&mut self, frames: Box<Frames>) {
        if frames.taken == frames.bytes.len() {
            give_back(frames);
        } else {
            self.0 = Some(frames);
        }
    }
}

/// Leaves a buffer for the next session that this worker runs.
fn give_back(mut frames: Box<Frames>) {
    frames.bytes.clear();
    (frames.taken, frames.owed, frames.counted) = (0, 0, None);
    let kept = FRAMES.take().filter(|kept| kept.bytes.capacity() >= frames.bytes.capacity());
    FRAMES.set(kept.or((frames.bytes.capacity() <= BYTES_KEPT).then_some(frames)));
}
