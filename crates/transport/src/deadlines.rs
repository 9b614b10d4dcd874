//! Everything about a session that happens by the clock.

use std::time::Duration;

use tokio::time::Instant;

use crate::control::Expiry;
use crate::session::{PROBE_AFTER, SETTLE_AFTER, Terms};

/// When something is due next. Reads no clock and owns no timer: the session does both once for all of them.
#[derive(Debug)]
pub(crate) struct Deadlines {
    heartbeat: Duration,
    interval: Duration,
    write_timeout: Duration,
    /// The next batch, whatever happens; a poll's is the end of its wait.
    batch_at: Instant,
    /// The second batch after `hello`.
    probe_at: Option<Instant>,
    /// The empty batch after a burst.
    settle_at: Option<Instant>,
    /// No batch before this.
    spaced_until: Option<Instant>,
    /// The shortest time between two batches with ephemeral events.
    ephemeral_spacing: Duration,
    /// No ephemeral event before this.
    ephemeral_spaced_until: Option<Instant>,
    /// Ephemeral events wait for the end of the spacing.
    ephemeral_waits: bool,
    /// The client is told that its token ends soon.
    expiring_at: Option<Instant>,
    expires_at: Option<Instant>,
    /// The stream is as old as it may get.
    ends_at: Option<Instant>,
    /// Writing has been blocked for too long.
    stuck_at: Option<Instant>,
    /// The end of the patience with a connection that is closing.
    over_at: Option<Instant>,
}

impl Deadlines {
    /// How long before a token ends its client is told, at most; half of what is left of a shorter one.
    const EXPIRING_BEFORE: Duration = Duration::from_secs(60);

    pub(crate) fn new(now: Instant, terms: &Terms) -> Self {
        let mut deadlines = Self {
            heartbeat: terms.heartbeat,
            interval: terms.interval,
            write_timeout: terms.write_timeout,
            batch_at: now + terms.heartbeat,
            probe_at: None,
            settle_at: None,
            spaced_until: None,
            ephemeral_spacing: Duration::ZERO,
            ephemeral_spaced_until: None,
            ephemeral_waits: false,
            expiring_at: None,
            expires_at: None,
            ends_at: terms.age_max.map(|age_max| now + age_max),
            stuck_at: None,
            over_at: None,
        };
        deadlines.expire(now, terms.expiry.as_ref());
        deadlines
    }

    /// Ephemeral events come in one batch in this time at most; zero: as they come.
    pub(crate) fn space_ephemeral(&mut self, spacing: Duration) {
        self.ephemeral_spacing = spacing;
    }

    /// Whether ephemeral events have to wait.
    pub(crate) fn is_ephemeral_spaced(&self, now: Instant) -> bool {
        self.ephemeral_spaced_until.is_some_and(|at| at > now)
    }

    /// Whether ephemeral events have waited long enough.
    pub(crate) fn is_ephemeral_due(&self, now: Instant) -> bool {
        self.ephemeral_waits && !self.is_ephemeral_spaced(now)
    }

    /// Ephemeral events are left waiting, or not.
    pub(crate) fn ephemeral_waits(&mut self, waits: bool) {
        self.ephemeral_waits = waits;
    }

    /// Ephemeral events were sent.
    pub(crate) fn ephemeral_sent(&mut self, now: Instant) {
        self.ephemeral_spaced_until =
            (!self.ephemeral_spacing.is_zero()).then(|| now + self.ephemeral_spacing);
    }

    /// A poll's wait ends at `at`.
    pub(crate) fn wait_until(&mut self, at: Instant) {
        self.batch_at = at;
    }

    /// The token ends at another time.
    pub(crate) fn expire(&mut self, now: Instant, expiry: Option<&Expiry>) {
        self.expires_at = expiry.map(|expiry| expiry.at);
        self.expiring_at = self.expires_at.map(|at| {
            let left = at.saturating_duration_since(now);
            at - (left / 2).min(Self::EXPIRING_BEFORE)
        });
    }

    /// The connection is given until `at` to close.
    pub(crate) fn close_by(&mut self, at: Instant) {
        self.over_at = Some(at);
    }

    pub(crate) fn hello_sent(&mut self, now: Instant) {
        self.batch_at = now + self.heartbeat;
        self.probe_at = Some(now + PROBE_AFTER);
    }

    pub(crate) fn batch_sent(&mut self, now: Instant, had_events: bool) {
        self.probe_at = self.probe_at.filter(|&at| at > now);
        self.batch_at = now + self.heartbeat.max(self.interval);
        self.settle_at = had_events.then(|| now + SETTLE_AFTER.max(self.interval));
        self.spaced_until = (!self.interval.is_zero()).then(|| now + self.interval);
    }

    /// Writing made progress, or is blocked since `blocked`.
    pub(crate) fn wrote(&mut self, blocked: Option<Instant>) {
        self.stuck_at = blocked.map(|now| self.stuck_at.unwrap_or(now + self.write_timeout));
    }

    /// Whether a batch is due even if it is empty.
    pub(crate) fn is_batch_due(&self, now: Instant) -> bool {
        let due = is_past(self.probe_at, now) || is_past(self.settle_at, now);
        self.batch_at <= now || is_past(self.expiring_at, now) || (due && !self.is_spaced(now))
    }

    pub(crate) fn is_spaced(&self, now: Instant) -> bool {
        self.spaced_until.is_some_and(|at| at > now)
    }

    /// Whether the client is to be told now that its token ends soon; it is told once.
    pub(crate) fn take_expiring(&mut self, now: Instant) -> bool {
        let due = is_past(self.expiring_at, now);
        if due {
            self.expiring_at = None;
        }
        due
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        is_past(self.expires_at, now)
    }

    pub(crate) fn is_aged(&self, now: Instant) -> bool {
        is_past(self.ends_at, now)
    }

    pub(crate) fn is_stuck(&self, now: Instant) -> bool {
        is_past(self.stuck_at, now)
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        is_past(self.over_at, now)
    }

    /// The next moment at which something may be due. While something waits to be written, nothing else is.
    pub(crate) fn next(&self, now: Instant, writing: bool) -> Option<Instant> {
        if self.over_at.is_some() {
            return self.over_at;
        }
        if writing {
            return self.stuck_at;
        }
        let spaced_until = self.spaced_until.filter(|&at| at > now);
        let after_spacing = |at: Option<Instant>| at.map(|at| at.max(spaced_until.unwrap_or(at)));
        let others = [
            after_spacing(self.probe_at),
            after_spacing(self.settle_at),
            spaced_until,
            after_spacing(self.ephemeral_spaced_until.filter(|_| self.ephemeral_waits)),
            self.expiring_at,
            self.expires_at,
            self.ends_at,
        ];
        others.into_iter().flatten().chain([self.batch_at]).min()
    }
}

fn is_past(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| at <= now)
}
