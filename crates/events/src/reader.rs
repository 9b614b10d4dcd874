//! One cursor over many topics. Replay and live delivery are the same read.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::lineage::Lineage;
use crate::log::History;
use crate::merge::{Incomplete, Look, Merge, Overtaken, Selection, Wants};
use crate::seen_by::{self, SeenBy};
use crate::sight::{Lens, Sight};
use crate::signal::Signal;
use crate::view::View;
use crate::{Cursor, Event, Limit, Located, Log, Seq, StateRead, Topic, TypeFilter};

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what comes from now on.
    Latest,
    /// With everything that is retained; what is not is no reason for a reset.
    Earliest,
    /// After a point of the log's history, which a [`Located::Here`] gave. If it is none any more by the time that the
    /// reader is made, the first read is the reset that says so.
    After(Cursor),
    /// After a point of the log's history that is not where the client was: the first read is the reset that says so.
    Broken(ResetReason, Cursor),
}

/// Why events may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// Older than the ring.
    Expired,
    /// History was lost.
    Epoch,
    /// The store itself is behind the client's cursor.
    Ahead,
}

impl ResetReason {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Epoch => "epoch",
            Self::Ahead => "ahead",
        }
    }
}

/// Events of `topics` may be missing; the reader goes on from `at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Why.
    pub reason: ResetReason,
    /// The topics that may lack events; the others are complete.
    pub topics: Vec<Topic>,
    /// From where the reader goes on.
    pub at: Cursor,
}

/// What one read covered: every event of the reader's topics in (`after`, `cursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The cursor before.
    pub after: Cursor,
    /// The cursor now.
    pub cursor: Cursor,
    /// More is there already.
    pub more: bool,
    /// The number of the last ephemeral event passed before.
    ephemeral_after: u64,
}

/// A cursor over a set of topics. It queues nothing: it looks into the rings when asked.
#[derive(Debug)]
pub struct Reader {
    log: Arc<Log>,
    signal: Arc<Signal>,
    views: Box<[View]>,
    /// Rare, so that a reader that sees everything pays one pointer.
    sight: Option<Box<Sight>>,
    /// Whether it reads the latest-only events too, which topics keep apart from their rings.
    reads_latest_only: bool,
    lineage: Arc<Lineage>,
    /// The log's shape when `lineage` was taken. It wraps: no reader sleeps through 2^32 shapes.
    shape: u32,
    cursor: Cursor,
    /// The number of the last ephemeral event passed.
    ephemeral: u64,
    /// Whether reads leave the ephemeral events where they are.
    holds_ephemeral: bool,
    /// A reset that the next read gives.
    broken: Option<ResetReason>,
    /// What the last batch left behind: everything above the cursor up to a seq. `None`: the next read looks for it.
    merge: Option<Box<Merge>>,
}

impl Reader {
    /// A reader of `topics` (each once, in the order in which an event of several is attributed).
    #[must_use]
    pub fn new(log: &Arc<Log>, topics: &[Topic], types: Option<TypeFilter>, start: Start) -> Self {
        let signal = Arc::new(Signal::default());
        let attached = log.attach(topics, &signal);
        let ephemeral = log.ephemeral_tail();
        let History { lineage, shape, tail } = log.history();
        let mut views: Box<[View]> = attached.into_iter().map(View::new).collect();
        let (cursor, broken) = match start {
            Start::Latest => (lineage.cursor(tail), None),
            Start::After(cursor) => go_on(&lineage, cursor, tail, None),
            Start::Broken(reason, cursor) => go_on(&lineage, cursor, tail, Some(reason)),
            Start::Earliest => {
                for view in &mut views {
                    view.excused =
                        view.topic.read(|ring| ring.floor().max(ring.latest_floor())).max(log.since());
                }
                let floor = |view: &View| view.topic.read(|ring| ring.floor()).max(log.since());
                let at = views.iter().map(floor).min().unwrap_or(tail);
                (lineage.cursor(at), None)
            }
        };
        Self {
            log: Arc::clone(log),
            signal,
            views,
            sight: types.map(|types| Box::new(Sight::of_types(types))),
            reads_latest_only: true,
            lineage,
            shape,
            cursor,
            ephemeral,
            holds_ephemeral: false,
            broken,
            merge: None,
        }
    }

