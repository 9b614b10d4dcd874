//! Operation without Redis, for operators who prefer a split log to no log.
//!
//! The node continues in an epoch of its own until it can follow the log again. Events that were
//! published in the meantime are then withdrawn, and clients that saw any of them are reset. A node
//! either follows the log or operates alone, never both.

use std::sync::Arc;

use parking_lot::Mutex;

use super::publish_script::AppendAnswers;
use crate::{Cursor, Draft, Log, Memory};

pub(super) struct Standalone {
    log: Arc<Log>,
    mode: Mutex<Mode>,
}

enum Mode {
    /// Standalone operation is not configured, or the node follows the log.
    Closed,
    /// Standalone operation may begin.
    Open,
    Begun(Arc<Memory>),
}

impl Standalone {
    pub(super) fn new(log: Arc<Log>, is_wanted: bool) -> Self {
        Self { log, mode: Mutex::new(if is_wanted { Mode::Open } else { Mode::Closed }) }
    }

    /// Allows standalone operation, because the log cannot be followed any more.
    pub(super) fn allow(&self) {
        let mut mode = self.mode.lock();
        if let Mode::Closed = *mode {
            *mode = Mode::Open;
        }
    }

    /// Ends standalone operation, because the node follows the log from now on. Returns whether the
    /// node was alone: its log must then drop the events since.
    pub(super) fn end(&self) -> bool {
        matches!(std::mem::replace(&mut *self.mode.lock(), Mode::Closed), Mode::Begun(_))
    }

    pub(super) fn has_begun(&self) -> bool {
        matches!(*self.mode.lock(), Mode::Begun(_))
    }

    /// The end of this node's own log; `None`: the node is not alone.
    pub(super) fn tail(&self) -> Option<Cursor> {
        self.has_begun().then(|| self.log.tail_cursor())
    }

    /// Begins standalone operation, if it is allowed. It does not wait for a draft, because a load
    /// balancer sends none to a node that is not ready.
    pub(super) fn begin(&self) {
        self.own(&mut self.mode.lock());
    }

    /// Appends to this node's own log; `None`: the node is not alone.
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
