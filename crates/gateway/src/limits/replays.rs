//! Admission of replays: a bound on the bytes of history in flight to clients that have reconnected.
//!
//! After a deploy or an outage all clients reconnect at the same moment. The clients that missed least
//! are served first, so that most of them are live again soon. A client that cannot be served within
//! [`PATIENCE`] is told when to come again; a longer queue would end after the clients have given up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::limits::pacing::Pacing;
use crate::problem::{Code, Problem};

/// A replay of at most this many bytes is sent at once: a wait would cost more than the replay.
const SMALL_BYTES: usize = 16 << 10;
/// The most clients that wait.
const WAITING_MAX: usize = 4096;
/// The longest wait of a client.
const PATIENCE: Duration = Duration::from_secs(5);
/// One replay counts for at most one part in this many of the bound.
const SHARES: usize = 4;
/// A replay that takes longer than this no longer counts.
const COUNTED_FOR: Duration = Duration::from_secs(10);

/// The replays in flight, and those that wait.
#[derive(Debug)]
pub(crate) struct Replays {
    bytes_max: usize,
    pacing: Pacing,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By number, so the oldest is first: the start, and the bytes.
    under_way: BTreeMap<u64, (Instant, usize)>,
    under_way_bytes: usize,
    waiting: BTreeMap<Turn, oneshot::Sender<Replay>>,
    /// The number of replays so far.
    came: u64,
}

/// The smallest replay first, then the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    bytes: usize,
    number: u64,
}

/// A replay in flight. Dropped, it has ended.
#[derive(Debug)]
pub(crate) struct Replay {
    replays: Arc<Replays>,
    number: u64,
}

impl Replays {
    /// Admits up to `bytes_max` at once.
    #[must_use]
    pub(crate) fn new(bytes_max: usize, pacing: Pacing) -> Arc<Self> {
        Arc::new(Self { bytes_max, pacing, state: Mutex::default() })
    }

    /// Waits until `bytes` may be replayed. `None`: the replay is too small to count.
    ///
    /// # Errors
    /// When that takes too long, with the time to come again.
    pub(crate) async fn admit(self: &Arc<Self>, bytes: usize) -> Result<Option<Replay>, Problem> {
        if bytes <= SMALL_BYTES {
            return Ok(None);
        }
        // One client never gets the whole bound, however much it has missed.
        let bytes = bytes.min(self.bytes_max / SHARES);
        let (sender, mut admitted) = oneshot::channel();
        let place = Place { replays: self, turn: self.state.lock().wait(bytes, sender) };
        let patient_until = Instant::now() + PATIENCE;
        let result = loop {
            let next_look = self.let_in();
            match timeout_at(next_look.min(patient_until), &mut admitted).await {
                Ok(result) => break result.ok(),
                Err(_) if Instant::now() >= patient_until => break None,
                Err(_) => {}
            }
        };
        drop(place);
        result.map(Some).ok_or_else(|| {
            Problem::new(Code::Unavailable, "too many clients are catching up")
                .retry_after(Duration::from_secs(1) + self.pacing.part_of(PATIENCE))
        })
    }

    /// Admits the waiting replays that fit now. Returns when the next one may fit even if none ends.
    fn let_in(self: &Arc<Self>) -> Instant {
        let mut admitted = Vec::new();
        let next_look = {
            let mut state = self.state.lock();
            state.forget_the_slow();
            while let Some((turn, sender)) = state.take_who_fits(self.bytes_max) {
                admitted.push((sender, Replay { replays: Arc::clone(self), number: turn.number }));
            }
            let oldest = state.under_way.first_key_value();
            oldest.map_or_else(Instant::now, |(_, (since, _))| *since) + COUNTED_FOR
        };
        for (sender, replay) in admitted {
            // If the client has just left, the replay comes back here and ends, which admits the next.
            let _ = sender.send(replay);
        }
        next_look
    }
}

impl State {
    fn wait(&mut self, bytes: usize, sender: oneshot::Sender<Replay>) -> Turn {
        self.came += 1;
        let turn = Turn { bytes, number: self.came };
        self.waiting.insert(turn, sender);
        if self.waiting.len() > WAITING_MAX {
            // The largest replay has the worst prospects; it may be this one.
            self.waiting.pop_last();
        }
        turn
    }

    fn take_who_fits(&mut self, bytes_max: usize) -> Option<(Turn, oneshot::Sender<Replay>)> {
        let first = self.waiting.first_entry()?;
        if self.under_way_bytes + first.key().bytes > bytes_max {
            return None;
        }
        let (turn, sender) = first.remove_entry();
        self.under_way.insert(turn.number, (Instant::now(), turn.bytes));
        self.under_way_bytes += turn.bytes;
        Some((turn, sender))
    }

