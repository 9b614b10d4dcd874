//! Recently verified tokens, so that the next request with the same token needs no verification.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ring::digest;
use tokio::time::Instant;

use super::{Grant, Lists};

/// For how long a verified token is remembered: at least the half of it, unless there are too many.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Bytes of memory that verified tokens take, about.
const BYTES_MAX: usize = 32 << 20;

/// Half of a token's SHA-256. A token with the same half as another cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenId([u8; 16]);

impl TokenId {
    pub(super) fn of(token: &str) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&digest::digest(&digest::SHA256, token.as_bytes()).as_ref()[..16]);
        Self(id)
    }
}

/// Verified tokens, each in one of two maps, of which the older is dropped as a whole: a place in a map is all that a token
/// costs.
#[derive(Debug)]
pub(super) struct Remembered(Mutex<Tokens>);

#[derive(Debug)]
struct Tokens {
    young: HashMap<TokenId, Arc<Grant>>,
    old: HashMap<TokenId, Arc<Grant>>,
    /// When the oldest of the young came.
    since: Instant,
    /// What the young take, about.
    bytes: usize,
    /// The version of the key set that verified them all.
    version: u64,
}

impl Remembered {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Tokens::new(0)))
    }

    /// What a token allows that this version of the key set has verified.
    pub(super) fn get(&self, id: TokenId, version: u64) -> Option<Arc<Grant>> {
        let mut tokens = self.0.lock();
        tokens.forget_old(Instant::now());
        if tokens.version != version {
            return None;
        }
        tokens.young.get(&id).or_else(|| tokens.old.get(&id)).cloned()
    }

    pub(super) fn insert(&self, id: TokenId, grant: &Arc<Grant>, version: u64) {
        let mut tokens = self.0.lock();
        let now = Instant::now();
        if version < tokens.version {
            // The key set was read again meanwhile.
            return;
        }
        if version > tokens.version {
            *tokens = Tokens::new(version);
        }
        tokens.forget_old(now);
        if tokens.is_empty() {
            tokens.since = now;
        }
        tokens.bytes += bytes_of(grant);
        tokens.young.insert(id, Arc::clone(grant));
        if tokens.bytes > BYTES_MAX / 2 {
            tokens.turn(now);
        }
    }

    /// Forgets the tokens whose time is over.
    pub(super) fn sweep(&self) {
        self.0.lock().forget_old(Instant::now());
    }
}

impl Tokens {
    fn new(version: u64) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), since: Instant::now(), bytes: 0, version }
    }

    fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    fn forget_old(&mut self, now: Instant) {
        while now - self.since >= REMEMBERED / 2 && !self.is_empty() {
            self.turn(self.since + REMEMBERED / 2);
        }
    }

    fn turn(&mut self, now: Instant) {
        self.old = std::mem::take(&mut self.young);
        (self.since, self.bytes) = (now, 0);
    }
}

/// The bytes that a remembered token takes, about.
fn bytes_of(grant: &Grant) -> usize {
    const TOKEN: usize = 400;
    const LIST_MEMBER: usize = 200;
    let Lists { subscribe, publish, scopes } = &*grant.lists;
    let members = subscribe.len() + publish.len() + scopes.len();
    TOKEN + members * LIST_MEMBER + grant.info.as_ref().map_or(0, |info| info.get().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Arc<Grant> {
        Arc::new(Grant::of_developer("alice").unwrap())
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_remembered_for_a_minute_at_most_and_half_of_it_at_least() {
        let (remembered, [a, b, c]) = (Remembered::new(), ["a", "b", "c"].map(TokenId::of));
        remembered.insert(a, &grant(), 0);
        pass(29).await;
        remembered.insert(b, &grant(), 0);
        pass(30).await;
        assert!([a, b].iter().all(|&id| remembered.get(id, 0).is_some()));
        remembered.insert(c, &grant(), 0);
        pass(1).await;
        assert!([a, b].iter().all(|&id| remembered.get(id, 0).is_none()));
        pass(28).await;
        assert!(remembered.get(c, 0).is_some());
        pass(32).await;
        remembered.sweep();
        assert!(remembered.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn another_key_set_has_verified_nothing() {
        let (remembered, [a, b]) = (Remembered::new(), ["a", "b"].map(TokenId::of));
        remembered.insert(a, &grant(), 1);
        assert!(remembered.get(a, 1).is_some() && remembered.get(a, 2).is_none());
        remembered.insert(b, &grant(), 2);
        remembered.insert(a, &grant(), 1);
        assert!(remembered.get(a, 1).is_none() && remembered.get(a, 2).is_none());
        assert!(remembered.get(b, 2).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_tokens_drive_out_the_older_ones() {
        let remembered = Remembered::new();
        let each = bytes_of(&grant());
        for n in 0..BYTES_MAX / each * 2 {
            remembered.insert(TokenId::of(&n.to_string()), &grant(), 0);
            let tokens = remembered.0.lock();
            assert!((tokens.young.len() + tokens.old.len()) * each <= BYTES_MAX + each);
        }
        assert!(remembered.get(TokenId::of("0"), 0).is_none());
    }
}