    /// The same, of what is in the rings alone: a topic's history without what is kept apart from it.
    #[must_use]
    pub fn of_rings(log: &Arc<Log>, topics: &[Topic], start: Start) -> Self {
        let mut reader = Self::new(log, topics, None, start);
        reader.reads_latest_only = false;
        reader
    }

    /// Everything up to here has been read.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The log it reads.
    #[must_use]
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Its topics, in order.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.views.iter().map(|view| view.topic.name())
    }

    /// How many events of the whole log lie between the cursor and the tail.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.log.tail().number().saturating_sub(self.cursor.seq.number())
    }

    /// Ready when there may be something new since the last read.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.signal.poll_raised(cx)
    }

    /// From now on reads give what the lens shows; `None`: everything.
    pub fn look_through(&mut self, lens: Option<Arc<dyn Lens>>) {
        if lens.is_some() || self.sight.is_some() {
            self.sight.get_or_insert_default().lens = lens;
        }
    }

    /// From now on reads take the ephemeral events with them, or leave them where they wait, the latest of each key.
    pub fn hold_ephemeral(&mut self, hold: bool) {
        self.holds_ephemeral = hold;
    }

    /// Whether there may be ephemeral events that were not read yet.
    #[must_use]
    pub fn has_ephemeral(&self) -> bool {
        self.views.iter().any(|view| view.topic.has_ephemeral_past(self.ephemeral))
    }

    /// Adds topics; they start at the reader's cursor. Those it has already stay as they are.
    pub fn subscribe(&mut self, topics: &[Topic]) {
        let new: Vec<Topic> =
            topics.iter().filter(|topic| !self.topics().any(|has| has == *topic)).cloned().collect();
        let attached = self.log.attach(&new, &self.signal);
        let mut views = std::mem::take(&mut self.views).into_vec();
        views.extend(attached.into_iter().map(View::new));
        self.views = views.into();
        self.merge = None;
        self.signal.raise();
    }

    /// Keeps only the topics that `keep` allows.
    pub fn retain(&mut self, mut keep: impl FnMut(&Topic) -> bool) {
        let mut views = std::mem::take(&mut self.views).into_vec();
        views.retain(|view| {
            let stays = keep(view.topic.name());
            if !stays {
                view.topic.detach(view.slot);
            }
            stays
        });
        self.views = views.into();
        self.merge = None;
    }

    /// Whether the next read would be a reset, without reading anything.
    ///
    /// # Errors
    /// The [`Reset`]; the next read goes on from [`Reset::at`].
    pub fn check(&mut self) -> Result<(), Reset> {
        self.check_history()?;
        let wants = Wants::new(&self.log, None);
        let (mut out, mut seen_by) = (Vec::new(), SeenBy::default());
        let mut nothing = Selection::new(&mut out, &mut seen_by, &wants, Limit { events: 0, bytes: 0 });
        let found = Merge::new(&self.views, self.look(), self.cursor.seq, Seq::ZERO, &mut nothing);
        found.map(drop).map_err(|lost| self.lack(lost))
    }

    /// Appends to `out` what comes next and moves the cursor over it: the events with a seq in order, then the
    /// ephemeral ones. With nothing to append, the cursor still moves to the tail.
    ///
    /// # Errors
    /// A [`Reset`] when events may be missing; `out` is untouched, and the next read goes on from [`Reset::at`].
    pub fn read(&mut self, limit: Limit, out: &mut Vec<Event>) -> Result<Span, Reset> {
        let limit = Limit { events: limit.events.max(1), ..limit };
        let start = out.len();
        self.signal.lower();
        if let Some(sight) = &mut self.sight {
            sight.passed(self.cursor.seq);
        }
        // The tail comes first: every event at or below it is in its ring, or evicted and below the floor.
        let ephemeral_tail = self.log.ephemeral_tail();
        let tail = self.check_history()?;
        let ephemeral_after = self.ephemeral;
        let mut seen_by = SeenBy::default();
        let is_cut = match self.collect(tail, limit, out, &mut seen_by) {
            Ok(is_cut) => is_cut,
            Err(reset) => {
                out.truncate(start);
                return Err(reset);
            }
        };
        if self.log.shape() != self.shape {
            // What was collected may be of the old history, the new, or both.
            out.truncate(start);
            return self.read(limit, out);
        }
        let after = self.cursor;
        let last = out[start..].last().and_then(|event| event.seq());
        let end = last.filter(|_| is_cut).unwrap_or(tail);
        if end == tail && !self.holds_ephemeral {
            self.collect_ephemeral(ephemeral_tail, out, &mut seen_by);
        }
        seen_by::conflate(out, start, &seen_by);
        if let Some(lens) = self.sight.as_ref().and_then(|sight| sight.lens.as_ref()) {
            out[start..].iter_mut().for_each(|event| *event = lens.see(event));
        }
        seen_by.name(&self.views, &mut out[start..]);
        self.cursor = self.lineage.cursor(end);
        Ok(Span { after, cursor: self.cursor, more: end < tail, ephemeral_after })
    }

    /// The topics that keep their state.
    #[must_use]
    pub fn topics_with_state(&self) -> Vec<Topic> {
        let keeps = |view: &&View| view.topic.read(|ring| ring.state().is_some());
        self.views.iter().filter(keeps).map(|view| view.topic.name().clone()).collect()
    }

    /// From now on, [`Self::state`] gives the states of these topics up to the tail, and reads give
    /// everything else: events above that point, and events that no state holds. Returns the point.
    /// If it turns out not to be history, the next read is a reset.
    pub fn begin_state(&mut self, topics: &[Topic]) -> Cursor {
        let History { lineage, tail, .. } = self.log.history();
        let point = tail.max(self.cursor.seq);
        let sight = self.sight.get_or_insert_default();
        for view in self.views.iter_mut().filter(|view| topics.contains(view.topic.name())) {
            sight.begin(&view.topic, point);
            // The state has what the ring lacks up to there, unless no state holds it.
            let known = view.excused.max(self.cursor.seq);
            if self.log.since() <= known && view.topic.read(|ring| ring.state_covers(known)) {
                view.excused = view.excused.max(point);
            }
        }
        self.merge = None;
        self.signal.raise();
        lineage.cursor(point)
    }

    /// Reads a part of the state of a topic, as this reader sees its events: those with a seq in (`after`, `up_to`].
    /// `up_to` is the point of [`Self::begin_state`]: what the reader gives behind it and all parts of the state up to
    /// there are each change once. `None`: the topic is none of the reader's, or keeps no state.
    pub fn state(
        &mut self,
        topic: &Topic,
        after: Seq,
        up_to: Seq,
        limit: Limit,
        out: &mut Vec<Event>,
    ) -> Option<StateRead> {
        let view = self.views.iter().find(|view| view.topic.name() == topic)?;
        let (start, now_us) = (out.len(), self.log.now_us());
        let sight = self.sight.get_or_insert_default();
        let wants = |event: &Event| sight.wants_type(event);
        let part =
            view.topic.read(|ring| Some(ring.state()?.part(after, up_to, now_us, limit, wants, out)))?;
        sight.know(part.known);
        if let Some(lens) = &sight.lens {
            out[start..].iter_mut().for_each(|event| *event = lens.see(event));
        }
        Some(part)
    }

    /// Takes back the last read, whose events were not used: the next one gives them again, as far
    /// as the reader still has their topics.
    pub fn unread(&mut self, span: Span) {
        self.cursor = span.after;
        self.ephemeral = span.ephemeral_after;
        self.merge = None;
        self.signal.raise();
    }

    /// The tail, unless the history behind the cursor has changed and a reset is due.
    fn check_history(&mut self) -> Result<Seq, Reset> {
        let mut tail = self.log.tail();
        if self.log.shape() != self.shape {
            let history = self.log.history();
            let before = std::mem::replace(&mut self.lineage, history.lineage);
            self.shape = history.shape;
            self.merge = None;
            tail = history.tail;
            // What the client was told is missing was told of the history that both share.
            let shared = self.lineage.end_of(before.current());
            for view in &mut self.views {
                view.excused = view.excused.min(shared);
            }
            // A state may have been read that knew of more.
            if let Some(sight) = &mut self.sight
                && sight.history_ends(shared, self.cursor.seq)
            {
                self.broken.get_or_insert(ResetReason::Epoch);
            }
            (self.cursor, self.broken) = go_on(&self.lineage, self.cursor, tail, self.broken);
        }
        match self.broken.take() {
            None => Ok(tail),
            Some(reason) => Err(Reset { reason, topics: self.topics().cloned().collect(), at: self.cursor }),
        }
    }

    /// Appends the next events in (cursor, `tail`], in order and each once, as far as the limit allows. Says whether
    /// something was left behind the last of them.
    fn collect(
        &mut self,
        tail: Seq,
        limit: Limit,
        out: &mut Vec<Event>,
        seen_by: &mut SeenBy,
    ) -> Result<bool, Reset> {
        let look = self.look();
        let wants = Wants::new(&self.log, self.sight.as_deref());
        let mut batch = Selection::new(out, seen_by, &wants, limit);
        let mut kept = self.merge.take().filter(|merge| merge.holds(look));
        let mut from = self.cursor.seq;
        loop {
            let mut fresh = None;
            let merge = match &mut kept {
                Some(kept) => &mut **kept,
                None => match Merge::new(&self.views, look, from, tail, &mut batch) {
                    Ok(Some(merge)) => fresh.insert(merge),
                    Ok(None) => return Ok(false),
                    // The batch is complete up to its last event. What is missing above it is for the next read to say.
                    Err(_) if !batch.is_empty() => return Ok(true),
                    Err(lost) => return Err(self.lack(lost)),
                },
            };
            let taken = merge.take(&self.views, look, &mut batch);
            let through = merge.up_to();
            if batch.is_full() {
                self.merge = kept.or_else(|| fresh.map(Merge::kept));
                return Ok(true);
            }
            kept = None;
            fresh.into_iter().for_each(|merge| merge.done(()));
            match taken {
                Err(Overtaken) if !batch.is_empty() => return Ok(true),
                // The next look finds it, and whatever else is missing by now.
                Err(Overtaken) => from = self.cursor.seq,
                Ok(()) if through >= tail => return Ok(false),
                // What was left behind has been taken, and more has come since.
                Ok(()) => from = through,
            }
        }
    }

    fn look(&self) -> Look {
        Look { since: self.log.since(), reads_latest_only: self.reads_latest_only }
    }

    /// The reset that says what may be missing, which is said once.
    fn lack(&mut self, lost: Incomplete) -> Reset {
        let topics = lost.iter().map(|&(at, _)| self.views[at].topic.name().clone()).collect();
        for (at, floor) in lost {
            self.views[at].excused = floor;
        }
        Reset { reason: ResetReason::Expired, topics, at: self.cursor }
    }

    fn collect_ephemeral(&mut self, ephemeral_tail: u64, out: &mut Vec<Event>, seen_by: &mut SeenBy) {
        let start = out.len();
        let wants = Wants::new(&self.log, self.sight.as_deref());
        for view in self.views.iter().filter(|view| view.topic.has_ephemeral_past(self.ephemeral)) {
            view.topic.read(|ring| {
                let events = ring.ephemeral(self.ephemeral, ephemeral_tail);
                out.extend(events.filter(|event| wants.event(event)).cloned());
            });
        }
        seen_by::order(out, start, &self.views, seen_by);
        self.ephemeral = ephemeral_tail;
    }
}

/// Where a reader at `cursor` goes on in a history that ends at `tail`, and the reset that it owes its client.
fn go_on(
    lineage: &Lineage,
    cursor: Cursor,
    tail: Seq,
    owed: Option<ResetReason>,
) -> (Cursor, Option<ResetReason>) {
    match lineage.locate(cursor, tail) {
        Located::Here(cursor) => (cursor, owed),
        Located::Phantom { end } => (end, Some(ResetReason::Epoch)),
        Located::Ahead | Located::Unknown => (lineage.cursor(tail), Some(ResetReason::Epoch)),
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.retain(|_| false);
    }
}
