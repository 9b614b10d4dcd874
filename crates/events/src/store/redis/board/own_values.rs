//! What this node shows, whether there is a server or not.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::values::BoardValue;

/// What this node shows, and what of it the others have yet to be told. Never more than the newest of each name, so
/// that nobody has to wait while there is no server.
#[derive(Default)]
pub(super) struct OwnValues {
    inner: Mutex<Values>,
    pub(super) changed: Notify,
}

#[derive(Default)]
struct Values {
    shown: HashMap<String, String>,
    inbox: Changes,
}

/// What the others have yet to be told of.
enum Changes {
    /// The notes of these names.
    Notes(BTreeMap<String, String>),
    /// So much that it is better said at once.
    All,
}

impl Default for Changes {
    fn default() -> Self {
        Self::Notes(BTreeMap::new())
    }
}

impl OwnValues {
    /// How many changes are told one by one.
    const NOTES_MAX: usize = 1024;

    pub(super) fn show(&self, shown: Vec<BoardValue>) {
        let mut inner = self.inner.lock();
        for BoardValue { name, value, note } in shown {
            if let Changes::Notes(notes) = &mut inner.inbox {
                notes.insert(name.clone(), note);
                if notes.len() > Self::NOTES_MAX {
                    inner.inbox = Changes::All;
                }
            }
            match value {
                Some(value) => inner.shown.insert(name, value),
                None => inner.shown.remove(&name),
            };
        }
        self.changed.notify_one();
    }

    /// What has changed since the last time; `None`: too much to say one by one.
    pub(super) fn changes(&self) -> Option<Vec<BoardValue>> {
        let mut inner = self.inner.lock();
        let Changes::Notes(notes) = std::mem::take(&mut inner.inbox) else { return None };
        let value = |name: &str| inner.shown.get(name).cloned();
        Some(notes.into_iter().map(|(name, note)| BoardValue { value: value(&name), name, note }).collect())
    }

    /// All of it, of which nothing has to be told any more then.
    pub(super) fn all(&self) -> HashMap<String, String> {
        let mut inner = self.inner.lock();
        inner.inbox = Changes::default();
        inner.shown.clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inner.lock().shown.is_empty()
    }
}
