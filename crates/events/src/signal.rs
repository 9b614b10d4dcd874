//! One reader's doorbell: a hint that there may be something to read, never the thing itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;

/// Shared by a reader and every topic it reads, so that many events ring once.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    raised: AtomicBool,
    waker: AtomicWaker,
}

impl Signal {
    /// Says that something may be there. Called after the tail has moved.
    pub(crate) fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Takes the hint back before looking. Whoever raises it later wakes again, and whoever raised it
    /// earlier has moved the tail before: the exchange makes that move visible here.
    pub(crate) fn lower(&self) {
        self.raised.swap(false, Ordering::AcqRel);
    }

    /// Ready when raised since it was last lowered.
    pub(crate) fn poll_raised(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.raised.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        if self.raised.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}
