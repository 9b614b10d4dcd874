//! The results of idempotency tokens, for as long as a repeat may come.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::Appended;

/// Results by token, oldest first out.
#[derive(Default)]
pub(super) struct Once {
    results: HashMap<Arc<str>, (Appended, u64)>,
    order: VecDeque<(u64, Arc<str>)>,
}

impl Once {
    /// For how long a repeated append is recognised, in milliseconds.
    pub(super) const AGE_MS: u64 = 300_000;

    /// How many tokens are remembered at most.
    const RESULTS_MAX: usize = 500_000;

    /// The first result of a token.
    pub(super) fn find(&self, token: &str, now_ms: u64) -> Option<Appended> {
        let (appended, time_ms) = self.results.get(token)?;
        (now_ms.saturating_sub(*time_ms) < Self::AGE_MS).then_some(*appended)
    }

    /// Remembers a result of `time_ms`, and forgets what is too old or too much.
    pub(super) fn insert(&mut self, token: &str, appended: Appended, time_ms: u64) {
        let token: Arc<str> = token.into();
        self.results.insert(Arc::clone(&token), (appended, time_ms));
        self.order.push_back((time_ms, token));
        let oldest_ms = time_ms.saturating_sub(Self::AGE_MS);
        while self.order.len() > Self::RESULTS_MAX
            || self.order.front().is_some_and(|(ms, _)| *ms < oldest_ms)
        {
            let Some((ms, token)) = self.order.pop_front() else { return };
            // A token that came again after its time has a younger place in the order too.
            if self.results.get(&token).is_some_and(|(_, at)| *at == ms) {
                self.results.remove(&token);
            }
        }
    }
}
