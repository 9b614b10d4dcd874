//! The states that a session begins with: in parts, between its batches.
//!
//! A part has what a topic's state was at one point of the log, and batches carry what changed behind it. So neither waits
//! for the other: a client that takes long for a large state gets what is published meanwhile.

use std::collections::VecDeque;

use events::{Event, Limit, Reset, Seq, Topic};
use tokio::io::{AsyncRead, AsyncWrite};

use super::deadlines::Moment;
use super::pending_states::{Pending, States};
use super::send::ENVELOPE_BYTES;
use super::state::Session;
use crate::batch::Batch;
use crate::control::Sent;
use crate::line::Protocol as _;
use crate::state_part::StatePart;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn states(&mut self) -> Option<&mut States> {
        self.rare.as_mut()?.states.as_mut()
    }

    /// Whether a state has not been sent whole: the cursor that the client has is not enough to go on with.
    pub(super) fn has_states_pending(&self) -> bool {
        let states = self.rare.as_ref().and_then(|rare| rare.states.as_ref());
        states.is_some_and(States::are_pending)
    }

    /// Begins the states of those topics that keep one: of all when the session begins, and of those of which a reset says
    /// that something is missing. Gives their names.
    pub(super) fn begin_states(&mut self, reset: Option<&Reset>) -> Vec<Topic> {
        let Some(states) = self.states() else { return Vec::new() };
        let begins = std::mem::take(&mut states.begins);
        let pending = std::mem::take(&mut states.pending);
        let is_named = |topic: &Topic| match reset {
            None => begins,
            // What had not been sent whole begins again too: a new point serves all.
            Some(reset) => {
                reset.topics.contains(topic) || pending.iter().any(|pending| pending.topic == *topic)
            }
        };
        let mut topics = self.reader.topics_with_state();
        topics.retain(is_named);
        self.begin_states_of(&topics);
        topics
    }

    /// Begins the states of topics that the session has from now on, if it wants states.
    pub(super) fn begin_states_of_new(&mut self, added: &[Topic]) {
        if self.states().is_some() {
            let mut topics = self.reader.topics_with_state();
            topics.retain(|topic| added.contains(topic));
            self.begin_states_of(&topics);
        }
    }

    fn begin_states_of(&mut self, topics: &[Topic]) {
        if topics.is_empty() {
            return;
        }
        let point = self.reader.begin_state(topics);
        let begun = topics.iter().map(|topic| Pending { topic: topic.clone(), point, after: Seq::ZERO });
        if let Some(states) = self.states() {
            states.pending.extend(begun);
        }
    }

    /// Whether a part can be sent. The reader reads up to the point first: only from there on, a cursor together with the
    /// whole state is enough to go on with.
    pub(super) fn are_states_due(&self) -> bool {
        let states = self.rare.as_ref().and_then(|rare| rare.states.as_ref());
        let first = states.and_then(|states| states.pending.front());
        first.is_some_and(|first| self.reader.cursor().seq >= first.point.seq)
    }

    /// Whether the next part goes before a batch that is due too. They take turns.
    pub(super) fn take_states_turn(&mut self) -> bool {
        let Some(states) = self.states() else { return false };
        states.yields = !states.yields;
        states.yields
    }

    /// Sends the next parts, as many as may be framed at once.
    pub(super) fn send_states(&mut self, now: Moment) {
        let most = self.host.unsent().batch_bytes(self.limit[1] as usize);
        loop {
            let parts = self.next_parts(most.saturating_sub(ENVELOPE_BYTES), false);
            if parts.is_empty() {
                return;
            }
            let at = self.sent_up_to;
            let bytes = self.write(&Batch { state: &parts, ..Batch::new(at, at, &[]) });
            let events = parts.iter().map(|part| part.events.len()).sum();
            self.host.sent(Sent { events, bytes, cursor: at, latency_us: None, lag: self.reader.lag() });
            self.deadlines.batch_sent(now, true, self.line.pong_timeout());
            if !self.has_room() {
                return;
            }
        }
    }

    /// The parts of an answer: something of each topic, with a `next` where the answer does not hold all.
    pub(super) fn answer_parts(&mut self) -> Vec<StatePart> {
        if !self.has_states_pending() {
            return Vec::new();
        }
        let most = self.host.unsent().batch_bytes(self.limit[1] as usize);
        self.next_parts(most, true)
    }

    /// Reads the next parts of up to `room` bytes together. `names_all`: those that do not fit are named without events.
    fn next_parts(&mut self, room: usize, names_all: bool) -> Vec<StatePart> {
        loop {
            let (parts, pending) = self.read_parts(room, names_all);
            // The access may have changed while the states were read.
            if self.is_in_line() {
                if let Some(states) = self.states() {
                    states.pending = pending;
                }
                return parts;
            }
            self.narrow();
        }
    }

    fn read_parts(&mut self, mut room: usize, names_all: bool) -> (Vec<StatePart>, VecDeque<Pending>) {
        let mut pending = self.states().map(|states| states.pending.clone()).unwrap_or_default();
        let mut parts: Vec<StatePart> = Vec::new();
        let mut is_full = false;
        while let Some(Pending { topic, point, after }) = pending.front_mut() {
            let envelope = StatePart::ENVELOPE_BYTES + topic.as_str().len();
            let mut part = StatePart {
                topic: topic.clone(),
                cursor: *point,
                partial: false,
                next: Some(*after),
                events: Vec::new(),
            };
            if !is_full {
                let limit = Limit { events: self.limit[0] as usize, bytes: room.saturating_sub(envelope) };
                let Some(read) = self.reader.state(topic, *after, point.seq, limit, &mut part.events) else {
                    // The session does not have the topic any more.
                    pending.pop_front();
                    continue;
                };
                let bytes =
                    envelope + part.events.iter().map(|event| Event::json(event).len() + 1).sum::<usize>();
                is_full = bytes > room && !parts.is_empty();
                if is_full {
                    part.events.clear();
                } else {
                    (part.partial, part.next) = (read.partial, read.next);
                    room = room.saturating_sub(bytes);
                }
            }
            if is_full && !names_all {
                break;
            }
            let next = part.next;
            parts.push(part);
            match next {
                Some(next) if !names_all => {
                    *after = next;
                    break;
                }
                // The client asks for the rest of an answer on its own.
                Some(_) => is_full = true,
                None => {}
            }
            pending.pop_front();
        }
        (parts, pending)
    }
}