    fn forget_the_slow(&mut self) {
        while let Some(oldest) = self.under_way.first_entry()
            && oldest.get().0.elapsed() >= COUNTED_FOR
        {
            self.under_way_bytes -= oldest.remove().1;
        }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        {
            let mut state = self.replays.state.lock();
            if let Some((_, bytes)) = state.under_way.remove(&self.number) {
                state.under_way_bytes -= bytes;
            }
        }
        self.replays.let_in();
    }
}

/// Waiting; given up when dropped.
struct Place<'a> {
    replays: &'a Replays,
    turn: Turn,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.replays.state.lock().waiting.remove(&self.turn);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use events::Chance;
    use futures_util::FutureExt as _;

    use super::*;

    const KIB: usize = 1 << 10;

    /// The bytes in flight, and the number of clients that wait.
    fn load(replays: &Replays) -> (usize, usize) {
        let state = replays.state.lock();
        (state.under_way_bytes, state.waiting.len())
    }

    #[tokio::test(start_paused = true)]
    async fn who_missed_least_is_first() {
        let replays = Replays::new(400 * KIB, Pacing::new(Chance::seeded(1)));
        let first = [replays.admit(90 * KIB).await.unwrap(), replays.admit(usize::MAX).await.unwrap()];
        assert_eq!(load(&replays), (190 * KIB, 0), "one has a quarter at most");
        let others = [replays.admit(100 * KIB).await.unwrap(), replays.admit(100 * KIB).await.unwrap()];
        let mut large = pin!(replays.admit(90 * KIB));
        let mut small = pin!(replays.admit(80 * KIB));
        assert!(large.as_mut().now_or_never().is_none() && small.as_mut().now_or_never().is_none());
        assert_eq!(load(&replays), (390 * KIB, 2));
        assert!(replays.admit(16 * KIB).await.unwrap().is_none(), "so little never waits");

        let [ninety, hundred] = first;
        drop(ninety);
        let small = small.await.unwrap();
        assert!(large.as_mut().now_or_never().is_none());
        drop(hundred);
        let large = large.await.unwrap();
        assert_eq!(load(&replays), (370 * KIB, 0));
        drop((small, large, others));
        assert_eq!(load(&replays), (0, 0));
    }

    /// Replays that use up the bound.
    async fn all(replays: &Arc<Replays>) -> Vec<Option<Replay>> {
        let mut all = Vec::new();
        for _ in 0..SHARES {
            all.push(replays.admit(usize::MAX).await.unwrap());
        }
        all
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_and_who_leaves_frees_the_place() {
        let replays = Replays::new(400 * KIB, Pacing::new(Chance::seeded(1)));
        let all = all(&replays).await;
        let start = Instant::now();
        let problem = replays.admit(50 * KIB).await.unwrap_err();
        assert_eq!((problem.code, start.elapsed()), (Code::Unavailable, PATIENCE));
        assert!(problem.retry_after >= Some(Duration::from_secs(1)));
        {
            let mut left = pin!(replays.admit(50 * KIB));
            assert!(left.as_mut().now_or_never().is_none());
            assert_eq!(load(&replays), (400 * KIB, 1));
        }
        assert_eq!(load(&replays), (400 * KIB, 0));
        drop(all);
        assert_eq!(load(&replays), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_the_slow() {
        let replays = Replays::new(400 * KIB, Pacing::new(Chance::seeded(1)));
        let slow = all(&replays).await;
        tokio::time::advance(COUNTED_FOR - PATIENCE / 2).await;
        let start = Instant::now();
        let next = replays.admit(70 * KIB).await.unwrap();
        assert_eq!(start.elapsed(), PATIENCE / 2, "whoever waits is let in as soon as they count no more");
        drop(slow);
        assert_eq!(load(&replays), (70 * KIB, 0));
        drop(next);
        assert_eq!(load(&replays), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded_and_the_largest_leaves_it() {
        let replays = Replays::new(400 * KIB, Pacing::new(Chance::seeded(1)));
        let _all = all(&replays).await;
        let mut large = pin!(replays.admit(90 * KIB));
        assert!(large.as_mut().now_or_never().is_none());
        let mut others: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(replays.admit(50 * KIB))).collect();
        for other in &mut others {
            assert!(other.now_or_never().is_none());
        }
        assert_eq!(large.await.unwrap_err().code, Code::Unavailable);
        assert_eq!(load(&replays).1, WAITING_MAX);
    }
}
