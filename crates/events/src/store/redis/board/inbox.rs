//! Inbox of events from other nodes that the listener has not consumed yet. It is bounded, and the
//! sender never waits. If an event does not fit, the sender reads that node's values again later.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::values::BoardEvent;

#[derive(Default)]
pub(super) struct Inbox {
    inner: Mutex<Waiting>,
    more: Notify,
    taken: Notify,
}

#[derive(Default)]
struct Waiting {
    news: VecDeque<BoardEvent>,
    /// Approximate bytes of the events.
    bytes: usize,
    /// Questions have priority, because their senders do not wait long.
    questions: VecDeque<BoardEvent>,
    is_over: bool,
}

/// Most events in the inbox, not counting questions.
const NEWS_MAX: usize = 256;
/// With this many bytes of events the inbox is full.
const BYTES_MAX: usize = 1 << 20;
/// Most questions in the inbox.
const QUESTIONS_MAX: usize = 256;

impl Inbox {
    /// Adds an event. `false`: it does not fit.
    pub(super) fn add(&self, news: BoardEvent) -> bool {
        let mut inner = self.inner.lock();
        let has_room = match news {
            BoardEvent::Asks { .. } => inner.questions.len() < QUESTIONS_MAX,
            BoardEvent::Shows { .. } | BoardEvent::Gone(_) => inner.has_room(),
        };
        if !has_room {
            return false;
        }
        if let BoardEvent::Asks { .. } = news {
            inner.questions.push_back(news);
        } else {
            inner.bytes += size(&news);
            inner.news.push_back(news);
        }
        self.more.notify_one();
        true
    }

    /// The next event; `None`: the inbox is closed. For one listener. The future is cancel-safe: no
    /// event is lost.
    pub(super) async fn next(&self) -> Option<BoardEvent> {
        loop {
            {
                let mut inner = self.inner.lock();
                if let Some(question) = inner.questions.pop_front() {
                    return Some(question);
                }
                if let Some(news) = inner.news.pop_front() {
                    inner.bytes -= size(&news);
                    self.taken.notify_one();
                    return Some(news);
                }
                if inner.is_over {
                    return None;
                }
            }
            self.more.notified().await;
        }
    }

    /// Waits until an event fits.
    pub(super) async fn room(&self) {
        while !self.inner.lock().has_room() {
            self.taken.notified().await;
        }
    }

    /// Closes the inbox.
    pub(super) fn close(&self) {
        self.inner.lock().is_over = true;
        self.more.notify_one();
    }
}

impl Waiting {
    fn has_room(&self) -> bool {
        self.news.len() < NEWS_MAX && self.bytes < BYTES_MAX
    }
}

fn size(news: &BoardEvent) -> usize {
    match news {
        BoardEvent::Shows { shown, .. } => shown
            .iter()
            .map(|one| {
                size_of_val(one) + one.name.len() + one.value.as_ref().map_or(0, String::len) + one.note.len()
            })
            .sum(),
        BoardEvent::Gone(_) | BoardEvent::Asks { .. } => 0,
    }
}
