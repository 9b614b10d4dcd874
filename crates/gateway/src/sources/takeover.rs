//! Publishes a source that several gateways receive. One gateway publishes; when it ends, another
//! continues where it stopped.
//!
//! The right to publish is a lease in the log's Redis. The store refuses drafts that come with an
//! outdated lease, so a frozen gateway appends nothing after it resumes. All gateways keep received
//! messages until they see them in the log ([`Hold`]). A gateway that takes the lease first reads
//! the log to its end: its hold then contains exactly the messages that no gateway has published.
//! The gateway does the same after an append with an unknown outcome.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use events::{Appended, Chance, Lease, LeaseAnswer, Log, Rejection, SourceLeases, SourceName, Store};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::gap::Gaps;
use super::hold::Hold;
use super::parts::SourceParts;
use super::queue::{Heard, Taken};
use super::reading::{BATCH_BYTES, BATCH_DRAFTS, Reading};
use super::states::SourceStates;
use crate::metrics::Metrics;
use crate::metrics::labels::{RejectReason, SourceKind};
use crate::publish::{Author, Publishing};

/// Interval at which a gateway that does not publish tries to take the lease.
const TRY_EVERY: Duration = Duration::from_millis(500);
/// Interval of the lease's renewals, and the time without a renewal after which a gateway stops.
const RENEW_EVERY: Duration = Duration::from_millis(1500);
const RENEWED_WITHIN: Duration = Duration::from_secs(4);
/// How long a gateway that has missed messages leaves a free lease to gateways that have not.
const AFTER_GAP: Duration = Duration::from_secs(3);
/// How long a gateway may take to read the log to its end.
const CATCH_UP: Duration = Duration::from_secs(4);
/// Pause after the store accepted nothing.
const AFTER_TROUBLE: Duration = Duration::from_millis(200);

/// A source that several gateways receive.
pub(super) struct Takeover {
    kind: SourceKind,
    name: SourceName,
    reading: Reading,
    heard: Heard,
    hold: Arc<Hold>,
    gaps: Gaps,
    leases: Arc<SourceLeases>,
    publishing: Arc<Publishing>,
    store: Arc<dyn Store>,
    log: Arc<Log>,
    metrics: Arc<Metrics>,
    states: Arc<SourceStates>,
    draining: watch::Receiver<bool>,
    /// The previous lease of this gateway, which it may replace.
    before: Option<Lease>,
    /// No lease is taken before this time.
    closed_until: Instant,
    /// Since when this gateway has left a free lease to gateways that have missed less.
    left_since: Option<Instant>,
    /// Distinguishes the messages of this gateway from those of other gateways.
    nonce: u64,
    messages: u64,
}

impl Takeover {
    pub(super) fn new(
        name: SourceName,
        reading: Reading,
        heard: Heard,
        leases: Arc<SourceLeases>,
        parts: &SourceParts,
    ) -> Self {
        let kind = reading.kind();
        let hold = Arc::new(Hold::new(kind));
        let told = Arc::clone(&hold);
        parts.log.observe(move |draft| told.seen(draft));
        Self {
            kind,
            name,
            reading,
            heard,
            hold,
            gaps: Gaps::new(kind, parts),
            leases,
            publishing: Arc::clone(&parts.publishing),
            store: Arc::clone(&parts.store),
            log: Arc::clone(&parts.log),
            metrics: Arc::clone(&parts.metrics),
            states: Arc::clone(&parts.states),
            draining: parts.draining.clone(),
            before: None,
            closed_until: Instant::now(),
            left_since: None,
            nonce: Chance::system().number(),
            messages: 0,
        }
    }

    /// Takes part for ever.
    pub(super) async fn run(mut self) {
        loop {
            let lease = self.stand_by().await;
            self.states.set_lease(self.kind, true);
            let source = self.kind.as_str();
            if self.catch_up(&lease).await {
                let held = self.hold.len();
                self.metrics.sources.took_over(self.kind);
                tracing::info!(source, held, "this gateway publishes for the source");
                let why = self.publish(&lease).await;
                tracing::info!(source, "this gateway publishes for the source no more: {why}");
            } else {
                tracing::info!(source, "the lease is of no use: the log cannot be read to its end");
            }
            self.states.set_lease(self.kind, false);
            self.hold.unsend();
            self.before = Some(lease);
        }
    }

