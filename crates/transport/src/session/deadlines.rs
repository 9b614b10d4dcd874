//! Everything about a session that happens by the clock.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::Instant;

use super::terms::Terms;

/// A second batch comes this long after `hello`, so that a client can tell a path that buffers.
const PROBE_AFTER: Duration = Duration::from_millis(300);
/// An empty batch comes this long after a burst, so that a path that holds the last message back
/// lets it go.
const SETTLE_AFTER: Duration = Duration::from_millis(250);

/// Microseconds since the session began, and one: half the size of an [`Instant`], of which an idle
/// session would hold nine, and compared in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(NonZeroU64);

impl Moment {
    const START: Self = Self(NonZeroU64::MIN);

    fn since(start: Instant, at: Instant) -> Self {
        Self::START + at.saturating_duration_since(start)
    }

    fn us(self) -> u64 {
        self.0.get() - 1
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// A span in whole milliseconds; those of a session are far below 49 days.
#[derive(Clone, Copy, Debug)]
struct Millis(u32);

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Self(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX))
    }
}

impl From<Millis> for Duration {
    fn from(Millis(ms): Millis) -> Self {
        Self::from_millis(ms.into())
    }
}

/// When something is due next. Reads no clock and owns no timer: the session does both once for all
/// of them.
#[derive(Debug)]
pub(crate) struct Deadlines {
    start: Instant,
    heartbeat: Millis,
    interval: Millis,
    write_timeout: Millis,
    /// The next batch, whatever happens; a poll's is the end of its wait.
    batch_at: Moment,
    /// The second batch after `hello`.
    probe_at: Option<Moment>,
    /// The empty batch after a burst.
    settle_at: Option<Moment>,
    /// No batch before this.
    spaced_until: Option<Moment>,
    /// The shortest time between two batches with ephemeral events.
    ephemeral_spacing: Millis,
    /// No ephemeral event before this.
    ephemeral_spaced_until: Option<Moment>,
    /// Ephemeral events wait for the end of the spacing.
    ephemeral_waits: bool,
    /// The client is told that its token ends soon.
    expiring_at: Option<Moment>,
    expires_at: Option<Moment>,
    /// The stream is as old as it may get.
    ends_at: Option<Moment>,
    /// The end of the patience with a client: one that does not read, or whose connection is
    /// closing.
    patient_until: Option<Moment>,
    is_closing: bool,
    /// A heartbeat comes at its time whatever else is sent, is answered in time, and nothing probes
    /// the path.
    is_heartbeat_fixed: bool,
    /// The next ping goes with the first batch from here on. With a fixed heartbeat: until when the
    /// one that is unanswered is to be answered.
    ping_at: Tenths,
    /// Pings since the client last said something.
    unanswered: u8,
}

/// How many pings a client may leave unanswered. When the next one is due, it counts as gone.
const UNANSWERED_MAX: u8 = 2;

/// A point of the session's time in tenths of a second, which last for 13 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tenths(u32);

impl From<Moment> for Tenths {
    fn from(at: Moment) -> Self {
        Self(u32::try_from(at.us() / 100_000).unwrap_or(u32::MAX))
    }
}

impl From<Tenths> for Moment {
    fn from(Tenths(tenths): Tenths) -> Self {
        Self::START + Duration::from_millis(u64::from(tenths) * 100)
    }
}

impl Deadlines {
    pub(crate) fn new(now: Instant, terms: &Terms) -> Self {
        let mut deadlines = Self {
            start: now,
            heartbeat: terms.heartbeat.into(),
            interval: terms.interval.into(),
            write_timeout: terms.write_timeout.into(),
            batch_at: Moment::START + terms.heartbeat,
            probe_at: None,
            settle_at: None,
            spaced_until: None,
            ephemeral_spacing: Duration::ZERO.into(),
            ephemeral_spaced_until: None,
            ephemeral_waits: false,
            expiring_at: None,
            expires_at: None,
            ends_at: terms.age_max.map(|age_max| Moment::START + age_max),
            patient_until: None,
            is_closing: false,
            is_heartbeat_fixed: false,
            ping_at: (Moment::START + terms.heartbeat).into(),
            unanswered: 0,
        };
        deadlines.expire(terms.expiry, terms.expiring_before);
        deadlines
    }

