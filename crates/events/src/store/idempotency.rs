//! The first results of idempotency tokens, for as long as a repeat may come.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::Appended;

/// Results by token. What is too old leaves, and the oldest leave first when there are too many bytes.
#[derive(Debug)]
pub(super) struct RecentTokens {
    results: HashMap<Arc<str>, (Appended, u64)>,
    order: VecDeque<(u64, Arc<str>)>,
    bytes: usize,
    bytes_max: usize,
    /// Tokens that left before their time because there were too many bytes.
    evicted_young: u64,
}

impl RecentTokens {
    /// For how long a repeated append is recognised, in milliseconds.
    pub(super) const AGE_MS: u64 = 300_000;

    /// What a token costs beside its text: its places in the map and in the order, and the count before its text.
    const OVERHEAD_BYTES: usize = size_of::<(Arc<str>, (Appended, u64))>() * 8 / 7
        + size_of::<(u64, Arc<str>)>()
        + 3 * size_of::<usize>();

    /// Room for so many bytes of tokens, overhead included. The newest token stays whatever its size.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { results: HashMap::new(), order: VecDeque::new(), bytes: 0, bytes_max, evicted_young: 0 }
    }

    /// The first result of a token.
    pub(super) fn find(&self, token: &str, now_ms: u64) -> Option<Appended> {
        let (appended, time_ms) = self.results.get(token)?;
        (now_ms.saturating_sub(*time_ms) < Self::AGE_MS).then_some(*appended)
    }

    /// Remembers a result of `time_ms`.
    pub(super) fn insert(&mut self, token: &str, appended: Appended, time_ms: u64) {
        let token: Arc<str> = token.into();
        self.bytes += Self::cost_of(&token);
        self.results.insert(Arc::clone(&token), (appended, time_ms));
        self.order.push_back((time_ms, token));
        let oldest_ms = time_ms.saturating_sub(Self::AGE_MS);
        while let Some((ms, _)) = self.order.front() {
            let is_old = *ms < oldest_ms;
            if !is_old && (self.bytes <= self.bytes_max || self.order.len() == 1) {
                return;
            }
            self.evict_oldest(is_old);
        }
    }

    /// How many tokens left before their time.
    pub(super) fn evicted_young(&self) -> u64 {
        self.evicted_young
    }

    fn evict_oldest(&mut self, is_old: bool) {
        let Some((ms, token)) = self.order.pop_front() else { return };
        self.bytes -= Self::cost_of(&token);
        // A token that came again after its time has a younger place in the order too.
        if self.results.get(&token).is_some_and(|(_, at)| *at == ms) {
            self.results.remove(&token);
            self.evicted_young += u64::from(!is_old);
        }
    }

    fn cost_of(token: &str) -> usize {
        token.len() + Self::OVERHEAD_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cursor, Epoch, Seq};

    fn appended(number: u64) -> Appended {
        let seq = Seq::new(number).unwrap();
        Appended { cursor: Cursor { epoch: Epoch::new(1), seq }, seq: Some(seq), duplicate: false }
    }

    #[test]
    fn a_token_is_known_for_its_time_and_its_bytes_are_given_back() {
        let mut tokens = RecentTokens::new(1 << 20);
        tokens.insert("a", appended(1), 1000);
        assert_eq!(tokens.find("a", 1000 + RecentTokens::AGE_MS - 1), Some(appended(1)));
        assert_eq!(tokens.find("a", 1000 + RecentTokens::AGE_MS), None);
        tokens.insert("a", appended(2), 1000 + RecentTokens::AGE_MS);
        tokens.insert("b", appended(3), 1001 + RecentTokens::AGE_MS);
        assert_eq!(tokens.find("a", 1001 + RecentTokens::AGE_MS), Some(appended(2)));
        assert_eq!((tokens.order.len(), tokens.evicted_young()), (2, 0));
        tokens.insert("c", appended(4), 1 << 40);
        assert_eq!(tokens.bytes, RecentTokens::cost_of("c"));
    }

    #[test]
    fn too_many_bytes_evict_the_oldest_and_count_them() {
        let mut tokens = RecentTokens::new(10 * RecentTokens::cost_of("00"));
        for n in 0..12 {
            tokens.insert(&format!("{n:02}"), appended(n), n);
        }
        assert_eq!((tokens.evicted_young(), tokens.results.len()), (2, 10));
        assert_eq!((tokens.find("01", 12), tokens.find("02", 12)), (None, Some(appended(2))));
        let mut tokens = RecentTokens::new(0);
        tokens.insert("newest", appended(1), 0);
        assert!(tokens.find("newest", 0).is_some(), "a retry at once is always known");
    }
}
