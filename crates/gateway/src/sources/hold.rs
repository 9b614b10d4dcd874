//! Messages of a source that this gateway has received and has not yet seen in the log, in the
//! order of their receipt. All gateways of a log receive the same messages, and one gateway
//! publishes them. When that gateway ends, another continues with exactly the messages that are
//! left.
//!
//! Messages are compared by a hash of topics, type and data. Equal messages are counted, not
//! merged: a status that changes to A, B and A again is three messages. An event that reaches the
//! log before its message is received here leaves a credit, and the message uses the credit up.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use events::Draft;
use parking_lot::Mutex;
use ring::digest::{Context, SHA256};
use tokio::time::Instant;

use crate::metrics::labels::SourceKind;
use crate::publish::Author;

/// How long a message that another gateway should have published is kept.
const HOLD: Duration = Duration::from_secs(30);
/// How long a credit waits for its message.
const CREDIT: Duration = Duration::from_secs(10);
/// Most bytes of messages that are kept. Beyond this the oldest messages are dropped.
const HOLD_BYTES: usize = 8 << 20;
/// Most credits. Beyond this the oldest credits are dropped.
const CREDITS_MAX: usize = 65_536;
/// Bytes that a message counts for in addition to its data.
const MESSAGE_COST: usize = 256;

/// The messages of one source.
pub(super) struct Hold {
    /// Prefix of the idempotency tokens of the source's events.
    scope: Box<str>,
    inner: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    messages: BTreeMap<u64, HeldMessage>,
    /// The numbers of the messages with each hash.
    places: HashMap<u128, VecDeque<u64>>,
    /// Number of the next message.
    next: u64,
    bytes: usize,
    credits: VecDeque<(u128, Instant)>,
    /// The number of credits with each hash.
    credited: HashMap<u128, u32>,
}

struct HeldMessage {
    hash: u128,
    draft: Draft,
    /// Time of insertion.
    at: Instant,
    /// The message was sent after this moment; `None`: no such moment is known.
    said_after: Option<Instant>,
    /// The message was handed to the store and has not been seen in the log yet.
    is_sent: bool,
    /// Whether the source or the rule gave the message an id. Such a message may be a repeat.
    is_named: bool,
}

impl Hold {
    pub(super) fn new(kind: SourceKind) -> Self {
        Self { scope: Author::Source(kind).once(""), inner: Mutex::default() }
    }

    /// Adds a received message that was sent after `said_after`. If a credit matches the message,
    /// the message uses it up and is not added.
    pub(super) fn add(&self, draft: Draft, is_named: bool, said_after: Option<Instant>) {
        let hash = hash(&draft);
        let mut inner = self.inner.lock();
        if !draft.ephemeral && inner.use_credit(hash) {
            return;
        }
        inner.bytes += cost(&draft);
        let number = inner.next;
        inner.next += 1;
        inner.places.entry(hash).or_default().push_back(number);
        let message = HeldMessage { hash, draft, at: Instant::now(), said_after, is_sent: false, is_named };
        inner.messages.insert(number, message);
    }

    /// Handles an event that reached the log. An event of this source removes its message, or
    /// leaves a credit.
    pub(super) fn seen(&self, draft: &Draft) {
        let is_ours = draft.once.as_ref().is_some_and(|once| once.starts_with(&*self.scope));
        if !is_ours || draft.ephemeral {
            return;
        }
        let hash = hash(draft);
        let mut inner = self.inner.lock();
        if let Some(number) = inner.places.get(&hash).and_then(|places| places.front().copied()) {
            inner.remove(number);
            return;
        }
        inner.credits.push_back((hash, Instant::now()));
        *inner.credited.entry(hash).or_default() += 1;
        while inner.credits.len() > CREDITS_MAX {
            inner.drop_credit();
        }
    }

