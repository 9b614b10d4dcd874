//! Going on alone while Redis cannot be reached, for who prefers a log that is split to none.
//!
//! In an epoch of its own, and only until the log can be followed again: then what was published meanwhile never
//! happened, and who has seen some of it is reset. Following and going on alone exclude one another.

use std::sync::Arc;

use parking_lot::Mutex;

use super::publish_script::AppendAnswers;
use crate::{Cursor, Draft, Log, Memory};

pub(super) struct Standalone {
    log: Arc<Log>,
    mode: Mutex<Mode>,
}

enum Mode {
    /// Not wanted, or the log is being followed.
    Closed,
    /// It may begin.
    Open,
    Begun(Arc<Memory>),
}

impl Standalone {
    pub(super) fn new(log: Arc<Log>, is_wanted: bool) -> Self {
        Self { log, mode: Mutex::new(if is_wanted { Mode::Open } else { Mode::Closed }) }
    }

    /// The log cannot be followed any more.
    pub(super) fn allow(&self) {
        let mut mode = self.mode.lock();
        if let Mode::Closed = *mode {
            *mode = Mode::Open;
        }
    }

    /// The log is followed from now on. Whether this node was alone: then what its log has since must go.
    pub(super) fn end(&self) -> bool {
        matches!(std::mem::replace(&mut *self.mode.lock(), Mode::Closed), Mode::Begun(_))
    }

    pub(super) fn has_begun(&self) -> bool {
        matches!(*self.mode.lock(), Mode::Begun(_))
    }

    /// Where this node's own log ends; `None`: it is not alone.
    pub(super) fn tail(&self) -> Option<Cursor> {
        self.has_begun().then(|| self.log.tail_cursor())
    }

    /// Goes on alone, if it may: now, not with the first draft, because who asks whether this node is ready may send
    /// none until it is.
    pub(super) fn begin(&self) {
        self.own(&mut self.mode.lock());
    }

    /// Appends to this node's own log; `None`: there is none now.
    pub(super) fn append(&self, drafts: Vec<Draft>) -> Option<AppendAnswers> {
        let mut mode = self.mode.lock();
        Some(self.own(&mut mode)?.append_now(drafts))
    }

    fn own(&self, mode: &mut Mode) -> Option<Arc<Memory>> {
        let memory = match mode {
            Mode::Closed => return None,
            Mode::Open => Memory::go_on(Arc::clone(&self.log)),
            Mode::Begun(memory) => Arc::clone(memory),
        };
        *mode = Mode::Begun(Arc::clone(&memory));
        Some(memory)
    }
}