    /// The heartbeat comes at its time whatever else is sent, the client answers it in time, and
    /// nothing probes the path.
    pub(crate) fn fix_heartbeat(&mut self) {
        self.is_heartbeat_fixed = true;
    }

    /// Whether the time of the heartbeat has come.
    pub(crate) fn is_heartbeat_due(&self, now: Moment) -> bool {
        is_past(Some(self.batch_at), now)
    }

    /// Whether a ping goes with the batch that is sent now.
    pub(crate) fn take_ping(&mut self, now: Moment) -> bool {
        let is_due = Tenths::from(now) >= self.ping_at;
        if is_due {
            self.ping_at = (now + self.heartbeat()).into();
            self.unanswered += 1;
        }
        is_due
    }

    /// The client said something.
    pub(crate) fn heard(&mut self) {
        self.unanswered = 0;
    }

    /// Whether the client has left too many pings unanswered, or a fixed heartbeat for too long.
    pub(crate) fn is_unanswered(&self, now: Moment) -> bool {
        let most = if self.is_heartbeat_fixed { 1 } else { UNANSWERED_MAX };
        self.unanswered >= most && Tenths::from(now) >= self.ping_at
    }

    /// Until when a fixed heartbeat is to be answered.
    fn pong_by(&self) -> Option<Moment> {
        (self.is_heartbeat_fixed && self.unanswered > 0).then(|| self.ping_at.into())
    }

    /// Ephemeral events come in one batch in this time at most; zero: as they come.
    pub(crate) fn space_ephemeral(&mut self, spacing: Duration) {
        self.ephemeral_spacing = spacing.into();
    }

    /// Whether ephemeral events have to wait.
    pub(crate) fn is_ephemeral_spaced(&self, now: Moment) -> bool {
        self.ephemeral_spaced_until.is_some_and(|at| at > now)
    }

    /// Whether ephemeral events have waited long enough.
    pub(crate) fn is_ephemeral_due(&self, now: Moment) -> bool {
        self.ephemeral_waits && !self.is_ephemeral_spaced(now)
    }

    /// Ephemeral events are left waiting, or not.
    pub(crate) fn ephemeral_waits(&mut self, waits: bool) {
        self.ephemeral_waits = waits;
    }

    /// Ephemeral events were sent.
    pub(crate) fn ephemeral_sent(&mut self, now: Moment) {
        let spacing = Duration::from(self.ephemeral_spacing);
        self.ephemeral_spaced_until = (!spacing.is_zero()).then(|| now + spacing);
    }

    /// A batch comes at least this often.
    pub(crate) fn heartbeat(&self) -> Duration {
        self.heartbeat.into()
    }

    /// How long writing may be blocked.
    pub(crate) fn write_timeout(&self) -> Duration {
        self.write_timeout.into()
    }

    fn interval(&self) -> Duration {
        self.interval.into()
    }

    /// The point of the session's time that is this instant.
    pub(crate) fn moment(&self, at: Instant) -> Moment {
        Moment::since(self.start, at)
    }

    /// The instant that is this point of the session's time.
    pub(crate) fn instant(&self, at: Moment) -> Instant {
        self.start + Duration::from_micros(at.us())
    }

    /// A poll's wait ends at `at`.
    pub(crate) fn wait_until(&mut self, at: Instant) {
        self.batch_at = self.moment(at);
    }

    /// The token ends at `expiry`, and its client is told `before` that; zero: it is not told.
    pub(crate) fn expire(&mut self, expiry: Option<Instant>, before: Duration) {
        self.expires_at = expiry.map(|at| self.moment(at));
        let expiring_at = expiry.filter(|_| !before.is_zero()).and_then(|at| at.checked_sub(before));
        self.expiring_at = expiring_at.map(|at| self.moment(at));
    }

    /// Whether the token ends at all.
    pub(crate) fn expires(&self) -> bool {
        self.expires_at.is_some()
    }

    /// When the session began.
    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// The connection is given until `at` to close.
    pub(crate) fn close_by(&mut self, at: Instant) {
        self.is_closing = true;
        self.patient_until = Some(self.moment(at));
    }