    /// The oldest messages that were not handed to the store, up to this number of drafts and bytes
    /// of data. They count as handed over from now on.
    pub(super) fn send(&self, drafts_max: usize, bytes_max: usize) -> Vec<(u64, Draft)> {
        let mut bytes = 0;
        let mut inner = self.inner.lock();
        let waiting = inner.messages.iter_mut().filter(|(_, message)| !message.is_sent);
        waiting
            .take(drafts_max)
            .take_while(|(_, message)| {
                let first = bytes == 0;
                bytes += message.draft.data.as_bytes().len();
                first || bytes <= bytes_max
            })
            .map(|(number, message)| {
                message.is_sent = true;
                (*number, message.draft.clone())
            })
            .collect()
    }

    /// Removes messages that the store has, or that will never become events. The log shows no
    /// event for them.
    pub(super) fn settle(&self, numbers: &[u64]) {
        let mut inner = self.inner.lock();
        numbers.iter().for_each(|number| inner.remove(*number));
    }

    /// Marks all messages that are not in the log as not handed to the store.
    pub(super) fn unsend(&self) {
        self.inner.lock().messages.values_mut().for_each(|message| message.is_sent = false);
    }

    /// Whether a message was not handed to the store and, if so, the moment after which the oldest
    /// such message was sent.
    pub(super) fn oldest_unsent(&self) -> Option<Option<Instant>> {
        let inner = self.inner.lock();
        inner.messages.values().find(|message| !message.is_sent).map(|message| message.said_after)
    }

    /// Number of messages that are kept.
    pub(super) fn len(&self) -> usize {
        self.inner.lock().messages.len()
    }

    /// Bytes of the messages that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }

    /// Drops messages and credits beyond the bounds. With `is_published`, another gateway
    /// publishes: a message that has waited for longer than the limit was either published as a
    /// repeat or missed by that gateway. Returns the number of dropped messages that no gateway has
    /// published.
    pub(super) fn bound(&self, is_published: bool) -> u64 {
        let mut inner = self.inner.lock();
        let mut missed = 0;
        while let Some(oldest) = inner.messages.first_entry() {
            let number = *oldest.key();
            let is_old = is_published && oldest.get().at.elapsed() > HOLD;
            if !is_old && inner.bytes <= HOLD_BYTES {
                break;
            }
            if let Some(message) = inner.messages.get(&number) {
                missed += u64::from(!(message.is_named || message.draft.ephemeral));
            }
            inner.remove(number);
        }
        while inner.credits.front().is_some_and(|(_, at)| at.elapsed() > CREDIT) {
            inner.drop_credit();
        }
        missed
    }
}

impl Held {
    fn remove(&mut self, number: u64) {
        let Some(message) = self.messages.remove(&number) else { return };
        self.bytes -= cost(&message.draft);
        if let Some(places) = self.places.get_mut(&message.hash) {
            places.retain(|place| *place != number);
            if places.is_empty() {
                self.places.remove(&message.hash);
            }
        }
    }

    fn use_credit(&mut self, hash: u128) -> bool {
        let now = Instant::now();
        if !self.credited.contains_key(&hash) {
            return false;
        }
        let is_fresh = |(credit, at): &(u128, Instant)| *credit == hash && now - *at <= CREDIT;
        let Some(place) = self.credits.iter().position(is_fresh) else { return false };
        self.credits.remove(place);
        self.uncount(hash);
        true
    }

    fn drop_credit(&mut self) {
        if let Some((hash, _)) = self.credits.pop_front() {
            self.uncount(hash);
        }
    }

    fn uncount(&mut self, hash: u128) {
        if let Some(count) = self.credited.get_mut(&hash) {
            *count -= 1;
            if *count == 0 {
                self.credited.remove(&hash);
            }
        }
    }
}

fn cost(draft: &Draft) -> usize {
    draft.data.as_bytes().len() + MESSAGE_COST
}

