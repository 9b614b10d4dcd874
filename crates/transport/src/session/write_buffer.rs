//! What a session has framed and its socket has not taken yet.

use std::cell::Cell;

/// Framed bytes on their way out. While there are none, no buffer is held: it is the worker's, and
/// serves all its sessions.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer(Option<Box<Frames>>);

#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
    /// How many of them were taken.
    taken: usize,
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

    /// The next `count` bytes were taken.
    pub(crate) fn advance(&mut self, count: usize) {
        if let Some(mut frames) = self.0.take() {
            frames.taken += count;
            self.hold(frames);
        }
    }

    /// A client that does not read holds up what it has not read, and not the buffer in which that
    /// was made.
    pub(crate) fn keep_only_the_rest(&mut self) {
        let rest = self.rest().len();
        if let Some(frames) =
            self.0.take_if(|frames| frames.bytes.capacity() > (2 * rest).max(BLOCKED_BYTES_KEPT))
        {
            self.0 = Some(Box::new(Frames { bytes: frames.bytes[frames.taken..].to_vec(), taken: 0 }));
            give_back(frames);
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
    frames.taken = 0;
    let kept = FRAMES.take().filter(|kept| kept.bytes.capacity() >= frames.bytes.capacity());
    FRAMES.set(kept.or((frames.bytes.capacity() <= BYTES_KEPT).then_some(frames)));
}
