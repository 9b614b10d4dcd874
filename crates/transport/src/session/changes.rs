//! What the application changes in a running session.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::state::{Phase, Session};
use super::terms::Terms;
use crate::close::Ended;
use crate::control::Change;
use crate::line::Protocol as _;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Makes the changes that came by the handle, in their order.
    pub(super) fn make_changes(&mut self) {
        for change in self.handle.take() {
            self.make(change);
        }
    }

    pub(super) fn make(&mut self, change: Change) {
        if matches!(self.phase, Phase::Closing(_)) {
            return;
        }
        match change {
            Change::Subscribe(topics) => {
                // With the cursor at the tail, the new topics begin where they are and owe nothing.
                if self.phase == Phase::Open && self.unsent.is_empty() && !self.line.is_answer() {
                    self.send_batch(self.now(), true);
                }
                self.reader.subscribe(&topics);
                self.host.subscribed(&topics, self.reader.cursor());
            }
            Change::Unsubscribe(topics) => self.reader.retain(|topic| !topics.contains(topic)),
            Change::Lens(lens) => self.reader.look_through(lens),
            Change::Expiry(expiry) => {
                let left = expiry.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
                self.deadlines.expire(expiry, Terms::expiring_before(left));
            }
            Change::Bye(bye) => self.say_bye(bye),
            Change::Close(code, reason) => {
                if self.phase == Phase::Opening && self.line.ends_behind_head() {
                    self.open(self.now());
                }
                self.finish_stream(code, reason);
                self.close(Ended::Violation(code));
            }
        }
    }
}
