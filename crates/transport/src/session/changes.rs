//! What the application changes in a running session: its access, and its end.

use std::collections::HashSet;

use events::Topic;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::state::{Phase, Session};
use crate::close::{CloseCode, Ended};
use crate::control::End;
use crate::line::Protocol as _;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Makes the changes that the application asked for.
    pub(super) fn make_changes(&mut self) {
        self.follow();
        if let Some(end) = self.handle.take_end() {
            self.end(end);
        }
    }

    /// Whether the reader is in line with the session's access, except for topics to be added.
    pub(super) fn is_in_line(&self) -> bool {
        self.handle.revision() == self.revision
    }

    /// Brings the reader in line with the session's access. With [`Self::narrow`] the only place
    /// where a session's topics change.
    pub(super) fn follow(&mut self) {
        if !self.is_in_line() {
            self.narrow();
        }
        if !self.adds_topics || matches!(self.phase, Phase::Closing(_)) {
            return;
        }
        // With the cursor at the tail, the new topics begin where they are and owe nothing.
        if self.phase == Phase::Open && self.unsent.is_empty() && !self.line.is_answer() {
            self.send_batch(self.now(), true);
        }
        self.adds_topics = false;
        let mut access = self.host.access();
        let added = access.topics.split_off(access.topics.len() - access.added);
        self.reader.subscribe(&added);
        self.begin_states_of_new(&added);
        self.host.subscribed(&added, self.reader.cursor());
        if self.line.topics_added() && self.phase == Phase::Open {
            self.send_batch(self.now(), true);
        }
    }

    /// Takes from the reader what the access does not allow any more. What it adds waits for
    /// [`Self::follow`].
    pub(super) fn narrow(&mut self) {
        // Read first: a change after this is followed the next time.
        self.revision = self.handle.revision();
        if matches!(self.phase, Phase::Closing(_)) {
            return;
        }
        let access = self.host.access();
        let (kept, added) = access.topics.split_at(access.topics.len() - access.added);
        let kept: HashSet<&Topic> = kept.iter().collect();
        self.reader.retain(|topic| kept.contains(topic));
        self.reader.look_through(access.lens);
        self.deadlines.expire(access.expiry, access.expiring_before);
        self.adds_topics = !added.is_empty();
    }

    /// Ends the session as the application asked for.
    pub(super) fn end(&mut self, end: End) {
        if matches!(self.phase, Phase::Closing(_)) {
            return;
        }
        match end {
            End::Bye(bye) => self.say_bye(bye),
            End::Answer => {
                if self.line.is_answer() {
                    self.deadlines.wait_until(Instant::now());
                }
            }
            End::Close(code, reason) => {
                if self.phase == Phase::Opening && self.line.ends_behind_head() {
                    self.open(self.now());
                }
                self.finish_stream(code, reason);
                self.close(Ended::Violation(code));
            }
            End::Client => {
                if self.phase == Phase::Open && !self.line.is_answer() {
                    self.finish_stream(CloseCode::NORMAL, "");
                }
                self.close(Ended::Client);
            }
        }
    }
}