    /// Keeps received messages until this gateway has the lease.
    async fn stand_by(&mut self) -> Lease {
        let mut ticks = tokio::time::interval(TRY_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => if let Some(lease) = self.try_take().await { return lease },
                taken = self.heard.next() => self.keep(taken),
            }
        }
    }

    async fn try_take(&mut self) -> Option<Lease> {
        let Some(since) = self.heard.since().filter(|_| !*self.draining.borrow()) else {
            self.bound(false);
            return None;
        };
        if Instant::now() < self.closed_until {
            return None;
        }
        let token = format!("{:x}", Chance::system().number());
        let lease = Lease { source: self.name.clone(), token: token.into() };
        let with_gap = self.left_since.is_some_and(|since| since.elapsed() >= AFTER_GAP);
        let answer = self.leases.take(&lease, self.before.as_ref(), since.elapsed(), with_gap).await;
        self.bound(matches!(answer, Ok(LeaseAnswer::Held)));
        self.left_since = match answer {
            Ok(LeaseAnswer::Left) => self.left_since.or(Some(Instant::now())),
            _ => None,
        };
        match answer {
            Ok(LeaseAnswer::Left) => {
                tracing::debug!(
                    source = self.kind.as_str(),
                    "the lease is left to a gateway that missed less"
                );
                None
            }
            Ok(LeaseAnswer::Held) => {
                self.before = None;
                None
            }
            Ok(LeaseAnswer::Taken) => Some(lease),
            Ok(LeaseAnswer::TakenWithGap) => {
                self.gaps.open();
                Some(lease)
            }
            Err(why) => {
                tracing::debug!(source = self.kind.as_str(), "the lease cannot be taken: {why}");
                None
            }
        }
    }

    /// Reads the log to its end, so that events of other gateways leave the hold.
    async fn catch_up(&mut self, lease: &Lease) -> bool {
        let until = Instant::now() + CATCH_UP;
        let Ok(end) = self.store.tail().await else { return self.trouble() };
        loop {
            let at = self.log.tail_cursor();
            if at.epoch == end.epoch && at.seq >= end.seq {
                return true;
            }
            if Instant::now() >= until {
                self.give_up(lease).await;
                return self.trouble();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Publishes received messages for as long as the lease lasts. Returns the reason for its end.
    async fn publish(&mut self, lease: &Lease) -> &'static str {
        let mut renewed = Instant::now();
        let mut ticks = tokio::time::interval(RENEW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut over = self.hold.len();
        loop {
            if !self.gaps.tell().await || !self.flush(lease, &mut renewed, &mut over).await {
                self.trouble();
                return "the store does not take everything, or the lease is another gateway's";
            }
            if *self.draining.borrow_and_update() {
                self.heard.confirm().await;
                self.keep_waiting().await;
                // What cannot be published now stays in the hold of the other gateways.
                self.flush(lease, &mut renewed, &mut over).await;
                self.give_up(lease).await;
                return "it drains";
            }
            tokio::select! {
                biased;
                _ = ticks.tick() => {
                    if self.heard.since().is_none() {
                        // Other gateways may receive the source while this one does not.
                        self.give_up(lease).await;
                        return "it does not hear the source";
                    }
                    if !self.renew(lease, &mut renewed).await {
                        return "the lease is gone, or cannot be renewed";
                    }
                    self.bound(false);
                }
                _ = self.draining.changed() => {}
                taken = self.heard.next() => {
                    let is_broken = matches!(taken, Taken::Interrupted);
                    self.keep(taken);
                    if is_broken {
                        // Another gateway may have received the messages that this one missed. If
                        // there is none, this gateway takes the lease again, with a gap.
                        self.give_up(lease).await;
                        return "it did not hear the source for a while";
                    }
                }
            }
        }
    }

    /// Hands the held messages to the store. `false`: the store did not accept all of them, or the
    /// lease is gone.
    async fn flush(&mut self, lease: &Lease, renewed: &mut Instant, over: &mut usize) -> bool {
        loop {
            if renewed.elapsed() > RENEWED_WITHIN {
                return false;
            }
            let (numbers, drafts): (Vec<u64>, Vec<_>) =
                self.hold.send(BATCH_DRAFTS, BATCH_BYTES).into_iter().unzip();
            if drafts.is_empty() {
                return true;
            }
            let over_before = *over;
            let ephemeral: Vec<bool> = drafts.iter().map(|draft| draft.ephemeral).collect();
            let publishing = Arc::clone(&self.publishing);
            let append = publishing.append_leased(self.kind.origin(), drafts, lease);
            let Some(answers) = self.renew_during(append, lease, renewed).await else { return false };
            let mut is_done = answers.len() == numbers.len();
            let mut settled = Vec::new();
            for ((number, answer), is_ephemeral) in numbers.iter().zip(answers).zip(ephemeral) {
                match answer {
                    Ok(Appended { duplicate, .. }) => {
                        if duplicate {
                            self.metrics.sources.duplicate(self.kind);
                        } else {
                            self.metrics.sources.published(self.kind, 1);
                            self.metrics.sources.held_published(self.kind, u64::from(*over > 0));
                        }
                        if duplicate || is_ephemeral {
                            settled.push(*number);
                        }
                        *over = over.saturating_sub(1);
                    }
                    Err(Rejection::Conflict { .. }) => {
                        self.metrics.sources.rejected(self.kind, RejectReason::BadDraft);
                        settled.push(*number);
                    }
                    Err(Rejection::Unavailable(_)) => is_done = false,
                }
            }
            self.hold.settle(&settled);
            // This gateway may be the only one to hold the messages that it has taken over. Its
            // successor must know how many of them are published, in case this gateway ends at any
            // moment.
            if !is_done || over_before > 0 && !self.renew(lease, renewed).await {
                return false;
            }
        }
    }

    /// Renews the lease while `work` runs. `None`: the lease is gone.
    async fn renew_during<T>(
        &self,
        work: impl Future<Output = T>,
        lease: &Lease,
        renewed: &mut Instant,
    ) -> Option<T> {
        let mut work = pin!(work);
        loop {
            match tokio::time::timeout(RENEW_EVERY, &mut work).await {
                Ok(done) => return Some(done),
                Err(_) if !self.renew(lease, renewed).await => return None,
                Err(_) => {}
            }
        }
    }

    /// Renews the lease. `false`: the lease is gone, or may be gone.
    async fn renew(&self, lease: &Lease, renewed: &mut Instant) -> bool {
        let asked = Instant::now();
        match self.leases.renew(lease, self.published_ago()).await {
            Ok(true) => *renewed = asked,
            Ok(false) => return false,
            Err(why) => {
                tracing::debug!(source = self.kind.as_str(), "the lease cannot be renewed: {why}");
            }
        }
        renewed.elapsed() <= RENEWED_WITHIN
    }

    /// Age of the moment up to which all messages of the source are published or reported as
    /// missing.
    fn published_ago(&self) -> Duration {
        if self.gaps.is_open() {
            return Duration::MAX;
        }
        let taken = self.heard.taken_until();
        let published = self.hold.oldest_unsent().map_or(taken, |unsent| taken.min(unsent));
        published.map_or(Duration::MAX, |published| published.elapsed())
    }

    async fn give_up(&self, lease: &Lease) {
        // If the release fails, the lease expires by itself.
        let _ = self.leases.release(lease, self.published_ago()).await;
    }

    fn trouble(&mut self) -> bool {
        self.closed_until = Instant::now() + AFTER_TROUBLE;
        false
    }

    /// Handles items from the queue.
    fn keep(&mut self, taken: Taken) {
        match taken {
            Taken::Interrupted => {}
            Taken::Overflow => self.gaps.open(),
            Taken::Messages(messages) => {
                let said_after = self.heard.taken_after();
                for mut draft in self.reading.drafts(&messages) {
                    self.gaps.touch(&draft);
                    let is_named = draft.once.is_some();
                    if !is_named {
                        self.messages += 1;
                        let once = format!("~{:x}:{}", self.nonce, self.messages);
                        draft.once = Some(Author::Source(self.kind).once(&once));
                    }
                    self.hold.add(draft, is_named, said_after);
                }
                self.bound(false);
            }
        }
    }

    /// Handles all items that wait in the queue. With a message left there, only the time before the
    /// last confirmation would count as published, and other gateways may have missed that.
    async fn keep_waiting(&mut self) {
        loop {
            tokio::select! {
                biased;
                taken = self.heard.next() => self.keep(taken),
                () = std::future::ready(()) => return,
            }
        }
    }

    fn bound(&mut self, is_published: bool) {
        let missed = self.hold.bound(is_published);
        if missed > 0 {
            self.metrics.sources.dropped(self.kind, missed);
            self.gaps.open();
        }
        self.metrics.sources.set_queue_bytes(self.kind, self.hold.bytes());
    }
}
