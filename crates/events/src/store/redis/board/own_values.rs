//! The values that this node shows, independently of a connection.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::values::BoardValue;

/// The values that this node shows, and the changes that it has not sent yet. Only the newest
/// change of each name is kept, so no caller has to wait while no server can be reached.
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

/// The changes that have not been sent.
enum Changes {
    /// The changed names and their notes.
    Notes(BTreeMap<String, String>),
    /// There are so many changes that sending all values costs less.
    All,
}

impl Default for Changes {
    fn default() -> Self {
        Self::Notes(BTreeMap::new())
    }
}

impl OwnValues {
    /// Most changes that are sent one by one.
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

    /// The changes since the last call; `None`: too many to send one by one.
    pub(super) fn changes(&self) -> Option<Vec<BoardValue>> {
        let mut inner = self.inner.lock();
        let Changes::Notes(notes) = std::mem::take(&mut inner.inbox) else { return None };
        let value = |name: &str| inner.shown.get(name).cloned();
        Some(notes.into_iter().map(|(name, note)| BoardValue { value: value(&name), name, note }).collect())
    }

    /// All values. Afterwards no change is pending.
    pub(super) fn all(&self) -> HashMap<String, String> {
        let mut inner = self.inner.lock();
        inner.inbox = Changes::default();
        inner.shown.clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inner.lock().shown.is_empty()
    }
}
