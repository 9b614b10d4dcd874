//! The session of one client on one connection: it decides what to send next, and when. It is the same
//! for every transport.
//!
//! A session is one future. Each time it is woken it writes what is waiting, reads what the client
//! sent, makes the changes that the application asked for, and does the next thing that is due,
//! until nothing is.
//!
//! * `state`: [`Session`] and what it holds; `terms`: what it was promised.
//! * `states`: the states of topics that the session begins with; `pending_states`: what is still
//!   to be sent of them.
//! * `send`: batches, `hello` and the end; `write`: the bytes on their way to the socket;
//!   `write_buffer`: where they wait.
//! * `receive`: what the client sends; `changes`: what the application changes.
//! * `deadlines`: everything that happens by the clock.

mod changes;
mod deadlines;
mod pending_states;
mod receive;
mod send;
mod state;
mod states;
mod terms;
mod write;
mod write_buffer;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pub use state::Session;
pub use terms::Terms;
use tokio::io::{AsyncRead, AsyncWrite};

use self::deadlines::Moment;
use self::state::Phase;
use crate::close::{ByeReason, Ended};

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Session<S> {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let session = self.get_mut();
        let ended = ready!(session.run(cx));
        session.handle.let_go();
        Poll::Ready(ended)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn run(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        // Read once for each wake-up: the work of one takes no time that a deadline could tell.
        let mut now = self.now();
        // The task is woken once more can be received: until then there is nothing to ask the
        // socket for again.
        let mut listens = false;
        loop {
            let blocked = match self.poll_flush(cx) {
                Poll::Ready(Ok(())) => false,
                Poll::Pending => true,
                Poll::Ready(Err(_)) => return Poll::Ready(self.ended().unwrap_or(Ended::Lost)),
            };
            if !listens {
                if let Poll::Ready(ended) = self.poll_receive(cx) {
                    return Poll::Ready(self.ended().unwrap_or(ended));
                }
                listens = self.may_receive();
            }
            self.make_changes();
            let progressed = match self.phase {
                Phase::Closing(ended) => match self.close_step(ended, blocked, now) {
                    Some(ended) => return Poll::Ready(ended),
                    None => !self.unsent.is_empty() && !blocked,
                },
                Phase::Opening | Phase::Open => match self.overdue(now) {
                    Some(reason) => {
                        self.bye(reason);
                        true
                    }
                    None => self.unsent.is_empty() && self.step(cx, now),
                },
            };
            if !progressed && self.handle.poll_pending(self.revision, cx).is_pending() {
                ready!(self.poll_timer(cx, now));
                now = self.now();
            }
        }
    }

    /// How the session ends now, if it does, with its last bytes on their way. `blocked`: the socket
    /// itself still holds some, as TLS does.
    fn close_step(&self, ended: Ended, blocked: bool, now: Moment) -> Option<Ended> {
        if self.unsent.is_empty() && !blocked && ended == Ended::Answered {
            return Some(ended);
        }
        // Half an answer is useless, and nothing may follow it on this connection.
        let cut = ended == Ended::Answered;
        self.deadlines.is_over(now).then_some(if cut { Ended::Bye(ByeReason::Slow) } else { ended })
    }

    /// Why the session has to end. The end of a token or a stream does not wait for a client that
    /// reads slowly.
    fn overdue(&self, now: Moment) -> Option<ByeReason> {
        if self.deadlines.is_stuck(now) {
            Some(ByeReason::Slow)
        } else if self.deadlines.is_unanswered(now) {
            Some(ByeReason::Silent)
        } else if self.deadlines.is_expired(now) {
            Some(ByeReason::ExpiredToken)
        } else if self.deadlines.is_aged(now) {
            Some(ByeReason::MaxAge)
        } else {
            None
        }
    }

    /// Does the next thing that is due, with nothing left to write. `false`: there is none.
    fn step(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        if self.rare.is_some() && self.phase == Phase::Open && !self.live_due && !self.more {
            self.has_caught_up();
        }
        if self.phase == Phase::Opening {
            self.open(now);
        } else if self.poll_command(cx) {
            // Its reply is among the unsent bytes.
        } else {
            let is_batch_due = self.is_batch_due(cx, now);
            if self.are_states_due() && (!is_batch_due || self.take_states_turn()) {
                self.send_states(now);
            } else if is_batch_due {
                self.send_batch(now, false);
            } else {
                return false;
            }
        }
        true
    }

    fn is_batch_due(&mut self, cx: &mut Context<'_>, now: Moment) -> bool {
        if self.deadlines.is_batch_due(now) {
            return true;
        }
        !self.deadlines.is_spaced(now)
            && (self.more
                || self.live_due
                || self.deadlines.is_ephemeral_due(now)
                || self.reader.poll_ready(cx).is_ready())
    }

    /// Ready when something may be due. A timer that is set too early is left alone: firing once
    /// for nothing costs less than moving it with every batch.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Moment) -> Poll<()> {
        let Some(next) = self.deadlines.next(now, !self.unsent.is_empty()) else { return Poll::Pending };
        if self.sleep.is_elapsed() || next < self.sleep.deadline() {
            self.sleep.as_mut().reset(next);
        }
        self.sleep.as_mut().poll(cx)
    }
}