/// Hash of the content that a reader sees. It is equal on every gateway.
fn hash(draft: &Draft) -> u128 {
    let mut digest = Context::new(&SHA256);
    for topic in &draft.topics {
        digest.update(topic.as_str().as_bytes());
        digest.update(b"\n");
    }
    digest.update(draft.kind.as_str().as_bytes());
    digest.update(b"\n");
    digest.update(draft.data.as_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(&digest.finish().as_ref()[..16]);
    u128::from_le_bytes(half)
}

#[cfg(test)]
mod tests {
    use events::{Data, Topics};

    use super::*;

    fn draft(data: u32) -> Draft {
        let once = Some(Author::Source(SourceKind::Redis).once("x"));
        let data = Data::from_value(&data).unwrap();
        Draft { once, ..Draft::new(Topics::one("t".parse().unwrap()), "k".parse().unwrap(), data) }
    }

    fn hold() -> Hold {
        Hold::new(SourceKind::Redis)
    }

    fn left(hold: &Hold) -> Vec<String> {
        hold.unsend();
        let left = hold.send(usize::MAX, usize::MAX);
        left.iter().map(|(_, draft)| String::from_utf8(draft.data.as_bytes().to_vec()).unwrap()).collect()
    }

    #[tokio::test]
    async fn equal_messages_are_counted_and_not_merged() {
        let hold = hold();
        for data in [1, 2, 1] {
            hold.add(draft(data), false, None);
        }
        hold.seen(&draft(1));
        assert_eq!(left(&hold), ["2", "1"], "the oldest of equal ones is taken out");
        hold.seen(&draft(1));
        assert_eq!(left(&hold), ["2"]);
    }

    #[tokio::test]
    async fn an_event_that_comes_before_its_message_uses_up_one_message() {
        let hold = hold();
        hold.seen(&draft(1));
        hold.add(draft(1), false, None);
        hold.add(draft(1), false, None);
        assert_eq!(left(&hold), ["1"]);
    }

    #[tokio::test]
    async fn events_of_others_take_nothing_out() {
        let hold = hold();
        hold.add(draft(1), false, None);
        hold.seen(&Draft { once: None, ..draft(1) });
        hold.seen(&Draft { once: Some(Author::Source(SourceKind::Notify).once("x")), ..draft(1) });
        assert_eq!(left(&hold), ["1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_credit_lasts_ten_seconds() {
        let hold = hold();
        hold.seen(&draft(1));
        tokio::time::advance(CREDIT + Duration::from_millis(1)).await;
        hold.add(draft(1), false, None);
        assert_eq!(left(&hold), ["1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_published_is_dropped_and_told_after_thirty_seconds() {
        let hold = hold();
        hold.add(draft(1), false, None);
        hold.add(draft(2), true, None);
        tokio::time::advance(HOLD + Duration::from_millis(1)).await;
        hold.add(draft(3), false, None);
        assert_eq!(hold.bound(false), 0, "while nobody publishes, it waits");
        assert_eq!(hold.bound(true), 1, "one with a name may have been a repeat");
        assert_eq!(left(&hold), ["3"]);
    }

    #[tokio::test]
    async fn a_hold_is_bounded_in_bytes() {
        let hold = hold();
        let count = (HOLD_BYTES / MESSAGE_COST) as u32;
        (0..count + 10).for_each(|data| hold.add(draft(data), false, None));
        assert!(hold.bound(false) >= 10);
        assert!(hold.bytes() <= HOLD_BYTES);
        assert!(hold.len() < count as usize);
    }

    #[tokio::test]
    async fn what_was_sent_is_sent_once_unless_the_log_lacks_it() {
        let hold = hold();
        (1..=3).for_each(|data| hold.add(draft(data), false, None));
        assert_eq!(hold.send(2, usize::MAX).len(), 2);
        assert_eq!(hold.send(2, usize::MAX).len(), 1);
        assert!(hold.send(2, usize::MAX).is_empty());
        hold.seen(&draft(2));
        assert_eq!(left(&hold), ["1", "3"]);
    }
}
