//! What this node has heard of the others and its own listener has yet to be told. Who hears never waits for who
//! listens: what finds no room is looked at again once there is some.

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
    /// What the news take, about.
    bytes: usize,
    /// Questions, told first: who asks does not wait for long.
    questions: VecDeque<BoardEvent>,
    is_over: bool,
}

/// How many pieces of news wait at most.
const NEWS_MAX: usize = 256;
/// After so many bytes of news there is no room for more.
const BYTES_MAX: usize = 1 << 20;
/// How many questions wait at most.
const QUESTIONS_MAX: usize = 256;

impl Inbox {
    /// Adds what is to be told. `false`: there is no room for it.
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

    /// What is told next; `None`: nothing any more. For one who listens, who may stop waiting at any time.
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

    /// Waits until there is room for news.
    pub(super) async fn room(&self) {
        while !self.inner.lock().has_room() {
            self.taken.notified().await;
        }
    }

    /// Nothing more will be told.
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
