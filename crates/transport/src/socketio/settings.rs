//! What all Socket.IO sessions of a gateway share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use events::Event;

/// How a client learns the cursor, which it sends back as its offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CursorStyle {
    /// An event `throughline.cursor` follows the events of each read. Handlers see only their own
    /// arguments.
    #[default]
    Event,
    /// The cursor is the last argument of every event, as Socket.IO's own server does it.
    Argument,
}

/// How an application speaks to its clients.
pub trait Speech: Send + Sync {
    /// Emits the packets that stand for an event of the log. `own_tag`: how the ids of the session's
    /// own drafts begin. `false`: the event goes out as it is.
    fn translate(&self, event: &Event, own_tag: &str, emit: &mut dyn FnMut(&[u8])) -> bool;

    /// Emits what follows the answer to a CONNECT of this user.
    fn greet(&self, user: &str, emit: &mut dyn FnMut(&[u8]));
}

/// When pings come, and how long their answers may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pings {
    /// Between two pings.
    pub interval: Duration,
    /// From a ping to its answer.
    pub timeout: Duration,
}

impl Default for Pings {
    /// As the original server has them.
    fn default() -> Self {
        Self { interval: Duration::from_secs(25), timeout: Duration::from_secs(20) }
    }
}

/// What all Socket.IO sessions of a gateway share.
#[derive(Default)]
pub struct Settings {
    /// When clients are pinged.
    pub pings: Pings,
    /// How clients learn the cursor.
    pub cursor: CursorStyle,
    /// How the application speaks to its clients; `None`: as the log does.
    pub speech: Option<Arc<dyn Speech>>,
    unsendable: AtomicU64,
}

impl Settings {
    /// With these pings, this way of telling the cursor, and this speech.
    #[must_use]
    pub fn new(pings: Pings, cursor: CursorStyle, speech: Option<Arc<dyn Speech>>) -> Self {
        Self { pings, cursor, speech, unsendable: AtomicU64::new(0) }
    }

    /// How many events were not sent because their type is a name that Socket.IO clients reserve.
    #[must_use]
    pub fn unsendable(&self) -> u64 {
        self.unsendable.load(Ordering::Relaxed)
    }

    pub(super) fn not_sent(&self) {
        self.unsendable.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}