    pub(crate) fn hello_sent(&mut self, now: Moment) {
        self.batch_at = now + self.heartbeat();
        self.probe_at = (!self.is_heartbeat_fixed).then(|| now + PROBE_AFTER);
    }

    /// A batch was written. `pong_timeout`: within what time the client answers a fixed heartbeat.
    pub(crate) fn batch_sent(&mut self, now: Moment, had_events: bool, pong_timeout: Option<Duration>) {
        let interval = self.interval();
        self.probe_at = self.probe_at.filter(|&at| at > now);
        let is_fixed = self.is_heartbeat_fixed;
        if let Some(pong_timeout) = pong_timeout
            && self.is_heartbeat_due(now)
            && self.unanswered == 0
        {
            self.unanswered = 1;
            // Rounded up: a client that answers at the last moment stays.
            self.ping_at = (now + pong_timeout + Duration::from_millis(100)).into();
        }
        if !is_fixed || self.is_heartbeat_due(now) {
            self.batch_at = now + self.heartbeat().max(interval);
        }
        let settles = had_events && !is_fixed;
        self.settle_at = settles.then(|| now + SETTLE_AFTER.max(interval));
        self.spaced_until = (!interval.is_zero()).then(|| now + interval);
    }

    /// Writing made progress, or is blocked since `blocked`.
    pub(crate) fn wrote(&mut self, blocked: Option<Instant>) {
        if !self.is_closing {
            let until = |now| self.patient_until.unwrap_or(self.moment(now) + self.write_timeout());
            self.patient_until = blocked.map(until);
        }
    }

    /// Whether a batch is due even if it is empty.
    pub(crate) fn is_batch_due(&self, now: Moment) -> bool {
        let due = is_past(self.probe_at, now) || is_past(self.settle_at, now);
        let must = is_past(Some(self.batch_at), now) || is_past(self.expiring_at, now);
        must || (due && !self.is_spaced(now))
    }

    pub(crate) fn is_spaced(&self, now: Moment) -> bool {
        self.spaced_until.is_some() && !is_past(self.spaced_until, now)
    }

    /// Whether the client is to be told now that its token ends soon; it is told once.
    pub(crate) fn take_expiring(&mut self, now: Moment) -> bool {
        let due = is_past(self.expiring_at, now);
        if due {
            self.expiring_at = None;
        }
        due
    }

    pub(crate) fn is_expired(&self, now: Moment) -> bool {
        is_past(self.expires_at, now)
    }

    pub(crate) fn is_aged(&self, now: Moment) -> bool {
        is_past(self.ends_at, now)
    }

    pub(crate) fn is_stuck(&self, now: Moment) -> bool {
        !self.is_closing && is_past(self.patient_until, now)
    }

    pub(crate) fn is_over(&self, now: Moment) -> bool {
        self.is_closing && is_past(self.patient_until, now)
    }

    /// The next moment at which something may be due. While something waits to be written, nothing
    /// else is.
    pub(crate) fn next(&self, now: Moment, writing: bool) -> Option<Instant> {
        let next = if self.is_closing {
            self.patient_until
        } else if writing {
            [self.patient_until, self.expires_at, self.ends_at].into_iter().flatten().min()
        } else {
            Some(self.next_to_send(now))
        };
        next.map(|at| self.instant(at))
    }

    fn next_to_send(&self, now: Moment) -> Moment {
        let spaced_until = self.spaced_until.filter(|&at| at > now);
        let after_spacing = |at: Option<Moment>| at.map(|at| at.max(spaced_until.unwrap_or(at)));
        let others = [
            after_spacing(self.probe_at),
            after_spacing(self.settle_at),
            spaced_until,
            after_spacing(self.ephemeral_spaced_until.filter(|_| self.ephemeral_waits)),
            self.expiring_at,
            self.expires_at,
            self.ends_at,
            self.pong_by(),
        ];
        others.into_iter().flatten().fold(self.batch_at, Moment::min)
    }
}

fn is_past(at: Option<Moment>, now: Moment) -> bool {
    at.is_some_and(|at| at <= now)
}
